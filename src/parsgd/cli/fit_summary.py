"""The summary that ``fit`` prints: workers, score, time, algorithm and outcome."""

from __future__ import annotations

from typing import Any

from parsgd.cli.console import Console
from parsgd.errors import Outcome
from parsgd.viz import number_format


def algorithm_of(estimator: Any) -> dict[str, str]:
    """Return the algorithm's name and the reason for it; L-BFGS is not in the registry and has no workers."""
    if not hasattr(estimator, "algorithm_"):
        return {"name": estimator.solver, "why": "requested"}
    return {"name": estimator.algorithm_.name, "why": estimator.algorithm_.why}


def worker_table(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum steps, examples and seconds of each worker over the rounds; ``weight`` is the mean merge weight."""
    totals: dict[int, dict[str, Any]] = {}
    for entry in history:
        for worker in entry["workers"]:
            empty = {"worker": worker["worker"], "steps": 0, "examples": 0, "seconds": 0.0, "weight": 0.0}
            total = totals.setdefault(worker["worker"], empty)
            for key in ("steps", "examples", "seconds"):
                total[key] += worker[key]
            total["weight"] += worker["weight"] / len(history)
    return [totals[worker] for worker in sorted(totals)]


def print_summary(report: dict[str, Any], outcome: Outcome, console: Console) -> None:
    """Print warnings, the table of workers and the summary."""
    for warning in report["warnings"]:
        console.note(warning)
    rows = [
        [w["worker"], f"{w['steps']:,}", f"{w['examples']:,}", f"{w['seconds']:.3f}", f"{w['weight']:.3f}"]
        for w in report["workers"]
    ]
    if rows:
        console.table("workers", ("worker", "steps", "examples", "seconds", "mean weight"), rows)
    scored_on, n_rows = report["scored_on"], report["rows"]
    scores, time = number_format.scores(report["scores"]), number_format.duration(report["seconds"])
    console.print(f"{scored_on} score: {scores} ({n_rows[scored_on]:,} rows)", style="bold")
    console.print(f"time:       {time}, {report['epochs']:,} epochs over {n_rows['training']:,} rows")
    console.print(f"algorithm:  {report['algorithm']['name']}: {report['algorithm']['why']}")
    console.print(f"outcome:    {outcome.value}")
    console.print(f"saved:      {report['model']}")
