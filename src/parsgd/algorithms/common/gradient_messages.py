"""Gradient messages: computing the summed gradient of a batch on a worker, and applying the sum on the driver."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from parsgd.algorithms.merging.merge_weights import by_examples
from parsgd.core import (
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Rows,
    Task,
    has_averaging,
    has_gradients,
    has_optimizer_state,
)
from parsgd.errors import diverged

# Batch size for models with batches of one row: a message per row would cost more than its gradient.
_DEFAULT_BATCH = 256


class BatchSlice(NamedTuple):
    """Examples of a batch that one worker sums: row numbers ``batch[first:end]``; ``epoch`` counts from 0."""

    rows: Rows
    batch: np.ndarray
    first: int
    end: int
    epoch: int


def effective_batch_size(batch_size: int | None, model: Model) -> int:
    """Return the batch size: ``batch_size`` if set, else the model's, or 256 where that is 1."""
    if batch_size is not None:
        return int(batch_size)
    return model.batch_size if model.batch_size > 1 else _DEFAULT_BATCH


def report_gradient(model: Model, task: Task, part: BatchSlice, progress: ProgressCallback, began: float) -> Report:
    """Report the summed gradients of a slice of a batch at the task's state, timed from ``began``."""
    assert has_gradients(model)
    n = part.end - part.first
    gradients, totals = model.gradient_sum(task.state, *part[:4], task.schedule_step, task.seed)
    if not np.isfinite(totals.objective).all():
        what = f"the objective of worker {task.worker} became NaN or infinite in round {task.round}"
        raise diverged(model.divergence, part.epoch + 1, what)
    progress(task.worker, n, _Loss(model.total_loss(totals.loss) / max(n, 1)))
    if task.slowdown > 1.0:
        time.sleep((time.perf_counter() - began) * (task.slowdown - 1.0))
    return Report(
        worker=task.worker,
        round=task.round,
        state=gradients,
        steps=int(n > 0),
        examples=n,
        loss=totals.loss,
        objective=totals.objective,
        seconds=time.perf_counter() - began,
        schedule_step=task.schedule_step + float(n > 0),
        lr_scale=task.lr_scale,
        log_contraction=model.log_contraction(task.schedule_step, 1) if has_averaging(model) else 0.0,
    )


def apply_gradients(fit_state: FitState, reports: Sequence[Report], gradients: Sequence[np.ndarray]) -> MergeResult:
    """Apply one step of the model's solver along the sum of the reported gradients.

    An optimizer state outside of the model's state is the memory of the algorithm.
    """
    weights = by_examples([report.examples for report in reports])
    if not weights.any():
        return MergeResult(fit_state.state, weights, fit_state.memory)
    total = gradients[0].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for gradient in gradients[1:]:
            total += gradient
    after, n_rows = fit_state.examples + sum(report.examples for report in reports), max(fit_state.n_rows, 1)
    ends_epoch = after // n_rows > fit_state.examples // n_rows
    place = (fit_state.model, fit_state.state, total, fit_state.schedule_step, fit_state.lr_scale)
    state, optimizer_state = step_along(*place, fit_state.memory, ends_epoch)
    return MergeResult(state, weights, optimizer_state)


def step_along(
    model: Model,
    state: np.ndarray,
    gradient: np.ndarray,
    schedule_step: float,
    lr_scale: np.ndarray,
    optimizer_state: Any,
    ends_epoch: bool,
) -> tuple[np.ndarray, Any]:
    """Return the state after one step of the model's solver along a summed gradient, and the optimizer's state.

    The optimizer's state is None for a model whose state contains it.
    """
    assert has_gradients(model)
    if has_optimizer_state(model):
        return model.optimizer_step(state, gradient, schedule_step, lr_scale, optimizer_state, ends_epoch)
    return model.apply_gradient(state, gradient, schedule_step, lr_scale), None


class _Loss:
    """Mean loss of one batch, for the progress callback."""

    def __init__(self, loss: float):
        self.loss = loss

    def mean_loss(self) -> float:
        return self.loss
