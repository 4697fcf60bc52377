"""Elastic averaging: every worker keeps a state of its own, tied to a common centre by a spring.

run: SGD from the worker's own state, for a part of its shard.  quorum: all, or one.  merge, with the worker's state
``x_i`` and the centre ``c``: ``x_i -= a (x_i - c)`` and ``c += a sum_i (x_i - c)``, each from the values before.

Zhang, Choromanska, LeCun, "Deep Learning with Elastic Averaging SGD", NIPS 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from parsgd.errors import check_between, check_flag


@dataclass(frozen=True)
class ElasticAveraging(SynchronousAlgorithm):
    """EASGD: workers explore around a centre, which is what the fit hands out.

    The driver keeps a state for each worker besides the centre.

    Parameters
    ----------
    sync_every : float
        Steps between two pulls of the springs, as a fraction of an epoch of the worker's own rows, ``0 < sync_every <=
        1``.
    pull : float
        The paper's beta, ``0 < pull <= 1``: ``a = pull / n_workers``, so that the centre goes ``pull`` of the way to
        the workers' mean.  0.9 is the paper's, as we recall it.
    asynchronous : bool
        Whether each worker's spring pulls when it has made its steps, without waiting for the others.

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

    def init_memory(self, standing: FitState) -> tuple[np.ndarray, ...]:
        return (standing.state,) * standing.n_workers

    def start_state(self, standing: FitState, worker: int) -> np.ndarray:
        return standing.memory[worker]

    def budget(self, standing: FitState, worker: int) -> Budget:
        n_rows, cursor = standing.shard_rows[worker], standing.cursors[worker]
        return Budget(examples_in_round(n_rows, standing.model.batch_size, self.sync_every, cursor))

    def run(self, model: Model, shard: Shard, task: Task, pulse: ProgressCallback) -> Report:
        return run(model, shard, task, pulse)

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        a = self.pull / standing.n_workers
        centre, own = standing.state, list(standing.memory)
        weights = np.array([a if report.steps else 0.0 for report in reports])
        if not weights.any():
            return MergeResult(centre, weights, tuple(own))
        for report in reports:
            if report.steps:
                own[report.worker] = merge_weights.weighted_sum([report.state, centre], np.array([1.0 - a, a]))
        states = [centre, *(report.state for report in reports)]
        moved = merge_weights.weighted_sum(states, np.array([1.0 - weights.sum(), *weights]))
        return MergeResult(moved, weights, tuple(own))
