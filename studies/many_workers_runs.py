"""Runs of the study of many workers: problems, speeds, algorithms, tuning, and the virtual time to the goal.

One worker and every algorithm have the same grid, the same number of fits and the same criterion.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from family_runs import MeanOfIterates
from many_workers_clock import Problem, Setting, Way

from parsgd.algorithms.common.adaptive_outer import Adaptive
from parsgd.algorithms.common.outer_optimizers import Momentum

ONE = "one worker"
# The rows of the largest pool take most of the time of the study, so that one problem has it.
WORKERS = {"covtype": (10, 100, 1_000, 10_000, 100_000), "synthetic": (10, 100, 1_000, 10_000)}
MOST_WORKERS = 100_000
TUNING_SEED, SEEDS = 0, (1, 2, 3)
# Speed = u^(1 / shape) with uniform u: the time per row has a Pareto distribution, whose least value is 1.
SHAPE, SPEED_SEED = 1.5, 2026
# Passes of one worker that set the goal, and the most passes of all workers together.
GOAL_PASSES, MOST_PASSES = 3, 8
TOLERANCE = 0.001
# Evaluations of the test loss per pass.
EVALUATIONS = 10
TEST_ROWS = 10_000
TRAINING_ROWS, SYNTHETIC_COLUMNS, QUICK_ROWS = 200_000, 20, 2_000
# In units of 1 / (mean squared norm of a row).
RATES = {"constant": (0.03, 0.3, 3.0), "invscaling": (0.3, 3.0, 30.0)}
NEIGHBOR = 10**0.5

ALONE = (Way(ONE), Way(f"{ONE}, mean of iterates", outer=MeanOfIterates()))
WAYS = (
    Way("SimuParallelSGD, wait for all", "once"),
    Way("WP-SGD, time limit", "once", "time", "wp"),
    Way("one average by steps, time limit", "once", "time", "steps"),
    Way("local, wait for all"),
    Way("local, deadline", ends="deadline", rule="steps"),
    Way("local, seconds, uniform", ends="time"),
    Way("local, seconds, steps", ends="time", rule="steps"),
    Way("local, seconds, fednova", ends="time", rule="fednova"),
    Way("local, seconds, wp", ends="time", rule="wp"),
    Way("local, seconds, adaptive", ends="time", outer=Adaptive()),
    Way("local, seconds, SlowMo", ends="time", outer=Momentum("momentum")),
    Way("local, seconds, Nesterov (DiLoCo)", ends="time", outer=Momentum("nesterov")),
    Way("local, seconds, fastest 90 %", ends="time", fastest=0.9),
    Way("local, seconds, fastest 50 %", ends="time", fastest=0.5),
    Way("mini-batch, all workers", "batches"),
    Way("delayed", "delayed"),
    Way("asynchronous", "asynchronous"),
)


def speeds_of(n_workers: int) -> np.ndarray:
    """Return the speeds of the first workers of one list, at most 1."""
    return np.random.default_rng(SPEED_SEED).random(MOST_WORKERS)[:n_workers] ** (1.0 / SHAPE)


def covtype(folder: Path | None) -> Problem:
    """Covtype, or a few generated rows without a folder."""
    if folder is None:
        return _generated("covtype", QUICK_ROWS, 500, 12)
    X, X_test, y, y_test = datasets.covtype(folder)
    rng = np.random.default_rng(0)
    rows, others = (np.sort(rng.choice(len(t), n, replace=False)) for t, n in ((y, TRAINING_ROWS), (y_test, TEST_ROWS)))
    return Problem("covtype", X[rows], _signs(y[rows]), X_test[others], _signs(y_test[others]))


def synthetic(folder: Path | None) -> Problem:
    """Generated rows with a known optimum."""
    if folder is None:
        return _generated("synthetic", QUICK_ROWS, 500, 12)
    return _generated("synthetic", TRAINING_ROWS, TEST_ROWS, SYNTHETIC_COLUMNS)


PROBLEMS: dict[str, Callable[[Path | None], Problem]] = {"covtype": covtype, "synthetic": synthetic}


def _signs(y: np.ndarray) -> np.ndarray:
    return np.where(y > 0, 1.0, -1.0).astype(np.float32)


def _generated(name: str, n_rows: int, n_test: int, n_columns: int) -> Problem:
    """Normal columns, column j of variance 1 / j; targets drawn from the logistic model, whose weights are known."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows + n_test, n_columns), dtype=np.float32)
    X /= np.sqrt(np.arange(1, n_columns + 1, dtype=np.float32))
    weights = rng.standard_normal(n_columns)
    margins = X @ weights.astype(np.float32)
    y = _signs(rng.random(len(X)) < 1.0 / (1.0 + np.exp(-margins)))
    parts = X[:n_rows], y[:n_rows], X[n_rows:], y[n_rows:]
    least = float(np.logaddexp(0.0, -parts[3] * margins[n_rows:]).mean())
    return Problem(name, *parts, least=least)


