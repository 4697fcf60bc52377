"""Forward and backward pass of a network for one batch; ``network_steps.py`` has the formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.lowlevel.compiling import inlined
from parsgd.kernels.lowlevel.gemm import get_address, multiply_backward, multiply_forward
from parsgd.kernels.lowlevel.routines import call_routine
from parsgd.kernels.network.activations import make_mask_key
from parsgd.kernels.network.layer_products import add_column_sums, is_sparse, multiply_first_layer
from parsgd.kernels.network.layer_updates import compute_layer_gradient, step_fused, step_in_blocks, step_range
from parsgd.kernels.network.network_types import (
    FIRST_LAYER_SCALE,
    PENDING_DECAY,
    ROW_OFFSET,
    SCHEDULE_STEP,
    SQUARED_NORM,
)
from parsgd.kernels.network.outputs import compute_errors

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.network.network_types import NetworkBuffers, NetworkHyperparams, NetworkLayout


@inlined
def run_forward(
    hyperparams: NetworkHyperparams,
    x: DenseRows | CsrRows,
    y: np.ndarray,
    weight: np.ndarray,
    batch: tuple[np.ndarray, int, int],
    a0: int,
    w: np.ndarray,
    buffers: NetworkBuffers,
    layout: NetworkLayout,
    run_state: np.ndarray,
) -> float:
    """Run the forward pass; returns the loss of the batch.

    Stores the values of the hidden layers and, in place of the last layer's, its errors.  ``batch``: the order of the
    rows, the batch's position in it and its number of rows.  ``a0``: address of a dense batch.
    """
    order, position, rows = batch
    gemm_address, values, derivatives = hyperparams.gemm_address, buffers.values, buffers.derivatives
    layers = layout.weight_starts.shape[0]
    for layer in range(layers):
        i, o, weight_start = layout.sizes[layer], layout.sizes[layer + 1], layout.weight_starts[layer]
        at = layout.value_starts[layer + 1]
        if layer == 0:
            scale = run_state[FIRST_LAYER_SCALE]
            multiply_first_layer(gemm_address, x, order, position, rows, i, o, a0, w, weight_start, scale, values, at)
        else:
            a, weights = get_address(values, layout.value_starts[layer]), get_address(w, weight_start)
            multiply_forward(gemm_address, rows, i, o, w.dtype.type(1), a, weights, get_address(values, at))
        if layer < layers - 1:
            call_routine(hyperparams.activate_address, (values, derivatives, at, rows, o, w, weight_start + i * o))
            if hyperparams.keep_probability < 1.0:
                key = make_mask_key(hyperparams.seed, run_state[SCHEDULE_STEP], layer)
                code, keep = hyperparams.activation, hyperparams.keep_probability
                offset = np.int64(run_state[ROW_OFFSET]) * o
                call_routine(hyperparams.dropout_address, (code, keep, key, offset, values, derivatives, at, rows * o))
    i, o, at = layout.sizes[layers - 1], layout.sizes[layers], layout.value_starts[layers]
    bias = layout.weight_starts[layers - 1] + i * o
    loss, parameter = hyperparams.loss, hyperparams.loss_parameter
    return compute_errors(loss, parameter, y, order, position, rows, o, weight, w, bias, values, at)


def make_backward(fused: bool, whole: bool) -> Callable[..., None]:
    """Make the backward pass.

    ``fused``, ``whole``: strategies of :mod:`parsgd.kernels.network.layer_updates`; without either, in blocks.
    """

    @inlined
    def run_backward(hyperparams, x, batch, a0, w, moments, buffers, layout, batch_weight, eta, run_state):
        """Compute the errors of the hidden layers; update each layer after its errors have been propagated."""
        order, position, rows = batch
        first, second = moments
        gemm_address, t = hyperparams.gemm_address, run_state[SCHEDULE_STEP]
        values, derivatives, gradient = buffers.values, buffers.derivatives, buffers.gradient
        layers = layout.weight_starts.shape[0]
        one = w.dtype.type(1)
        squared_norm = 0.0
        # 1 - decay is rounded to the type of the weights: in float32, decays accumulate until they exceed rounding
        shrink = 1.0
        if fused:
            run_state[PENDING_DECAY] += eta * hyperparams.alpha / batch_weight
        if run_state[PENDING_DECAY] >= hyperparams.min_decay:
            shrink = 1.0 - run_state[PENDING_DECAY]
            run_state[PENDING_DECAY] = 0.0
        e = layout.value_starts[layers]
        for layers_done in range(layers):
            layer = layers - 1 - layers_done
            i, o, weight_start = layout.sizes[layer], layout.sizes[layer + 1], layout.weight_starts[layer]
            errors, weights = get_address(values, e), get_address(w, weight_start)
            # the last layer's errors replace its values; those of other layers alternate between two places
            before = layout.value_starts[layers + 1 + (layers_done & 1)]
            a = a0
            if layer > 0:
                a = get_address(values, layout.value_starts[layer])
                multiply_backward(gemm_address, rows, i, o, one, errors, weights, get_address(values, before))
                arguments = (values, derivatives, before, layout.value_starts[layer], rows * i)
                call_routine(hyperparams.differentiate_address, arguments)
            sparse = is_sparse(x) and layer == 0
            if fused:
                step_fused(
                    hyperparams,
                    x,
                    batch,
                    i,
                    o,
                    a,
                    values,
                    e,
                    w,
                    weight_start,
                    batch_weight,
                    eta,
                    shrink,
                    sparse,
                    run_state,
                )
                add_column_sums(values, e, rows, o, w, weight_start + i * o, w.dtype.type(-eta / batch_weight))
            elif whole:
                compute_layer_gradient(
                    gemm_address, x, order, position, rows, i, o, a, values, e, gradient, weight_start, sparse
                )
            else:
                squared_norm += step_in_blocks(
                    hyperparams,
                    rows,
                    i,
                    o,
                    a,
                    values,
                    e,
                    w,
                    first,
                    second,
                    gradient,
                    weight_start,
                    batch_weight,
                    eta,
                    t,
                )
            e = before
        if whole and hyperparams.takes_step:
            squared_norm = step_range(
                hyperparams, layout, w, first, second, gradient, 0, w.shape[0], batch_weight, eta, t
            )
        if not fused and hyperparams.takes_step:
            run_state[SQUARED_NORM] = squared_norm

    return run_backward
