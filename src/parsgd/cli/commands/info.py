"""The command ``info`` and its options."""

from __future__ import annotations

from typing import Annotated

import typer

from parsgd.cli.options.common_options import Decimal, Header, file_options
from parsgd.cli.options.option_types import AsJson

EXAMPLES = (
    "parsgd info",
    "parsgd info iris.parsgd",
    "parsgd info table.csv --json",
)


def info(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL | CHECKPOINTS | DATA]", help="A model file, a folder of checkpoints, or data."),
    ] = None,
    header: Header = None,
    decimal: Decimal = ".",
    as_json: AsJson = False,
) -> None:
    """Say what is installed and on what machine; or what a model file, a folder of checkpoints, or a data file holds.

    Of a model: what it is, how and on what it was trained, and its score.  Of checkpoints: how far the fit came,
    whether it can go on, and with what command.  Of data: rows and columns, what is missing, and which columns may be
    targets; of data that are large a sample is looked at.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import info_run

    report = info_run.run(what, Console(quiet=as_json), file_options(header, decimal, None))
    if as_json:
        print_json(report)
