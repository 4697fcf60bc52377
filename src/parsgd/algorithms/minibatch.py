"""Synchronous mini-batch SGD: each worker takes a slice of every batch, and the summed gradients make one step.

work: the summed gradients of the worker's slice.  quorum: all.  combine: one step of the model's solver along
``sum_i g_i / sum_i weight_i``.  So any number of workers gives what one gives on the whole batch, to rounding.

Dekel, Gilad-Bachrach, Shamir, Xiao, "Optimal Distributed Online Prediction Using Mini-Batches", JMLR 13, 2012.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.core import Budget, Merge, Model, Pulse, Report, Shard, Standing, Synchronous, Task
from parsgd.errors import DivergedError, InvalidArgument

# Where the model takes single rows, there would be nothing to share.
_FALLBACK_BATCH = 256


@dataclass(frozen=True)
class MiniBatch(Synchronous):
    """Exact parallel mini-batch SGD.

    Every step waits for all workers and for one message each way (about half a millisecond with threads), so it pays
    for steps that take some milliseconds: large networks, large batches.  :class:`Local` talks less often.

    Parameters
    ----------
    batch_size : int or None
        Rows a step, of all workers together.  None: the model's own batch size, or 256 where that is 1.

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
    sampling = "shared"
    sends = "slope"
    common_clock = True

    def __post_init__(self) -> None:
        size = self.batch_size
        if size is not None and not (isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size >= 1):
            raise InvalidArgument(
                f"The 'batch_size' parameter of MiniBatch must be an int from 1 on, or None. Got {size!r} instead."
            )

    def size(self, model: Model) -> int:
        """Rows of a batch."""
        if self.batch_size is not None:
            return int(self.batch_size)
        return model.batch_size if model.batch_size > 1 else _FALLBACK_BATCH

    def budget(self, standing: Standing, worker: int) -> Budget:
        # a round is a batch, whose size the model knows: see work
        return Budget(standing.shard_rows[worker])

    def work(self, model: Model, shard: Shard, task: Task, pulse: Pulse) -> Report:
        """The summed gradients of this worker's slice of the batch that the round's number stands for."""
        began = time.perf_counter()
        rows, batch = self._batch(model, shard, task)
        n = len(batch)
        first, end = (-(-n * worker // task.n_workers) for worker in (task.worker, task.worker + 1))
        slopes, tally = model.slope(task.state, rows, batch, first, end, task.clock, task.seed)
        if not np.isfinite(tally.objective).all():
            epoch = task.round // max(1, -(-task.source_rows // self.size(model))) + 1
            raise DivergedError(
                f"Floating-point under-/overflow occurred at epoch #{epoch}, in round {task.round}: the loss is no"
                " number. Scaling input data with StandardScaler or MinMaxScaler might help, as might a smaller"
                " learning rate."
            )
        pulse(task.worker, end - first, _Loss(model.total_loss(tally.loss) / max(end - first, 1)))
        spent = time.perf_counter() - began
        if task.slowdown > 1.0:
            time.sleep(spent * (task.slowdown - 1.0))
        return Report(
            worker=task.worker,
            round=task.round,
            state=slopes,
            steps=int(end > first),
            examples=end - first,
            loss=tally.loss,
            objective=tally.objective,
            seconds=time.perf_counter() - began,
            clock=task.clock + 1.0,
            gains=task.gains,
            log_contraction=model.log_contraction(task.clock, 1),
        )

    def _batch(self, model: Model, shard: Shard, task: Task) -> tuple[Any, np.ndarray]:
        """The rows and the order of the batch: with the shared order, all workers know it by its number alone."""
        size = self.size(model)
        epoch, number = divmod(task.round, max(1, -(-task.source_rows // size)))
        block = next(iter(shard.blocks(task.seed, epoch)))
        return block.rows, block.order[number * size : (number + 1) * size]

    def combine(self, standing: Standing, reports: Sequence[Report]) -> Merge:
        examples = np.array([report.examples for report in reports], dtype=float)
        if not examples.any():
            return Merge(standing.state, examples)
        total = reports[0].state.copy()
        with np.errstate(over="ignore", invalid="ignore"):
            for report in reports[1:]:
                total += report.state
        moved = next(report for report in reports if report.examples)
        state = standing.model.step(standing.state, total, moved.clock - 1.0, moved.gains)
        return Merge(state, examples / examples.sum())


class _Loss:
    """What the pulse asks of a descent."""

    def __init__(self, loss: float):
        self.loss = loss

    def mean_loss(self) -> float:
        return self.loss
