"""What algorithms whose messages are gradients have in common: sending the slope of a batch, and stepping along it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from parsgd.core import FitState, MergeResult, Model, ProgressCallback, Report, Rows, Task
from parsgd.errors import DivergedError

# Where the model takes single rows, a message would carry next to nothing.
_FALLBACK_BATCH = 256


class BatchSlice(NamedTuple):
    """``batch[first:end]``: the examples of a batch, as row numbers, that one worker sums; ``epoch`` counts from 0."""

    rows: Rows | None
    batch: np.ndarray
    first: int
    end: int
    epoch: int


def effective_batch_size(batch_size: int | None, model: Model) -> int:
    """Rows of a batch: as asked for, or else the model's own number, or 256 where that is 1."""
    if batch_size is not None:
        return int(batch_size)
    return model.batch_size if model.batch_size > 1 else _FALLBACK_BATCH


def report_gradient(model: Model, task: Task, part: BatchSlice, pulse: ProgressCallback, began: float) -> Report:
    """The summed gradients of a part of a batch where the task's state stands, after work since ``began``."""
    n = part.end - part.first
    slopes, totals = model.gradient_sum(task.state, *part[:4], task.schedule_step, task.seed)
    if not np.isfinite(totals.objective).all():
        raise DivergedError(
            f"Floating-point under-/overflow occurred at epoch #{part.epoch + 1}, in round {task.round}: the loss is no"
            " number. Scaling input data with StandardScaler or MinMaxScaler might help, as might a smaller"
            " learning rate."
        )
    pulse(task.worker, n, _Loss(model.total_loss(totals.loss) / max(n, 1)))
    if task.slowdown > 1.0:
        time.sleep((time.perf_counter() - began) * (task.slowdown - 1.0))
    return Report(
        worker=task.worker,
        round=task.round,
        state=slopes,
        steps=int(n > 0),
        examples=n,
        loss=totals.loss,
        objective=totals.objective,
        seconds=time.perf_counter() - began,
        schedule_step=task.schedule_step + float(n > 0),
        lr_scale=task.lr_scale,
        log_contraction=model.log_contraction(task.schedule_step, 1),
    )


def apply_gradients(standing: FitState, reports: Sequence[Report], slopes: Sequence[np.ndarray]) -> MergeResult:
    """One step of the model's solver along the sum of the reports' slopes, at the present rate."""
    examples = np.array([report.examples for report in reports], dtype=float)
    if not examples.any():
        return MergeResult(standing.state, examples)
    total = slopes[0].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for slope in slopes[1:]:
            total += slope
    state = standing.model.apply_gradient(standing.state, total, standing.schedule_step, standing.lr_scale)
    return MergeResult(state, examples / examples.sum())


class _Loss:
    """What the pulse asks of a descent."""

    def __init__(self, loss: float):
        self.loss = loss

    def mean_loss(self) -> float:
        return self.loss
