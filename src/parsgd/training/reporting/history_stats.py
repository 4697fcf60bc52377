"""Work and time per worker, computed from a history.  :mod:`parsgd.training.reporting.history` has the keys.

A worker's time until the end of the fit consists of computing, the driver's work and waiting::

    end       = seconds + merge_seconds + check_seconds of the last entry
    computing = sum of the worker's own seconds
    driver    = sum of merge_seconds and check_seconds, while workers are idle if all wait for each merge
    waiting   = end - computing - driver: for slower workers, for messages, for a turn

The history has the time at which a quorum was reached, not the arrival of each report.  A worker's computing is
therefore placed at the start of the round, and the rest of the round counts as waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Entries = Sequence[dict[str, Any]]


@dataclass
class WorkerTotals:
    """Work and time of one worker; times in seconds.

    ``weight`` is the mean of its merge weights over the rounds.
    """

    worker: int
    steps: int = 0
    examples: int = 0
    computing: float = 0.0
    merging: float = 0.0
    checking: float = 0.0
    waiting: float = 0.0
    weight: float = 0.0


class TimeSpan(NamedTuple):
    """A worker's part in a round, or in several combined rounds; times in seconds.

    The worker computed for ``computing`` seconds between ``began`` and ``ended``; then the driver worked until
    ``merged``.
    """

    worker: int
    first_round: int
    last_round: int
    began: float
    computing: float
    ended: float
    merged: float


def end_of(history: Entries) -> float:
    """Return the time in seconds at which the last round ended.

    >>> end_of([{"seconds": 2.0, "merge_seconds": 0.5, "check_seconds": 0.25}])
    2.75
    """
    return history[-1]["seconds"] + _driver(history[-1]) if history else 0.0


def worker_totals(history: Entries, all_wait: bool = True) -> list[WorkerTotals]:
    """Return the totals of each worker, until the end of the fit or its loss.

    With ``all_wait`` workers wait for every merge, as in synchronous rounds; otherwise they compute while the driver
    merges.

    >>> worker = {"worker": 0, "steps": 8, "examples": 8, "seconds": 1.0, "weight": 1.0, "loss": 0.5}
    >>> worker_totals([{"seconds": 2.0, "merge_seconds": 0.5, "check_seconds": 0.0, "workers": [worker]}])[0].waiting
    1.0
    """
    found: dict[int, WorkerTotals] = {}
    for entry in history:
        for worker in entry["workers"]:
            one = found.setdefault(worker["worker"], WorkerTotals(worker["worker"]))
            one.steps += worker["steps"]
            one.examples += worker["examples"]
            one.computing += worker["seconds"]
            one.weight += worker["weight"] / len(history)
    lost_at = {
        lost["worker"]: i for i, entry in enumerate(history) for lost in entry.get("lost", ()) if _not_replaced(lost)
    }
    for one in found.values():
        present = history[: lost_at.get(one.worker, len(history))]
        if all_wait:
            one.merging = sum(entry.get("merge_seconds", 0.0) for entry in present)
            one.checking = sum(entry.get("check_seconds", 0.0) for entry in present)
        one.waiting = max(0.0, end_of(present) - one.computing - one.merging - one.checking)
    return [found[worker] for worker in sorted(found)]


def spans(history: Entries, *, in_turn: bool = False, most: int | None = None) -> list[TimeSpan]:
    """Return the time spans of all workers in all rounds, in the order of time.

    ``in_turn``: workers compute one after the other (``engine="serial"``), and their spans start accordingly.  With
    ``most``, neighboring rounds are combined until at most about ``most`` spans remain.
    """
    n_spans = sum(len(entry["workers"]) for entry in history)
    together = 1 if most is None else max(1, -(-n_spans // max(most, 1)))
    found: list[TimeSpan] = []
    began, first = 0.0, 0
    for start in range(0, len(history), together):
        stretch = history[start : start + together]
        computed: dict[int, float] = {}
        for worker in (worker for entry in stretch for worker in entry["workers"]):
            computed[worker["worker"]] = computed.get(worker["worker"], 0.0) + worker["seconds"]
        last = stretch[-1]
        merged = last["seconds"] + _driver(last)
        # the driver's times of combined rounds are placed at their end
        ended = max(began, merged - sum(_driver(entry) for entry in stretch))
        begins = began
        for worker in sorted(computed):
            found.append(TimeSpan(worker, first, last["round"], begins, computed[worker], ended, merged))
            begins += computed[worker] if in_turn else 0.0
        began, first = merged, last["round"] + 1
    return found


def weights(history: Entries) -> tuple[list[int], list[list[float | None]]]:
    """Return the workers, and their merge weights in every round; None in rounds without a report.

    >>> weights([{"workers": [{"worker": 0, "weight": 0.5}, {"worker": 1, "weight": 0.5}]}])
    ([0, 1], [[0.5], [0.5]])
    """
    rounds = [{worker["worker"]: worker["weight"] for worker in entry["workers"]} for entry in history]
    workers = sorted({worker for entry in rounds for worker in entry})
    return workers, [[entry.get(worker) for entry in rounds] for worker in workers]


def traces(history: Entries, n_rows: float) -> dict[int, list[tuple[float, float, float | None]]]:
    """Return ``(passes, mean loss, score)`` of each worker's epochs, if the whole fit was one round.

    Passes count all workers together, at equal speed.

    >>> worker = {"worker": 0, "trace": [(100, 0.5, None), (200, 0.25, None)], "examples": 200}
    >>> traces([{"workers": [worker]}], 100)
    {0: [(1.0, 0.5, None), (2.0, 0.25, None)]}
    """
    if len(history) != 1:
        return {}
    workers = history[0]["workers"]
    total = sum(worker["examples"] for worker in workers)
    found: dict[int, list[tuple[float, float, float | None]]] = {}
    for worker in workers:
        if worker.get("trace") and worker["examples"]:
            passes = total / n_rows / worker["examples"]
            ends = [(examples * passes, loss, score) for examples, loss, score in worker["trace"]]
            found[worker["worker"]] = ends
    return found


def _not_replaced(lost: dict[str, Any]) -> bool:
    return not lost.get("replaced", False)


def _driver(entry: dict[str, Any]) -> float:
    # absent from older histories
    return entry.get("merge_seconds", 0.0) + entry.get("check_seconds", 0.0)
