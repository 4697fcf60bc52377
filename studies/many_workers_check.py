"""The compiled loops of the study of many workers compared with the library's simulated engine, after one pass.

The two use the same shards, orders and seeds, so that losses differ by rounding only.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from many_workers_clock import PART, Problem, Setting, Way
from many_workers_runs import WAYS, speeds_of

from parsgd import AsyncLocalSGD, DelayedSGD, LocalSGD, MiniBatch, Simulated, SimuParallel, WeightedAverage
from parsgd.models.linear.linear_model import Linear
from parsgd.training.loop import fit

CHECK_ROWS, CHECK_WORKERS = 20_000, 1_000
SETTING = Setting("invscaling", 1.0)


class Pair(NamedTuple):
    """Test loss and virtual time of the library and of the study, and the real seconds of the two."""

    their_loss: float
    their_time: float
    our_loss: float
    our_time: float
    their_seconds: float
    our_seconds: float


def algorithm_of(way: Way, speed: float, n_workers: int) -> Any:
    """Return the library's algorithm, for workers of a summed speed."""
    if way.kind == "once":
        return WeightedAverage(way.rule, seconds=1.0 / speed) if way.ends == "time" else SimuParallel()
    if way.kind == "rounds":
        ends = {"work": {}, "time": {"seconds": PART / speed}, "deadline": {"deadline": "auto"}}[way.ends]
        return LocalSGD(PART, rule=way.rule, outer_optimizer=way.outer, **ends)
    if way.kind == "asynchronous":
        return AsyncLocalSGD(PART)
    return DelayedSGD(way.batch) if way.kind == "delayed" else MiniBatch(max(way.batch, n_workers))


def smaller(problem: Problem, n_rows: int) -> Problem:
    """Return the problem with its first rows."""
    return replace(problem, X=problem.X[:n_rows].copy(), y=problem.y[:n_rows].copy())


def compare(problem: Problem, way: Way, n_workers: int, setting: Setting = SETTING, seed: int = 1) -> Pair:
    """Return the readings of the library and of the study after one pass of all workers.

    An average after a time ends with the time in which the workers could make the pass.
    """
    speeds = speeds_of(n_workers)
    began = time.perf_counter()
    moments = way.moments(problem, speeds, setting, seed)
    if way.kind == "once":
        last = next(islice(moments, round(1.0 / PART) - 1, None))
    else:
        last = next(moment for moment in moments if moment.examples >= problem.n_rows)
    between = time.perf_counter()
    speeds = way.taking_part(speeds)
    model = Linear(
        problem.X.shape[1],
        dtype="float32",
        loss="log_loss",
        alpha=problem.alpha,
        schedule=setting.schedule,
        eta0=setting.rate * problem.unit,
        power_t=setting.power,
    )
    engine = Simulated(speeds=speeds, rate=float(problem.n_rows))
    algorithm = algorithm_of(way, float(speeds.sum()), len(speeds))
    epochs = 1000 if way.kind == "once" and way.ends == "time" else 1
    found = fit(model, algorithm, engine, problem.source, n_workers=len(speeds), seed=seed, max_epochs=epochs)
    views = model.views(found.state)
    state = np.append(views["coef"].ravel(), views["intercept"]).astype(np.float32)
    return Pair(
        problem.loss(state),
        float(found.history[-1]["seconds"]),
        problem.loss(last.state),
        last.time,
        time.perf_counter() - between,
        between - began,
    )


def check(problem: Problem, n_rows: int = CHECK_ROWS, n_workers: int = CHECK_WORKERS) -> list[list[Any]]:
    """Return a line for each algorithm: its name, and the readings of :func:`compare` on the first rows."""
    part = smaller(problem, n_rows)
    return [[way.name, *(float(f"{value:.6g}") for value in compare(part, way, n_workers))] for way in WAYS]
