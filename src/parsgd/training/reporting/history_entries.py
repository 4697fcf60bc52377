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


def add(history: list[dict[str, Any]], following: dict[str, Any], short: bool, in_place: bool = False) -> None:
    """Append an entry to the history, or combine it with the last one if both end in the same tenth of an epoch.

    Only short rounds are combined; otherwise their history could be larger than the data.  With ``in_place`` the last
    entry may be modified, because nobody has received it.
    """
    if not (short and history and _same_tenth(history[-1], following)):
        history.append(following)
        return
    if not in_place:
        history[-1] = {**history[-1], "workers": [dict(worker) for worker in history[-1]["workers"]]}
    _fold(history[-1], following)


def _same_tenth(entry: dict[str, Any], following: dict[str, Any]) -> bool:
    """Return True if two entries end in the same tenth of an epoch."""
    return math.ceil(10 * entry["epoch"] - 1e-9) == math.ceil(10 * following["epoch"] - 1e-9)


def _fold(entry: dict[str, Any], following: dict[str, Any]) -> None:
    """Combine two entries in the first one: sums of counts and times, means of losses and weights over examples."""
    # over the examples of all workers, including lost ones, so that weights still sum to 1
    before, after = (sum(worker["examples"] for worker in side["workers"]) for side in (entry, following))
    total = max(before + after, 1)
    workers = {worker["worker"]: worker for worker in entry["workers"]}
    for worker in entry["workers"]:
        worker["weight"] *= before / total
    for other in following["workers"]:
        weight = other["weight"] * (after / total)
        one = workers.get(other["worker"])
        if one is None:
            workers[other["worker"]] = {**other, "weight": weight}
            continue
        seen, more = one["examples"], other["examples"]
        one["loss"] = (one["loss"] * seen + other["loss"] * more) / max(seen + more, 1)
        one["weight"] += weight
        one["trace"] = other["trace"]
        for key in ("steps", "examples", "seconds"):
            one[key] += other[key]
    entry["workers"] = [workers[number] for number in sorted(workers)]
    entry["loss"] = (entry["loss"] * before + following["loss"] * after) / total
    for key in ("merge_seconds", "check_seconds"):
        entry[key] += following[key]
    for key in ("round", "epoch", "seconds"):
        entry[key] = following[key]
    # an epoch may have ended in the first entry
    if following["score"] is not None:
        entry["score"] = following["score"]
    entry["lost"] = entry["lost"] + following["lost"]
