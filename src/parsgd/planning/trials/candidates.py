"""Candidates of a plan: a number of workers, an algorithm, and the predicted time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parsgd.core import CostModel
from parsgd.planning.measure_costs import FitTime
from parsgd.planning.strategies import Strategy
from parsgd.planning.trials.trial_runs import MOST_PASSES, SerialRun, TrialRun
from parsgd.training import cost_model

# An interval of times is known if its ends differ by at most this factor.
_WIDEST = 2.0
# Timed fits of one worker, under the key None, and of algorithms on this machine's threads.
FitTimes = Mapping[Strategy | None, FitTime]


@dataclass(frozen=True)
class Candidate:
    """A number of workers, an algorithm, and the time predicted for them.

    ``seconds`` is the time to the loss of serial SGD: inf if twice serial SGD's passes do not reach it, None if
    unknown.  ``passes`` follows the same rule.  ``speedup`` is relative to one worker.  ``engine`` is ``"threads"`` for
    this machine and ``"simulated"`` for a cluster.  ``round_s`` is the overhead of each of the ``rounds``.

    ``low`` and ``high`` are the bounds of ``seconds``, ``passes_low`` and ``passes_high`` those of ``passes``: from
    trials with several seeds, the noise of the goal, and repeated timings.  ``pass_s`` is the seconds per pass.

    ``basis`` is the source of the prediction: ``"rehearsed"`` for whole trial runs, ``"begun"`` for trials of the first
    passes.  Without a prediction it is the reason: ``"undecided"`` if trials ended too early or near the goal, or
    disagree, ``"others"`` for no trial because those of better candidates failed, ``"no time"`` for no trial.
    """

    n_workers: int
    label: str
    engine: str
    algorithm: Any
    passes: float | None
    seconds: float | None
    speedup: float | None
    rounds: float = 0.0
    round_s: float = 0.0
    basis: str = "rehearsed"
    low: float | None = None
    high: float | None = None
    passes_low: float | None = None
    passes_high: float | None = None
    pass_s: float | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters for the estimator's ``set_params``.

        >>> Candidate(2, "local", "threads", "local", 1.0, 0.1, 2.0).parameters
        {'n_jobs': 2, 'algorithm': 'local'}
        """
        return {"n_jobs": self.n_workers, "algorithm": self.algorithm}

    @property
    def reaches(self) -> bool:
        """True if the candidate is known to reach the goal."""
        return self.seconds is not None and math.isfinite(self.seconds)

    @property
    def is_known(self) -> bool:
        """True if the candidate reaches the goal in a time that is known within a factor of 2.

        >>> cell = Candidate(2, "local", "threads", "local", 1.0, 0.1, 2.0)
        >>> [replace(cell, low=0.05, high=high).is_known for high in (0.1, 0.2)]
        [True, False]
        """
        return self.reaches and (self.low is None or self.high is None or self.high <= _WIDEST * self.low)


def serial_candidate(costs: CostModel, serial: SerialRun, whole: float, times: FitTimes) -> Candidate:
    """Return the candidate of one worker, the reference for all others."""
    begun = whole > serial.passes + 1e-9
    found = Candidate(1, "serial", "serial", "auto", None, None, None, basis="begun" if begun else "rehearsed")
    time = times.get(None, FitTime(0.0, costs.seconds_per_row))
    bounds = _bounds(serial.runs, serial.reached)
    return _predicted(found, costs, time, _carried_over((serial.reached, *bounds), serial, whole))


def without_prediction(costs: CostModel, strategy: Strategy, basis: str) -> Candidate:
    """Return a candidate whose time is not known; ``basis`` is the reason."""
    engine = "threads" if costs.on_threads(strategy.n_workers) else "simulated"
    return Candidate(strategy.n_workers, strategy.label, engine, strategy.algorithm, None, None, None, basis=basis)


