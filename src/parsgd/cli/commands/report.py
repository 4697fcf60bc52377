"""``parsgd report``: write the page about the training of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from parsgd.cli.console import Console
from parsgd.cli.options import AsJson, ModelFile, option

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
    import parsgd

    console = Console(as_json)
    parsgd.write_report(model, out)
    console.print_facts({"saved": out})
    console.print_json({"model": str(model), "out": str(out), "bytes": out.stat().st_size})