@dataclass(frozen=True)
class LossCurve:
    """Time, passes of all workers together and test loss, ten times per pass."""

    times: tuple[float, ...]
    passes: tuple[float, ...]
    losses: tuple[float, ...]

    def first(self, goal: float) -> int | None:
        """Return the first evaluation at the goal."""
        return next((at for at, loss in enumerate(self.losses) if loss <= goal), None)

    def time_to(self, goal: float) -> float:
        """Return the time to the goal; infinite without one."""
        at = self.first(goal)
        return math.inf if at is None else self.times[at]

    def loss_at(self, moment: float) -> float:
        """Return the loss of the last fit in this time; that of the start if there is none."""
        return next((loss for at, loss in zip(self.times[::-1], self.losses[::-1], strict=True) if at <= moment), START)


# The loss of the prediction 0.
START = math.log(2.0)


def loss_curve(
    problem: Problem,
    way: Way,
    speeds: np.ndarray,
    setting: Setting,
    seed: int,
    goal: float = -math.inf,
    most_passes: float = MOST_PASSES,
    least_time: float = 0.0,
    most_time: float = math.inf,
) -> LossCurve:
    """Return the loss curve of one fit, which ends at the goal after ``least_time``, or after ``most_passes``.

    It ends after ``most_time``, too.

    It also ends if the loss is infinite, or above that of the start after the first pass.
    """
    found: list[tuple[float, float, float]] = []
    before, reached = 0.0, False
    for moment in way.moments(problem, speeds, setting, seed):
        passes = moment.examples / problem.n_rows
        if int(passes * EVALUATIONS + 1e-6) <= int(before * EVALUATIONS + 1e-6):
            continue
        loss = problem.loss(moment.state)
        if before < 1.0 - 1e-6 <= passes and loss > START:
            loss = math.inf
        found.append((moment.time, passes, loss))
        reached = reached or loss <= goal
        enough = reached and moment.time >= least_time
        if enough or loss == math.inf or passes >= most_passes - 1e-6 or moment.time > most_time:
            break
        before = passes
    return LossCurve(*(tuple(values) for values in zip(*found, strict=True)))


@dataclass(frozen=True)
class Tuned:
    """The chosen setting, the one of least loss and that loss, the number of fits, and the time to the goal."""

    setting: Setting
    lowest: Setting
    least: float
    fits: int
    at_edge: bool
    time: float


def tune(problem: Problem, way: Way, speeds: np.ndarray, goal: float | None, n_rates: int) -> Tuned:
    """Return the setting that is at the goal soonest, of equal ones that with the least loss.

    Without a goal it is the least loss after the passes that set the goal.  After the grid come two more fits: between
    the best rate and its neighbors, or beyond the best rate if it is the smallest or the largest of its schedule.
    """
    passes, at = (GOAL_PASSES, -math.inf) if goal is None else (MOST_PASSES, goal)
    soonest = [math.inf]

    def trial(setting: Setting) -> tuple[Setting, LossCurve]:
        # a fit that is later than another one at the goal is not chosen
        tried = loss_curve(problem, way, speeds, setting, TUNING_SEED, at, passes, most_time=min(soonest))
        soonest.append(tried.time_to(at))
        return setting, tried

    def cost(tried: tuple[Setting, LossCurve]) -> tuple[float, float]:
        return (0.0 if goal is None else tried[1].time_to(goal), tried[1].losses[-1])

    middle = (len(RATES["constant"]) - n_rates) // 2
    grid = {schedule: rates[middle : middle + n_rates] for schedule, rates in RATES.items()}
    found = [trial(Setting(schedule, rate)) for schedule, rates in grid.items() for rate in rates]
    schedule, rate = min(found, key=cost)[0]
    factors = [1.0 / NEIGHBOR, NEIGHBOR]
    if rate == grid[schedule][-1]:
        factors = [NEIGHBOR**2, NEIGHBOR**4]
    elif rate == grid[schedule][0]:
        factors = [NEIGHBOR**-2, NEIGHBOR**-4]
    found += [trial(Setting(schedule, rate * factor)) for factor in factors]
    lowest, of_lowest = min(found, key=lambda tried: tried[1].losses[-1])
    chosen, its_curve = min(found, key=cost)
    tried = [setting.rate for setting, _ in found if setting.schedule == chosen.schedule]
    at_edge = chosen.rate in (min(tried), max(tried))
    seconds = math.inf if goal is None else its_curve.time_to(goal)
    return Tuned(chosen, lowest, of_lowest.losses[-1], len(found), at_edge, seconds)


