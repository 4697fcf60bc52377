"""Entries of the history, made from the reports of a round; short rounds are combined per tenth of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parsgd.core import Report, TaskFailed


def entry(
    number: int,
    epoch: float,
    reports: Sequence[Report],
    lost: Sequence[TaskFailed],
    weights: np.ndarray,
    total_loss: Callable[[np.ndarray], float],
    seconds: float,
    merge_seconds: float,
) -> dict[str, Any]:
    """Return the entry of round ``number``; see :mod:`parsgd.training.reporting.history` for its keys.

    ``weights (n_reports,)`` are the merge weights, and ``total_loss`` combines the losses of the outputs.
    """
    examples = sum(report.examples for report in reports)
    workers = [
        {
            "worker": report.worker,
            "steps": report.steps,
            "examples": report.examples,
            "seconds": report.seconds,
            "weight": float(weight),
            "loss": total_loss(report.loss) / max(report.examples, 1),
            "trace": list(report.epoch_log),
        }
        for report, weight in zip(reports, weights, strict=True)
    ]
    loss = sum(total_loss(report.loss) for report in reports) / max(examples, 1)
    return assemble(number, epoch, workers, loss, seconds, merge_seconds, lost)


def assemble(
    number: int,
    epoch: float,
    workers: list[dict[str, Any]],
    loss: float,
    seconds: float,
    merge_seconds: float,
    lost: Sequence[TaskFailed] = (),
) -> dict[str, Any]:
    """Return the entry of round ``number`` with these entries of its workers."""
    return {
        "round": number,
        "epoch": epoch,
        "seconds": seconds,
        "merge_seconds": merge_seconds,
        "check_seconds": 0.0,
        "loss": loss,
        "score": None,
        "workers": workers,
        "lost": [{"worker": failed.worker, "why": failed.why, "replaced": failed.replaced} for failed in lost],
    }


def add(history: list[dict[str, Any]], following: dict[str, Any], short: bool) -> None:
    """Append an entry to the history, or combine it with the last one if both end in the same tenth of an epoch.

    Only short rounds are combined; otherwise their history could be larger than the data.
    """
    if short and history and _same_tenth(history[-1], following):
        history[-1] = _folded(history[-1], following)
    else:
        history.append(following)


def _same_tenth(entry: dict[str, Any], following: dict[str, Any]) -> bool:
    """Return True if two entries end in the same tenth of an epoch."""
    return math.ceil(10 * entry["epoch"] - 1e-9) == math.ceil(10 * following["epoch"] - 1e-9)


def _folded(entry: dict[str, Any], following: dict[str, Any]) -> dict[str, Any]:
    """Return the combination of two entries: sums of counts and times, means of losses and weights over examples."""
    totals = [sum(worker["examples"] for worker in side["workers"]) for side in (entry, following)]
    # over the examples of all workers, including lost ones, so that weights still sum to 1
    workers = {
        worker["worker"]: {**worker, "weight": _mean((worker["weight"], 0.0), totals)} for worker in entry["workers"]
    }
    for other in following["workers"]:
        one = workers.get(other["worker"], {**other, "steps": 0, "examples": 0, "seconds": 0.0, "weight": 0.0})
        summed = {key: one[key] + other[key] for key in ("steps", "examples", "seconds")}
        loss = _mean((one["loss"], other["loss"]), (one["examples"], other["examples"]))
        weight = one["weight"] + _mean((0.0, other["weight"]), totals)
        workers[other["worker"]] = {**other, **summed, "weight": weight, "loss": loss}
    merged = {
        **{key: entry[key] + following[key] for key in ("merge_seconds", "check_seconds")},
        "loss": _mean((entry["loss"], following["loss"]), totals),
        # an epoch may have ended in the first entry
        "score": entry["score"] if following["score"] is None else following["score"],
        "workers": [workers[number] for number in sorted(workers)],
        "lost": entry["lost"] + following["lost"],
    }
    return {**following, **merged}


def _mean(values: tuple[float, float], parts: Any) -> float:
    return sum(value * part for value, part in zip(values, parts, strict=True)) / max(sum(parts), 1)
