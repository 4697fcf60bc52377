"""Candidates of a plan: a number of workers, an algorithm, and the predicted time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from parsgd.core import CostModel, is_planned
from parsgd.planning.strategies import Strategy
from parsgd.planning.trials.trial_runs import MOST_PASSES, SerialRun, TrialRun
from parsgd.training import cost_model


@dataclass(frozen=True)
class Candidate:
    """A number of workers, an algorithm, and the time predicted for them.

    ``seconds`` is the time to the loss of serial SGD: inf if twice serial SGD's passes do not reach it, None if
    unknown.  ``passes`` follows the same rule.  ``speedup`` is relative to one worker.  ``engine`` is ``"threads"`` for
    this machine and ``"simulated"`` for a cluster.  ``round_s`` is the overhead of each of the ``rounds``.

    ``basis`` is the source of the prediction: ``"rehearsed"`` for whole trial runs, ``"begun"`` for trials of the first
    passes, ``"others"`` if better candidates failed, ``"alike"`` for the trials of a similar candidate, ``"no time"``
    for no prediction.
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


def serial_candidate(costs: CostModel, serial: SerialRun, whole: float) -> Candidate:
    """Return the candidate of one worker, the reference for all others."""
    begun = whole > serial.passes + 1e-9
    passes = cost_model.carried_over(serial.reached, serial.passes, whole)
    seconds = cost_model.fit_seconds(costs, 1, passes, 0)
    return Candidate(1, "serial", "serial", "auto", passes, seconds, 1.0, basis="begun" if begun else "rehearsed")


def without_prediction(costs: CostModel, strategy: Strategy) -> Candidate:
    """Return a candidate whose trial did not fit into the time."""
    engine = "threads" if costs.on_threads(strategy.n_workers) else "simulated"
    return Candidate(strategy.n_workers, strategy.label, engine, strategy.algorithm, None, None, None, basis="no time")


def never_reaching(costs: CostModel, strategy: Strategy, basis: str) -> Candidate:
    """Return a candidate that does not reach the goal, by its own trial or because better ones failed."""
    unpredicted = without_prediction(costs, strategy)
    return replace(unpredicted, passes=math.inf, seconds=math.inf, speedup=0.0, basis=basis)


def makes_compiled_rounds(costs: CostModel, strategy: Strategy) -> bool:
    """Return True if a fit makes its rounds in compiled code, on this machine's threads.

    >>> from parsgd import Hogwild, LocalSGD
    >>> costs = CostModel(1000, 1e-6, compiled_round_s={2: 2e-5})
    >>> [makes_compiled_rounds(costs, Strategy(2, "", algorithm, 1)) for algorithm in (LocalSGD(), Hogwild())]
    [True, False]
    """
    return strategy.n_workers in costs.compiled_round_s and is_planned(strategy.algorithm)


def candidate(
    costs: CostModel, strategy: Strategy, runs: Sequence[TrialRun], serial: SerialRun, whole: float
) -> Candidate:
    """Return the candidate of some trial runs.

    ``whole`` is the number of passes of the serial fit; those of ``serial`` may be only the first of them.
    """
    known = [run for run in runs if run.reached is not None]
    if not known:
        return without_prediction(costs, strategy)
    begun = whole > serial.passes + 1e-9
    passes = cost_model.mean_passes([run.reached for run in known])
    if begun:
        passes = cost_model.carried_over(passes, serial.passes, whole)
    basis = "begun" if begun or all(run.begun for run in known) else "rehearsed"
    if passes > MOST_PASSES * whole:
        return never_reaching(costs, strategy, basis)
    compiled = makes_compiled_rounds(costs, strategy)
    # a merge in compiled code is part of its round
    combine_s = 0.0 if compiled and not strategy.adaptive else sum(run.combine_s for run in known) / len(known)
    own = next((run.seconds_per_row for run in known if run.seconds_per_row is not None), None)
    rounds = max(passes * strategy.rounds_per_pass, 1.0)
    seconds = cost_model.fit_seconds(costs, strategy.n_workers, passes, rounds, combine_s, own, compiled)
    alone = cost_model.fit_seconds(costs, 1, serial.reached / serial.passes * whole, 0)
    return replace(
        without_prediction(costs, strategy),
        passes=passes,
        seconds=seconds,
        speedup=alone / seconds,
        rounds=rounds,
        round_s=cost_model.round_seconds(costs, strategy.n_workers, combine_s, compiled),
        basis=basis,
    )
