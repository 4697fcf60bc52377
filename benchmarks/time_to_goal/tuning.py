"""Tuning of a number of workers: the same grid, the same budget and the same criterion for every number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.time_to_goal.curves import Curve, Workers, curve, fit_seconds, interleaved
from benchmarks.time_to_goal.tasks import Setting, Task, rate_of, words

# Passes that set the goal, passes of every tuning fit, and seeds, which no measurement has.  On small data sets the
# losses of one seed order the settings by chance.
PASSES, TUNING_PASSES, SEEDS = 3, 6, (0, 1001, 1002, 1003, 1004)
# The best point of the grid gets two neighbors, whose rates are this factor away.
NEIGHBOR = 10**0.25


@dataclass(frozen=True)
class Tuned:
    """Settings chosen for a number of workers.

    `setting` reaches the goal soonest, and `lowest` has the least loss after the passes of the goal.
    `at_edge`: the rate of `setting` is the smallest or the largest of its schedule.
    """

    setting: Setting
    lowest: Setting
    at_edge: bool


@dataclass(frozen=True)
class _Trial:
    """A setting and its curves, one for each tuning seed."""

    setting: Setting
    curves: tuple[Curve, ...]

    @property
    def loss(self) -> float:
        """The median loss after the passes that set the goal."""
        return float(np.median([each.losses[PASSES] for each in self.curves]))

    def passes(self, goal: float) -> float:
        """The mean of the passes to the goal; infinite if a seed is not there after the last pass."""
        return float(np.mean([each.passes(goal) for each in self.curves]))


def tune(
    task: Task, groups: Sequence[Workers], n_seeds: int = 3, tolerance: float = 0.0, quick: bool = False
) -> tuple[dict[Workers, Tuned], int]:
    """The settings of each number of workers, and the number of fits for each; the first one sets the goal.

    The goal is the least loss of the first one after three passes, median over the tuning seeds, plus the relative
    tolerance.  Every number of workers gets the setting that is at the goal soonest, by the time of a pass with its
    schedule, of those with equal times the one with the least loss after three.  If all settings miss the goal with
    some seed, that loss decides.
    """
    seeds = SEEDS[:n_seeds]
    trials = {workers: _trials(task, workers, seeds, quick) for workers in groups}
    goal = (1.0 + tolerance) * min(trial.loss for trial in trials[groups[0]])
    chosen = {}
    for workers, found in trials.items():
        costs = _pass_costs(task, workers, found)
        setting = min(found, key=lambda t: (t.passes(goal) * costs[_schedule(t.setting)], t.loss)).setting
        others = [trial.setting for trial in found if _schedule(trial.setting) == _schedule(setting)]
        rates = [other[rate_of(other)] for other in others]
        at_edge = setting[rate_of(setting)] in (min(rates), max(rates))
        chosen[workers] = Tuned(setting, _lowest(found), at_edge)
    return chosen, len(trials[groups[0]]) * len(seeds)


def _pass_costs(task: Task, workers: Workers, found: Sequence[_Trial]) -> dict[object, float]:
    """Return the seconds of a pass with each schedule; 1 on a virtual clock, whose passes all take the same time."""
    one_of_each = {_schedule(trial.setting): trial.setting for trial in found}
    if workers.simulated:
        return dict.fromkeys(one_of_each, 1.0)
    runs = [partial(fit_seconds, task, workers, setting, PASSES, SEEDS[0]) for setting in one_of_each.values()]
    # the first turn is a warm-up
    seconds = np.min(interleaved(runs, 3)[:, 1:], axis=1) / PASSES
    return dict(zip(one_of_each, seconds.tolist(), strict=True))


def _trials(task: Task, workers: Workers, seeds: Sequence[int], quick: bool) -> list[_Trial]:
    """Return the trials of the grid and of the neighbors of its best point."""

    def trial(setting: Setting) -> _Trial:
        return _Trial(setting, tuple(curve(task, workers, setting, TUNING_PASSES, seed) for seed in seeds))

    found = [trial(setting) for setting in task.grid(quick)]
    best = _lowest(found)
    return found + [trial({**best, rate_of(best): best[rate_of(best)] * factor}) for factor in (1 / NEIGHBOR, NEIGHBOR)]


def _lowest(found: Sequence[_Trial]) -> Setting:
    """Return the setting with the least loss after the passes that set the goal."""
    best = min(found, key=lambda trial: trial.loss)
    if not np.isfinite(best.loss):
        raise ValueError(f"No setting ends with a finite loss, {words(best.setting)} included.")
    return best.setting


def _schedule(setting: Setting) -> object:
    return setting.get("solver", setting.get("learning_rate"))
