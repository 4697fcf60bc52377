"""Run metadata that ``fit`` stores in the model file, and the page of ``fit --report`` and ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import parsgd
from parsgd.viz.report.run_metadata import RunMetadata, here
from parsgd.viz.report.write_report import check_out

# The metadata count the rows of at most this many classes.
_MAX_CLASSES = 1000


def check(page: Path | None, out: Path) -> None:
    """Check before training that the page can be written."""
    if page is not None:
        check_out(page, "--report", out)


def notes_of(request: Any, parts: Any, report: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a run for the model file: the request, the training data and the report of ``fit``."""
    classes = {}
    if parts.target is not None and report["scores"].get("accuracy") is not None:
        names, counts = np.unique(parts.target, return_counts=True)
        classes = {str(name): int(n) for name, n in zip(names[:_MAX_CLASSES], counts, strict=False)}
    names = ", ".join((request.data, *request.more))
    return RunMetadata(
        command=list(request.command),
        data=names,
        target=request.target,
        rows=report["rows"]["training"],
        test_rows=report["rows"]["test"],
        columns=parts.columns,
        classes=classes,
        said=list(parts.notes),
        scores=report["scores"],
        scored_on=report["scored_on"],
        seconds=report["seconds"],
        warnings=report["warnings"],
        **here(),
    ).notes()


def write(model: Path, out: Path) -> None:
    """Write the page about a model file."""
    parsgd.write_report(model, out)
