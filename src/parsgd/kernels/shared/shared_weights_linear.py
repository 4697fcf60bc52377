"""SGD runs of linear models on weights that other workers update too.

Steps are made on a copy of the weights (:mod:`parsgd.kernels.shared.private_weights`) and counted by shared scalars
(:mod:`parsgd.kernels.shared.shared_weights`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from parsgd.kernels.linear import multi, single
from parsgd.kernels.linear.row_ops import U, count_values_per_row
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
from parsgd.kernels.lowlevel.atomics import unlock
from parsgd.kernels.lowlevel.compiling import called, inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.schedules import compute_learning_rate
from parsgd.kernels.shared import shared_scalars as shared
from parsgd.kernels.shared.private_weights import PrivateWeights, adopt_folds, exchange_next, exchange_row
from parsgd.kernels.shared.shared_weights import begin_chunk, end_chunk

if TYPE_CHECKING:
    import numpy as np

    from parsgd.kernels.linear.hyperparams import Hyperparams

_run_single = single.make_run(inlined, True, True)
_run_softmax = multi.make_run(inlined, True, True, True)
_run_multi = multi.make_run(inlined, False, True, True)
# Rows of a chunk.  One access to the shared scalars costs about as much as a few short rows.
_MAX_CHUNK_ROWS, _MIN_CHUNK_ROWS = 256, 8
# Most that the l2 penalty may shrink the weights in a chunk, about.
_MAX_SHRINK = 0.1


@inlined
def compute_chunk_rows(shared_scalars: np.ndarray, schedule_step: float, hyperparams: Hyperparams) -> int:
    """Return the number of rows of the next chunk.

    All workers correct the intercept for the same error, and their corrections are added.  So the steps of all workers
    in a chunk are limited to about ``1 / (eta decay)``, which together make up the whole correction.
    """
    rows, eta = float(_MAX_CHUNK_ROWS), compute_learning_rate(hyperparams, schedule_step)
    if hyperparams.fit_intercept:
        steps = 1.0 / (eta * hyperparams.intercept_decay * shared_scalars[shared.N_WORKERS, 0])
        rows = smaller(rows, steps * hyperparams.batch_size)
    if hyperparams.has_l2:
        steps = _MAX_SHRINK / larger(eta * hyperparams.alpha * (1.0 - hyperparams.l1_ratio), 1e-300)
        rows = smaller(rows, steps * hyperparams.batch_size)
    rows = larger(float(_MIN_CHUNK_ROWS), rows)
    return larger(1, int(rows) // hyperparams.batch_size) * hyperparams.batch_size


@called
def read_shared_scalars(
    shared_scalars: np.ndarray,
    w: np.ndarray,
    n_outputs: int,
    tiny: float,
    run_state: np.ndarray,
    private: PrivateWeights,
) -> None:
    """Begin a chunk: copy the shared scalars into the run state."""
    begin_chunk(shared_scalars, w, n_outputs, tiny)
    adopt_folds(shared_scalars, private)
    for k in range(n_outputs):
        run_state[SCALE, k] = run_state[START_SCALE, k] = shared_scalars[shared.SCALE, k]
        run_state[INTERCEPT, k] = run_state[START_INTERCEPT, k] = shared_scalars[shared.INTERCEPT, k]
        run_state[TOTAL_PENALTY, k] = run_state[START_TOTAL_PENALTY, k] = shared_scalars[shared.TOTAL_PENALTY, k]
        run_state[SCHEDULE_STEP, k] = run_state[START_SCHEDULE_STEP, k] = shared_scalars[shared.SCHEDULE_STEP, 0]
    unlock(shared_scalars)


@called
def add_to_shared_scalars(shared_scalars: np.ndarray, run_state: np.ndarray, n_outputs: int) -> None:
    """End a chunk: add its changes to the shared scalars.

    A worker's increments of the weights count by ``1 / K`` where others have moved them too.  So do its penalty and its
    schedule steps, but for a penalty that takes most of the weights: increments are stored in units of the scale.
    """
    end_chunk(shared_scalars)
    share = 1.0 / shared_scalars[shared.N_WORKERS, 0]
    shared_scalars[shared.SCHEDULE_STEP, 0] += share * (run_state[SCHEDULE_STEP, 0] - run_state[START_SCHEDULE_STEP, 0])
    for k in range(n_outputs):
        shrink = run_state[SCALE, k] / run_state[START_SCALE, k]
        shared_scalars[shared.SCALE, k] *= shrink**share if shrink > 0.5 else shrink
        shared_scalars[shared.INTERCEPT, k] += run_state[INTERCEPT, k] - run_state[START_INTERCEPT, k]
        penalty = run_state[TOTAL_PENALTY, k] - run_state[START_TOTAL_PENALTY, k]
        shared_scalars[shared.TOTAL_PENALTY, k] += share * penalty
        # the value after the last worker's chunk is the schedule step of all
        run_state[SCHEDULE_STEP, k] = shared_scalars[shared.SCHEDULE_STEP, 0]
    unlock(shared_scalars)


def _make_shared_run(is_multi, is_softmax):
    """Make the kernel that alternates between chunks of steps and exchanges with the shared scalars and weights."""

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
        private,
    ):
        n_outputs, values_per_row = hyperparams.n_outputs, count_values_per_row(x) * hyperparams.n_outputs
        token = release_gil((stop - start) * values_per_row >= hyperparams.release_gil_from)
        v, v_l1 = private.own, private.own_l1
        while start < stop:
            first = start
            read_shared_scalars(shared_scalars, w, n_outputs, tiny, run_state, private)
            end = smaller(stop, start + compute_chunk_rows(shared_scalars, run_state[SCHEDULE_STEP, 0], hyperparams))
            if not is_multi:
                start = _run_single(
                    x, y, weight, order, start, end, v, mean, v_l1, buffer, scratch, tiny, run_state, hyperparams
                )
            elif is_softmax:
                start = _run_softmax(
                    x, y, weight, order, start, end, v, mean, v_l1, buffer, scratch, tiny, run_state, hyperparams
                )
            else:
                start = _run_multi(
                    x, y, weight, order, start, end, v, mean, v_l1, buffer, scratch, tiny, run_state, hyperparams
                )
            share = 1.0 / shared_scalars[shared.N_WORKERS, 0]
            exchange_row(x, order[U(start - 1)], w, applied_l1, private, share, n_outputs)
            exchange_next(w, applied_l1, private, share, (start - first) * values_per_row)
            add_to_shared_scalars(shared_scalars, run_state, n_outputs)
        reacquire_gil(token)

    return run_shared


run_shared_single: Callable[..., None] = _make_shared_run(False, False)
run_shared_softmax: Callable[..., None] = _make_shared_run(True, True)
run_shared_multi: Callable[..., None] = _make_shared_run(True, False)
