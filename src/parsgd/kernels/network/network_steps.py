"""Steps of a feed-forward network on batches: one matrix product per layer in each direction.

For a batch of ``b`` rows, weights ``W_l (i, o)`` and biases ``c_l (o,)``, layers l = 1 .. L::

    forward    A_0 = rows;  A_l = act(A_{l-1} W_l + c_l)
    errors     D_L = p - y (weighted);  D_{l-1} = (D_l W_l^T) * act'(A_{l-1})
    gradients  A_{l-1}^T D_l  and the column sums of D_l, over the summed weights of the batch
    step       W_l = W_l - eta (gradient + alpha / b W_l), or the step of another solver

With plain SGD the step *is* the third product: BLAS computes ``W = beta W + alpha A^T D`` in place, and no gradient is
stored.  Other solvers compute the gradient in blocks of rows that fit the second-level cache, and step along each block
while it is there.  Nothing is allocated.

All parameters are in one flat array: for each layer W row by row, then c; each layer begins on a whole vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.lowlevel.atomics import unlock
from parsgd.kernels.lowlevel.compiling import called, kernel
from parsgd.kernels.lowlevel.extremes import smaller
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.network.backpropagation import make_backward, run_forward
from parsgd.kernels.network.layer_products import get_batch_address, is_sparse, prefetch_rows
from parsgd.kernels.network.layer_updates import TINY_SCALE, compute_network_rate, sum_squared_weights
from parsgd.kernels.network.network_types import (
    FIRST_LAYER_SCALE,
    FIRST_LAYER_SQUARED_NORM,
    LOSS,
    LR_SCALE,
    PENALTY_FRACTION,
    SCHEDULE_STEP,
    SQUARED_NORM,
    STEPS_TAKEN,
)
from parsgd.kernels.shared import shared_scalars as shared
from parsgd.kernels.shared.shared_weights import begin_chunk, end_chunk

if TYPE_CHECKING:
    from parsgd.kernels.network.network_types import NetworkLayout

U = np.uint64

_run_backward_fused = make_backward(True, False)
_run_backward_whole = make_backward(False, True)
_run_backward_blocks = make_backward(False, False)


@called
def read_shared_scalars(
    shared_scalars: np.ndarray, w: np.ndarray, layout: NetworkLayout, run_state: np.ndarray
) -> None:
    """Read the shared scalars at the beginning of a batch."""
    begin_chunk(shared_scalars, w[: layout.sizes[0] * layout.sizes[1]], 1, TINY_SCALE)
    run_state[SCHEDULE_STEP], run_state[FIRST_LAYER_SCALE] = (
        shared_scalars[shared.SCHEDULE_STEP, 0],
        shared_scalars[shared.SCALE, 0],
    )
    run_state[FIRST_LAYER_SQUARED_NORM] = shared_scalars[shared.SQUARED_NORM, 0] / run_state[FIRST_LAYER_SCALE] ** 2
    unlock(shared_scalars)


@called
def add_to_shared_scalars(shared_scalars: np.ndarray, scale: float, squared_norm: float, run_state: np.ndarray) -> None:
    """Add the changes of one batch to the shared scalars; ``scale``, ``squared_norm``: values at its beginning."""
    end_chunk(shared_scalars)
    shared_scalars[shared.SCHEDULE_STEP, 0] += 1.0
    shared_scalars[shared.SCALE, 0] *= run_state[FIRST_LAYER_SCALE] / scale
    shared_scalars[shared.SQUARED_NORM, 0] += (
        run_state[FIRST_LAYER_SQUARED_NORM] * run_state[FIRST_LAYER_SCALE] ** 2 - squared_norm * scale**2
    )
    # the value after the last worker's chunk is the schedule step of all
    run_state[SCHEDULE_STEP] = shared_scalars[shared.SCHEDULE_STEP, 0]
    unlock(shared_scalars)


def make_run(fused: bool, whole: bool, is_shared: bool) -> Callable[..., int]:
    """Make the run of a network; ``fused``, ``whole`` as in :func:`make_backward`.

    ``is_shared``: other workers update the same parameters.
    """

    @kernel
    def run_network(
        x, y, weight, order, start, stop, w, first, second, buffers, layout, hyperparams, run_state, shared_scalars
    ):
        """Visit ``order[start:stop]`` in batches; updates ``w``, moments and ``run_state``.

        ``first``, ``second``: the solver's moments, empty for solvers without them.  Unless ``hyperparams.takes_step``,
        no step is taken, and ``buffers.gradient`` holds the summed gradients of the last batch.  ``shared_scalars`` is
        used if ``hyperparams.is_shared``.  Returns ``stop``, as the runs of linear models do.
        """
        # even the step of a small network takes some microseconds
        token = release_gil((stop - start) * (w.shape[0] // 8 + 64) >= hyperparams.release_gil_from)
        moments = first, second
        position = start
        while position < stop:
            if is_shared:
                read_shared_scalars(shared_scalars, w, layout, run_state)
            scale, first_squared_norm = run_state[FIRST_LAYER_SCALE], run_state[FIRST_LAYER_SQUARED_NORM]
            rows = smaller(hyperparams.batch_size, stop - position)
            eta = compute_network_rate(hyperparams, run_state)
            batch_weight = float(rows)
            if weight.shape[0] > 0:
                batch_weight = 0.0
                for r in range(U(rows)):
                    batch_weight += weight[U(order[U(position) + r])]
            if fused and hyperparams.alpha > 0.0 and np.int64(run_state[SCHEDULE_STEP]) % hyperparams.norm_every == 0:
                run_state[SQUARED_NORM] = sum_squared_weights(
                    layout, w, is_sparse(x), run_state[FIRST_LAYER_SQUARED_NORM], run_state[FIRST_LAYER_SCALE]
                )
            a0 = get_batch_address(x, order, position, rows, buffers.values, layout.value_starts[0])
            # the next batch is loaded from memory during this one's computation
            prefetch_rows(x, order, position + rows, smaller(position + rows + hyperparams.batch_size, order.shape[0]))
            batch = order, position, rows
            loss = run_forward(hyperparams, x, y, weight, batch, a0, w, buffers, layout, run_state)
            if batch_weight > 0.0:
                penalty = 0.5 * hyperparams.alpha * run_state[PENALTY_FRACTION] * run_state[SQUARED_NORM]
                run_state[LOSS] += (loss * hyperparams.loss_scale + penalty) / batch_weight * rows
                if run_state[LR_SCALE] > 0.0:
                    if fused:
                        _run_backward_fused(
                            hyperparams, x, batch, a0, w, moments, buffers, layout, batch_weight, eta, run_state
                        )
                    elif whole:
                        _run_backward_whole(
                            hyperparams, x, batch, a0, w, moments, buffers, layout, batch_weight, eta, run_state
                        )
                    else:
                        _run_backward_blocks(
                            hyperparams, x, batch, a0, w, moments, buffers, layout, batch_weight, eta, run_state
                        )
            run_state[SCHEDULE_STEP] += 1.0
            run_state[STEPS_TAKEN] += 1.0
            if is_shared:
                add_to_shared_scalars(shared_scalars, scale, first_squared_norm, run_state)
            position += rows
        reacquire_gil(token)
        return position

    return run_network


# Kernels by (fused, whole, is_shared).
RUN_KERNELS: dict[tuple[bool, bool, bool], Callable[..., int]] = {
    (fused, whole, is_shared): make_run(fused, whole, is_shared)
    for fused, whole in ((True, False), (False, True), (False, False))
    for is_shared in (False, True)
}


@kernel
def compute_squared_norms(w: np.ndarray, layout: NetworkLayout, run_state: np.ndarray) -> None:
    """Set the squared norms of all weights and of the first layer's weights, without biases, in the run state."""
    total = 0.0
    for layer in range(layout.weight_starts.shape[0]):
        start = layout.weight_starts[layer]
        of_layer = 0.0
        for i in range(U(start), U(start + layout.sizes[layer] * layout.sizes[layer + 1])):
            value = np.float64(w[i])
            of_layer += value * value
        total += of_layer
        if layer == 0:
            run_state[FIRST_LAYER_SQUARED_NORM] = of_layer
    run_state[SQUARED_NORM] = total
