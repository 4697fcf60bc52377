"""Who did what, and where the time went: sums over a history.  Pure functions of what :mod:`parsgd.training.history`
describes.

A worker's time until the end of the fit is what it computed, what it waited, and what the driver took meanwhile::

    end       = seconds + merge_seconds + check_seconds of the last entry
    computing = sum of the worker's own seconds
    driver    = sum of merge_seconds and check_seconds, during which workers are idle where all wait for each merge
    waiting   = end - computing - driver: for slower workers, for messages, for a turn

History tells when a round's reports were there, not when each came in; so a worker's share of a round is drawn from the
round's beginning on, and what is left of the round is waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Entries = Sequence[dict[str, Any]]


@dataclass
class WorkerTotals:
    """What one worker did and where its time went; times in seconds.

    ``weight`` is the mean over the rounds of its weights in the merges.
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
    """A worker's part in a round, or in several that are drawn as one; times in seconds.

    It computed for ``computing`` seconds between ``began`` and ``ended``; then the driver was at work until ``merged``.
    """

    worker: int
    first_round: int
    last_round: int
    began: float
    computing: float
    ended: float
    merged: float


def end_of(history: Entries) -> float:
    """When the fit's rounds ended, in seconds.

    >>> end_of([{"seconds": 2.0, "merge_seconds": 0.5, "check_seconds": 0.25}])
    2.75
    """
    return history[-1]["seconds"] + _driver(history[-1]) if history else 0.0


def worker_totals(history: Entries, all_wait: bool = True) -> list[WorkerTotals]:
    """An account of each worker, until the end or until it was lost.

    ``all_wait``: workers wait for every merge, as in rounds; otherwise they go on while the driver merges.

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
    gone = {lost["worker"]: i for i, entry in enumerate(history) for lost in entry.get("lost", ()) if _for_good(lost)}
    for one in found.values():
        lived = history[: gone.get(one.worker, len(history))]
        if all_wait:
            one.merging = sum(entry.get("merge_seconds", 0.0) for entry in lived)
            one.checking = sum(entry.get("check_seconds", 0.0) for entry in lived)
        one.waiting = max(0.0, end_of(lived) - one.computing - one.merging - one.checking)
    return [found[worker] for worker in sorted(found)]


def spans(history: Entries, *, in_turn: bool = False, most: int | None = None) -> list[TimeSpan]:
    """The parts that the workers had in the rounds, in the order of time.

    ``in_turn``: workers compute one after the other (``engine="serial"``), and so their spans begin.  With ``most``,
    neighbouring rounds are put together until there are about so many spans at most.
    """
    n_spans = sum(len(entry["workers"]) for entry in history)
    together = 1 if most is None else max(1, -(-n_spans // max(most, 1)))
    found = []
    began, first = 0.0, 0
    for start in range(0, len(history), together):
        stretch = history[start : start + together]
        computed: dict[int, float] = {}
        for worker in (worker for entry in stretch for worker in entry["workers"]):
            computed[worker["worker"]] = computed.get(worker["worker"], 0.0) + worker["seconds"]
        last = stretch[-1]
        merged = last["seconds"] + _driver(last)
        # of rounds put together, the driver's times are put at their end
        ended = max(began, merged - sum(_driver(entry) for entry in stretch))
        begins = began
        for worker in sorted(computed):
            found.append(TimeSpan(worker, first, last["round"], begins, computed[worker], ended, merged))
            begins += computed[worker] if in_turn else 0.0
        began, first = merged, last["round"] + 1
    return found


def weights(history: Entries) -> tuple[list[int], list[list[float | None]]]:
    """The workers, and the weights of each in every round; None where it did not report.

    >>> weights([{"workers": [{"worker": 0, "weight": 0.5}, {"worker": 1, "weight": 0.5}]}])
    ([0, 1], [[0.5], [0.5]])
    """
    rounds = [{worker["worker"]: worker["weight"] for worker in entry["workers"]} for entry in history]
    workers = sorted({worker for entry in rounds for worker in entry})
    return workers, [[entry.get(worker) for entry in rounds] for worker in workers]


def traces(history: Entries, n_rows: float) -> dict[int, list[tuple[float, float, float | None]]]:
    """``(passes, mean loss, score)`` of each worker's epochs, where the whole fit was one round.

    Passes are of all workers together, taken to go at one speed.

    >>> worker = {"worker": 0, "trace": [(100, 0.5, None), (200, 0.25, None)], "examples": 200}
    >>> traces([{"workers": [worker]}], 100)
    {0: [(1.0, 0.5, None), (2.0, 0.25, None)]}
    """
    if len(history) != 1:
        return {}
    workers = history[0]["workers"]
    total = sum(worker["examples"] for worker in workers)
    found = {}
    for worker in workers:
        if worker.get("trace") and worker["examples"]:
            passes = total / n_rows / worker["examples"]
            ends = [(examples * passes, loss, score) for examples, loss, score in worker["trace"]]
            found[worker["worker"]] = ends
    return found


def _for_good(lost: dict[str, Any]) -> bool:
    return not lost.get("replaced", False)


def _driver(entry: dict[str, Any]) -> float:
    # older histories do not tell
    return entry.get("merge_seconds", 0.0) + entry.get("check_seconds", 0.0)
