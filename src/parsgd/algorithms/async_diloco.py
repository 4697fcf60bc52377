"""Asynchronous DiLoCo: the driver steps on every report, and adds the momentum once per turn.

Liu et al., "Asynchronous Local-SGD Training for Language Modeling", arXiv 2401.09135 (delayed Nesterov, dynamic local
updates).

Round: the worker makes ``sync_every`` steps; the driver waits for one report, and ``grace`` seconds for more; merge =
with the displacements ``d_i = w_i - u_i`` of the reports from their start states and ``N = delay``::

    D = sum_i d_i / N,                  delta = delta + D
    w + rate D                          until N reports have come since the last momentum
    w + rate (D + beta m),              then m = beta m + delta first, and delta = 0 afterwards

If all workers report at once, this is the step of DiLoCo, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parsgd.algorithms.async_local_sgd import add_displacements
from parsgd.algorithms.common.round_length import check_round_length, round_budget, step_budget, steps_of
from parsgd.algorithms.common.round_schedule import update_seconds_per_example
from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging import merge_weights
from parsgd.core import (
    AlgorithmTraits,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SynchronousAlgorithm,
    Task,
    TaskSpec,
)
from parsgd.errors import check_between, check_count, choose


class DelayedMomentum(NamedTuple):
    """Momentum, displacements since its last update, reports since then, and seconds per example of each worker."""

    velocity: np.ndarray
    delta: np.ndarray
    n_reports: int
    seconds_per_example: np.ndarray


@dataclass(frozen=True)
class AsyncDiLoCo(SynchronousAlgorithm):
    """Asynchronous local SGD with delayed Nesterov momentum, in which no worker waits for another.

    Parameters
    ----------
    sync_every : int or float
        Steps of a worker per round.  Up to 1: a fraction of an epoch of its rows.
    rate, beta : float
        Rate and momentum of the driver's step.
    delay : int or None
        Reports per update of the momentum, and the number by which displacements are divided; None: ``n_workers``.
    lengths : {"equal", "speed"}
        ``"speed"``: worker i makes ``floor(v_i / max v * sync_every)`` steps per round, where ``v_i`` is its last speed
        (dynamic local updates), so that all rounds take about the same time.
    grace : float
        Seconds for which the driver waits for further reports after the first; ``inf``: for all workers.

    Notes
    -----
    The result depends on the workers' speeds.  With ``engine="serial"`` workers alternate, and results repeat to the
    bit.

    Examples
    --------
    >>> from parsgd import AsyncDiLoCo, SGDClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> algorithm = AsyncDiLoCo(sync_every=100)
    >>> model = SGDClassifier(algorithm=algorithm, engine="serial", n_jobs=2, max_iter=5, tol=None, random_state=0)
    >>> model.fit(X / 16, y).score(X / 16, y) > 0.9
    True
    """

    sync_every: float = 500
    rate: float = 0.7
    beta: float = 0.9
    delay: int | None = None
    lengths: str = "equal"
    grace: float = 0.0

    name = "async_diloco"

    def __post_init__(self) -> None:
        check_round_length(self.sync_every, "AsyncDiLoCo")
        check_between(self.rate, 0, math.inf, "rate", "AsyncDiLoCo")
        if self.beta != 0 or isinstance(self.beta, bool):
            check_between(self.beta, 0, np.nextafter(1.0, 0.0), "beta", "AsyncDiLoCo")
        check_count(self.delay, "delay", "AsyncDiLoCo")
        choose(self.lengths, ("equal", "speed"), "lengths", "AsyncDiLoCo")
        if self.grace != 0 or isinstance(self.grace, bool):
            check_between(self.grace, 0, math.inf, "grace", "AsyncDiLoCo")

    @property
    def _steps(self) -> int:
        """The length of a round in steps; 0 if it is a fraction of an epoch."""
        return steps_of(self.sync_every)

    @property
    def traits(self) -> AlgorithmTraits:
        return AlgorithmTraits(grace_s=0.0 if self.grace == math.inf else float(self.grace))

    def quorum(self, n_workers: int) -> int:
        return n_workers if self.grace == math.inf else 1

    def init_memory(self, fit_state: FitState) -> DelayedMomentum:
        zeros = np.zeros(len(fit_state.state))
        return DelayedMomentum(zeros, zeros, 0, np.full(fit_state.n_workers, np.nan))

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        share = self._share(fit_state.memory.seconds_per_example, worker)
        if self._steps:
            return TaskSpec(
                step_budget(fit_state, worker, max(int(share * self._steps), 1), waits=self.grace == math.inf)
            )
        return TaskSpec(round_budget(fit_state, worker, share * float(self.sync_every)))

    def _share(self, seconds_per_example: np.ndarray, worker: int) -> float:
        """Return the worker's speed relative to that of the fastest; 1 before it is known."""
        own = seconds_per_example[worker]
        if self.lengths == "equal" or not own > 0.0:
            return 1.0
        # the speed of the fastest may be a rounding error above the worker's own
        return float(np.nanmin(seconds_per_example) / own) * (1.0 + 1e-9)

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        return run(model, shard, task, progress)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        memory: DelayedMomentum = fit_state.memory
        speeds = update_seconds_per_example(memory.seconds_per_example, reports)
        delay = fit_state.n_active if self.delay is None else self.delay
        shares = np.array([float(report.steps > 0) for report in reports]) / delay
        if not shares.any():
            return MergeResult(fit_state.state, shares, memory._replace(seconds_per_example=speeds))
        merged = self._merged(fit_state, reports, shares)
        move = merged.astype(np.float64) - fit_state.state
        delta, velocity = memory.delta + move, memory.velocity
        n_reports = memory.n_reports + int(np.count_nonzero(shares))
        along = move
        if n_reports >= delay:
            velocity = self.beta * velocity + delta
            along = move + self.beta * velocity
            delta, n_reports = np.zeros_like(delta), 0
        # from the merged state, as in Momentum: at rate 1 without momentum it comes back bit for bit
        state = (merged + (self.rate * along - move)).astype(fit_state.state.dtype)
        part = fit_state.model.nonnegative
        state[part] = merged[part]
        return MergeResult(state, shares * self.rate, DelayedMomentum(velocity, delta, n_reports, speeds))

    @staticmethod
    def _merged(fit_state: FitState, reports: Sequence[Report], shares: np.ndarray) -> np.ndarray:
        """Return the state plus the shares of the displacements."""
        if all(fit_state.task_of(report.worker).state is fit_state.state for report in reports):
            return merge_weights.merge(fit_state.state, reports, shares).state
        return add_displacements(fit_state, reports, shares)
