"""Rounds of networks: SGD runs between merges, with the bits of one task per round.

The steps are those of :mod:`parsgd.kernels.network.network_steps`, called by address.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parsgd.core.round_group import LOSS, LOSS_FACTOR, PENALTY_SUM, RoundGroup
from parsgd.kernels.lowlevel.compiling import kernel
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.lowlevel.routines import call_kernel
from parsgd.kernels.network.network_types import (
    FIRST_LAYER_SCALE,
    FIRST_STEP,
    LR_SCALE,
    PENALTY_FRACTION,
    PENDING_DECAY,
    SCHEDULE_STEP,
    NetworkLayout,
)
from parsgd.kernels.network.network_types import LOSS as RUN_LOSS
from parsgd.kernels.rounds.barrier import Services, end_round, make_steps, read_clock

U = np.uint64


class NetworkRun(NamedTuple):
    """A worker's parameters ``w`` and run state, and what a round starts with.

    ``norms_address``: of ``compute_squared_norms``, 0 if norms are not needed.  ``first_step``: schedule step at
    the start of the fit.  ``sparse``: CSR rows.
    """

    w: np.ndarray
    layout: NetworkLayout
    run_state: np.ndarray
    lr_scale: np.ndarray
    norms_address: int
    first_step: float
    sparse: bool


@kernel
def run_network_rounds(
    group: RoundGroup,
    order: np.ndarray,
    services: Services,
    worker: int,
    step_address: int,
    rows,
    step_arguments,
    run: NetworkRun,
) -> int:
    """Make the rounds of ``worker``; returns the number of merged rounds.

    ``rows`` and ``step_arguments`` are the arguments of the steps before and after ``order, start, stop``.
    """
    token = release_gil(True)
    merged, chunk, w, run_state, layout = 0, group.chunk, run.w, run.run_state, run.layout
    number = w.dtype.type
    for round in range(group.schedule_steps.shape[0]):
        before = read_clock(services)
        run_state[:] = 0.0
        run_state[SCHEDULE_STEP], run_state[FIRST_STEP] = group.schedule_steps[U(round)], run.first_step
        run_state[FIRST_LAYER_SCALE] = run_state[PENALTY_FRACTION] = 1.0
        run_state[LR_SCALE] = run.lr_scale[0] * group.lr_factors[U(round)]
        if run.norms_address != 0:
            call_kernel(run.norms_address, (w, layout, run_state))
        chunk = make_steps(group, services, worker, round, chunk, step_address, rows, order, step_arguments)
        # back to unscaled weights
        scale, decay = run_state[FIRST_LAYER_SCALE], run_state[PENDING_DECAY]
        for layer in range(layout.weight_starts.shape[0]):
            start = layout.weight_starts[layer]
            end = start + layout.sizes[layer] * layout.sizes[layer + 1]
            if layer == 0 and scale != 1.0:
                for i in range(U(start), U(end)):
                    w[i] *= number(scale)
            if decay > 0.0 and not (run.sparse and layer == 0):
                for i in range(U(start), U(end)):
                    w[i] *= number(1.0 - decay)
        group.totals[U(worker), U(round), U(LOSS), 0] = run_state[RUN_LOSS]
        group.totals[U(worker), U(round), U(LOSS_FACTOR), 0] = 1.0
        group.totals[U(worker), U(round), U(PENALTY_SUM), 0] = 0.0
        group.times[U(worker), U(round), 0] = read_clock(services) - before
        merged = round + 1
        if not end_round(group, services, worker, round):
            break
    reacquire_gil(token)
    return merged
