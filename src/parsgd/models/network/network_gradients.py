"""Gradients of a network on parts of a batch, and the step along their sum; in compiled code.

Used by algorithms with gradient messages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import Rows, Totals
from parsgd.core.round_group import RoundGroup
from parsgd.kernels.lowlevel.gil_threshold import NEVER, get_gil_threshold
from parsgd.models.network.network_sgd_run import (
    NOTHING_SHARED,
    make_buffers,
    make_hyperparams,
    make_layout,
    make_run_state,
)
from parsgd.utils import first_use

if TYPE_CHECKING:
    from parsgd.models.network.network_model import Network


def gradient_sum(
    model: Network,
    state: np.ndarray,
    rows: Rows,
    batch: np.ndarray,
    first: int,
    end: int,
    schedule_step: float,
    seed: int,
) -> tuple[np.ndarray, Totals]:
    """Sum the gradients of the examples ``batch[first:end]``.

    Returns the sums followed by the summed weight, and the totals. Dropout masks are those of the examples in the whole
    batch, and losses are the examples' contributions to the batch's loss.
    """
    out, totals, n = np.zeros(model.n_gradients, dtype=model.dtype), np.empty((3, 1)), end - first
    arguments = _sum_arguments(model, state, out, seed, max(n, 1), rows, batch, get_gil_threshold())
    sums = first_use.kernels("network.batch_gradients").sum_network_gradients
    sums(*rows, batch, 0, first, end, len(batch), float(schedule_step), totals, *arguments)
    return out, Totals(n, int(n > 0), totals[0], totals[0])


def apply_gradient(
    model: Network, state: np.ndarray, slopes: np.ndarray, schedule_step: float, lr_scale: np.ndarray
) -> np.ndarray:
    """Return the state after one step along the output of :func:`gradient_sum`, summed over a batch."""
    state = state.copy()
    arguments = _step_arguments(model, state, lr_scale, get_gil_threshold())
    step = first_use.kernels("network.batch_gradients").step_network
    step(0, len(slopes) - 1, float(slopes[-1]), float(schedule_step), slopes, *arguments)
    return state


def prepare_gradient_rounds(
    model: Network,
    state: np.ndarray,
    gradient: np.ndarray,
    lr_scale: np.ndarray,
    seed: int,
    rows: Rows,
    order: np.ndarray,
    group: RoundGroup,
    worker: int,
) -> Callable[[RoundGroup, np.ndarray], int]:
    kernels = first_use.kernels("network.batch_gradients")
    # of any batch, not of those in this group: a smaller batch may give this worker more rows
    largest = max(min(group.batch_size, len(rows.y)), 1)
    sums = _sum_arguments(model, state, gradient, seed, largest, rows, order, NEVER)
    steps = _step_arguments(model, state, lr_scale, NEVER)
    run_batches = first_use.kernels("rounds.batch_rounds").run_batches
    # the norm of the gradient, by which it is clipped, takes all of it
    is_shared_out = model.clip_norm is None
    kernel = kernels.sum_network_gradients
    return partial(run_batches, tuple(rows), worker, kernel, sums, kernels.step_network, steps, is_shared_out)


def _sum_arguments(
    model: Network,
    state: np.ndarray,
    out: np.ndarray,
    seed: int,
    batch_size: int,
    rows: Rows,
    order: np.ndarray,
    release_gil_from: int,
) -> tuple[Any, ...]:
    """Return the arguments of the sum after the totals."""
    kernel_address = first_use.kernels("lowlevel.compiling").kernel_address
    steps = first_use.kernels("network.network_steps")
    made = make_hyperparams(model)._replace(
        seed=int(seed), release_gil_from=release_gil_from, takes_step=False, batch_size=batch_size
    )
    layout, run_state, parts = make_layout(model, batch_size), make_run_state(), model.parts(state)
    buffers = make_buffers(model, layout, batch_size, None)._replace(gradient=out[:-1])
    run = (*parts, buffers, layout, made, run_state, NOTHING_SHARED)
    run_address = kernel_address(steps.RUN_KERNELS[False, True, False], (*rows, order, 0, 0, *run))
    norms_address = (
        kernel_address(steps.compute_squared_norms, (parts[0], layout, run_state)) if made.alpha > 0.0 else 0
    )
    return out, run_address, norms_address, float(model.begun), *run


def _step_arguments(model: Network, state: np.ndarray, lr_scale: np.ndarray, release_gil_from: int) -> tuple[Any, ...]:
    """Return the arguments of the step after the gradient."""
    made = make_hyperparams(model)._replace(release_gil_from=release_gil_from)
    return float(model.begun), lr_scale, *model.parts(state), make_layout(model, 1), made, make_run_state()
