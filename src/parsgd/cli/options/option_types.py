"""What the options of the commands have in common: their types, their help, and how values are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from parsgd.cli.cli_errors import UsageError

_FORMATS = "A .csv, .parquet, .npz or .svm file, - for CSV from a pipe, or digits, breast-cancer, diabetes, iris."
DataFile = Annotated[str, typer.Argument(metavar="DATA", help=_FORMATS)]
_STREAMED = "Also a folder, several files, or an address such as s3://bucket/folder: these are streamed."
DataFiles = Annotated[list[str], typer.Argument(metavar="DATA...", help=f"{_FORMATS} {_STREAMED}")]
Stream = Annotated[
    bool | None,
    typer.Option("--stream/--no-stream", help="Read the data while they are used; not given: if they are large."),
]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, made by parsgd fit.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the results as one JSON object; progress goes to standard error.")
]

TRAINING, PARALLEL, KEEPING, DATA = "SGDRun", "Parallel work", "Checkpoints", "Rows and columns"
Text, Number, Whole, Maybe, Several = str | None, float | None, int | None, bool | None, list[str] | None
MaybePath = Path | None


def option(
    help: str,
    *names: str,
    metavar: str | None = None,
    panel: str | None = None,
    among: Sequence[str] | None = None,
) -> Any:
    """An option; ``among`` are the values that the shell completes."""
    completion = None if among is None else _completer(among)
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, autocompletion=completion)


def _completer(values: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def parsed(value: Any) -> Any:
    """The value of a parameter as it was meant: ``none``, ``true``, numbers, or the text itself."""
    if not isinstance(value, str):
        return value
    words = {"none": None, "null": None, "true": True, "false": False}
    if value.lower() in words:
        return words[value.lower()]
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """What ``--set NAME=VALUE`` gave."""
    split = [pair.partition("=") for pair in pairs]
    for pair, (name, equals, value) in zip(pairs, split, strict=True):
        if not (name and equals and value):
            raise UsageError(f"--set {pair}: write NAME=VALUE, such as --set l1_ratio=0.3")
    return {name.strip(): parsed(value.strip()) for name, _, value in split}
