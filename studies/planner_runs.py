"""Runs of the study of the planner: the problems, the plans, the passes to the goal, and timed fits."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from planner_problems import PASSES, Problem
from sklearn.base import clone

import parsgd
from parsgd import LocalSGD, SGDRegressor, Simulated
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError
from parsgd.estimators.kinds import kind_of
from parsgd.planning.instrumented import StopTrial
from parsgd.planning.trials.candidates import Candidate
from parsgd.planning.trials.heldout import CurvePoint, HeldOut, ObservedFit
from parsgd.planning.trials.independent_runs import IndependentRuns
from parsgd.planning.trials.trial_runs import MOST_PASSES
from parsgd.training import cost_model

WORKERS, TOLERANCE = (1, 2, 8), 0.01
# Of the measured fits; the plan's own are others.
SEEDS = (101, 102, 103)
# Timed fits of each candidate; after the second number, no more if they take this long together.
TURNS, MIN_TURNS, TURNS_SECONDS = 9, 3, 20.0
# Passes of timed fits that do not reach the goal.
PASSES_OF_NEVER = 3
# A prediction is a hit within this fraction of the measurement, a recommendation within the second one of the best.
NEAR, NEAR_BEST = 0.3, 0.1
N_LOADS = 2


@dataclass(frozen=True)
class Cell:
    """A candidate as it was predicted and as it was measured.

    ``outcome`` is what the plan says: ``"known"``, ``"never"``, ``"wide"`` for bounds further apart than a factor of 2,
    and ``"unknown"``.  A measured time of None is that of fits that miss the goal.
    """

    workers: int
    label: str
    basis: str
    outcome: str
    pass_s: float | None
    seconds: float | None
    low: float | None
    high: float | None
    measured_pass_s: float | None
    measured_s: float | None

    @property
    def hit(self) -> bool | None:
        """True if the prediction is right; None without one."""
        if self.outcome in ("wide", "unknown"):
            return None
        if self.outcome == "never" or self.measured_s is None:
            return self.outcome == "never" and self.measured_s is None
        nearest = min(max(self.measured_s, self.low), self.high)
        return abs(nearest - self.measured_s) <= NEAR * self.measured_s

    @property
    def pass_hit(self) -> bool | None:
        """True if the seconds per pass are right; None without a prediction or a measurement."""
        if self.pass_s is None or self.measured_pass_s is None:
            return None
        return abs(self.pass_s - self.measured_pass_s) <= NEAR * self.measured_pass_s


@dataclass(frozen=True)
class Planned:
    """A plan and its measured cells, with idle cores or with busy ones.

    ``idle`` is the fraction of the processors' time that was idle before the plan.
    """

    plan_s: float
    why: str
    idle: float
    best: tuple[int, str]
    best_here: tuple[int, str]
    cells: list[Cell]

    def times_best(self, here: bool = False) -> float:
        """The measured time of the recommendation relative to the best candidate; of this machine only if ``here``."""
        rivals = [cell for cell in self.cells if not here or cell.workers <= 2]
        times = {
            (cell.workers, cell.label): math.inf if cell.measured_s is None else cell.measured_s for cell in rivals
        }
        return times[tuple(self.best_here if here else self.best)] / min(times.values())


# -- load of the machine -----------------------------------------------------------------------------------------------


@contextmanager
def busy_cores() -> Generator[None]:
    """Run processes that compute without a pause."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(N_LOADS)]
    try:
        # until they have started
        time.sleep(1.0)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def idle_share() -> float:
    """Return the fraction of the processors' time that is idle, over a second."""

    def read() -> np.ndarray:
        return np.array(Path("/proc/stat").read_text().splitlines()[0].split()[1:], dtype=float)

    before = read()
    time.sleep(1.0)
    spent = read() - before
    return float(spent[3:5].sum() / spent.sum())


# -- passes to the goal ------------------------------------------------------------------------------------------------


