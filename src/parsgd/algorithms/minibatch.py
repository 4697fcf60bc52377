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

from parsgd.algorithms.common.gradient_messages import (
    BatchSlice,
    apply_gradients,
    effective_batch_size,
    report_gradient,
)
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
    requires=frozenset({"gradients"}), partition="common_order", message="gradient", common_schedule_step=True
)


@dataclass(frozen=True)
class MiniBatch(SynchronousAlgorithm):
    """Exact parallel mini-batch SGD.

    Every step waits for all workers and for one message each way (about half a millisecond with threads).  The
    algorithm is therefore for steps that take some milliseconds: large networks or large batches.  :class:`LocalSGD`
    communicates less often.

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
        # a round is a batch, and run() determines its size
        return TaskSpec(Budget(fit_state.shard_rows[worker]))

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        """Report the summed gradients of this worker's slice of the batch with the round's number."""
        began = time.perf_counter()
        return report_gradient(model, task, self._slice(model, shard, task), progress, began)

    def _slice(self, model: Model, shard: Shard, task: Task) -> BatchSlice:
        """Return the worker's slice; all workers find the batch from its number in the common order."""
        size = self.rows_per_step(model)
        epoch, number = divmod(task.round, max(1, -(-task.source_rows // size)))
        begin = number * size
        rows, batch = visits(shard.blocks(task.seed, epoch, begin), min(size, task.source_rows - begin))
        first, end = (-(-len(batch) * worker // task.n_workers) for worker in (task.worker, task.worker + 1))
        return BatchSlice(rows, batch, first, end, epoch)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        return apply_gradients(fit_state, reports, [report.state for report in reports])
