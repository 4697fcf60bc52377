"""What ``fit`` notes on a run in the model file, and the pages that ``fit --report`` and ``report`` make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import parsgd
from parsgd.viz.report.run_metadata import RunMetadata, here
from parsgd.viz.report.write_report import check_out

# A page tells of a few classes, and of how many there are.
_MOST_CLASSES = 1000


def check(page: Path | None, out: Path) -> None:
    """Find out before hours of work, not after, that the page cannot be written."""
    if page is not None:
        check_out(page, "--report", out)


def notes_of(request: Any, parts: Any, report: dict[str, Any]) -> dict[str, Any]:
    """What is known of a run, for the model file: of what was asked, what was trained on, and what ``fit`` reports."""
    classes = {}
    if parts.target is not None and report["scores"].get("accuracy") is not None:
        names, counts = np.unique(parts.target, return_counts=True)
        classes = {str(name): int(n) for name, n in zip(names[:_MOST_CLASSES], counts, strict=False)}
    names = ", ".join((request.data, *request.more))
    return RunMetadata(
        command=list(request.command), data=names, target=request.target, rows=report["rows"]["training"],
        test_rows=report["rows"]["test"], columns=parts.columns, classes=classes, said=list(parts.said),
        scores=report["scores"], scored_on=report["scored_on"], seconds=report["seconds"],
        warnings=report["warnings"], **here(),
    ).notes()  # fmt: skip


def write(model: Path, out: Path) -> None:
    """The page about the model file."""
    parsgd.write_report(model, out)