def passes_to_goal(problem: Problem, cells: Sequence[Candidate], seeds: Sequence[int]) -> dict[tuple[int, str], Any]:
    """Return the passes to the goal, and the seconds of a merge, of each candidate.

    The goal is the mean test loss of serial SGD over the last fifth of its passes, plus the tolerance.
    """
    classes = None if isinstance(problem.estimator, SGDRegressor) else np.unique(problem.y)
    loss = HeldOut(problem.X_test, problem.y_test, classes, kind_of(problem.estimator))
    # ten evaluations per pass change nothing for one worker
    alone = [watch(problem, LocalSGD(), Threads(), 1, loss, seed, PASSES, -math.inf)[0] for seed in seeds]
    goal = np.mean([np.mean([p.loss for p in curve if p.passes > 0.8 * PASSES + 1e-9]) for curve in alone])
    goal *= 1.0 + TOLERANCE
    serial = min(cost_model.mean_passes([reached(curve, goal) for curve in alone]), PASSES)
    found: dict[tuple[int, str], Any] = {(1, "serial"): (serial, 0.0)}
    for cell in cells[1:]:
        algorithm = IndependentRuns() if cell.label == "simuparallel" else cell.algorithm
        engine = Threads() if cell.engine == "threads" else Simulated()
        runs = [
            watch(problem, algorithm, engine, cell.n_workers, loss, seed, int(MOST_PASSES * PASSES), goal)
            for seed in seeds
        ]
        passes = cost_model.mean_passes([reached(curve, goal) for curve, _ in runs])
        found[cell.n_workers, cell.label] = passes, float(np.mean([merge_s for _, merge_s in runs]))
    return found


def watch(
    problem: Problem, algorithm: Any, engine: Any, n_workers: int, loss: HeldOut, seed: int, passes: int, goal: float
) -> tuple[list[CurvePoint], float]:
    """Return the curve of a fit, which ends when it was at the goal for a while, and the time of a merge.

    It is the median, or with adaptive steps the mean, because they do not follow every merge.
    """

    def until(curve: list[CurvePoint]) -> bool:
        return curve[-1].passes >= 1.3 * reached(curve, goal) + 0.5

    watched = ObservedFit(algorithm, engine, loss, until)
    model = clone(problem.estimator).set_params(
        algorithm=watched, engine=watched, n_jobs=n_workers, max_iter=passes, random_state=seed
    )
    try:
        model.fit(problem.X, problem.y)
        watched.record_loss()
    except StopTrial:
        pass
    except DivergedError:
        return watched.curve[:1], 0.0
    is_adaptive = getattr(algorithm, "outer_optimizer", None) == "adaptive"
    return watched.curve, float(np.mean(watched.combine_s) if is_adaptive else np.median(watched.combine_s))


def reached(curve: Sequence[CurvePoint], goal: float) -> float:
    """Return the passes to the goal, by the curve's trend."""
    seen = curve[1:]
    return cost_model.reach([p.passes for p in seen], [p.loss for p in seen], goal) if seen else math.inf


# -- times -------------------------------------------------------------------------------------------------------------


def time_cells(
    problem: Problem, cells: Sequence[Candidate], passes: dict[tuple[int, str], Any], turns: int
) -> dict[tuple[int, str], tuple[float, float]]:
    """Return the median seconds per pass and to the goal of candidates on this machine, from fits in alternation."""
    here = [cell for cell in cells if cell.engine != "simulated"]
    found: dict[tuple[int, str], list[tuple[float, float]]] = {(cell.n_workers, cell.label): [] for cell in here}
    began = time.perf_counter()
    for turn in range(turns):
        if turn >= MIN_TURNS and time.perf_counter() - began > TURNS_SECONDS:
            break
        for cell in here:
            key = cell.n_workers, cell.label
            with suppress(DivergedError):
                found[key].append(time_fit(problem, cell, SEEDS[turn % len(SEEDS)], passes[key][0]))
    return {
        key: tuple(np.median(times, axis=0).tolist()) if times else (math.nan, math.inf) for key, times in found.items()
    }