@dataclass(frozen=True)
class Row:
    """The readings of an algorithm with a number of workers; a list has the value of each seed, None for a miss.

    ``tuned`` is the time to the goal in the tuning, None for a miss.  After most seeds have
    missed, the others end with the time of ``losses``.  ``losses`` are those after the time in which the
    workers could visit every row once.
    """

    name: str
    workers: int
    setting: str
    fits: int
    at_edge: bool
    tuned: float | None
    times: list[float | None]
    passes: list[float | None]
    losses: list[float | None]
    seconds: float = 0.0


@dataclass(frozen=True)
class Readings:
    """The readings of a problem."""

    task: str
    n_rows: int
    n_columns: int
    goal: float
    goal_setting: str
    least: float | None
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    speeds: list[list[float]] = field(default_factory=list)
    check: list[list[Any]] = field(default_factory=list)
    check_size: list[int] = field(default_factory=list)


def load_readings(entry: dict[str, Any]) -> Readings:
    """Return readings from their JSON entry."""
    return Readings(**{**entry, "rows": [Row(**row) for row in entry["rows"]]})


def store_readings(found: Readings) -> dict[str, Any]:
    """Return the JSON entry of readings."""
    return asdict(found)


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def measure(
    problem: Problem,
    log: Callable[[str], None],
    workers: Sequence[int],
    seeds: Sequence[int] = SEEDS,
    n_rates: int = len(RATES["constant"]),
) -> Readings:
    """Tune and measure everything on a problem.

    The goal of tuning is the least loss of one worker after three passes with the tuning seed; that of the measurements
    is its median loss with the other seeds.
    """
    one, alone = ALONE[0], np.ones(1)
    least = tune(problem, one, alone, None, n_rates)
    tuning_goal = (1.0 + TOLERANCE) * least.least
    ends = [loss_curve(problem, one, alone, least.lowest, seed, most_passes=GOAL_PASSES).losses[-1] for seed in seeds]
    goal = (1.0 + TOLERANCE) * float(np.median(ends))
    log(f"goal {goal:.5g}, {least.lowest}")
    n_columns = problem.X.shape[1]
    found = Readings(problem.name, problem.n_rows, n_columns, goal, str(least.lowest), problem.least)
    pools = [(1, alone, ALONE), *((count, speeds_of(count), WAYS) for count in workers)]
    for count, speeds, ways in pools:
        found.speeds.append([count, float(speeds.sum()), float(speeds.min()), float(speeds.max())])
        for way in ways:
            began = time.perf_counter()
            tuned = tune(problem, way, speeds, tuning_goal, n_rates)
            ideal = 1.0 / float(speeds.sum())
            each: list[LossCurve] = []
            for seed in seeds:
                missed = sum(some.first(goal) is None for some in each) > len(seeds) // 2
                end = ideal if missed else math.inf
                each.append(loss_curve(problem, way, speeds, tuned.setting, seed, goal, MOST_PASSES, ideal, end))
            places = [(some, some.first(goal)) for some in each]
            row = Row(
                way.name,
                count,
                str(tuned.setting),
                tuned.fits,
                tuned.at_edge,
                _finite(tuned.time),
                [None if at is None else _finite(some.times[at]) for some, at in places],
                [None if at is None else _finite(some.passes[at]) for some, at in places],
                [_finite(some.loss_at(ideal)) for some in each],
                round(time.perf_counter() - began, 2),
            )
            found.rows.append(row)
            log(f"{row.name}, {count}: {row.setting}; times {row.times}; passes {row.passes}; {row.seconds} s")
    return found
