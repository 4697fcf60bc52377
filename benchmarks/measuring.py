"""Turns and ratios: whoever is compared runs one after the other, again and again, so that noise hits all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """The median of some values and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = np.percentile(np.asarray(values, dtype=float), [25, 50, 75])
        return cls(float(median), float(low), float(high))


def timed(function: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def run_turns(
    runs: dict[str, Callable[[], float]], n_turns: int, warm_up: Callable[[str], object] | None = None
) -> dict[str, list[float]]:
    """What each run says it took (seconds), in `n_turns` turns of all runs; entry `i` of each list is of turn `i`.

    Each is called once before, and that time is thrown away: compilation and first touches of memory are apart.
    `warm_up(name)`, if given, is called instead, where a whole run would take long.  Every second turn goes backwards,
    so that nobody always follows the same neighbour.
    """
    for name, run in runs.items():
        run() if warm_up is None else warm_up(name)
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(n_turns):
        for name in names if turn % 2 == 0 else reversed(names):
            gc.collect()
            times[name].append(float(runs[name]()))
    return times


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times faster `ours` are: the ratios of runs of the same turn; above 1 is good for us."""
    if len(theirs) != len(ours):
        raise ValueError(f"ratios are of runs of the same turns; there are {len(theirs)} and {len(ours)}")
    return Spread.of(np.asarray(theirs, dtype=float) / np.asarray(ours, dtype=float))


def fastest(times: dict[str, list[float]], names: Sequence[str]) -> str:
    """Which of `names` has the smallest median: a peer's best setting."""
    return min(names, key=lambda name: float(np.median(times[name])))
