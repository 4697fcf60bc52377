"""The command ``report`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from parsgd.cli.options.option_types import AsJson, ModelFile, option

EXAMPLES = (
    "parsgd report iris.parsgd --out iris.html",
    "parsgd report digits.parsgd --out digits.html --json",
)


def report(
    model: ModelFile,
    out: Annotated[Path, option("The page to write.", "--out", "-o", metavar="FILE.html")],
    as_json: AsJson = False,
) -> None:
    """Write an HTML page about the training of a model: its score, the workers and the use of time.

    The page is one file without external resources, for any screen size and for print.
    """
    from parsgd.cli.console import Console, print_json
    from parsgd.cli.runs import report_run

    report_run.write(model, out)
    Console(quiet=as_json).print(f"saved:      {out}")
    if as_json:
        print_json({"model": str(model), "out": str(out), "bytes": out.stat().st_size})
