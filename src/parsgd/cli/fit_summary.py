"""What ``fit`` says when it is done: what ran, who did the work, the score and the outcome."""

from __future__ import annotations

from typing import Any

from parsgd.cli.console import Console, scores_in_words
from parsgd.errors import Outcome
from parsgd.viz.live.progress_text import duration


def algorithm_of(estimator: Any) -> dict[str, str]:
    """What ran, and why; L-BFGS is none of the registry's algorithms and has no workers."""
    if not hasattr(estimator, "algorithm_"):
        return {"name": estimator.solver, "why": "asked for"}
    return {"name": estimator.algorithm_.name, "why": estimator.algorithm_.why}


def worker_table(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums over the rounds for each worker; ``weight`` is the mean of its weights."""
    totals: dict[int, dict[str, Any]] = {}
    for entry in history:
        for worker in entry["workers"]:
            empty = {"worker": worker["worker"], "steps": 0, "examples": 0, "seconds": 0.0, "weight": 0.0}
            total = totals.setdefault(worker["worker"], empty)
            for key in ("steps", "examples", "seconds"):
                total[key] += worker[key]
            total["weight"] += worker["weight"] / len(history)
    return [totals[worker] for worker in sorted(totals)]


def tell(report: dict[str, Any], outcome: Outcome, voice: Console) -> None:
    """The closing lines and the table of workers."""
    for warning in report["warnings"]:
        voice.note(warning)
    rows = [
        [w["worker"], f"{w['steps']:,}", f"{w['examples']:,}", f"{w['seconds']:.3f}", f"{w['weight']:.3f}"]
        for w in report["workers"]
    ]
    if rows:
        voice.table("workers", ("worker", "steps", "examples", "seconds", "mean weight"), rows)
    n_scored = report["rows"][report["scored_on"]]
    voice.say(f"{report['scored_on']} score: {scores_in_words(report['scores'])} ({n_scored:,} rows)", style="bold")
    n_training = report["rows"]["training"]
    voice.say(f"time:       {duration(report['seconds'])}, {report['epochs']:,} epochs over {n_training:,} rows")
    voice.say(f"algorithm:  {report['algorithm']['name']}: {report['algorithm']['why']}")
    voice.say(f"outcome:    {outcome.value}")
    voice.say(f"saved:      {report['model']}")
