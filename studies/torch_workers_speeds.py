"""Time to a test loss with four workers of speeds 1, 1, 1/2 and 1/4, on the virtual clock and with real processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch_workers_fits import Stop, adamw, fit, scores

from parsgd import Simulated
from parsgd.algorithms.common.outer_optimizers import Momentum
from parsgd.models.torch.flat_layout import FlatLayout
from parsgd.testing import slow_down
from parsgd.torch import AsyncDiLoCo, AsyncLocalSGD, DiLoCo, LocalSGD

TUNING_SEED, SEEDS, REAL_SEEDS = 0, (1, 2, 3, 4, 5), (1, 2, 3)
SPEEDS, REAL_SPEEDS = (1.0, 1.0, 0.5, 0.25), (1.0, 0.25)
ROWS, TEST_ROWS, QUICK_ROWS, COLUMNS, HIDDEN, CLASSES, BATCH = 10_000, 2_000, 1_000, 784, 64, 10, 32
GOAL_PASSES, MOST_PASSES, REAL_PASSES, EVALUATIONS, TOLERANCE = 3, 8, 6, 10, 0.001
SYNC_EVERY = 0.1
# Both grids have eight settings: rates of the inner AdamW, and rates with rates and betas of the outer step.
RATES = tuple(2.5e-4 * 2.0**k for k in range(8))
OUTER_GRID_RATES, OUTER_STEPS = RATES[3:7], ((0.7, 0.9), (0.7, 0.5))
# A pass of one worker of speed 1 in virtual seconds, and a tenth of a pass of all workers.
PASS_SECONDS = 1000.0
ROUND_SECONDS = SYNC_EVERY * PASS_SECONDS / sum(SPEEDS)
ONE = "one worker"


@dataclass(frozen=True)
class Setting:
    """Rate of the inner AdamW, and rate and beta of the outer step, None without one."""

    rate: float
    outer_rate: float | None = None
    beta: float | None = None

    @property
    def nesterov(self) -> Momentum:
        return Momentum("nesterov", rate=self.outer_rate, beta=self.beta)


Make = Callable[[Setting], Any]
PLAIN_GRID = tuple(Setting(rate) for rate in RATES)
OUTER_GRID = tuple(Setting(rate, *outer) for rate in OUTER_GRID_RATES for outer in OUTER_STEPS)


def _diloco(setting: Setting, **arguments: Any) -> DiLoCo:
    return DiLoCo(sync_every=SYNC_EVERY, outer_optimizer=setting.nesterov, **arguments)


def _async_diloco(setting: Setting, **arguments: Any) -> AsyncDiLoCo:
    return AsyncDiLoCo(sync_every=SYNC_EVERY, rate=setting.outer_rate, beta=setting.beta, **arguments)


# Name: the grid, and the algorithm of a setting.
ALONE: dict[str, tuple[tuple[Setting, ...], Make]] = {
    ONE: (PLAIN_GRID, lambda setting: LocalSGD(sync_every=SYNC_EVERY)),
    f"{ONE}, DiLoCo": (OUTER_GRID, _diloco),
}
WAYS: dict[str, tuple[tuple[Setting, ...], Make]] = {
    "LocalSGD, wait for all": (PLAIN_GRID, lambda setting: LocalSGD(sync_every=SYNC_EVERY)),
    "LocalSGD, deadline, by steps": (
        PLAIN_GRID,
        lambda setting: LocalSGD(sync_every=SYNC_EVERY, deadline="auto", rule="steps"),
    ),
    "LocalSGD, fixed time, by steps": (PLAIN_GRID, lambda setting: LocalSGD(seconds=ROUND_SECONDS, rule="steps")),
    "DiLoCo, wait for all": (OUTER_GRID, _diloco),
    "DiLoCo, deadline, by steps": (OUTER_GRID, lambda setting: _diloco(setting, deadline="auto", rule="steps")),
    "DiLoCo, fixed time, by steps": (
        OUTER_GRID,
        lambda setting: LocalSGD(seconds=ROUND_SECONDS, rule="steps", outer_optimizer=setting.nesterov),
    ),
    "AsyncLocalSGD": (PLAIN_GRID, lambda setting: AsyncLocalSGD(sync_every=SYNC_EVERY)),
    "AsyncDiLoCo, equal lengths": (OUTER_GRID, _async_diloco),
    "AsyncDiLoCo, lengths by speed": (OUTER_GRID, lambda setting: _async_diloco(setting, lengths="speed")),
}


class Problem:
    """Rows of Fashion-MNIST, or generated ones without a folder."""

    def __init__(self, folder: Path | None):
        if folder is None:
            generator = np.random.default_rng(0)
            y, y_test = (generator.integers(0, CLASSES, n) for n in (QUICK_ROWS, QUICK_ROWS))
            centers = generator.standard_normal((CLASSES, COLUMNS)) / 10
            X, X_test = (generator.standard_normal((len(t), COLUMNS)) + centers[t] for t in (y, y_test))
        else:
            X, X_test, y, y_test = datasets.fashion_mnist(folder)
            X, X_test, y, y_test = X[:ROWS], X_test[:TEST_ROWS], y[:ROWS], y_test[:TEST_ROWS]
        parts = [torch.from_numpy(np.asarray(part, dtype=np.float32)) for part in (X, X_test)]
        self.train = parts[0], torch.from_numpy(np.asarray(y, dtype=np.int64))
        self.test = parts[1], torch.from_numpy(np.asarray(y_test, dtype=np.int64))
        self.n_rows = len(y)

    def network(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(COLUMNS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))

    def loss(self, state: np.ndarray, module: torch.nn.Module) -> float:
        """Return the test loss of a state, for which the module is used."""
        FlatLayout.of(module).write(state, module)
        return scores(module, *self.test).loss


@dataclass(frozen=True)
class LossCurve:
    """Time, passes of all workers together and test loss, ten times per pass; time 1 is a pass of one worker."""

    points: tuple[tuple[float, float, float], ...]

    def to(self, goal: float) -> tuple[float, float]:
        """Return time and passes of the first evaluation at the goal, infinite without one."""
        return next((point[:2] for point in self.points if point[2] <= goal), (math.inf, math.inf))

    @property
    def last(self) -> float:
        return self.points[-1][2] if self.points else math.inf


def loss_curve(
    problem: Problem,
    algorithm: Any,
    setting: Setting,
    speeds: Sequence[float],
    seed: int,
    goal: float = -math.inf,
    passes: int = MOST_PASSES,
    most_time: float = math.inf,
) -> LossCurve:
    """Return the loss curve of a simulated fit, which ends at the goal, or after a time or a number of passes."""
    module = problem.network(seed)
    points: list[tuple[float, float, float]] = []

    def observe(state: np.ndarray, steps: int, examples: int, seconds: float) -> None:
        done, before = examples / problem.n_rows, points[-1][1] if points else 0.0
        if int(done * EVALUATIONS + 1e-6) > int(before * EVALUATIONS + 1e-6):
            points.append((seconds / PASS_SECONDS, done, problem.loss(state, module)))
            if points[-1][2] <= goal or points[-1][0] > most_time:
                raise Stop

    engine = Simulated(speeds=speeds, rate=problem.n_rows / PASS_SECONDS)
    settings = {"optimizer": adamw(setting.rate), "batch_size": BATCH}
    fit(problem.network(seed), problem.train, algorithm, engine, observe, passes, seed, **settings)
    return LossCurve(tuple(points))


@dataclass(frozen=True)
class Tuned:
    """The setting with the least time to the goal, that of the least loss, and this loss."""

    setting: Setting
    time: float
    lowest: Setting
    least: float
    fits: int
    at_edge: bool


def tune(
    problem: Problem, way: tuple[tuple[Setting, ...], Make], speeds: Sequence[float], goal: float | None, quick: bool
) -> Tuned:
    """Return the tuning: the time to the goal decides, and the last loss if no setting is at the goal."""
    grid, make = way
    found: dict[Setting, LossCurve] = {}
    soonest = math.inf
    for setting in grid[2:4] if quick else grid:
        passes = GOAL_PASSES if goal is None else MOST_PASSES
        at = -math.inf if goal is None else goal
        curve = loss_curve(problem, make(setting), setting, speeds, TUNING_SEED, at, passes, soonest)
        found[setting] = curve
        soonest = min(soonest, curve.to(at)[0])
    lowest = min(found, key=lambda setting: found[setting].last)
    least = found[lowest].last
    chosen = lowest if goal is None else min(found, key=lambda each: (found[each].to(goal)[0], found[each].last))
    rates = [setting.rate for setting in grid]
    time = math.inf if goal is None else found[chosen].to(goal)[0]
    return Tuned(chosen, time, lowest, least, len(found), chosen.rate in (min(rates), max(rates)))


def measure(folder: Path | None, log: Callable[[str], None]) -> dict[str, Any]:
    """Tune and measure all algorithms, simulated and with real processes."""
    quick = folder is None
    problem, seeds = Problem(folder), SEEDS[:2] if quick else SEEDS
    least = tune(problem, ALONE[ONE], (1.0,), None, quick)
    tuning_goal = (1.0 + TOLERANCE) * least.least
    make = ALONE[ONE][1]
    ends = [
        loss_curve(problem, make(least.lowest), least.lowest, (1.0,), seed, passes=GOAL_PASSES).last for seed in seeds
    ]
    goal = (1.0 + TOLERANCE) * float(np.median(ends))
    log(f"goal {goal:.5g} at {least.lowest}")
    entry: dict[str, Any] = {
        "seeds": list(seeds),
        "goal": goal,
        "goal_rate": least.lowest.rate,
        "n_rows": problem.n_rows,
        "test_rows": len(problem.test[1]),
        "layers": [COLUMNS, HIDDEN, CLASSES],
        "batch": BATCH,
        "speeds": list(SPEEDS),
        "real_speeds": list(REAL_SPEEDS),
        "passes": [GOAL_PASSES, MOST_PASSES],
        "tolerance": TOLERANCE,
        "evaluations": EVALUATIONS,
        "sync_every": SYNC_EVERY,
        "rates": list(RATES),
        "outer_rates": list(OUTER_GRID_RATES),
        "outer_steps": list(OUTER_STEPS),
        "tuning_seed": TUNING_SEED,
        "rows": [],
    }
    tuned: dict[str, Setting] = {}
    for name, way in {**ALONE, **WAYS}.items():
        speeds = (1.0,) if name in ALONE else SPEEDS
        chosen = tune(problem, way, speeds, tuning_goal, quick)
        setting = tuned[name] = chosen.setting
        curves = [loss_curve(problem, way[1](setting), setting, speeds, seed, goal) for seed in seeds]
        ended = [curve.to(goal) for curve in curves]
        row = {
            "name": name,
            "workers": len(speeds),
            "setting": [setting.rate, setting.outer_rate, setting.beta],
            "fits": chosen.fits,
            "at_edge": chosen.at_edge,
            "tuned": _finite(chosen.time),
            "times": [_finite(time) for time, _ in ended],
            "passes": [_finite(passes) for _, passes in ended],
        }
        entry["rows"].append(row)
        log(f"{name}: {setting}, times {row['times']}, passes {row['passes']}")
    entry["real"] = real_processes(problem, tuned, goal, log, quick)
    return entry


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


# -- real processes ----------------------------------------------------------------------------------------------------


def real_time(problem: Problem, algorithm: Any, setting: Setting, seed: int, goal: float, passes: int) -> float:
    """Return the seconds to the goal of two worker processes, the second of which is slowed; infinite for a miss.

    The merged states are evaluated after the fit.
    """
    states: list[tuple[float, np.ndarray]] = []
    done = 0.0

    def observe(state: np.ndarray, steps: int, examples: int, seconds: float) -> None:
        nonlocal done
        after = examples / problem.n_rows
        if int(after * EVALUATIONS + 1e-6) > int(done * EVALUATIONS + 1e-6):
            states.append((seconds, state.copy()))
        done = after

    engine = slow_down({1: REAL_SPEEDS[0] / REAL_SPEEDS[1]}, "processes")
    settings = {"n_workers": len(REAL_SPEEDS), "optimizer": _Adam(setting.rate), "batch_size": BATCH}
    fit(problem.network(seed), problem.train, algorithm, engine, observe, passes, seed, **settings)
    module = problem.network(seed)
    return next((seconds for seconds, state in states if problem.loss(state, module) <= goal), math.inf)


@dataclass(frozen=True)
class _Adam:
    """A maker of AdamW that can be sent to other processes."""

    rate: float

    def __call__(self, params: Any) -> torch.optim.Optimizer:
        return adamw(self.rate)(params)


def real_processes(
    problem: Problem, tuned: dict[str, Setting], goal: float, log: Callable[[str], None], quick: bool
) -> list[dict[str, Any]]:
    """Return the times of two workers, virtual and real, at the settings of the four simulated ones.

    Rounds of fixed time are left out, because their length is in virtual seconds.
    """
    rows = []
    for name, (_, make) in WAYS.items():
        if "fixed time" in name:
            continue
        setting, algorithm = tuned[name], make(tuned[name])
        seeds = REAL_SEEDS[:1] if quick else REAL_SEEDS
        passes = 1 if quick else REAL_PASSES
        virtual = [
            loss_curve(problem, algorithm, setting, REAL_SPEEDS, seed, goal, passes).to(goal)[0] for seed in seeds
        ]
        real = [real_time(problem, algorithm, setting, seed, goal, passes) for seed in seeds]
        rows.append({"name": name, "virtual": [_finite(time) for time in virtual], "real": [_finite(t) for t in real]})
        log(f"{name}: virtual {rows[-1]['virtual']}, real {rows[-1]['real']}")
    return rows
