"""Rounds of one batch each: every worker sums the gradients of its part, and all step together on one state.

A round is::

    sum     the gradients of the worker's part of the batch, at the shared state
    barrier
    step    every worker adds up its slice of the workers' sums, and steps along it on this slice of the state
    barrier

The sums and steps are kernels of the model, called by address.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from parsgd.core.round_group import LOSS, LOSS_FACTOR, PENALTY_SUM, RoundGroup
from parsgd.kernels.lowlevel.compiling import inlined, kernel, kernel_address
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.lowlevel.routines import call_kernel
from parsgd.kernels.lowlevel.system_calls import get_clock_address, get_sleep_address, get_yield_address
from parsgd.kernels.rounds.barrier import count_examples, has_ended, pass_barrier, read_clock, store_decision
from parsgd.kernels.rounds.merges import get_share

U = np.uint64


class BatchServices(NamedTuple):
    """Addresses of the functions that a round calls; ``is_shared_out``: each worker steps on a slice of the state."""

    sum_address: int
    step_address: int
    clock_address: int
    yield_address: int
    sleep_address: int
    is_shared_out: bool


def run_batches(
    rows: tuple[Any, ...],
    worker: int,
    sum_kernel: Any,
    sum_arguments: tuple[Any, ...],
    step_kernel: Any,
    step_arguments: tuple[Any, ...],
    is_shared_out: bool,
    group: RoundGroup,
    order: np.ndarray,
) -> int:
    """Make the rounds of ``worker`` with these kernels, and return the number of merged rounds.

    The sums take ``*rows, order, start, first, end, stop, schedule_step, totals, *sum_arguments``, the steps
    ``begin, end, weight, schedule_step, gradient, *step_arguments``.
    """
    sums = (*rows, order, 0, 0, 0, 0, 0.0, group.totals[0, 0], *sum_arguments)
    steps = (0, 0, 0.0, 0.0, group.states[0], *step_arguments)
    services = BatchServices(
        kernel_address(sum_kernel, sums),
        kernel_address(step_kernel, steps),
        get_clock_address(),
        get_yield_address(),
        get_sleep_address(),
        is_shared_out,
    )
    return run_gradient_rounds(group, order, services, worker, rows, sum_arguments, step_arguments)


@inlined
def are_finite(group: RoundGroup, round: int) -> bool:
    """Return whether the objectives of all workers in the round are finite."""
    finite = True
    for worker in range(group.states.shape[0]):
        finite &= group.finite[U(worker), U(round)] != 0
    return finite


@inlined
def has_finite_objective(totals: np.ndarray) -> bool:
    """Return whether the summed objective of every output is finite."""
    total = 0.0
    for k in range(U(totals.shape[1])):
        total += 0.0 * (totals[U(LOSS), k] + np.log(totals[U(LOSS_FACTOR), k]) + totals[U(PENALTY_SUM), k])
    return total == 0.0


@kernel
def run_gradient_rounds(
    group: RoundGroup, order: np.ndarray, services: BatchServices, worker: int, rows, sum_arguments, step_arguments
) -> int:
    """Make the rounds of ``worker``; returns the number of merged rounds."""
    token = release_gil(True)
    merged, n_workers, size = 0, group.states.shape[0], group.size - 1
    total = group.states[U(0)]
    begin, end = get_share(size, worker, n_workers)
    if not services.is_shared_out:
        begin, end = (0, size) if worker == 0 else (size, size)
    for round in range(group.schedule_steps.shape[0]):
        before, step = read_clock(services), group.schedule_steps[U(round)]
        start, stop = group.spans[U(0), U(round), 0], group.spans[U(n_workers - 1), U(round), 1]
        first, last = group.spans[U(worker), U(round), 0], group.spans[U(worker), U(round), 1]
        totals = group.totals[U(worker), U(round)]
        call_kernel(services.sum_address, (*rows, order, start, first, last, stop, step, totals, *sum_arguments))
        count_examples(group, worker, last - first)
        group.visited[U(worker), U(round)] = last - first
        group.finite[U(worker), U(round)] = has_finite_objective(totals)
        group.times[U(worker), U(round), 0] = read_clock(services) - before
        merged = round + 1
        if not pass_barrier(group, services, worker, 2 * round + 1):
            break
        if are_finite(group, round):
            weight = total[U(size)]
            for other in range(1, n_workers):
                sums = group.states[U(other)]
                weight += sums[U(size)]
                for i in range(U(begin), U(end)):
                    total[i] += sums[i]
            call_kernel(services.step_address, (begin, end, np.float64(weight), step, total, *step_arguments))
        if worker == 0:
            store_decision(group, round)
        if not pass_barrier(group, services, worker, 2 * round + 2):
            break
        group.times[U(worker), U(round), 1] = read_clock(services)
        if has_ended(group):
            break
    reacquire_gil(token)
    return merged
