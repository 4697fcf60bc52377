"""``parsgd info``: describe the installation, a model file, a checkpoint folder or a data file."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated

import typer

from parsgd.cli.console import Console
from parsgd.cli.option_groups import FileOptions
from parsgd.cli.options import AsJson

EXAMPLES = (
    "parsgd info",
    "parsgd info iris.parsgd",
    "parsgd info table.csv --json",
)


def info(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL | CHECKPOINTS | DATA]", help="A model file, a checkpoint folder, or data."),
    ] = None,
    *,
    files: FileOptions,
    as_json: AsJson = False,
) -> None:
    """Describe the installation, or a model file, a checkpoint folder or a data file.

    For a model: its parameters, training and score.  For checkpoints: the progress of the fit, and the command that
    resumes it.  For data: rows, columns, missing values and possible targets; large data are sampled.
    """
    kind, console = detect_kind(what), Console(as_json)
    # imported here, because --help must not load NumPy
    module = importlib.import_module(f"parsgd.cli.inspect.inspect_{kind}")
    if kind == "machine":
        report = module.describe_machine(console)
    elif kind == "data":
        report = module.describe_data(what, console, files)
    else:
        report = getattr(module, f"describe_{kind}")(Path(what), console)
    console.print_json({"kind": kind} | report)


def detect_kind(what: str | None) -> str:
    """Return ``"machine"``, ``"model"``, ``"checkpoints"`` or ``"data"``.

    >>> detect_kind(None), detect_kind("iris"), detect_kind("table.csv")
    ('machine', 'data', 'data')
    """
    from parsgd.checkpointing.store import ENDING
    from parsgd.cli.tables.data_arrays import BUILT_IN
    from parsgd.cli.tables.read_data import PIPE, readable
    from parsgd.data.formats.paths import is_address

    if what is None:
        return "machine"
    path = Path(what)
    if path.name.endswith(ENDING) or (path.is_dir() and any(name.endswith(ENDING) for name in os.listdir(path))):
        return "checkpoints"
    data = what in (*BUILT_IN, PIPE) or is_address(what) or path.is_dir() or readable(path) or not path.exists()
    return "data" if data else "model"