def time_fit(problem: Problem, cell: Candidate, seed: int, at: float) -> tuple[float, float]:
    """Return the seconds per pass of a fit as users make it, and those to ``at`` passes.

    A fit of one round records no times between, so that there are fits of the passes before and after.
    """
    last = PASSES_OF_NEVER if math.isinf(at) else max(math.ceil(at), 2)
    is_one_round = cell.n_workers == 1 or cell.label == "simuparallel"
    lengths = sorted({1, max(math.floor(min(at, last)), 1), last}) if is_one_round else [last]
    points = [(0.0, 0.0)]
    for length in lengths:
        model = clone(problem.estimator).set_params(
            max_iter=length, random_state=seed, engine="serial" if cell.n_workers == 1 else "threads", **cell.parameters
        )
        model.fit(problem.X, problem.y)
        points += [(entry["epoch"], entry["seconds"] + entry["merge_seconds"]) for entry in model.history_]
    epochs, seconds = np.array(points).T
    first, end = np.interp([1.0, last], epochs, seconds)
    to_goal = math.inf if math.isinf(at) else float(np.interp(at, epochs, seconds))
    return float(end - first) / (last - 1), to_goal


def on_cluster(
    problem: Problem, cell: Candidate, passes: tuple[float, float], serial_pass_s: float
) -> tuple[float, float]:
    """Return the seconds per pass and to the goal of workers with the measured speed and free messages."""
    at, merge_s = passes
    rounds = 0.0 if cell.label == "simuparallel" else rounds_per_pass(problem, cell)
    pass_s = serial_pass_s / cell.n_workers + rounds * merge_s
    return pass_s, at * pass_s + max(1.0 - at * rounds, 0.0) * merge_s


def rounds_per_pass(problem: Problem, cell: Candidate) -> float:
    """Return the merges per pass of local SGD or of mini-batches."""
    if hasattr(cell.algorithm, "sync_every"):
        return 1.0 / cell.algorithm.sync_every
    return math.ceil(len(problem.y) / problem.estimator.batch_size)


# -- all of it ---------------------------------------------------------------------------------------------------------


def measure(
    problem: Problem, is_busy: bool, seeds: Sequence[int] = SEEDS, turns: int = TURNS, seconds: float | None = None
) -> dict[str, Planned]:
    """Plan for a problem and measure the candidates: with idle cores, and if asked for with busy ones."""
    idle = idle_share()
    plan = parsgd.plan(problem.estimator, problem.X, problem.y, WORKERS, seconds=seconds)
    passes = passes_to_goal(problem, plan.cells, seeds)
    found = {"idle": compare(problem, plan, idle, passes, time_cells(problem, plan.cells, passes, turns))}
    if is_busy:
        with busy_cores():
            idle = idle_share()
            plan = parsgd.plan(problem.estimator, problem.X, problem.y, WORKERS[:2], seconds=seconds)
            found["busy"] = compare(problem, plan, idle, passes, time_cells(problem, plan.cells, passes, turns))
    return found


def compare(
    problem: Problem,
    plan: Any,
    idle: float,
    passes: dict[tuple[int, str], Any],
    times: dict[tuple[int, str], tuple[float, float]],
) -> Planned:
    """Return the plan with its cells as they were measured."""
    cells = []
    for cell in plan.cells:
        key = cell.n_workers, cell.label
        pass_s, seconds = times.get(key) or on_cluster(problem, cell, passes[key], times[1, "serial"][0])
        outcome = (
            "unknown" if cell.seconds is None else "known" if cell.is_known else "wide" if cell.reaches else "never"
        )
        predicted = (cell.pass_s, cell.seconds, cell.low, cell.high) if cell.reaches else (None,) * 4
        cells.append(Cell(*key, cell.basis, outcome, *predicted, finite(pass_s), finite(seconds)))
    best, here = ((each.n_workers, each.label) for each in (plan.best, plan.best_here))
    return Planned(plan.seconds, plan.why, idle, best, here, cells)


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def store(planned: Planned) -> dict[str, Any]:
    """Return the JSON entry of a plan."""
    return asdict(planned)


def restore(entry: dict[str, Any]) -> Planned:
    """Return a plan from its JSON entry."""
    found = Planned(**{**entry, "cells": [Cell(**cell) for cell in entry["cells"]]})
    return replace(found, best=tuple(found.best), best_here=tuple(found.best_here))
