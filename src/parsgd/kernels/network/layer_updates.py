"""Parameter updates of a network's layers, from the layers' inputs ``a`` and their errors at ``e``.

==========  ==============================================================================================
fused       plain SGD: the product that gives the gradient is added to the weights directly
in blocks   the gradient of some rows of W, then the solver's step along it while it is in the cache
whole       the gradient of all parameters, then the solver's step
==========  ==============================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.lowlevel.compiling import called, inlined
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.gemm import get_address, multiply_outer
from parsgd.kernels.lowlevel.routines import call_routine_for_sum
from parsgd.kernels.network.layer_products import add_column_sums, add_sparse_outer, fill_zeros
from parsgd.kernels.network.network_types import (
    FIRST_LAYER_SCALE,
    FIRST_LAYER_SQUARED_NORM,
    FIRST_STEP,
    LR_SCALE,
    SCHEDULE_STEP,
)
from parsgd.kernels.network.solvers import sum_squares

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.network.network_types import NetworkHyperparams, NetworkLayout

U = np.uint64
# Smaller scales of the first layer are multiplied into its weights.
TINY_SCALE = 1e-6


# One function for dense and sparse rows: with two, the compiler shares other divisions, and the last bit changes.
@called
def step_fused(
    hyperparams: NetworkHyperparams,
    x: DenseRows | CsrRows,
    batch: tuple[np.ndarray, int, int],
    i: int,
    o: int,
    a: int,
    values: np.ndarray,
    e: int,
    w: np.ndarray,
    weight_start: int,
    batch_weight: float,
    eta: float,
    shrink: float,
    sparse: bool,
    run_state: np.ndarray,
) -> None:
    """Take a step of plain SGD on a layer's weights: the product that gives the gradient is the step."""
    order, position, rows = batch
    number = w.dtype.type
    if not sparse:
        errors, weights = get_address(values, e), get_address(w, weight_start)
        step = number(-eta / batch_weight)
        multiply_outer(hyperparams.gemm_address, rows, i, o, step, a, i, errors, number(shrink), weights)
        return
    # only the weights of the batch's features are moved; all of them shrink, by the scale
    shrink = 1.0 - eta * hyperparams.alpha / batch_weight
    if hyperparams.is_shared:
        # other workers use the weights: a tiny scale is folded before a later batch, when no worker is in a chunk
        run_state[FIRST_LAYER_SCALE] *= larger(shrink, TINY_SCALE)
    elif shrink < 0.5 or run_state[FIRST_LAYER_SCALE] < TINY_SCALE:
        scale = number(run_state[FIRST_LAYER_SCALE] * shrink)
        for k in range(U(i * o)):
            w[U(weight_start) + k] *= scale
        run_state[FIRST_LAYER_SQUARED_NORM] *= float(scale) * float(scale)
        run_state[FIRST_LAYER_SCALE] = 1.0
    else:
        run_state[FIRST_LAYER_SCALE] *= shrink
    alpha = number(-eta / batch_weight / run_state[FIRST_LAYER_SCALE])
    growth = add_sparse_outer(x, order, position, rows, o, alpha, values, e, w, weight_start)
    run_state[FIRST_LAYER_SQUARED_NORM] += growth


@called
def compute_layer_gradient(
    gemm_address: int,
    x: DenseRows | CsrRows,
    order: np.ndarray,
    position: int,
    rows: int,
    i: int,
    o: int,
    a: int,
    values: np.ndarray,
    e: int,
    gradient: np.ndarray,
    weight_start: int,
    sparse: bool,
) -> None:
    """Compute the summed gradients of a whole layer, weights and biases."""
    one = gradient.dtype.type(1)
    if sparse:
        fill_zeros(gradient, weight_start, i * o)
        add_sparse_outer(x, order, position, rows, o, one, values, e, gradient, weight_start)
    else:
        errors, weight_gradient = get_address(values, e), get_address(gradient, weight_start)
        multiply_outer(gemm_address, rows, i, o, one, a, i, errors, one - one, weight_gradient)
    fill_zeros(gradient, weight_start + i * o, o)
    add_column_sums(values, e, rows, o, gradient, weight_start + i * o, one)


