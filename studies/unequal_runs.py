"""Runs of the study of workers of unequal speed: the pools, the algorithms, their tuning, and the time to the goal.

One worker and every algorithm have the same grid, the same number of fits and the same criterion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from family_runs import (
    BATCH,
    N_RATES,
    ONE,
    PASS_SECONDS,
    SEEDS,
    TOLERANCE,
    TUNING_SEED,
    LossCurve,
    MeanOfIterates,
    OneAverage,
    Way,
    at_edge,
    grid,
    loss_curve,
    neighbors,
)
from family_runs import tune as tune_for_loss

from benchmarks.time_to_goal.tasks import Setting, Task, words
from benchmarks.time_to_goal.tuning import PASSES
from parsgd import AsyncLocalSGD, LocalSGD, MiniBatch
from parsgd.algorithms.merging import merge_weights
from parsgd.core import Budget, MergeResult, TaskSpec

MIXED, ONE_SLOW = "mixed", "one 10x slower"
POOLS = {MIXED: (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1), ONE_SLOW: (1.0,) * 9 + (0.1,)}
# A fit of the measurements ends at the goal or after this many passes of all workers together.
MOST_PASSES = 8
# A tenth of a fast worker's pass over its own rows.
ROUND = 0.01 * PASS_SECONDS


@dataclass(frozen=True)
class OneAverageInTime(OneAverage):
    """One average after equal times, evaluated after every round of workers that exchange nothing.

    A schedule that depends on the step has the mean step of all workers, and in a fit of one round each worker's own.
    """

    seconds: float = ROUND
    rule: str = "uniform"

    def next_task(self, fit_state: Any, worker: int) -> TaskSpec:
        rows = fit_state.shard_rows[worker] * fit_state.max_epochs
        return TaskSpec(Budget(rows, self.seconds), fit_state.memory[worker])

    def merge(self, fit_state: Any, reports: Sequence[Any]) -> MergeResult:
        merged = super().merge(fit_state, reports)
        if self.rule == "uniform":
            return merged
        # of all rounds; batches of linear models have one row
        steps = [fit_state.cursors[report.worker] + report.examples for report in reports]
        weights = merge_weights.by_steps(steps)
        state = merge_weights.weighted_sum([report.state for report in reports], weights)
        return merged._replace(state=state, weights=weights)


rounds = partial(LocalSGD, seconds=ROUND)
# One worker of speed 1 and its tricks.
ALONE: dict[str, Any] = {
    ONE: LocalSGD(),
    f"{ONE}, mean of iterates": LocalSGD(outer_optimizer=MeanOfIterates()),
    f"{ONE}, SlowMo": LocalSGD(outer_optimizer="momentum"),
    f"{ONE}, Nesterov": LocalSGD(outer_optimizer="nesterov"),
    f"{ONE}, mini-batches": MiniBatch(BATCH),
}
ALGORITHMS: dict[str, Any] = {
    "wait for the slowest": LocalSGD(),
    "wait, adaptive": LocalSGD(outer_optimizer="adaptive"),
    "balance=speed": LocalSGD(balance="speed"),
    "deadline=auto, uniform": LocalSGD(deadline="auto", rule="uniform"),
    "deadline=auto, steps": LocalSGD(deadline="auto", rule="steps"),
    "deadline=auto, coordinate": LocalSGD(deadline="auto", rule="coordinate"),
    "seconds, uniform": rounds(rule="uniform"),
    "seconds, steps": rounds(rule="steps"),
    "seconds, fednova": rounds(rule="fednova"),
    "seconds, learned": rounds(rule="learned"),
    "seconds, coordinate": rounds(rule="coordinate"),
    "seconds, touched": rounds(rule="touched"),
    "seconds, adaptive": rounds(outer_optimizer="adaptive"),
    "seconds, SlowMo": rounds(rule="uniform", outer_optimizer="momentum"),
    "seconds, Nesterov (DiLoCo)": rounds(rule="uniform", outer_optimizer="nesterov"),
    "seconds, one average": OneAverageInTime(),
    "seconds, one average, steps": OneAverageInTime(rule="steps"),
    "asynchronous": AsyncLocalSGD(),
}
# The algorithms of the second pool.
SECOND = (
    "wait for the slowest",
    "deadline=auto, uniform",
    "seconds, uniform",
    "seconds, touched",
    "seconds, adaptive",
    "seconds, SlowMo",
)
FOR_SPARSE_ROWS = ("coordinate", "touched")


@dataclass(frozen=True)
class Row:
    """The readings of an algorithm: passes and virtual time of every seed, None for a seed not at the goal.

    The unit of time is a pass of a worker of speed 1 over all rows.  The pool of one worker is empty.  Seeds are left
    out after most of them are not at the goal.  `tuned_time` and `tuned_loss` are those of the chosen setting in
    tuning: the time to the goal, None for a miss, and the last loss.  `at_edge`: its rate is the smallest or the
    largest that was tried.
    """

    name: str
    pool: str
    setting: str
    fits: int
    at_edge: bool
    tuned_time: float | None
    tuned_loss: float
    passes: list[float | None]
    times: list[float | None]


@dataclass(frozen=True)
class Readings:
    """The readings of a data set."""

    task: str
    kind: str
    n_rows: int
    n_columns: int
    goal: float
    goal_setting: str
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


def ways(task: Task) -> list[tuple[str, Way]]:
    """Return one worker with its tricks, and the algorithms of each pool, with the name of the pool."""
    found = [("", Way(name, 1, algorithm)) for name, algorithm in ALONE.items()]
    for pool, speeds in POOLS.items():
        for name, algorithm in ALGORITHMS.items():
            if (pool == MIXED or name in SECOND) and (task.sparse or not name.endswith(FOR_SPARSE_ROWS)):
                found.append((pool, Way(name, len(speeds), algorithm, speeds)))
    return found


@dataclass(frozen=True)
class Tuned:
    """The chosen setting, the number of fits, and time and loss of its fit in tuning."""

    setting: Setting
    fits: int
    at_edge: bool
    time: float
    loss: float


def tune(task: Task, way: Way, goal: float, n_rates: int = N_RATES) -> Tuned:
    """Return the setting that is at the goal in the least virtual time, of equal ones that with the least loss.

    Fits end at the goal, and once they have taken longer than the best one so far, which changes no choice.
    """
    found: list[tuple[Setting, LossCurve]] = []

    def cost(trial: tuple[Setting, LossCurve]) -> tuple[float, float]:
        return trial[1].time_to(goal), trial[1].losses[-1]

    def fit(setting: Setting) -> None:
        least = min((cost(trial)[0] for trial in found), default=np.inf)
        found.append((setting, loss_curve(task, way, setting, PASSES, TUNING_SEED, goal, least)))

    schedules = grid(task, n_rates)
    # AdaGrad first: it is mostly the best, so that the others end early
    for schedule in reversed(schedules):
        for setting in schedule:
            fit(setting)
    for setting in neighbors(schedules, min(found, key=cost)[0]):
        fit(setting)
    setting, chosen = min(found, key=cost)
    edge = at_edge(setting, [tried for tried, _ in found])
    return Tuned(setting, len(found), edge, float(chosen.time_to(goal)), float(chosen.losses[-1]))


def measure(task: Task, log: Callable[[str], None], seeds: Sequence[int] = SEEDS, n_rates: int = N_RATES) -> Readings:
    """Tune and measure everything on a task.

    The goal of tuning is the least loss of one worker after three passes with the tuning seed; that of the
    measurements is its median loss with the other seeds.
    """
    return measure_ways(task, ways(task), log, seeds, n_rates)


def measure_ways(
    task: Task,
    every: Sequence[tuple[str, Way]],
    log: Callable[[str], None],
    seeds: Sequence[int] = SEEDS,
    n_rates: int = N_RATES,
    tolerance: float = TOLERANCE,
) -> Readings:
    """Tune and measure `every` way with the name of its pool; the first one is one worker."""
    one = every[0][1]
    least = tune_for_loss(task, one, None, n_rates)
    tuning_goal = (1.0 + tolerance) * least.least
    losses = [loss_curve(task, one, least.lowest, PASSES, seed).losses[-1] for seed in seeds]
    goal = (1.0 + tolerance) * float(np.median(losses))
    log(f"goal {goal:.5g}, {words(least.lowest)}")
    found = Readings(task.name, task.kind, task.n_rows, task.X.shape[1], goal, words(least.lowest))
    for pool, way in every:
        tuned = (
            Tuned(least.setting, least.fits, least.at_edge, least.passes, least.loss)
            if way is one
            else tune(task, way, tuning_goal, n_rates)
        )
        passes, times = [], []
        for seed in seeds:
            if len(seeds) > 2 and passes.count(None) > len(seeds) // 2:
                # the median is a miss already
                break
            each = loss_curve(task, way, tuned.setting, MOST_PASSES, seed, goal)
            reached = np.isfinite(each.to(goal))
            passes.append(float(each.to(goal)) if reached else None)
            times.append(float(each.time_to(goal)) if reached else None)
        tuned_time = tuned.time if np.isfinite(tuned.time) else None
        setting = words(tuned.setting)
        row = Row(way.name, pool, setting, tuned.fits, tuned.at_edge, tuned_time, tuned.loss, passes, times)
        found.rows.append(row)
        shown = np.round(np.array(times, dtype=float), 2)
        log(f"{pool or '-'}, {row.name}: {row.setting}; tuning {tuned.time:.2f}; times {shown}")
    return found
