"""Types, help texts and value parsing that the commands' options share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from parsgd.cli.cli_errors import UsageError

_FORMATS = "A .csv, .parquet, .npz or .svm file, - for CSV on standard input, or digits, breast-cancer, diabetes, iris."
DataFile = Annotated[str, typer.Argument(metavar="DATA", help=_FORMATS)]
_STREAMED = "Folders, several files, and addresses such as s3://bucket/folder are streamed."
DataFiles = Annotated[list[str], typer.Argument(metavar="DATA...", help=f"{_FORMATS} {_STREAMED}")]
Stream = Annotated[
    bool | None,
    typer.Option("--stream/--no-stream", help="Read the data in parts instead of loading them. Default: if large."),
]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file written by parsgd fit.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the results as one JSON object; progress goes to standard error.")
]

TRAINING, PARALLEL, CHECKPOINTS, DATA = "Training", "Parallel work", "Checkpoints", "Rows and columns"
Text, Number, Integer, Boolean, Texts = str | None, float | None, int | None, bool | None, list[str] | None
OptionalPath = Path | None


def option(
    help: str,
    *names: str,
    metavar: str | None = None,
    panel: str | None = None,
    among: Sequence[str] | None = None,
) -> Any:
    """Define an option; the shell completes the values in ``among``."""
    completion = None if among is None else _completer(among)
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, autocompletion=completion)


def _completer(values: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def parsed(value: Any) -> Any:
    """Convert text to the value of a parameter: None, a boolean, a number or JSON, otherwise the text itself."""
    if not isinstance(value, str):
        return value
    constants = {"none": None, "null": None, "true": True, "false": False}
    if value.lower() in constants:
        return constants[value.lower()]
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse the values of ``--set NAME=VALUE``."""
    split = [pair.partition("=") for pair in pairs]
    for pair, (name, equals, value) in zip(pairs, split, strict=True):
        if not (name and equals and value):
            raise UsageError(f"--set {pair}: write NAME=VALUE, such as --set l1_ratio=0.3")
    return {name.strip(): parsed(value.strip()) for name, _, value in split}
