"""Rounds in which each worker sends the summed gradient of the next batch of its own rows."""

from __future__ import annotations

import time

from parsgd.algorithms.common.gradient_messages import BatchSlice, effective_batch_size, report_gradient
from parsgd.core import (
    AlgorithmTraits,
    Budget,
    FitState,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SynchronousAlgorithm,
    Task,
    TaskSpec,
)
from parsgd.utils.row_arrays import visits

_TRAITS = AlgorithmTraits(requires=frozenset({"gradients"}), message="gradient", common_schedule_step=True)


class WorkerBatches(SynchronousAlgorithm):
    """Base class of algorithms whose workers send gradients of batches of their own rows, one report at a time.

    A subclass has the parameter ``batch_size``: rows per gradient, or None for the model's own batch size, or 256 where
    that is 1.  The last batch of a worker's epoch may be shorter.
    """

    batch_size: int | None

    @property
    def traits(self) -> AlgorithmTraits:
        return _TRAITS

    def rows_per_gradient(self, model: Model) -> int:
        """Return the number of rows of a worker's batch."""
        return effective_batch_size(self.batch_size, model)

    def rows_per_step(self, model: Model) -> int:
        return self.rows_per_gradient(model)

    def quorum(self, n_workers: int) -> int:
        return 1

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        n_rows = fit_state.shard_rows[worker]
        rest = n_rows - fit_state.cursors[worker] % max(n_rows, 1)
        return TaskSpec(Budget(min(self.rows_per_gradient(fit_state.model), rest)))

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        """Report the summed gradients of the batch at the worker's cursor."""
        began = time.perf_counter()
        epoch, skip = divmod(task.cursor, max(shard.n_rows, 1))
        rows, batch = visits(shard.blocks(task.seed, epoch, skip), task.budget.examples)
        return report_gradient(model, task, BatchSlice(rows, batch, 0, len(batch), epoch), progress, began)
