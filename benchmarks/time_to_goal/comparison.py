"""Comparison of several workers with one on a task: passes and seconds to the goal, and rows per second."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.measuring import Spread, ratio
from benchmarks.readings import Reading
from benchmarks.time_to_goal.curves import Workers, concurrent_seconds, curve, fit_seconds, interleaved
from benchmarks.time_to_goal.tasks import Setting, Task, words
from benchmarks.time_to_goal.tuning import PASSES, TUNING_PASSES, Tuned, tune

# Passes after which a fit that is not at the goal ends, also in a quick run.
MOST_PASSES, QUICK_MOST_PASSES = 12, 6
# Goals of the ratios: time to the goal by the number of training rows, and rows per second.
MANY_ROWS, TARGET_MANY, TARGET_FEW, TARGET_SPEED = 20_000, 1.7, 1.0, 1.8
TIME, PASSES_TO_GOAL, SPEED, LIMIT, GOAL = "time", "passes", "speed", "limit", "goal"

Log = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Numbers of seeds, of timed fits of each seed and of seeds for tuning, and the relative tolerance of the goal.

    `quick`: small grids and few passes.
    """

    n_seeds: int = 5
    n_repeats: int = 3
    n_tuning_seeds: int = 3
    tolerance: float = 0.001
    quick: bool = False

    @property
    def seeds(self) -> range:
        """The seeds of the measurements; that of the tuning is not among them."""
        return range(1, self.n_seeds + 1)

    @property
    def most_passes(self) -> int:
        """Passes after which a fit that is not at the goal ends."""
        return QUICK_MOST_PASSES if self.quick else MOST_PASSES


def compare(task: Task, groups: Sequence[Workers], plan: Plan, log: Log) -> list[Reading]:
    """Readings of all groups of workers; the first one, a single worker, is tuned for the goal.

    The goal is the median over the seeds of that worker's loss after three passes, plus the tolerance.  On a virtual
    clock there are no timed fits, because the clock gives the seconds.  A seed that is not at the goal in time has the
    time of all passes.  If several workers do not get there, their ratio for that seed is 0.
    """
    one, *others = groups
    simulated = any(workers.simulated for workers in groups)
    tuned, n_fits = tune(task, groups, plan.n_tuning_seeds, plan.tolerance, plan.quick)
    loss = float(np.median([curve(task, one, tuned[one].lowest, PASSES, s).losses[-1] for s in plan.seeds]))
    goal = (1.0 + plan.tolerance) * loss
    log(f"goal {goal:.5g}, {n_fits} fits to tune each number of workers")
    curves = {
        workers: [curve(task, workers, tuned[workers].setting, plan.most_passes, s, goal) for s in plan.seeds]
        for workers in groups
    }
    reached = {workers: np.array([each.passes(goal) for each in found]) for workers, found in curves.items()}
    passes = {workers: np.minimum(found, plan.most_passes) for workers, found in reached.items()}
    for workers in groups:
        log(f"{workers.title}: {words(tuned[workers].setting)}; passes {np.round(reached[workers], 2)}")
    if simulated:
        seconds = {
            workers: np.array([each.time(p) for each, p in zip(found, passes[workers], strict=True)])
            for workers, found in curves.items()
        }
    else:
        seconds = _times_to_goal(task, tuned, passes, plan)
    unit = "passes of one worker" if simulated else "s"
    budget = f"{n_fits} fits of {TUNING_PASSES} passes each"
    readings = [Reading(GOAL, task.name, one.title, words(tuned[one].lowest), "loss", (goal,), note=budget)]
    for workers in groups:
        make = partial(Reading, problem=task.name, solver=workers.title, setting=words(tuned[workers].setting))
        missed = ~np.isfinite(reached[workers])
        note = _note(tuned[workers], missed, plan)
        readings.append(make(figure=PASSES_TO_GOAL, unit="passes", values=_plain(passes[workers]), note=note))
        reading = make(figure=TIME, unit=unit, values=_plain(seconds[workers]), note=note)
        if workers is not one:
            # the goals of the ratio are those of real clocks
            target = None if simulated else TARGET_MANY if task.n_rows >= MANY_ROWS else TARGET_FEW
            gain = Spread.of(np.where(missed, 0.0, seconds[one] / seconds[workers]))
            reading = replace(reading, ratio=gain, peer=one.title, target=target)
        readings.append(reading)
    if not simulated:
        for workers in others:
            readings += _speeds(task, one, workers, tuned[workers].setting, plan)
    return readings


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


def _note(tuned: Tuned, missed: np.ndarray, plan: Plan) -> str:
    parts = []
    if missed.any():
        parts.append(f"{missed.sum()} of {len(missed)} seeds not at the goal after {plan.most_passes} passes")
    if tuned.at_edge:
        parts.append("rate at the edge of its grid")
    return "; ".join(parts)


def _times_to_goal(
    task: Task, tuned: dict[Workers, Tuned], passes: dict[Workers, np.ndarray], plan: Plan
) -> dict[Workers, np.ndarray]:
    """Return the seconds to the goal of each seed, between those of the last whole pass before it and the next.

    All fits of one seed alternate between the groups, and each time is the median of the repeated fits.
    """
    for workers, chosen in tuned.items():
        fit_seconds(task, workers, chosen.setting, 1, plan.seeds[0])
    found: dict[Workers, list[float]] = {workers: [] for workers in tuned}
    for at, seed in enumerate(plan.seeds):
        ends = {workers: math.ceil(passes[workers][at]) for workers in tuned}
        runs = [
            partial(fit_seconds, task, workers, tuned[workers].setting, n_epochs, seed)
            for workers, end in ends.items()
            for n_epochs in (end - 1, end)
        ]
        times = np.median(interleaved(runs, plan.n_repeats, first=at), axis=1).reshape(-1, 2)
        for (workers, end), (before, after) in zip(ends.items(), times, strict=True):
            part = passes[workers][at] - (end - 1)
            found[workers].append(before + part * (after - before))
    return {workers: np.array(times) for workers, times in found.items()}


def _speeds(task: Task, one: Workers, workers: Workers, setting: Setting, plan: Plan) -> list[Reading]:
    """Return the rows per second of several workers, and their limit, with ratios to one worker of the same setting.

    The limit is that of the machine: as many fits of one worker at the same time, each of its share of the rows, which
    exchange nothing.
    """
    times = []
    shares = [task.share(worker, workers.n_workers) for worker in range(workers.n_workers)]
    for seed in (plan.seeds[0], *plan.seeds):
        runs = [partial(fit_seconds, task, group, setting, PASSES, seed) for group in (one, workers)]
        runs.append(partial(concurrent_seconds, shares, one, setting, PASSES, seed))
        times.append(np.median(interleaved(runs, plan.n_repeats, first=seed), axis=1))
    # the first entry is a warm-up
    alone, *others = np.transpose(times[1:])
    return [
        Reading(
            figure,
            task.name,
            workers.title,
            words(setting),
            "rows/s",
            _plain(PASSES * task.n_rows / together),
            ratio(alone, together),
            one.title,
            target,
        )
        for figure, target, together in zip((SPEED, LIMIT), (TARGET_SPEED, None), others, strict=True)
    ]
