"""Rehearsals: real fits, on simulated workers, watched until they are where serial SGD gets, or clearly will not be."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.core import Model
from parsgd.engines.simulated import Simulated
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError
from parsgd.planning import measure_costs
from parsgd.planning.heldout import CurvePoint, HeldOut, ObservedFit
from parsgd.planning.independent_runs import IndependentRuns, RunVariance
from parsgd.planning.samples import TrialSample, prepared
from parsgd.planning.strategies import Strategy
from parsgd.training import cost_model
from parsgd.training.cost_model import CostModel

# How many times serial SGD's passes a fit by several workers may take: beyond, few workers gain nothing.
MOST_PASSES = 2.0
# A run that is at the goal goes on for a while, to show that this was no lucky look: so many times its passes, and so
# many more.
_SURE, _SURE_PASSES = 1.25, 0.2
# One that took so many times serial SGD's passes to the loss where it is will not get to the goal in MOST_PASSES.
_HOPELESS, _HOPELESS_FROM = 4.0, 0.2
# From so many times serial SGD's passes on, and so many looks, a curve's slope tells how it goes on; it may become so
# much steeper.
_TOLD, _TOLD_LOOKS, _STEEPER = 0.5, 8, 1.5
# Serial SGD is looked at as often as any other.
_SERIAL = LocalSGD(sync_every=0.1)
# Its loss at the end is the mean over this part of its passes.
_END = 0.2
# A loss that is so many times that of the beginning came from steps that were too long.
_EXPLODED = 1e6
# So much longer than its share of the time a first serial run may take.
_PATIENCE = 1.5
# A beginning is no such thing with fewer looks than this.
_FEWEST_LOOKS = 2
# At most so many workers are looked at by themselves.
_SINGLES = 8
# Merges that are timed of a way whose losses are known.
_PRICED_ROUNDS = 20


@dataclass
class SerialRun:
    """Serial SGD on the sample: the curve of each run, ``passes`` long; the loss at its end, and ``goal``, that loss
    and the tolerance; some states on the way, and the model they are of; whether the first run ended by its own rule of
    stopping."""

    passes: float
    tolerance: float
    curves: list[list[CurvePoint]] = field(default_factory=list)
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
        """A run that is a little unlucky ends above the goal; on the whole they are there at the end."""
        return min(self.to(self.goal), self.passes)

    def to(self, loss: float) -> float:
        """The passes to some loss."""
        return cost_model.mean_passes([reached(curve, loss) for curve in self.curves])


@dataclass(frozen=True)
class TrialRun:
    """What a rehearsal showed: ``reached``, the passes to the goal, inf where it is not reached; ``begun``: time ran
    out before that was known, and it is carried over from there, or None where not even that can be done; ``last``,
    the loss at its end; the driver's time for a merge; a worker's for a row, on real threads only."""

    reached: float | None
    last: float = math.inf
    combine_s: float = 0.0
    seconds_per_row: float | None = None
    spread: RunVariance | None = None
    diverged: bool = False
    begun: bool = False


def reached(curve: Sequence[CurvePoint], goal: float) -> float:
    """The passes to the goal.  Where training begins does not count: rates may take it to a greater loss at first."""
    seen = curve[1:]
    return cost_model.reach([p.passes for p in seen], [p.loss for p in seen], goal) if seen else math.inf


def run_serial_trial(
    estimator: Any, sample: TrialSample, passes: float | None, seeds: Sequence[int], tolerance: float, seconds: float
) -> SerialRun:
    """Serial SGD with the first of the seeds, and with others while there is time: ``seconds`` for all of them.

    ``passes=None``: as many as its own rule of stopping makes of them.  If the first run takes longer than ``seconds``
    and half as long again, its passes are those it made until then.
    """
    began = time.perf_counter()
    found = SerialRun(passes or math.inf, tolerance)
    for seed in seeds:
        stops = math.isinf(found.passes)
        watched = ObservedFit(_SERIAL, Simulated(), sample.loss)
        ends = _Passes(found, watched, math.inf if found.curves else began + _PATIENCE * seconds)
        watched.until = ends
        most = int(estimator.max_iter) if stops else math.ceil(found.passes - 1e-9)
        try:
            measure_costs.run(prepared(estimator, stops), sample, watched, 1, most, random_state=seed)
        except DivergedError as error:
            raise DivergedError(f"serial SGD diverges: {error}") from error
        watched.look()
        _refuse_divergence(watched.curve)
        if not found.curves and (stops or ends.late):
            found.ended = not ends.late
            found.passes = watched.curve[-1].passes
        found.curves.append(watched.curve)
        found.model = watched.latest[0]
        spent = time.perf_counter() - began
        if spent * (1.0 + 1.0 / len(found.curves)) > seconds:
            break
    return found


def _refuse_divergence(curve: Sequence[CurvePoint]) -> None:
    """A goal that nothing can be measured by is none."""
    loss = curve[-1].loss
    if not loss <= _EXPLODED * curve[0].loss:
        raise DivergedError(
            f"serial SGD diverges: after {curve[-1].passes:.3g} passes its loss is {loss:.3g}, and it began at"
            f" {curve[0].loss:.3g}. Scaling input data with StandardScaler or MinMaxScaler might help, or a smaller"
            " learning rate."
        )


class _Passes:
    """Until so many passes are made; keeps states of the first run on the way, each after twice the passes of the one
    before."""

    def __init__(self, serial: SerialRun, watched: ObservedFit, deadline: float):
        self.serial, self.watched, self.deadline = serial, watched, deadline
        self.next = 0.1 if not serial.curves else math.inf
        self.late = False

    def __call__(self, curve: Sequence[CurvePoint]) -> bool:
        at = curve[-1].passes
        if at >= self.next - 1e-9:
            self.serial.states.append(self.watched.latest[1])
            self.next = 2.0 * at
        self.late = time.perf_counter() > self.deadline
        return self.late or at >= self.serial.passes - 1e-9


class _Until:
    """Until the goal is reached for sure, or out of reach, or time is over."""

    def __init__(self, serial: SerialRun, deadline: float):
        self.serial, self.deadline = serial, deadline
        self.goal, self.most = serial.goal, MOST_PASSES * serial.passes
        self.cut = False

    def __call__(self, curve: Sequence[CurvePoint]) -> bool:
        at, loss = curve[-1].passes, curve[-1].loss
        if at >= self.most - 1e-9 or not math.isfinite(loss):
            return True
        there = reached(curve, self.goal)
        if math.isfinite(there):
            return at >= _SURE * there + _SURE_PASSES
        if at >= _HOPELESS_FROM * self.serial.passes and self._hopeless(curve):
            return True
        self.cut = time.perf_counter() > self.deadline
        return self.cut

    def _hopeless(self, curve: Sequence[CurvePoint]) -> bool:
        """Whether serial SGD was there long ago, or the loss would not get to the goal by a power law of the passes,
        which knows no floor, with a slope beyond the present one."""
        passes = [point.passes for point in curve[1:]]
        smooth = cost_model.trend([point.loss for point in curve[1:]])
        at, loss = passes[-1], float(smooth[-1])
        if at >= _HOPELESS * self.serial.to(loss):
            return True
        half = float(np.interp(at / 2.0, passes, smooth))
        end = loss * (loss / half) ** (_STEEPER * math.log2(self.most / at))
        return len(passes) >= _TOLD_LOOKS and at >= _TOLD * self.serial.passes and end > self.goal


def run_trial(
    estimator: Any,
    sample: TrialSample,
    way: Strategy,
    n_workers: int,
    costs: CostModel,
    serial: SerialRun,
    seed: int,
    deadline: float,
) -> TrialRun | None:
    """A fit in this way, watched; None where the sample is too small for one of its rounds."""
    algorithm = way.rehearsed(1.0 / sample.share)
    if algorithm is None:
        return None
    if way.curve == "serial":
        return _priced(estimator, sample, algorithm, n_workers, costs, serial, seed)
    until = _Until(serial, deadline)
    real = costs.on_threads(n_workers)
    watched = ObservedFit(algorithm, Threads() if real else Simulated(), sample.loss, until)
    try:
        measure_costs.run(prepared(estimator), sample, watched, n_workers, math.ceil(until.most), random_state=seed)
        watched.look()
    except DivergedError:
        return TrialRun(math.inf, diverged=True)
    there, begun = reached(watched.curve, until.goal), False
    last = float(cost_model.trend([point.loss for point in watched.curve[1:]])[-1])
    if until.cut and math.isinf(there):
        there, begun = _from_beginning(watched.curve, last, serial), True
    return TrialRun(
        there, last, float(np.median(watched.combine_s)), float(np.median(watched.paces)) if real else None,
        _spread(watched, n_workers, serial) if isinstance(algorithm, IndependentRuns) else None, begun=begun,
    )  # fmt: skip


def _from_beginning(curve: Sequence[CurvePoint], loss: float, serial: SerialRun) -> float | None:
    """The passes to the goal, if a run goes on to need as many times serial SGD's passes as it did so far."""
    if len(curve) <= _FEWEST_LOOKS:
        return None
    passes = cost_model.carried_over(curve[-1].passes, serial.to(loss), serial.reached)
    return passes if passes <= MOST_PASSES * serial.passes else math.inf


def _priced(
    estimator: Any, sample: TrialSample, algorithm: Any, n_workers: int, costs: CostModel, serial: SerialRun, seed: int
) -> TrialRun:
    """A way whose losses are serial SGD's: only its rounds have to be timed."""
    real = costs.on_threads(n_workers)
    timed = measure_costs.TimedFit(algorithm, _PRICED_ROUNDS, Threads() if real else Simulated())
    measure_costs.run(prepared(estimator), sample, timed, n_workers, 1, random_state=seed)
    seconds_per_row = float(np.median(timed.paces)) if real else None
    return TrialRun(serial.reached, serial.final, float(np.median(timed.combine_s)), seconds_per_row)


def _spread(watched: ObservedFit, n_workers: int, serial: SerialRun) -> RunVariance:
    """The workers by themselves and their average, after as many passes as the serial run made, or as were seen."""
    model, _, merge = watched.latest
    loss: HeldOut = watched.loss
    single = float(np.mean([loss(model, state) for state in merge.memory[:_SINGLES]]))
    return RunVariance(n_workers, single, loss(model, merge.state), serial.final)
