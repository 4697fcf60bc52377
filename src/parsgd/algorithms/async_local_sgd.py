"""Asynchronous local SGD.

Xie, Koyejo, Gupta, "Asynchronous Federated Optimization", arXiv 1903.03934 (the server mixes states instead of adding
displacements); Liu et al., "Asynchronous Local-SGD Training for Language Modeling", arXiv 2401.09135.

Round: the worker runs SGD on part of its shard; the driver waits for one report;
merge = ``w + a_i (w_i - u_i)``.  ``u_i`` is the state that worker i started from, and ``a_i = rate s_i`` with smaller
``s_i`` for stale reports.

The weights of ``rule="wp"`` are our reading of Cheng, Li, Zhang, "WP-SGD", arXiv 1708.04801.  The authors combine them
with asynchronous SGD; the text on how was not available to us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parsgd.algorithms.common.round_length import round_budget
from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging import merge_weights
from parsgd.algorithms.merging.merge_rules import required_by_rule
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
from parsgd.errors import check_between, choose


class StalenessCounter(NamedTuple):
    """Counts of merged reports and steps: total ``so_far (2,)``, and at each worker's start ``(n_workers, 2)``."""

    so_far: np.ndarray
    start_state: np.ndarray


@dataclass(frozen=True)
class AsyncLocalSGD(SynchronousAlgorithm):
    """Asynchronous local SGD, in which no worker waits for another.

    The result depends on the workers' speeds.  With ``engine="serial"`` workers alternate, and results repeat to the
    bit.

    Parameters
    ----------
    sync_every : float
        Length of a round as a fraction of an epoch of the worker's own rows, ``0 < sync_every <= 1``.
    rate : float or None
        Fraction of a fresh report's displacement that is added.  Default: ``1 / n_workers``.  After one report from
        each worker, the state has then moved by the mean displacement, as in :class:`LocalSGD`.  Larger fractions
        converge faster, but with many workers they can diverge.
    rule : {"staleness", "wp", "uniform"}
        Factor ``s`` on a stale displacement.  With n equal workers, ``n - 1`` other reports are merged during a run, so
        only the reports beyond these count as staleness.  ``"staleness"``: ``s = (1 + staleness)^-exponent``.
        ``"wp"``: ``s = rho^delay``, WP-SGD's weight of a worker that is ``delay`` steps behind the mean of the others,
        where ``rho`` is the contraction per step.  ``"uniform"``: ``s = 1``.
    exponent : float
        Exponent of ``"staleness"``.

    Examples
    --------
    >>> from parsgd import AsyncLocalSGD, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=AsyncLocalSGD(sync_every=0.5), n_jobs=2, max_iter=5, tol=None, random_state=0)
    >>> model.fit(scale(X), y).score(scale(X), y) > 0.95
    True
    """

    sync_every: float = 0.1
    rate: float | None = None
    rule: str = "staleness"
    exponent: float = 0.5

    name = "asynchronous"

    @property
    def traits(self) -> AlgorithmTraits:
        return AlgorithmTraits(requires=required_by_rule(self.rule))

    def __post_init__(self) -> None:
        check_between(self.sync_every, 0, 1, "sync_every", "AsyncLocalSGD")
        check_between(self.rate, 0, 1, "rate", "AsyncLocalSGD", optional=True)
        choose(self.rule, ("staleness", "wp", "uniform"), "rule", "AsyncLocalSGD")
        check_between(self.exponent, 0, float("inf"), "exponent", "AsyncLocalSGD")

    def quorum(self, n_workers: int) -> int:
        return 1

    def init_memory(self, fit_state: FitState) -> StalenessCounter:
        return StalenessCounter(np.zeros(2, dtype=int), np.zeros((fit_state.n_workers, 2), dtype=int))

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        return TaskSpec(round_budget(fit_state, worker, self.sync_every))

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        return run(model, shard, task, progress)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        rate = 1.0 / fit_state.n_workers if self.rate is None else float(self.rate)
        shares = np.array([rate * self.freshness(fit_state, r) if r.steps else 0.0 for r in reports])
        so_far, start_state = (part.copy() for part in fit_state.memory)
        so_far += np.sum([(r.steps > 0, r.steps) for r in reports], axis=0)
        start_state[[report.worker for report in reports]] = so_far
        state = fit_state.state if not shares.any() else add_displacements(fit_state, reports, shares)
        return MergeResult(state, shares, StalenessCounter(so_far, start_state))

    def freshness(self, fit_state: FitState, report: Report) -> float:
        """Return the factor ``s`` of a report, in [0, 1]."""
        others = fit_state.n_workers - 1
        if self.rule == "uniform" or others == 0:
            return 1.0
        so_far, start_state = fit_state.memory
        reports, steps = so_far - start_state[report.worker]
        if self.rule == "staleness":
            return float((1.0 + max(reports - others, 0)) ** -self.exponent)
        delay = max(steps / others - report.steps, 0.0)
        return float(np.exp(report.log_contraction / report.steps * delay))


def add_displacements(fit_state: FitState, reports: Sequence[Report], shares: np.ndarray) -> np.ndarray:
    """Return ``w + sum_i a_i (w_i - u_i)``; for nonnegative parts ``(1 - sum_i a_i) w + sum_i a_i w_i``."""
    vectors: list[np.ndarray] = []
    weights: list[float] = []
    left = 1.0
    for report, share in zip(reports, shares, strict=True):
        origin = fit_state.task_of(report.worker).state
        vectors.append(report.state)
        weights.append(float(share))
        if origin is fit_state.state:
            # a full displacement from the current state then ends at the report, bit for bit
            left -= share
        else:
            vectors.append(origin)
            weights.append(-float(share))
    state = merge_weights.weighted_sum([fit_state.state, *vectors], np.array([left, *weights]))
    part = fit_state.model.nonnegative
    if part.stop > part.start:
        mixed = shares / max(shares.sum(), 1.0)
        sides = [fit_state.state[part], *(report.state[part] for report in reports)]
        state[part] = merge_weights.weighted_sum(sides, np.array([1.0 - mixed.sum(), *mixed]))
    return state
