"""Gradients of a network summed over part of a batch, and the solver's step along the sum over the whole batch.

Used by algorithms with gradient messages.  :mod:`parsgd.kernels.network.network_steps` has the formulas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.core.round_group import LOSS, LOSS_FACTOR, PENALTY_SUM
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.lowlevel.routines import call_kernel, call_kernel_for_count
from parsgd.kernels.network.layer_updates import compute_network_rate, step_range
from parsgd.kernels.network.network_types import (
    FIRST_LAYER_SCALE,
    FIRST_STEP,
    LR_SCALE,
    PENALTY_FRACTION,
    ROW_OFFSET,
    SCHEDULE_STEP,
)
from parsgd.kernels.network.network_types import LOSS as RUN_LOSS

if TYPE_CHECKING:
    from parsgd.kernels.network.network_types import NetworkHyperparams, NetworkLayout

U = np.uint64


@inlined
def sum_weights(weight: np.ndarray, order: np.ndarray, first: int, end: int) -> float:
    """Return the summed weight of the examples ``order[first:end]``; all weights are 1 if ``weight`` is empty."""
    if weight.shape[0] == 0:
        return np.float64(end - first)
    total = 0.0
    for i in range(U(first), U(end)):
        total += weight[U(order[i])]
    return total


@kernel
def sum_network_gradients(
    x,
    y,
    weight: np.ndarray,
    order: np.ndarray,
    start: int,
    first: int,
    end: int,
    stop: int,
    schedule_step: float,
    totals: np.ndarray,
    out: np.ndarray,
    run_address: int,
    norms_address: int,
    first_step: float,
    w: np.ndarray,
    moment1: np.ndarray,
    moment2: np.ndarray,
    buffers,
    layout,
    hyperparams,
    run_state: np.ndarray,
    shared_scalars: np.ndarray,
) -> None:
    """Sum the gradients of the examples ``order[first:end]`` of the batch ``order[start:stop]``.

    ``out``: ``buffers.gradient``, which receives the sums, followed by the summed weight of the examples.  ``totals``
    ``(3, 1)``: receives their contribution to the loss of the batch, 1 and 0.  ``run_address``, ``norms_address``: of
    the run without a step and of ``compute_squared_norms``, 0 if the loss has no penalty.
    """
    n, part = end - first, sum_weights(weight, order, first, end)
    totals[LOSS, 0], totals[LOSS_FACTOR, 0], totals[PENALTY_SUM, 0] = 0.0, 1.0, 0.0
    out[U(out.shape[0] - 1)] = part
    if not part > 0.0:
        out[:-1] = 0.0
        return
    run_state[:] = 0.0
    run_state[SCHEDULE_STEP], run_state[FIRST_STEP] = schedule_step, first_step
    run_state[FIRST_LAYER_SCALE], run_state[LR_SCALE] = 1.0, 1.0
    run_state[ROW_OFFSET], run_state[PENALTY_FRACTION] = first - start, n / (stop - start)
    if norms_address != 0:
        call_kernel(norms_address, (w, layout, run_state))
    steps = (w, moment1, moment2, buffers, layout, hyperparams, run_state, shared_scalars)
    call_kernel_for_count(run_address, (x, y, weight, order, first, end, *steps))
    # the run has divided by the weight of these examples, not of the batch
    whole = sum_weights(weight, order, start, stop)
    totals[LOSS, 0] = run_state[RUN_LOSS] * (part / n) * ((stop - start) / whole)


@kernel
def step_network(
    begin: int,
    end: int,
    batch_weight: float,
    schedule_step: float,
    gradient: np.ndarray,
    first_step: float,
    lr_scale: np.ndarray,
    w: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    layout: NetworkLayout,
    hyperparams: NetworkHyperparams,
    run_state: np.ndarray,
) -> None:
    """Take one step on the parameters ``[begin, end)`` along ``gradient``, sums of examples of ``batch_weight``."""
    if not batch_weight > 0.0 or lr_scale[0] == 0.0:
        return
    token = release_gil(end - begin >= hyperparams.release_gil_from)
    run_state[SCHEDULE_STEP], run_state[FIRST_STEP], run_state[LR_SCALE] = schedule_step, first_step, lr_scale[0]
    eta = compute_network_rate(hyperparams, run_state)
    step_range(hyperparams, layout, w, first, second, gradient, begin, end, batch_weight, eta, schedule_step)
    reacquire_gil(token)
