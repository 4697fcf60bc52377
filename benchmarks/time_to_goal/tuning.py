"""Tuning of a number of workers: the same grid, the same budget and the same criterion for every number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.time_to_goal.curves import Curve, Workers, curve
from benchmarks.time_to_goal.tasks import Setting, Task, rate_of, words

# Passes of every tuning fit, which are also those that set the goal, and the seed, which no measurement has.
PASSES, SEED = 3, 0
# The best point of the grid gets two neighbors, whose rates are this factor away.
NEIGHBOR = 10**0.25


@dataclass(frozen=True)
class Tuned:
    """Settings chosen for a number of workers.

    `setting` reaches the goal in the fewest passes, and `lowest` has the least loss after the passes of the goal.
    `at_edge`: the rate of `setting` is the smallest or the largest of its schedule.
    """

    setting: Setting
    lowest: Setting
    at_edge: bool


def tune(task: Task, groups: Sequence[Workers], quick: bool = False) -> tuple[dict[Workers, Tuned], int]:
    """The settings of each number of workers, and the number of fits for each; the first one sets the goal.

    The goal is the least loss of the first one after three passes.  Every number of workers gets the setting that is
    at the goal in the fewest passes, of those with equal passes the one with the least loss after three.
    """
    tried = {workers: _curves(task, workers, quick) for workers in groups}
    goal = min(found.losses[-1] for _, found in tried[groups[0]])
    chosen = {}
    for workers, found in tried.items():
        setting, _ = min(found, key=lambda one: (one[1].passes(goal), one[1].losses[-1]))
        rates = [other[rate_of(other)] for other, _ in found if _schedule(other) == _schedule(setting)]
        at_edge = setting[rate_of(setting)] in (min(rates), max(rates))
        chosen[workers] = Tuned(setting, _lowest(found), at_edge)
    return chosen, len(tried[groups[0]])


def _curves(task: Task, workers: Workers, quick: bool) -> list[tuple[Setting, Curve]]:
    """Return the curves of the grid and of the neighbors of its best point."""
    found = [(setting, curve(task, workers, setting, PASSES, SEED)) for setting in task.grid(quick)]
    best = _lowest(found)
    for factor in (1.0 / NEIGHBOR, NEIGHBOR):
        setting = {**best, rate_of(best): best[rate_of(best)] * factor}
        found.append((setting, curve(task, workers, setting, PASSES, SEED)))
    return found


def _lowest(found: Sequence[tuple[Setting, Curve]]) -> Setting:
    """Return the setting with the least loss after the last pass."""
    setting, best = min(found, key=lambda one: one[1].losses[-1])
    if not np.isfinite(best.losses[-1]):
        raise ValueError(f"Every setting diverged, the last one with {words(setting)}.")
    return setting


def _schedule(setting: Setting) -> object:
    return setting.get("solver", setting.get("learning_rate"))
