"""Hogwild: all workers step on one state in shared memory, without locks and without averages.

run: SGD on the shared state itself.  quorum: all, once a pass.  merge: nothing moves, the state is handed on.

Niu, Recht, Re, Wright, "Hogwild!: A Lock-Free Approach to Parallelizing Stochastic Gradient Descent", NIPS 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from parsgd.algorithms.common import merge_weights
from parsgd.algorithms.common.worker_loop import CACHE_LINE_PAD, padded_empty, private_copy, run
from parsgd.core import (
    Budget,
    FitState,
    MergeResult,
    ProgressCallback,
    Report,
    Shard,
    SharedModel,
    SynchronousAlgorithm,
    Task,
)
from parsgd.errors import check_between


@dataclass(frozen=True)
class Hogwild(SynchronousAlgorithm):
    """Lock-free SGD on shared memory, for sparse rows.

    Each worker visits its own rows, and moves the weights ``w`` that all of them share: for the features ``v`` of a row

    ``w_v = w_v - eta g(w) x_v``

    with ``w`` as it is at that moment, whatever the others are doing to it.  Of two steps on one weight at the same
    moment one is lost.  That is rare where a row has few of the features; then a pass by K workers brings what a pass
    by one brings, where an average would count each worker's steps as a K-th.  The few numbers that every step moves
    (intercept, scale of the l2 penalty, l1 penalty owed, the clock of the learning rate) are not lost: workers add what
    they moved every 8 to 256 rows (networks: after every batch).

    When to use it: with sparse rows, when averages cost accuracy: few rows, many features, few passes.  When not:

    - for speed alone.  A cache line that one worker wrote to must come from its core before another can go on.  On
      sparse rows two workers made 0.95 to 1.3 times the examples a second of one, averages 1.1 to 1.5 times
      (benchmarks/single/hogwild.py, 2 cores).
    - with dense rows, and for networks whose steps are dense: every step moves every weight, so workers overwrite each
      other's steps, and the momenta and moments of solvers, all the time.  It still learns; dense rows went by at 0.9
      times the speed of one worker.
    - where a fit must be reproducible: with several workers the result depends on who came first.

    It needs an engine that shares memory (``engine="threads"``) and a model whose state several workers can step on:
    not one that averages its iterates.  A round is a pass over the rows; one worker is serial SGD.

    Parameters
    ----------
    seconds : float or None
        Length of a round in seconds instead of a pass: each worker does what it can.

    Examples
    --------
    >>> from parsgd import Hogwild, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=Hogwild(), n_jobs=2, max_iter=5, tol=None, random_state=0).fit(scale(X), y)
    >>> model.score(scale(X), y) > 0.9
    True
    """

    seconds: float | None = None

    name = "hogwild"
    requires = frozenset({"shared_memory", "shared_steps"})
    common_clock = True

    def __post_init__(self) -> None:
        check_between(self.seconds, 0, float("inf"), "seconds", "Hogwild", optional=True)

    def init_memory(self, standing: FitState) -> np.ndarray:
        return pack_shared(standing.model, standing.state, standing.schedule_step, standing.n_workers)

    def start_state(self, standing: FitState, worker: int) -> np.ndarray:
        """The one vector that all workers write to: the only task whose state is not left as it is."""
        return standing.memory

    def budget(self, standing: FitState, worker: int) -> Budget:
        n_rows = standing.shard_rows[worker]
        return Budget(n_rows if self.seconds is None else n_rows * standing.max_epochs, self.seconds)

    def run(self, model: SharedModel, shard: Shard, task: Task, pulse: ProgressCallback) -> Report:
        state, shared_scalars = unpack_shared(task.state, model)
        return replace(run(model, shard, task, pulse, state, shared_scalars), state=task.state)

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        """The state that all reports hold, in plain numbers, and a new vector for the next round to write to."""
        weights = merge_weights.by_steps([report.steps for report in reports])
        if not weights.any():
            return MergeResult(standing.state, weights, standing.memory)
        model: SharedModel = standing.model
        state, shared_scalars = unpack_shared(reports[0].state, model)
        state = state.copy() if shared_scalars is None else model.from_shared(state, shared_scalars)
        schedule_step = max(report.schedule_step for report in reports)
        return MergeResult(state, weights, pack_shared(model, state, schedule_step, standing.n_workers))


def pack_shared(model: SharedModel, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
    """One vector of the state and the shared_scalars behind it; without a shared_scalars for one worker, who shares
    with nobody."""
    if n_workers == 1:
        return private_copy(state)
    shared_scalars = (
        np.ascontiguousarray(model.shared_scalars(state, schedule_step, n_workers)).reshape(-1).view(state.dtype)
    )
    begins = _board_begins(state)
    vector = padded_empty(begins + shared_scalars.size, state.dtype)
    vector[: state.size], vector[state.size : begins], vector[begins:] = state, 0, shared_scalars
    return vector


def unpack_shared(vector: np.ndarray, model: SharedModel) -> tuple[np.ndarray, np.ndarray | None]:
    """Views of the state and of the shared_scalars in what :func:`pack_shared` made."""
    state = vector[: model.size]
    if vector.size == model.size:
        return state, None
    return state, vector[_board_begins(state) :].view(np.float64)


def _board_begins(state: np.ndarray) -> int:
    """Behind the state, so that no cache line holds parts of both."""
    return (state.nbytes // CACHE_LINE_PAD + 2) * CACHE_LINE_PAD // state.itemsize