def candidate(
    costs: CostModel,
    strategy: Strategy,
    runs: Sequence[TrialRun],
    serial: SerialRun,
    whole: float,
    times: FitTimes,
) -> Candidate:
    """Return the candidate of some trial runs.

    ``whole`` is the number of passes of the serial fit; those of ``serial`` may be only the first of them.  A candidate
    never reaches the goal only if all its trials clearly failed, in whole fits or because they diverged.
    """
    known = [run for run in runs if run.reached is not None]
    if not known:
        return without_prediction(costs, strategy, "undecided" if runs else "no time")
    begun = whole > serial.passes + 1e-9
    basis = "begun" if begun or all(run.begun for run in known) else "rehearsed"
    if all(run.reached == math.inf for run in known) and (not begun or all(run.last == math.inf for run in known)):
        never = without_prediction(costs, strategy, basis)
        return replace(never, passes=math.inf, seconds=math.inf, speedup=0.0)
    passes = cost_model.mean_passes([run.reached for run in known])
    on_threads = costs.on_threads(strategy.n_workers)
    time = times.get(strategy if on_threads else None, None if on_threads else FitTime(0.0, costs.seconds_per_row))
    if passes > MOST_PASSES * serial.passes or time is None:
        return without_prediction(costs, strategy, "undecided")
    bounds = _bounds(known, passes)
    if len(known) == 1:
        # other seeds may scatter as those of serial SGD do
        low, high = (passes * bound / serial.reached for bound in _bounds(serial.runs, serial.reached))
        bounds = min(bounds[0], low), max(bounds[1], high)
    passes, *ends = _carried_over((passes, *bounds), serial, whole)
    rounds, per_pass = max(passes * strategy.rounds_per_pass, 1.0), strategy.rounds_per_pass
    part_s = costs.pass_s / strategy.n_workers
    if on_threads:
        steps_s = part_s * costs.contention[strategy.n_workers]
        # rounded, because the steps of the fastest algorithm are all of its time
        round_s = round(max(time.seconds_per_row * costs.n_rows - steps_s, 0.0) / per_pass, 12) if per_pass else 0.0
    else:
        round_s = cost_model.round_seconds(costs, strategy.n_workers, sum(run.combine_s for run in known) / len(known))
        start_s, pass_s = (rounds - passes * per_pass) * round_s, part_s + per_pass * round_s
        time = replace(time, start_s=start_s, seconds_per_row=pass_s / costs.n_rows)
    found = replace(without_prediction(costs, strategy, basis), rounds=rounds, round_s=round_s)
    alone = serial_candidate(costs, serial, whole, times).seconds
    found = _predicted(found, costs, time, (passes, *ends))
    return replace(found, speedup=alone / found.seconds)


def _carried_over(passes: Sequence[float], serial: SerialRun, whole: float) -> tuple[float, ...]:
    """Return passes of trials, with their bounds, as those of a whole fit."""
    if whole <= serial.passes + 1e-9:
        return tuple(passes)
    middle, *ends = passes
    planned = cost_model.carried_over(serial.reached, serial.passes, whole)
    bounds = cost_model.carried_over_bounds(*ends, serial.reached, planned)
    return cost_model.carried_over(middle, serial.reached, planned), *bounds


def _bounds(runs: Sequence[TrialRun], passes: float) -> tuple[float, float]:
    """Return the lower and the upper bound of the mean ``passes`` of runs, of which some may have failed."""
    ends = [passes, *(run.reached for run in runs if run.reached is not None)]
    bounds = [run.bounds for run in runs if run.bounds is not None]
    ends += [cost_model.mean_passes(each) for each in zip(*bounds, strict=True)]
    return min(ends), max(ends)


def _predicted(found: Candidate, costs: CostModel, time: FitTime, passes: Sequence[float]) -> Candidate:
    """Return a candidate with its passes, their bounds, and the seconds that follow from them."""
    middle, low, high = passes
    pass_s = costs.n_rows * time.seconds_per_row
    seconds = time.start_s + middle * pass_s
    # passes and timings scatter independently, as factors on the time
    shorter = math.hypot(math.log(middle / low), math.log(time.low))
    longer = math.hypot(math.log(high / middle), math.log(time.high)) if math.isfinite(high) else math.inf
    return replace(
        found,
        passes=middle,
        passes_low=low,
        passes_high=high,
        seconds=seconds,
        low=seconds * math.exp(-shorter),
        high=seconds * math.exp(longer),
        speedup=1.0,
        pass_s=pass_s,
    )