@called
def step_in_blocks(
    hyperparams: NetworkHyperparams,
    rows: int,
    i: int,
    o: int,
    a: int,
    values: np.ndarray,
    e: int,
    w: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    gradient: np.ndarray,
    weight_start: int,
    batch_weight: float,
    eta: float,
    t: float,
) -> float:
    """Take the solver's step in blocks of rows of W; returns the sum of squares of W."""
    gemm_address, step_address, params = hyperparams.gemm_address, hyperparams.step_address, hyperparams.solver_params
    factor, decay, weight_decay = 1.0 / batch_weight, hyperparams.alpha / batch_weight, hyperparams.weight_decay
    number = w.dtype.type
    one = number(1)
    width = get_address(w, 1) - get_address(w, 0)
    height = larger(1, gradient.shape[0] // o)
    errors, block = get_address(values, e), get_address(gradient, 0)
    total = 0.0
    row = 0
    while row < i:
        h = smaller(height, i - row)
        multiply_outer(gemm_address, rows, h, o, one, a + row * width, i, errors, one - one, block)
        at = weight_start + row * o
        total += call_routine_for_sum(
            step_address, (w, first, second, gradient, at, 0, h * o, factor, decay, weight_decay, eta, t, params)
        )
        row += h
    fill_zeros(gradient, 0, o)
    add_column_sums(values, e, rows, o, gradient, 0, one)
    bias = weight_start + i * o
    call_routine_for_sum(step_address, (w, first, second, gradient, bias, 0, o, factor, 0.0, 0.0, eta, t, params))
    return total


@called
def step_range(
    hyperparams: NetworkHyperparams,
    layout: NetworkLayout,
    w: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    gradient: np.ndarray,
    begin: int,
    end: int,
    batch_weight: float,
    eta: float,
    t: float,
) -> float:
    """Take the solver's step on the parameters ``[begin, end)``; returns the sum of squares of the weights among them.

    All gradients are clipped to the norm ``clip``, if it is positive.
    """
    step_address, params = hyperparams.step_address, hyperparams.solver_params
    factor, decay, weight_decay = 1.0 / batch_weight, hyperparams.alpha / batch_weight, hyperparams.weight_decay
    sizes, weight_starts = layout.sizes, layout.weight_starts
    if hyperparams.clip > 0.0:
        total = 0.0
        for layer in range(weight_starts.shape[0]):
            total += sum_squares(gradient, weight_starts[layer], (sizes[layer] + 1) * sizes[layer + 1])
        length = np.sqrt(total) * factor
        if length > hyperparams.clip:
            factor *= hyperparams.clip / length
    squared_norm = 0.0
    for layer in range(weight_starts.shape[0]):
        bias = weight_starts[layer] + sizes[layer] * sizes[layer + 1]
        at = larger(begin, weight_starts[layer])
        n = larger(smaller(end, bias) - at, 0)
        squared_norm += call_routine_for_sum(
            step_address, (w, first, second, gradient, at, at, n, factor, decay, weight_decay, eta, t, params)
        )
        at = larger(begin, bias)
        n = larger(smaller(end, bias + sizes[layer + 1]) - at, 0)
        call_routine_for_sum(step_address, (w, first, second, gradient, at, at, n, factor, 0.0, 0.0, eta, t, params))
    return squared_norm


@called
def sum_squared_weights(
    layout: NetworkLayout, w: np.ndarray, sparse: bool, first_squared_norm: float, scale: float
) -> float:
    """Return the sum of squares of all weights, without biases."""
    total = 0.0
    for layer in range(layout.weight_starts.shape[0]):
        if sparse and layer == 0:
            total += scale * scale * first_squared_norm
        else:
            total += sum_squares(w, layout.weight_starts[layer], layout.sizes[layer] * layout.sizes[layer + 1])
    return total


@inlined
def compute_network_rate(hyperparams: NetworkHyperparams, run_state: np.ndarray) -> float:
    """Return the learning rate of the next step."""
    eta = hyperparams.eta0 * run_state[LR_SCALE]
    if hyperparams.is_invscaling:
        epoch = np.floor((run_state[SCHEDULE_STEP] - run_state[FIRST_STEP]) / hyperparams.steps_per_epoch)
        eta /= (1.0 + hyperparams.rows_seen + epoch * hyperparams.rows_per_epoch) ** hyperparams.power_t
    return eta
