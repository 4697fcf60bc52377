"""Elastic averaging SGD (EASGD).

Zhang, Choromanska, LeCun, "Deep Learning with Elastic Averaging SGD", NIPS 2015.

Round: the worker runs SGD from its own state ``x_i`` on part of its shard; the driver waits for all reports, or for one
if asynchronous; merge = ``x_i -= a (x_i - c)`` and ``c += a sum_i (x_i - c)``, with the values from before the merge on
the right-hand side.  ``c`` is the center.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.algorithms.common.round_length import round_budget
from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging import merge_weights
from parsgd.core import (
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
from parsgd.errors import check_between, check_flag


@dataclass(frozen=True)
class ElasticAveraging(SynchronousAlgorithm):
    """Elastic averaging: workers explore around a center state, which is the fitted state.

    The driver keeps one state per worker in addition to the center.

    Parameters
    ----------
    sync_every : float
        Length of a round as a fraction of an epoch of the worker's own rows, ``0 < sync_every <= 1``.
    pull : float
        The paper's beta, ``0 < pull <= 1``, with ``a = pull / n_workers``: the center moves by ``pull`` times its
        distance from the workers' mean.  The default 0.9 is the paper's, as we recall it.
    asynchronous : bool
        Merge each report on arrival instead of waiting for all workers.

    Examples
    --------
    >>> from parsgd import ElasticAveraging, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=ElasticAveraging(), n_jobs=2, max_iter=5, tol=None, random_state=0)
    >>> model.fit(scale(X), y).score(scale(X), y) > 0.95
    True
    """

    sync_every: float = 0.1
    pull: float = 0.9
    asynchronous: bool = False

    name = "elastic"

    def __post_init__(self) -> None:
        check_between(self.sync_every, 0, 1, "sync_every", "ElasticAveraging")
        check_between(self.pull, 0, 1, "pull", "ElasticAveraging")
        check_flag(self.asynchronous, "asynchronous", "ElasticAveraging")

    def quorum(self, n_workers: int) -> int:
        return 1 if self.asynchronous else n_workers

    def init_memory(self, fit_state: FitState) -> tuple[np.ndarray, ...]:
        return (fit_state.state,) * fit_state.n_workers

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        return TaskSpec(round_budget(fit_state, worker, self.sync_every), fit_state.memory[worker])

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        return run(model, shard, task, progress)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        a = self.pull / fit_state.n_workers
        center, own = fit_state.state, list(fit_state.memory)
        weights = np.array([a if report.steps else 0.0 for report in reports])
        if not weights.any():
            return MergeResult(center, weights, tuple(own))
        for report in reports:
            if report.steps:
                own[report.worker] = merge_weights.weighted_sum([report.state, center], np.array([1.0 - a, a]))
        states = [center, *(report.state for report in reports)]
        moved = merge_weights.weighted_sum(states, np.array([1.0 - weights.sum(), *weights]))
        return MergeResult(moved, weights, tuple(own))
