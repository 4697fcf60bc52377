"""Workers that make several rounds inside compiled code: what they share, their barrier, and the merge.

Each worker is one thread in one call without the GIL.  A round is::

    run     SGD steps on the worker's own state
    barrier
    merge   every worker computes its slice of the mean, and writes it into all states
    barrier

A waiting worker spins for some microseconds and then yields its core, so that other work on busy cores goes on.

Memory order: a worker reads the others' states only after it has read their barrier counters (acquire), which they
write after their states (release).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parsgd.core.round_group import ENDED, EXAMPLES, FAILED, FIRST_WORKER, HALT, PAUSE, ROW, RoundGroup
from parsgd.kernels.lowlevel.atomics import load, store
from parsgd.kernels.lowlevel.compiling import inlined, kernel_address
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.routines import call_kernel
from parsgd.kernels.lowlevel.system_calls import (
    call_system,
    get_clock_address,
    get_sleep_address,
    get_yield_address,
    pause,
)
from parsgd.kernels.weighted_sum import add_weighted
from parsgd.kernels.weighted_sum import store as store_sum

U = np.uint64
# Duration of one call of the steps: the driver's requests wait for at most one call.
_CHUNK_NS = 10_000_000
# A core that was offered for longer than this is wanted by another program.
_TAKEN_NS = 100_000
# Offers, a microsecond each on an idle core, after which a waiting worker sleeps, and for how long.
_MAX_YIELDS, _SLEEP_US = 1000, 20
# Numbers per block of a merge; a block of sums fits the first-level cache.
_MERGE_BLOCK = 1024


class Services(NamedTuple):
    """Addresses of the functions that a round calls, and the block of sums of a merge."""

    add_address: int
    store_address: int
    clock_address: int
    yield_address: int
    sleep_address: int
    sums: np.ndarray


def make_services(group: RoundGroup) -> Services:
    """Return the services of one worker."""
    sums = np.zeros(_MERGE_BLOCK)
    state = group.states[0]
    return Services(
        kernel_address(add_weighted, (sums, state, 0, 0, 1.0)),
        kernel_address(store_sum, (sums, state, 0, 0)),
        get_clock_address(),
        get_yield_address(),
        get_sleep_address(),
        sums,
    )


@inlined
def read_clock(services: Services) -> int:
    """Return ``time.perf_counter_ns()``, or 0 without such a clock."""
    return call_system(services.clock_address, 0)


@inlined
def wait_a_little(group: RoundGroup, services: Services, waits: int, sleeps: bool) -> bool:
    """Wait before the next reading of a counter; returns whether the thread should sleep from now on.

    On idle cores the other worker comes within microseconds: spin, then offer the core.  If another program takes the
    core, sleep: a thread that wakes gets a busy core sooner than one that had offered it.
    """
    if waits < group.spins:
        pause()
    elif sleeps:
        call_system(services.sleep_address, _SLEEP_US)
    else:
        before = read_clock(services)
        call_system(services.yield_address, 0)
        return read_clock(services) - before > _TAKEN_NS or waits > group.spins + _MAX_YIELDS
    return sleeps


@inlined
def pass_barrier(group: RoundGroup, services: Services, worker: int, number: int) -> bool:
    """Wait until all workers have reached barrier ``number``; returns False if one of them has failed."""
    control = group.control
    store(control[U(FIRST_WORKER + worker)], number)
    sleeps = False
    for other in range(group.states.shape[0]):
        waits = 0
        while load(control[U(FIRST_WORKER + other)]) < number:
            if load(control[U(FAILED)]) != 0:
                return False
            sleeps = wait_a_little(group, services, waits, sleeps)
            waits += 1
    return True


@inlined
def is_asked_to_halt(group: RoundGroup) -> bool:
    """Return whether the driver has asked the workers to end their rounds."""
    return load(group.control[U(HALT)]) != 0


@inlined
def count_examples(group: RoundGroup, worker: int, examples: int) -> None:
    """Add to the worker's count of visited examples, which the driver reads."""
    group.control[U(FIRST_WORKER + worker), EXAMPLES] += examples


@inlined
def next_chunk(group: RoundGroup, chunk: int, examples: int, nanoseconds: int) -> int:
    """Return the examples of the next call, in whole batches, from the duration of the last one."""
    if nanoseconds <= 0:
        return chunk
    wanted = larger(examples * smaller(_CHUNK_NS / nanoseconds, 4.0), 1.0)
    return larger(group.batch_size, np.int64(wanted) // group.batch_size * group.batch_size)


@inlined
def is_finite(values: np.ndarray, size: int) -> bool:
    """Return whether all values are finite; a sum in float64 cannot hide a NaN or infinity."""
    total = 0.0
    for i in range(U(size)):
        total += 0.0 * values[i]
    return total == 0.0


@inlined
def merge_slice(group: RoundGroup, services: Services, worker: int, round: int) -> None:
    """Compute the weighted mean of this worker's slice of all states and write it to every state.

    The sums are those of :func:`parsgd.utils.tree_reduce.weighted_sum`, by the same compiled functions.
    """
    n_workers = group.states.shape[0]
    per_worker = (group.size // n_workers + ROW) // ROW * ROW
    start, stop = smaller(worker * per_worker, group.size), smaller((worker + 1) * per_worker, group.size)
    if worker == n_workers - 1:
        stop = group.size
    alone = -1
    for other in range(n_workers):
        if group.weights[U(round), U(other)] == 1.0:
            alone = other
    while start < stop:
        n = smaller(services.sums.shape[0], stop - start)
        if alone < 0:
            for other in range(n_workers):
                weight = group.weights[U(round), U(other)]
                if weight != 0.0:
                    call_kernel(services.add_address, (services.sums, group.states[U(other)], start, n, weight))
            call_kernel(services.store_address, (services.sums, group.states[U(0)], start, n))
            alone_state = 0
        else:
            alone_state = alone
        merged = group.states[U(alone_state)]
        for other in range(n_workers):
            if other != alone_state:
                state = group.states[U(other)]
                for i in range(U(start), U(start + n)):
                    state[i] = merged[i]
        start += n


@inlined
def end_round(group: RoundGroup, services: Services, worker: int, round: int) -> bool:
    """Merge the round with the other workers; returns whether there is another round."""
    group.finite[U(worker), U(round)] = is_finite(group.states[U(worker)], group.size)
    if not pass_barrier(group, services, worker, 2 * round + 1):
        return False
    merge_slice(group, services, worker, round)
    if worker == 0:
        ended = (
            round + 1 >= group.schedule_steps.shape[0] or is_asked_to_halt(group) or load(group.control[U(PAUSE)]) != 0
        )
        for other in range(group.states.shape[0]):
            ended = ended or group.finite[U(other), U(round)] == 0
        store(group.control[U(ENDED)], np.int64(ended))
    if not pass_barrier(group, services, worker, 2 * round + 2):
        return False
    group.times[U(worker), U(round), 1] = read_clock(services)
    return load(group.control[U(ENDED)]) == 0
