"""Trial runs: real fits on simulated workers, observed until they reach serial SGD's loss or clearly will not."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.core import CostModel, Model
from parsgd.engines.simulated import Simulated
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError
from parsgd.planning import measure_costs
from parsgd.planning.strategies import Strategy
from parsgd.planning.trials.heldout import CurvePoint, HeldOut, ObservedFit
from parsgd.planning.trials.independent_runs import IndependentRuns, RunVariance
from parsgd.planning.trials.samples import TrialSample, prepare
from parsgd.training import cost_model

# Largest number of passes of a trial relative to serial SGD; beyond, a few workers bring no benefit.
MOST_PASSES = 2.0
# A run at the goal continues for this factor of its passes, plus this many passes, to exclude chance.
_CONFIRM_FACTOR, _CONFIRM_PASSES = 1.25, 0.2
# A run is hopeless if it would reach the goal after this many times serial SGD's passes, at the present ratio to serial
# SGD's passes to the same loss; tested from this fraction of serial passes on.  The ratio shrinks: with 8 workers on
# adult and log loss it was 4.7 after 2 passes, and 2.6 at the goal.
_HOPELESS, _HOPELESS_FROM = 4.0, 0.2
# Extrapolation of a curve's slope starts at this fraction of serial SGD's passes and this many points.  The slope is
# allowed to become steeper by the last factor.
_EXTRAPOLATE_FROM, _EXTRAPOLATE_POINTS, _STEEPENING = 0.5, 8, 1.5
# Serial SGD is evaluated as often as the other runs.
_SERIAL = LocalSGD(sync_every=0.1)
# Its final loss is the mean over this last fraction of its passes.
_FINAL_FRACTION = 0.2
# Ratio to the initial loss above which the steps were too large.
_DIVERGED_RATIO = 1e6
# The first serial run may exceed its time by this factor.
_PATIENCE = 1.5
# Smallest number of evaluations to extrapolate from.
_MIN_POINTS = 2
# Largest number of workers that are evaluated separately.
_MAX_SINGLE_RUNS = 8
# Timed merges of a strategy with a known loss curve.
_TIMED_MERGES = 20
# Ratio to the goal, and multiple of its noise, above which a loss did not fail by chance.
_CLEAR_RATIO, _CLEAR_NOISE = 1.02, 5.0


@dataclass
class SerialRun:
    """Serial SGD on the sample.

    ``curves`` has one loss curve per run, ``passes`` long.  ``final`` is the loss at the end and ``goal`` that loss
    times ``1 + tolerance``.  ``states`` are some states along the first run, of ``model``.  ``ended`` is True if the
    first run ended by its own stopping rule.
    """

    passes: float
    tolerance: float
    curves: list[list[CurvePoint]] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    model: Model | None = None
    ended: bool = False

    @property
    def ends(self) -> list[list[float]]:
        """Losses at the end of each run."""
        since = (1.0 - _FINAL_FRACTION) * self.passes + 1e-9
        return [[p.loss for p in curve if p.passes > since] or [curve[-1].loss] for curve in self.curves]

    @property
    def final(self) -> float:
        return float(np.mean([np.mean(end) for end in self.ends]))

    @property
    def goal(self) -> float:
        return self.final * (1.0 + self.tolerance)

    @property
    def noise(self) -> float:
        """Standard deviation of the final loss of a run; with a single run, that of the losses at its end."""
        ends = self.ends
        return float(np.std(ends[0]) if len(ends) == 1 else np.std([np.mean(end) for end in ends], ddof=1))

    @property
    def reached(self) -> float:
        """Passes to the goal."""
        return self.to(self.goal)

    @property
    def runs(self) -> list[TrialRun]:
        """The runs as trials."""
        return [
            TrialRun(min(reached(curve, self.goal), self.passes), bounds=self.bounds(curve)) for curve in self.curves
        ]

    def to(self, loss: float) -> float:
        """Return the mean passes to a loss; at most ``passes``, because an unlucky run may end slightly above it."""
        return min(cost_model.mean_passes([reached(curve, loss) for curve in self.curves]), self.passes)

    def bounds(self, curve: Sequence[CurvePoint]) -> tuple[float, float]:
        """Return the passes of a run to goals that differ from this one by the noise; at most all passes of the run."""
        low, high = (reached(curve, self.goal + shift) for shift in (self.noise, -self.noise))
        return min(low, curve[-1].passes), min(high, curve[-1].passes)


@dataclass(frozen=True)
class TrialRun:
    """Result of a trial.

    ``reached`` is the number of passes to the goal: inf if the run clearly failed, None if unknown.  ``bounds`` are
    their lower and upper bound.  ``begun`` is True if time ran out first, and ``reached`` is an extrapolation.
    ``last`` is the final loss, ``combine_s`` the driver's seconds per round.
    """

    reached: float | None
    last: float = math.inf
    combine_s: float = 0.0
    bounds: tuple[float, float] | None = None
    spread: RunVariance | None = None
    begun: bool = False


def reached(curve: Sequence[CurvePoint], goal: float) -> float:
    """Return the passes to the goal, ignoring the initial point: training may start with an increase of the loss."""
    seen = curve[1:]
    return cost_model.reach([p.passes for p in seen], [p.loss for p in seen], goal) if seen else math.inf


def run_serial_trial(
    estimator: Any, sample: TrialSample, passes: float | None, seeds: Sequence[int], tolerance: float, seconds: float
) -> SerialRun:
    """Run serial SGD with the first seed, and with further seeds while ``seconds`` for all of them permit.

    With ``passes=None`` its own stopping rule ends the first run.  If the first run takes more than 1.5 times
    ``seconds``, it ends there and defines the passes.
    """
    started = time.perf_counter()
    found = SerialRun(passes or math.inf, tolerance)
    for seed in seeds:
        stops = math.isinf(found.passes)
        observed = ObservedFit(_SERIAL, Simulated(), sample.loss)
        ends = _Passes(found, observed, math.inf if found.curves else started + _PATIENCE * seconds)
        observed.until = ends
        most = int(estimator.max_iter) if stops else math.ceil(found.passes - 1e-9)
        try:
            measure_costs.run(prepare(estimator, stops), sample, observed, 1, most, random_state=seed)
        except DivergedError as error:
            raise DivergedError(f"serial SGD diverges: {error}") from error
        observed.record_loss()
        _check_divergence(observed.curve)
        if not found.curves and (stops or ends.late):
            found.ended = not ends.late
            found.passes = observed.curve[-1].passes
        found.curves.append(observed.curve)
        found.model = observed.latest[0]
        spent = time.perf_counter() - started
        if spent * (1.0 + 1.0 / len(found.curves)) > seconds:
            break
    return found


def _check_divergence(curve: Sequence[CurvePoint]) -> None:
    """Raise if the serial run diverged, because its loss cannot be a goal."""
    loss = curve[-1].loss
    if not loss <= _DIVERGED_RATIO * curve[0].loss:
        raise DivergedError(
            f"serial SGD diverges: after {curve[-1].passes:.3g} passes its loss is {loss:.3g}, and it started at"
            f" {curve[0].loss:.3g}. Scaling input data with StandardScaler or MinMaxScaler might help, or a smaller"
            " learning rate."
        )


class _Passes:
    """Stopping condition of serial runs: a number of passes or a deadline.

    It keeps states of the first run, each after twice the passes of the one before.
    """

    def __init__(self, serial: SerialRun, observed: ObservedFit, deadline: float):
        self.serial, self.observed, self.deadline = serial, observed, deadline
        self.next = 0.1 if not serial.curves else math.inf
        self.late = False

    def __call__(self, curve: Sequence[CurvePoint]) -> bool:
        at = curve[-1].passes
        if at >= self.next - 1e-9:
            self.serial.states.append(self.observed.latest[1])
            self.next = 2.0 * at
        self.late = time.perf_counter() > self.deadline
        return self.late or at >= self.serial.passes - 1e-9


class _Until:
    """Stopping condition of trials: goal reached for sure, goal out of reach, or deadline."""

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
            return at >= _CONFIRM_FACTOR * there + _CONFIRM_PASSES
        if at >= _HOPELESS_FROM * self.serial.passes and self._hopeless(curve):
            return True
        self.cut = time.perf_counter() > self.deadline
        return self.cut

    def _hopeless(self, curve: Sequence[CurvePoint]) -> bool:
        """Return True if the run will not reach the goal.

        Either serial SGD had this loss long ago, or two extrapolations miss the goal: that at the present ratio to
        serial SGD, and a power law of the passes.  The power law has no floor, and its slope is steeper than the
        present one.
        """
        passes = [point.passes for point in curve[1:]]
        smooth = cost_model.trend([point.loss for point in curve[1:]])
        at, loss = passes[-1], float(smooth[-1])
        there = cost_model.carried_over(at, self.serial.to(loss), self.serial.reached)
        if there >= _HOPELESS * self.serial.passes:
            return True
        if there <= self.most or len(passes) < _EXTRAPOLATE_POINTS or at < _EXTRAPOLATE_FROM * self.serial.passes:
            return False
        half = float(np.interp(at / 2.0, passes, smooth))
        return loss * (loss / half) ** (_STEEPENING * math.log2(self.most / at)) > self.goal


def run_trial(
    estimator: Any,
    sample: TrialSample,
    strategy: Strategy,
    costs: CostModel,
    serial: SerialRun,
    seed: int,
    deadline: float,
) -> TrialRun | None:
    """Run a trial of a strategy; return None if the sample is shorter than one of its rounds."""
    n_workers, algorithm = strategy.n_workers, strategy.for_sample(1.0 / sample.share)
    if algorithm is None:
        return None
    if strategy.curve == "serial":
        return _like_serial(estimator, sample, strategy, costs, serial, seed)
    until = _Until(serial, deadline)
    observed = ObservedFit(algorithm, Threads() if costs.on_threads(n_workers) else Simulated(), sample.loss, until)
    try:
        measure_costs.run(prepare(estimator), sample, observed, n_workers, math.ceil(until.most), random_state=seed)
        observed.record_loss()
    except DivergedError:
        return TrialRun(math.inf)
    last = float(cost_model.trend([point.loss for point in observed.curve[1:]])[-1])
    there, bounds = _passes_of(observed.curve, last, until.cut, serial)
    return TrialRun(
        there,
        last,
        # adaptive steps take long, and do not follow every merge
        combine_s=float(np.mean(observed.combine_s) if strategy.adaptive else np.median(observed.combine_s)),
        bounds=bounds,
        spread=_run_variance(observed, n_workers, serial) if isinstance(algorithm, IndependentRuns) else None,
        begun=until.cut,
    )


def _passes_of(
    curve: Sequence[CurvePoint], last: float, cut: bool, serial: SerialRun
) -> tuple[float | None, tuple[float, float] | None]:
    """Return the passes to the goal, and their bounds; ``last`` is the final loss.

    A run that was not cut has failed if its loss is clearly above the goal.  One that was cut is extrapolated.
    """
    there = reached(curve, serial.goal)
    if math.isfinite(there):
        return there, serial.bounds(curve)
    if cut:
        return _from_beginning(curve, serial)
    clear = last > max(_CLEAR_RATIO * serial.goal, serial.goal + _CLEAR_NOISE * serial.noise)
    return (math.inf if clear else None), None


def _from_beginning(curve: Sequence[CurvePoint], serial: SerialRun) -> tuple[float | None, tuple[float, float] | None]:
    """Extrapolate the passes to the goal, at the ratio to serial SGD's passes to the same loss.

    The bounds contain extrapolations from all points in the last half of the curve.
    """
    passes = [point.passes for point in curve[1:]]
    losses = cost_model.trend([point.loss for point in curve[1:]])
    pairs = [(at, serial.to(loss)) for at, loss in zip(passes, losses, strict=True) if at >= passes[-1] / 2.0]
    found = cost_model.carried_over(*pairs[-1], serial.reached)
    if len(passes) < _MIN_POINTS or found > MOST_PASSES * serial.passes:
        return None, None
    bounds = [cost_model.carried_over_bounds(at, at, alone, serial.reached) for at, alone in pairs]
    return found, (min(low for low, _ in bounds), max(high for _, high in bounds))


def _like_serial(
    estimator: Any, sample: TrialSample, strategy: Strategy, costs: CostModel, serial: SerialRun, seed: int
) -> TrialRun:
    """Return the result of a strategy with serial SGD's loss curve; on a cluster, its merges are timed."""
    run = TrialRun(serial.reached, serial.final)
    if costs.on_threads(strategy.n_workers):
        return run
    timed = measure_costs.TimedFit(strategy.algorithm, _TIMED_MERGES, Simulated())
    measure_costs.run(prepare(estimator), sample, timed, strategy.n_workers, 1, random_state=seed)
    return replace(run, combine_s=float(np.median(timed.combine_s)))


def _run_variance(observed: ObservedFit, n_workers: int, serial: SerialRun) -> RunVariance:
    """Return noise and bias of the workers' average after the passes of the trial."""
    model, _, merge = observed.latest
    loss: HeldOut = observed.loss
    single = float(np.mean([loss(model, state) for state in merge.memory[:_MAX_SINGLE_RUNS]]))
    return RunVariance(n_workers, single, loss(model, merge.state), serial.final)
