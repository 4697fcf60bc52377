"""Hogwild: lock-free SGD on one state in shared memory.

Niu, Recht, Re, Wright, "Hogwild!: A Lock-Free Approach to Parallelizing Stochastic Gradient Descent", NIPS 2011.

Round: the worker runs one pass over its shard on the shared state; the driver waits for all reports; merge = the shared
state, unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging import merge_weights
from parsgd.core import (
    AlgorithmTraits,
    Budget,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SharedModel,
    SynchronousAlgorithm,
    Task,
    TaskSpec,
    has_shared_steps,
)
from parsgd.core.padded import PAIR_BYTES, padded_empty, private_copy
from parsgd.errors import check_between

_TRAITS = AlgorithmTraits(requires=frozenset({"shared_memory", "shared_steps"}), common_schedule_step=True)


@dataclass(frozen=True)
class Hogwild(SynchronousAlgorithm):
    """Lock-free SGD on shared memory, for sparse rows.

    Each worker visits its own rows and updates weights ``w`` that all workers share.  No worker waits for another one
    within a pass.  For the features ``v`` of a row,

    ``w_v = w_v - eta g(w) x_v``

    regardless of concurrent updates.  Of two simultaneous updates to one weight, one may be lost.

    Linear models make these steps on a copy of the weights for each worker.  A cache line that one core has written
    must be transferred before another core can continue, and with shared weights that is nearly every line.  A worker
    adds its increments to the shared weights, and takes theirs, a part at a time: after 256 rows the features of one
    row and the next part of all weights.  An increment counts in full if no other worker has moved the weight since
    the last time, else by ``1 / K`` for K workers, as in an average.  The l2 and l1 penalties and the schedule count
    the mean of the workers' steps.  Corrections of the intercept are added.

    Networks step on the shared weights themselves.  The increments of their shared scalars are added.

    On two cores two workers made 2.4 times the rows per second of one on sparse rows with 47,000 features, 1.7 times on
    sparse rows with two million features, and 1.8 times on dense rows.  The objective after five passes was 0.2 %
    (sparse) and 1 % (dense) higher than one worker's, as medians (benchmarks/single/hogwild.py).

    Use it for linear models if workers of one machine are slowed by other work, so that they should not wait.  Do not
    use it for reproducible fits: with several workers the result depends on their timing.  Networks write every
    weight in every step, so that workers wait for each other's cache lines and overwrite each other's steps.

    It requires an engine with shared memory (``engine="threads"``) and a model that supports concurrent steps, so not
    one that averages its iterates.  A round is a pass over the rows; one worker is serial SGD.

    Parameters
    ----------
    seconds : float or None
        Length of a round in seconds.  Default: one pass.

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

    @property
    def traits(self) -> AlgorithmTraits:
        return _TRAITS

    def __post_init__(self) -> None:
        check_between(self.seconds, 0, float("inf"), "seconds", "Hogwild", optional=True)

    def init_memory(self, fit_state: FitState) -> np.ndarray:
        assert has_shared_steps(fit_state.model)
        return pack_shared(fit_state.model, fit_state.state, fit_state.schedule_step, fit_state.n_workers)

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        """Return a task on the vector that all workers update; no other algorithm changes a task's state in a run."""
        n_rows = fit_state.shard_rows[worker]
        budget = Budget(n_rows if self.seconds is None else n_rows * fit_state.max_epochs, self.seconds)
        return TaskSpec(budget, fit_state.memory)

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        assert has_shared_steps(model)
        state, shared_scalars = unpack_shared(task.state, model)
        start_run = model.sgd_run if shared_scalars is None else partial(model.sgd_run, shared_scalars=shared_scalars)
        return replace(run(model, shard, task, progress, state=state, start_run=start_run), state=task.state)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        """Return the shared state in plain numbers, and a new shared vector for the next round."""
        weights = merge_weights.by_steps([report.steps for report in reports])
        if not weights.any():
            return MergeResult(fit_state.state, weights, fit_state.memory)
        model = fit_state.model
        assert has_shared_steps(model)
        state, shared_scalars = unpack_shared(reports[0].state, model)
        state = state.copy() if shared_scalars is None else model.from_shared(state, shared_scalars)
        schedule_step = max(report.schedule_step for report in reports)
        return MergeResult(state, weights, pack_shared(model, state, schedule_step, fit_state.n_workers))


def pack_shared(model: SharedModel, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
    """Return one vector of the state and the shared scalars; for a single worker, the state alone."""
    if n_workers == 1:
        return private_copy(state)
    shared_scalars = (
        np.ascontiguousarray(model.shared_scalars(state, schedule_step, n_workers)).reshape(-1).view(state.dtype)
    )
    offset = _scalars_offset(state)
    vector = padded_empty(offset + shared_scalars.size, state.dtype)
    vector[: state.size], vector[state.size : offset], vector[offset:] = state, 0, shared_scalars
    return vector


def unpack_shared(vector: np.ndarray, model: SharedModel) -> tuple[np.ndarray, np.ndarray | None]:
    """Return views of the state and the shared scalars in the result of :func:`pack_shared`."""
    state = vector[: model.size]
    if vector.size == model.size:
        return state, None
    return state, vector[_scalars_offset(state) :].view(np.float64)


def _scalars_offset(state: np.ndarray) -> int:
    """Return the offset of the shared scalars, on a cache line that holds no part of the state."""
    return (state.nbytes // PAIR_BYTES + 2) * PAIR_BYTES // state.itemsize
