"""Rounds of linear models: SGD runs between merges, with the bits of one task per round.

The steps are those of :mod:`parsgd.kernels.linear.single` and its relatives, called by address.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parsgd.core.round_group import LOSS, LOSS_FACTOR, PENALTY_SUM, RoundGroup
from parsgd.kernels.linear.run_state import (
    INTERCEPT,
    INTERCEPT_SQUARES,
    LR_SCALE,
    SCALE,
    SCHEDULE_STEP,
    TOTAL_PENALTY,
)
from parsgd.kernels.linear.run_state import LOSS as RUN_LOSS
from parsgd.kernels.linear.run_state import LOSS_FACTOR as RUN_LOSS_FACTOR
from parsgd.kernels.linear.run_state import PENALTY_SUM as RUN_PENALTY_SUM
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.lowlevel.routines import call_kernel, call_kernel_for_count
from parsgd.kernels.rounds.barrier import Services, end_round, list_round, make_steps, read_clock

U = np.uint64


class LinearRun(NamedTuple):
    """A worker's views into its state, and its run state.

    ``coef``: padding included.  ``penalty``, ``intercept_squares``: empty if the model has none.  ``squares``,
    ``applied_penalty``: AdaGrad's, else empty.  ``lanes``: the run state with its padding.  ``norms_address``: of
    ``compute_norms``, 0 if norms are not needed.  ``penalty_address``: of AdaGrad's ``apply_penalty_all``.
    ``merged_coef``: the weights at the start of a round; not ``coef`` if the worker lists its features.
    """

    coef: np.ndarray
    intercept: np.ndarray
    penalty: np.ndarray
    squares: np.ndarray
    intercept_squares: np.ndarray
    applied_penalty: np.ndarray
    lanes: np.ndarray
    lr_scale: np.ndarray
    norms_address: int
    penalty_address: int
    merged_coef: np.ndarray


@inlined
def begin(run: LinearRun, schedule_step: float, lr_factor: float) -> None:
    """Start from unscaled weights."""
    lanes = run.lanes
    lanes[:] = 0.0
    for k in range(U(lanes.shape[1])):
        lanes[U(SCALE), k] = 1.0
    for k in range(U(run.intercept.shape[0])):
        lanes[U(SCHEDULE_STEP), k], lanes[U(RUN_LOSS_FACTOR), k] = schedule_step, 1.0
        lanes[U(INTERCEPT), k], lanes[U(LR_SCALE), k] = run.intercept[k], run.lr_scale[k] * lr_factor
    for k in range(U(run.penalty.shape[0])):
        lanes[U(TOTAL_PENALTY), k] = run.penalty[k]
    for k in range(U(run.intercept_squares.shape[0])):
        lanes[U(INTERCEPT_SQUARES), k] = run.intercept_squares[k]
    if run.norms_address != 0:
        call_kernel(run.norms_address, (run.merged_coef, lanes, run.intercept.shape[0]))


@inlined
def finish_weights(run: LinearRun, hyperparams) -> None:
    """Bring the weights back to unscaled ones."""
    lanes, number = run.lanes, run.coef.dtype.type
    n_outputs = U(run.intercept.shape[0])
    if run.applied_penalty.shape[0] > 0:
        penalty_arguments = (run.coef, run.squares, run.applied_penalty, run.intercept.shape[0], lanes, hyperparams)
        call_kernel(run.penalty_address, penalty_arguments)
    scaled = False
    for k in range(n_outputs):
        scaled |= lanes[U(SCALE), k] != 1.0
    if scaled:
        for k in range(n_outputs):
            scale = number(lanes[U(SCALE), k])
            for at in range(k, U(run.coef.shape[0]), n_outputs):
                run.coef[at] *= scale


@inlined
def finish_listed_weights(group: RoundGroup, services: Services, worker: int, round: int, run: LinearRun) -> None:
    """Bring the weights of the listed features back to unscaled ones, and test the state for NaN and infinity."""
    decay, total = services.merge.decay, 0.0
    field = U(SCALE) if decay.squares_start < 0 else U(TOTAL_PENALTY)
    for k in range(U(run.intercept.shape[0])):
        is_free = decay.squares_start >= 0 and run.applied_penalty.shape[0] == 0
        group.coordinates.shrinkage[U(worker), k] = 0.0 if is_free else run.lanes[field, k]
        total += 0.0 * run.lanes[U(INTERCEPT), k] + 0.0 * run.lanes[U(INTERCEPT_SQUARES), k]
        total += 0.0 * group.coordinates.shrinkage[U(worker), k]
    finite = call_kernel_for_count(services.send_address, (group, decay, worker, run.applied_penalty))
    group.finite[U(worker), U(round)] = finite if total == 0.0 else 0


@inlined
def store_scalars(run: LinearRun) -> None:
    """Write the values without a feature to the state."""
    lanes, number = run.lanes, run.coef.dtype.type
    for k in range(U(run.penalty.shape[0])):
        run.penalty[k] = number(lanes[U(TOTAL_PENALTY), k])
    for k in range(U(run.intercept.shape[0])):
        run.intercept[k] = number(lanes[U(INTERCEPT), k])
    for k in range(U(run.intercept_squares.shape[0])):
        run.intercept_squares[k] = number(lanes[U(INTERCEPT_SQUARES), k])


@kernel
def run_linear_rounds(
    group: RoundGroup,
    order: np.ndarray,
    services: Services,
    worker: int,
    step_address: int,
    rows,
    step_arguments,
    hyperparams,
    run: LinearRun,
) -> int:
    """Make the rounds of ``worker``; returns the number of merged rounds.

    ``rows`` and ``step_arguments`` are the arguments of the steps before and after ``order, start, stop``.
    """
    token = release_gil(True)
    merged, chunk = 0, group.chunk
    for round in range(group.schedule_steps.shape[0]):
        before = read_clock(services)
        if services.list_address != 0:
            list_round(group, services, worker, round, rows[0], order, run.applied_penalty)
        else:
            run.applied_penalty[:] = 0.0
        begin(run, group.schedule_steps[U(round)], group.lr_factors[U(round)])
        chunk = make_steps(group, services, worker, round, chunk, step_address, rows, order, step_arguments)
        if services.list_address != 0:
            finish_listed_weights(group, services, worker, round, run)
        else:
            finish_weights(run, hyperparams)
        store_scalars(run)
        for k in range(U(run.intercept.shape[0])):
            group.totals[U(worker), U(round), U(LOSS), k] = run.lanes[U(RUN_LOSS), k]
            group.totals[U(worker), U(round), U(LOSS_FACTOR), k] = run.lanes[U(RUN_LOSS_FACTOR), k]
            group.totals[U(worker), U(round), U(PENALTY_SUM), k] = run.lanes[U(RUN_PENALTY_SUM), k]
        group.times[U(worker), U(round), 0] = read_clock(services) - before
        merged = round + 1
        if not end_round(group, services, worker, round):
            break
    reacquire_gil(token)
    return merged
