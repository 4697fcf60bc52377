"""SGD runs of linear models on weights that other workers update too (:mod:`parsgd.kernels.linear.shared_weights`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from parsgd.kernels.linear import multi, single
from parsgd.kernels.linear import shared_scalars as shared
from parsgd.kernels.linear.row_ops import count_values_per_row
from parsgd.kernels.linear.run_state import (
    INTERCEPT,
    SCALE,
    SCHEDULE_STEP,
    START_INTERCEPT,
    START_SCALE,
    START_SCHEDULE_STEP,
    START_TOTAL_PENALTY,
    TOTAL_PENALTY,
)
from parsgd.kernels.linear.shared_weights import begin_chunk, end_chunk
from parsgd.kernels.lowlevel.atomics import unlock
from parsgd.kernels.lowlevel.compiling import called, inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.schedules import compute_learning_rate

if TYPE_CHECKING:
    import numpy as np

    from parsgd.kernels.linear.hyperparams import Hyperparams

_run_single = single.make_run(inlined, True, True)
_run_softmax = multi.make_run(inlined, True, True, True)
_run_multi = multi.make_run(inlined, False, True, True)
# Rows of a chunk.  One access to the shared scalars costs about as much as a few short rows.
_MAX_CHUNK_ROWS, _MIN_CHUNK_ROWS = 256, 8


@inlined
def compute_chunk_rows(shared_scalars: np.ndarray, schedule_step: float, hyperparams: Hyperparams) -> int:
    """Return the number of rows of the next chunk.

    All workers correct the intercept for the same error, and their corrections are added.  So the steps of all workers
    in a chunk are limited to about ``1 / (eta decay)``, which together make up the whole correction.
    """
    rows = float(_MAX_CHUNK_ROWS)
    if hyperparams.fit_intercept:
        eta = compute_learning_rate(hyperparams, schedule_step)
        steps = 1.0 / (eta * hyperparams.intercept_decay * shared_scalars[shared.N_WORKERS, 0])
        rows = larger(float(_MIN_CHUNK_ROWS), smaller(rows, steps * hyperparams.batch_size))
    return larger(1, int(rows) // hyperparams.batch_size) * hyperparams.batch_size


@called
def read_shared_scalars(
    shared_scalars: np.ndarray, w: np.ndarray, n_outputs: int, tiny: float, run_state: np.ndarray
) -> None:
    """Begin a chunk: copy the shared scalars into the run state."""
    begin_chunk(shared_scalars, w, n_outputs, tiny)
    for k in range(n_outputs):
        run_state[SCALE, k] = run_state[START_SCALE, k] = shared_scalars[shared.SCALE, k]
        run_state[INTERCEPT, k] = run_state[START_INTERCEPT, k] = shared_scalars[shared.INTERCEPT, k]
        run_state[TOTAL_PENALTY, k] = run_state[START_TOTAL_PENALTY, k] = shared_scalars[shared.TOTAL_PENALTY, k]
        run_state[SCHEDULE_STEP, k] = run_state[START_SCHEDULE_STEP, k] = shared_scalars[shared.SCHEDULE_STEP, 0]
    unlock(shared_scalars)


@called
def add_to_shared_scalars(shared_scalars: np.ndarray, run_state: np.ndarray, n_outputs: int) -> None:
    """End a chunk: add its changes to the shared scalars."""
    end_chunk(shared_scalars)
    shared_scalars[shared.SCHEDULE_STEP, 0] += run_state[SCHEDULE_STEP, 0] - run_state[START_SCHEDULE_STEP, 0]
    for k in range(n_outputs):
        shared_scalars[shared.SCALE, k] *= run_state[SCALE, k] / run_state[START_SCALE, k]
        shared_scalars[shared.INTERCEPT, k] += run_state[INTERCEPT, k] - run_state[START_INTERCEPT, k]
        shared_scalars[shared.TOTAL_PENALTY, k] += run_state[TOTAL_PENALTY, k] - run_state[START_TOTAL_PENALTY, k]
        # the value after the last worker's chunk is the schedule step of all
        run_state[SCHEDULE_STEP, k] = shared_scalars[shared.SCHEDULE_STEP, 0]
    unlock(shared_scalars)


def _make_shared_run(is_multi, is_softmax):
    """Make the kernel that alternates between chunks of steps and access to the shared scalars."""

    @kernel
    def run_shared(
        x,
        y,
        weight,
        order,
        start,
        stop,
        w,
        mean,
        applied_l1,
        buffer,
        scratch,
        tiny,
        run_state,
        hyperparams,
        shared_scalars,
    ):
        n_outputs = hyperparams.n_outputs
        token = release_gil((stop - start) * count_values_per_row(x) * n_outputs >= hyperparams.release_gil_from)
        while start < stop:
            read_shared_scalars(shared_scalars, w, n_outputs, tiny, run_state)
            end = smaller(stop, start + compute_chunk_rows(shared_scalars, run_state[SCHEDULE_STEP, 0], hyperparams))
            if not is_multi:
                start = _run_single(
                    x, y, weight, order, start, end, w, mean, applied_l1, buffer, scratch, tiny, run_state, hyperparams
                )
            elif is_softmax:
                start = _run_softmax(
                    x, y, weight, order, start, end, w, mean, applied_l1, buffer, scratch, tiny, run_state, hyperparams
                )
            else:
                start = _run_multi(
                    x, y, weight, order, start, end, w, mean, applied_l1, buffer, scratch, tiny, run_state, hyperparams
                )
            add_to_shared_scalars(shared_scalars, run_state, n_outputs)
        reacquire_gil(token)

    return run_shared


run_shared_single: Callable[..., None] = _make_shared_run(False, False)
run_shared_softmax: Callable[..., None] = _make_shared_run(True, True)
run_shared_multi: Callable[..., None] = _make_shared_run(True, False)
