"""One cell of a plan: so many workers in one way, and how long that takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parsgd.planning.strategies import Strategy
from parsgd.planning.trial_runs import MOST_PASSES, SerialRun, TrialRun
from parsgd.training import cost_model
from parsgd.training.cost_model import CostModel


@dataclass(frozen=True)
class Candidate:
    """A number of workers, an algorithm, and the time predicted for them.

    ``seconds`` to serial SGD's loss: inf where it is not reached in twice serial SGD's passes, None where that could
    not be found out; ``passes`` likewise.  ``speedup`` over one worker.  ``engine``: ``"threads"`` of this machine, or
    ``"simulated"`` for a cluster.  ``round_s``: what each of the ``rounds`` costs beside work.  ``basis`` says what the
    prediction rests on: ``"rehearsed"``, the beginning of it only (``"begun"``), others that fail and should do better
    (``"others"``), one that it is likely to resemble (``"alike"``), or nothing, ``"no time"``.
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
        """For the estimator's ``set_params``.

        >>> Candidate(2, "local", "threads", "local", 1.0, 0.1, 2.0).parameters
        {'n_jobs': 2, 'algorithm': 'local'}
        """
        return {"n_jobs": self.n_workers, "algorithm": self.algorithm}

    @property
    def reaches(self) -> bool:
        """Whether it is known to get there."""
        return self.seconds is not None and math.isfinite(self.seconds)


def serial_cell(costs: CostModel, serial: SerialRun, whole: float) -> Candidate:
    """One worker: what all others are compared with."""
    begun = whole > serial.passes + 1e-9
    passes = cost_model.carried_over(serial.reached, serial.passes, whole)
    seconds = cost_model.fit_seconds(costs, 1, passes, 0)
    return Candidate(1, "serial", "serial", "auto", passes, seconds, 1.0, basis="begun" if begun else "rehearsed")


def cell(
    costs: CostModel, way: Strategy, n_workers: int, runs: Sequence[TrialRun], serial: SerialRun, whole: float
) -> Candidate:
    """A cell from its rehearsals; ``whole``: the passes of the serial fit, of which those of ``serial`` may be the
    beginning."""
    engine = "threads" if costs.on_threads(n_workers) else "simulated"
    known = [run for run in runs if run.reached is not None]
    if not known:
        return Candidate(n_workers, way.label, engine, way.algorithm, None, None, None, basis="no time")
    begun = whole > serial.passes + 1e-9
    passes = cost_model.mean_passes([run.reached for run in known])
    if begun:
        passes = cost_model.carried_over(passes, serial.passes, whole)
    basis = "begun" if begun or all(run.begun for run in known) else "rehearsed"
    if passes > MOST_PASSES * whole:
        return Candidate(n_workers, way.label, engine, way.algorithm, math.inf, math.inf, 0.0, basis=basis)
    combine_s = sum(run.combine_s for run in known) / len(known)
    own = next((run.seconds_per_row for run in known if run.seconds_per_row is not None), None)
    rounds = max(passes * way.rounds_a_pass, 1.0)
    seconds = cost_model.fit_seconds(costs, n_workers, passes, rounds, combine_s, own)
    alone = cost_model.fit_seconds(costs, 1, serial.reached / serial.passes * whole, 0)
    return Candidate(
        n_workers, way.label, engine, way.algorithm, passes, seconds, alone / seconds, rounds,
        cost_model.round_seconds(costs, n_workers, combine_s), basis,
    )  # fmt: skip


def inferred(costs: CostModel, way: Strategy, n_workers: int) -> Candidate:
    """One that was not rehearsed, because others fail that should do better."""
    engine = "threads" if costs.on_threads(n_workers) else "simulated"
    return Candidate(n_workers, way.label, engine, way.algorithm, math.inf, math.inf, 0.0, basis="others")
