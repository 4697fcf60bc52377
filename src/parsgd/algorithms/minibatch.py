"""Synchronous mini-batch SGD.

Dekel, Gilad-Bachrach, Shamir, Xiao, "Optimal Distributed Online Prediction Using Mini-Batches", JMLR 13, 2012.

Round: the worker runs its slice of the batch and sends the summed gradient; the driver waits for all reports;
merge = one step of the model's solver along ``sum_i g_i / sum_i weight_i``.  Up to rounding, any number of workers
gives the result of one worker on the whole batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.algorithms.common.gradient_messages import (
    BatchSlice,
    apply_gradients,
    effective_batch_size,
    report_gradient,
)
from parsgd.algorithms.merging.merge_weights import by_examples
from parsgd.core import (
    AlgorithmTraits,
    Budget,
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
from parsgd.errors import check_count
from parsgd.utils.row_arrays import visits

_TRAITS = AlgorithmTraits(
    requires=frozenset({"gradients"}),
    partition="common_order",
    message="gradient",
    planned="gradient",
    common_schedule_step=True,
)


@dataclass(frozen=True)
class MiniBatch(SynchronousAlgorithm):
    """Exact parallel mini-batch SGD.

    Every step waits for all workers twice: some microseconds with threads, whose batches run in compiled code, and some
    milliseconds on other engines, where each way takes a message.  Each worker also sends a gradient of all parameters.
    The algorithm is therefore for large batches and large networks.  :class:`LocalSGD` communicates less often.

    Parameters
    ----------
    batch_size : int or None
        Rows per step, over all workers.  Default: the model's own batch size, or 256 where that is 1.

    Examples
    --------
    >>> from parsgd import MiniBatch, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=MiniBatch(32), n_jobs=2, max_iter=5, tol=None, random_state=0)
    >>> model.fit(scale(X), y).score(scale(X), y) > 0.9
    True
    """

    batch_size: int | None = None

    name = "minibatch"

    @property
    def traits(self) -> AlgorithmTraits:
        return _TRAITS

    def __post_init__(self) -> None:
        check_count(self.batch_size, "batch_size", "MiniBatch")

    def rows_per_step(self, model: Model) -> int:
        return effective_batch_size(self.batch_size, model)

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        size = self.rows_per_step(fit_state.model)
        rows = _place(fit_state.round, size, fit_state.n_rows)[2]
        first, end = _slice(rows, worker, fit_state.n_workers)
        return TaskSpec(Budget(end - first))

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        """Report the summed gradients of this worker's slice of the batch with the round's number."""
        began = time.perf_counter()
        epoch, begin, n_rows = _place(task.round, self.rows_per_step(model), task.source_rows)
        rows, batch = visits(shard.blocks(task.seed, epoch, begin), n_rows)
        part = BatchSlice(rows, batch, *_slice(len(batch), task.worker, task.n_workers), epoch)
        return report_gradient(model, task, part, progress, began)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        return apply_gradients(fit_state, reports, [report.state for report in reports])

    def merge_weights(self, fit_state: FitState, reports: Sequence[Report]) -> np.ndarray:
        return by_examples([report.examples for report in reports])


def _place(number: int, size: int, n_rows: int) -> tuple[int, int, int]:
    """Return epoch, start and length of a batch, from its number in the common order of ``n_rows`` rows."""
    epoch, batch = divmod(number, max(1, -(-n_rows // size)))
    begin = batch * size
    return epoch, begin, min(size, n_rows - begin)


def _slice(n_rows: int, worker: int, n_workers: int) -> tuple[int, int]:
    """Return start and end of a worker's slice of a batch."""
    return -(-n_rows * worker // n_workers), -(-n_rows * (worker + 1) // n_workers)
