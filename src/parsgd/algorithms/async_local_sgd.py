"""Asynchronous local SGD: whoever has made a stretch of steps adds its move to the state, and goes on from there.

run: SGD on the worker's own rows, for a part of its shard.  quorum: one.  merge: ``w += a_i (w_i - u_i)``, where
``u_i`` is the state that worker i set out from and ``a_i = rate s_i``; ``s_i`` is smaller for moves that come late.

Xie, Koyejo, Gupta, "Asynchronous Federated Optimization", arXiv 1903.03934 (whose server mixes states instead of adding
moves); Liu et al., "Asynchronous Local-SGD Training for Language Modeling", arXiv 2401.09135.  The weights of
``rule="wp"`` are those of Cheng, Li, Zhang, "WP-SGD", arXiv 1708.04801, by our reading; its authors combine it with
asynchronous SGD, how we could not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parsgd.algorithms.common import merge_weights
from parsgd.algorithms.common.round_length import examples_in_round
from parsgd.algorithms.common.worker_loop import run
from parsgd.core import (
    Budget,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SynchronousAlgorithm,
    Task,
)
from parsgd.errors import check_between, choose


class StalenessCounter(NamedTuple):
    """What was merged so far, and when each worker set out: ``so_far (2,)``, ``start_state (n_workers, 2)``; reports
    and steps."""

    so_far: np.ndarray
    start_state: np.ndarray


@dataclass(frozen=True)
class AsyncLocalSGD(SynchronousAlgorithm):
    """Local SGD in which nobody waits for anybody.

    The result depends on who is fast; with ``engine="serial"`` workers take turns and bits repeat.

    Parameters
    ----------
    sync_every : float
        Length of a stretch as a fraction of an epoch of the worker's own rows, ``0 < sync_every <= 1``.
    rate : float or None
        Share of a punctual worker's move that is added.  None: ``1 / n_workers``; when all workers have reported once,
        the state has moved by the mean of their moves, as far as an average of :class:`LocalSGD` goes.  Larger shares
        go faster and, with many workers, astray.
    rule : {"staleness", "wp", "uniform"}
        Which share a late move keeps.  Of n equal workers each finds ``n - 1`` reports merged since it set out; it is
        what comes on top of these that makes late.  ``"staleness"``: ``s = (1 + late)^-exponent``, late in reports.
        ``"wp"``: ``s = rho^delay``: what WP-SGD gives a worker that is ``delay`` steps behind, counted from the mean of
        the others' steps, ``rho`` being the contraction of a step.  ``"uniform"``: all of it.
    exponent : float
        Of ``"staleness"``.

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

    def __post_init__(self) -> None:
        check_between(self.sync_every, 0, 1, "sync_every", "AsyncLocalSGD")
        check_between(self.rate, 0, 1, "rate", "AsyncLocalSGD", optional=True)
        choose(self.rule, ("staleness", "wp", "uniform"), "rule", "AsyncLocalSGD")
        check_between(self.exponent, 0, float("inf"), "exponent", "AsyncLocalSGD")

    def quorum(self, n_workers: int) -> int:
        return 1

    def init_memory(self, standing: FitState) -> StalenessCounter:
        return StalenessCounter(np.zeros(2, dtype=int), np.zeros((standing.n_workers, 2), dtype=int))

    def budget(self, standing: FitState, worker: int) -> Budget:
        n_rows, cursor = standing.shard_rows[worker], standing.cursors[worker]
        return Budget(examples_in_round(n_rows, standing.model.batch_size, self.sync_every, cursor))

    def run(self, model: Model, shard: Shard, task: Task, pulse: ProgressCallback) -> Report:
        return run(model, shard, task, pulse)

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        rate = 1.0 / standing.n_workers if self.rate is None else float(self.rate)
        shares = np.array([rate * self.kept(standing, r) if r.steps else 0.0 for r in reports])
        so_far, start_state = (part.copy() for part in standing.memory)
        so_far += np.sum([(r.steps > 0, r.steps) for r in reports], axis=0)
        start_state[[report.worker for report in reports]] = so_far
        state = standing.state if not shares.any() else moved(standing, reports, shares)
        return MergeResult(state, shares, StalenessCounter(so_far, start_state))

    def kept(self, standing: FitState, report: Report) -> float:
        """The share of its move that a report keeps."""
        others = standing.n_workers - 1
        if self.rule == "uniform" or others == 0:
            return 1.0
        so_far, start_state = standing.memory
        reports, steps = so_far - start_state[report.worker]
        if self.rule == "staleness":
            return float((1.0 + max(reports - others, 0)) ** -self.exponent)
        delay = max(steps / others - report.steps, 0.0)
        return float(np.exp(report.log_contraction / report.steps * delay))


def moved(standing: FitState, reports: Sequence[Report], shares: np.ndarray) -> np.ndarray:
    """``w + sum_i a_i (w_i - u_i)``; what must not become negative is mixed, ``(1 - sum_i a_i) w + sum_i a_i w_i``."""
    vectors, weights, left = [], [], 1.0
    for report, share in zip(reports, shares, strict=True):
        origin = standing.tasks[report.worker].state
        vectors.append(report.state)
        weights.append(share)
        if origin is standing.state:
            # so that a whole move from here ends at the report, bit for bit
            left -= share
        else:
            vectors.append(origin)
            weights.append(-share)
    state = merge_weights.weighted_sum([standing.state, *vectors], np.array([left, *weights]))
    part = standing.model.nonnegative
    if part.stop > part.start:
        mixed = shares / max(shares.sum(), 1.0)
        sides = [standing.state[part], *(report.state[part] for report in reports)]
        state[part] = merge_weights.weighted_sum(sides, np.array([1.0 - mixed.sum(), *mixed]))
    return state
