"""Rehearsals: real fits, on simulated workers, watched until they are where serial SGD gets, or clearly will not be."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parsgd import prediction
from parsgd.algorithms.local import Local
from parsgd.core import Model
from parsgd.engines.simulated import Simulated
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError
from parsgd.planning import costing
from parsgd.planning.heldout import HeldOut, Point, Watched
from parsgd.planning.parting import Parting, Spread
from parsgd.planning.samples import Sample, prepared
from parsgd.planning.shortlist import Way

# How many times serial SGD's passes a fit by several workers may take: beyond, few workers gain nothing.
MOST_PASSES = 2.0
# A run that is at the goal goes on for a while, to show that this was no lucky look: so many times its passes, and so
# many more.
_SURE, _SURE_PASSES = 1.25, 0.2
# One that took so many times serial SGD's passes to the loss where it is will not get to the goal in MOST_PASSES.
_HOPELESS, _HOPELESS_FROM = 4.0, 0.2
# Serial SGD is looked at as often as any other.
_SERIAL = Local(period=0.1)
# Its loss at the end is the mean over this part of its passes.
_END = 0.2
# At most so many workers are looked at by themselves.
_SINGLES = 8
# Merges that are timed of a way whose losses are known.
_PRICED_ROUNDS = 20


@dataclass
class Serial:
    """Serial SGD on the sample: the curve of each run, ``passes`` long; the loss at its end, and ``goal``, that loss
    and the tolerance; some states on the way, and the model they are of; whether the first run ended by its own rule of
    stopping."""

    passes: float
    tolerance: float
    curves: list[list[Point]] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    model: Model | None = None
    ended: bool = False

    @property
    def final(self) -> float:
        ends = [[p.loss for p in curve if p.passes > (1.0 - _END) * self.passes + 1e-9] for curve in self.curves]
        return float(np.mean([np.mean(end or [curve[-1].loss]) for end, curve in zip(ends, self.curves, strict=True)]))

    @property
    def goal(self) -> float:
        return self.final * (1.0 + self.tolerance)

    @property
    def reached(self) -> float:
        return prediction.mean_passes([reached(curve, self.goal) for curve in self.curves])

    def to(self, loss: float) -> float:
        """The passes to some loss."""
        return prediction.mean_passes([reached(curve, loss) for curve in self.curves])


@dataclass(frozen=True)
class Run:
    """What a rehearsal showed: ``reached``, the passes to the goal, inf where it is not reached, None where time ran
    out before that was known; ``last``, the loss at its end; the driver's time for a merge; a worker's for a row, on
    real threads only."""

    reached: float | None
    last: float = math.inf
    combine_s: float = 0.0
    seconds_per_row: float | None = None
    spread: Spread | None = None
    diverged: bool = False


def reached(curve: Sequence[Point], goal: float) -> float:
    """The passes to the goal.  Where training begins does not count: rates may take it to a greater loss at first."""
    seen = curve[1:]
    return prediction.reach([p.passes for p in seen], [p.loss for p in seen], goal) if seen else math.inf


def rehearse_serial(
    estimator: Any, sample: Sample, passes: float | None, seeds: Sequence[int], tolerance: float, seconds: float
) -> Serial:
    """Serial SGD with the first of the seeds, and with others while there is time: ``seconds`` for all of them.

    ``passes=None``: as many as its own rule of stopping makes of them, or as there is time for.
    """
    began = time.perf_counter()
    found = Serial(passes or math.inf, tolerance)
    for seed in seeds:
        stops = math.isinf(found.passes)
        watched = Watched(_SERIAL, Simulated(), sample.loss)
        ends = _Passes(found, watched, began + seconds if stops else math.inf)
        watched.until = ends
        most = int(estimator.max_iter) if stops else math.ceil(found.passes - 1e-9)
        costing.run(prepared(estimator, stops), sample, watched, 1, most, random_state=seed)
        watched.look()
        found.curves.append(watched.curve)
        found.model = watched.latest[0]
        if stops:
            found.ended = not ends.late
            found.passes = watched.curve[-1].passes
        spent = time.perf_counter() - began
        if spent * (1.0 + 1.0 / len(found.curves)) > seconds:
            break
    return found


class _Passes:
    """Until so many passes are made; keeps states of the first run on the way, each after twice the passes of the one
    before."""

    def __init__(self, serial: Serial, watched: Watched, deadline: float):
        self.serial, self.watched, self.deadline = serial, watched, deadline
        self.next = 0.1 if not serial.curves else math.inf
        self.late = False

    def __call__(self, curve: Sequence[Point]) -> bool:
        at = curve[-1].passes
        if at >= self.next - 1e-9:
            self.serial.states.append(self.watched.latest[1])
            self.next = 2.0 * at
        self.late = time.perf_counter() > self.deadline
        return self.late or at >= self.serial.passes - 1e-9


class _Until:
    """Until the goal is reached for sure, or out of reach, or time is over."""

    def __init__(self, serial: Serial, deadline: float):
        self.serial, self.deadline = serial, deadline
        self.goal, self.most = serial.goal, MOST_PASSES * serial.passes
        self.cut = False

    def __call__(self, curve: Sequence[Point]) -> bool:
        at, loss = curve[-1].passes, curve[-1].loss
        if at >= self.most - 1e-9 or not math.isfinite(loss):
            return True
        there = reached(curve, self.goal)
        if math.isfinite(there):
            return at >= _SURE * there + _SURE_PASSES
        if at >= _HOPELESS_FROM * self.serial.passes and at >= _HOPELESS * self.serial.to(loss):
            return True
        self.cut = time.perf_counter() > self.deadline
        return self.cut


def rehearse(
    estimator: Any, sample: Sample, way: Way, n_workers: int, serial: Serial, seed: int, deadline: float
) -> Run | None:
    """A fit in this way, watched; None where the sample is too small for one of its rounds."""
    algorithm = way.rehearsed(1.0 / sample.share)
    if algorithm is None:
        return None
    if way.curve == "serial":
        return _priced(estimator, sample, algorithm, n_workers, serial, seed)
    until = _Until(serial, deadline)
    watched = Watched(algorithm, Threads() if way.curve == "threads" else Simulated(), sample.loss, until)
    try:
        costing.run(prepared(estimator), sample, watched, n_workers, math.ceil(until.most), random_state=seed)
        watched.look()
    except DivergedError:
        return Run(math.inf, diverged=True)
    there = reached(watched.curve, until.goal)
    last = prediction.trend([point.loss for point in watched.curve[1:]])[-1]
    return Run(
        None if until.cut and math.isinf(there) else there,
        float(last),
        float(np.median(watched.combine_s)),
        float(np.median(watched.paces)) if way.curve == "threads" else None,
        _spread(watched, n_workers, serial) if isinstance(algorithm, Parting) else None,
    )


def _priced(estimator: Any, sample: Sample, algorithm: Any, n_workers: int, serial: Serial, seed: int) -> Run:
    """A way whose losses are serial SGD's: only its merges have to be seen."""
    timed = costing.Timed(algorithm, _PRICED_ROUNDS, Simulated())
    costing.run(prepared(estimator), sample, timed, n_workers, 1, random_state=seed)
    return Run(serial.reached, serial.final, float(np.median(timed.combine_s)))


def _spread(watched: Watched, n_workers: int, serial: Serial) -> Spread:
    """The workers by themselves and their average, after as many passes as the serial run made, or as were seen."""
    model, _, merge = watched.latest
    loss: HeldOut = watched.loss
    single = float(np.mean([loss(model, state) for state in merge.memory[:_SINGLES]]))
    return Spread(n_workers, single, loss(model, merge.state), serial.final)
