"""Workers that make several rounds inside compiled code: their barrier and the end of a round.

Each worker is one thread in one call without the GIL.  A round is::

    run     SGD steps on the worker's own state
    barrier
    merge   every worker computes its slice of the mean, and writes it into all states
    barrier

A waiting worker spins for some microseconds, then yields its core, and sleeps if another program takes it.

Memory order: a worker reads the others' states only after it has read their barrier counters (acquire), which they
write after their states (release).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from parsgd.core.round_group import ENDED, EXAMPLES, FAILED, FIRST_WORKER, HALT, PAUSE, RoundGroup
from parsgd.kernels.feature_visits import count_visits
from parsgd.kernels.lowlevel.atomics import load, store
from parsgd.kernels.lowlevel.compiling import inlined, kernel_address
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.routines import call_kernel, call_kernel_for_count
from parsgd.kernels.lowlevel.system_calls import (
    call_system,
    get_clock_address,
    get_sleep_address,
    get_yield_address,
    pause,
)
from parsgd.kernels.rounds.listed_features import (
    clear_list,
    list_features,
    merge_listed_features,
    send_features,
    sum_listed_visits,
)
from parsgd.kernels.rounds.merges import (
    Decay,
    MergeServices,
    coordinate_services,
    mean_services,
    merge_coordinates,
    merge_means,
    update_answer,
)

U = np.uint64
# Duration of one call of the steps: the driver's requests wait for at most one call.
_CHUNK_NS = 10_000_000
# A core that was offered for longer than this is wanted by another program.
_TAKEN_NS = 100_000
# Offers, up to a microsecond each on an idle core, after which a waiting worker sleeps, and for how long.  It may wake
# 200 microseconds later, and the others then wait for it.
_MAX_YIELDS, _SLEEP_US = 20_000, 20


class Services(NamedTuple):
    """Addresses of the functions that a round calls, and the work arrays of a merge.

    ``count_address``: of ``count_visits``, 0 if merges do not need visits.  ``list_address``, ``send_address``: of
    ``list_features`` and ``send_features``, 0 if every worker has a whole state.
    """

    merge_address: int
    count_address: int
    list_address: int
    send_address: int
    clock_address: int
    yield_address: int
    sleep_address: int
    merge: MergeServices


def make_services(group: RoundGroup, rows: tuple[Any, ...], order: np.ndarray) -> Services:
    """Return the services of one worker with a whole state, for these types of rows."""
    by_coordinate = group.coordinates.rule != 0
    merge = coordinate_services(group) if by_coordinate else mean_services(group)
    services = _make_services(group, merge, merge_coordinates if by_coordinate else merge_means)
    if not by_coordinate:
        return services
    arguments = rows[0], order, 0, 0, group.coordinates.visits[0], 0
    return services._replace(count_address=kernel_address(count_visits, arguments))


def make_listing_services(
    group: RoundGroup, rows: tuple[Any, ...], order: np.ndarray, applied_penalty: np.ndarray, decay: Decay
) -> Services:
    """Return the services of one worker that lists the features of its rows."""
    services = _make_services(group, coordinate_services(group)._replace(decay=decay), merge_listed_features)
    return services._replace(
        list_address=kernel_address(list_features, (group, 0, rows[0], order, 0, 0, applied_penalty)),
        send_address=kernel_address(send_features, (group, decay, 0, applied_penalty)),
    )


def _make_services(group: RoundGroup, merge: MergeServices, kernel: Any) -> Services:
    system = get_clock_address(), get_yield_address(), get_sleep_address()
    return Services(kernel_address(kernel, (group, merge, 0, 0)), 0, 0, 0, *system, merge)


@inlined
def read_clock(services: Services) -> int:
    """Return ``time.perf_counter_ns()``, or 0 without such a clock."""
    return call_system(services.clock_address, 0)


@inlined
def wait_once(group: RoundGroup, services: Services, waits: int, sleeps: bool) -> bool:
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
            sleeps = wait_once(group, services, waits, sleeps)
            waits += 1
    return True


@inlined
def is_asked_to_halt(group: RoundGroup) -> bool:
    """Return whether the driver has asked the workers to end their rounds."""
    return load(group.control[U(HALT)]) != 0


@inlined
def store_decision(group: RoundGroup, round: int) -> None:
    """Store whether this was the last round; for worker 0, before the round's last barrier."""
    ended = round + 1 >= group.schedule_steps.shape[0] or is_asked_to_halt(group) or load(group.control[U(PAUSE)]) != 0
    for worker in range(group.states.shape[0]):
        ended = ended or group.finite[U(worker), U(round)] == 0
    store(group.control[U(ENDED)], np.int64(ended))


@inlined
def has_ended(group: RoundGroup) -> bool:
    """Return the decision of worker 0, after the round's last barrier."""
    return load(group.control[U(ENDED)]) != 0


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
def begin_visits(group: RoundGroup, services: Services, worker: int) -> None:
    """Set the worker's visits to 0."""
    if services.count_address != 0:
        group.coordinates.visits[U(worker)][:] = 0


@inlined
def count_round_visits(
    group: RoundGroup, services: Services, worker: int, x, order: np.ndarray, start: int, stop: int
) -> None:
    """Count the visits of the rows ``order[start:stop]`` if merges need them."""
    if services.count_address != 0:
        visits = group.coordinates.visits[U(worker)]
        call_kernel(services.count_address, (x, order, start, stop, visits, stop + 1))


@inlined
def list_round(
    group: RoundGroup, services: Services, worker: int, round: int, x, order: np.ndarray, applied_penalty: np.ndarray
) -> None:
    """List the features of the worker's rows in the round, in parts so that it can halt."""
    clear_list(group, worker)
    at, last = group.spans[U(worker), U(round), 0], group.spans[U(worker), U(round), 1]
    while at < last and not is_asked_to_halt(group):
        stop = smaller(at + group.chunk, last)
        call_kernel(services.list_address, (group, worker, x, order, at, stop, applied_penalty))
        at = stop


@inlined
def sum_visits(group: RoundGroup, worker: int) -> int:
    """Return the visits of all features in the round, or with rule 2 the number of visited features."""
    visits, total = group.coordinates.visits[U(worker)], 0
    for j in range(U(visits.shape[0])):
        total += np.int64(visits[j]) if group.coordinates.rule == 1 else np.int64(visits[j] > 0)
    return total


@inlined
def is_finite(values: np.ndarray, size: int) -> bool:
    """Return whether all values are finite; a sum in float64 cannot hide a NaN or infinity."""
    total = 0.0
    for i in range(U(size)):
        total += 0.0 * values[i]
    return total == 0.0


@inlined
def make_steps(
    group: RoundGroup,
    services: Services,
    worker: int,
    round: int,
    chunk: int,
    step_address: int,
    rows,
    order: np.ndarray,
    step_arguments,
) -> int:
    """Visit the worker's examples of the round in calls of about 10 ms; returns the examples of the next call.

    ``rows`` and ``step_arguments`` are the arguments of the steps before and after ``order, start, stop``.
    """
    begin_visits(group, services, worker)
    first, last = group.spans[U(worker), U(round), 0], group.spans[U(worker), U(round), 1]
    at, began = first, read_clock(services)
    while at < last and not is_asked_to_halt(group):
        stop = smaller(at + chunk, last)
        call_kernel_for_count(step_address, (*rows, order, at, stop, *step_arguments))
        count_round_visits(group, services, worker, rows[0], order, at, stop)
        count_examples(group, worker, stop - at)
        now = read_clock(services)
        chunk = next_chunk(group, chunk, stop - at, now - began)
        at, began = stop, now
    group.visited[U(worker), U(round)] = at - first
    return chunk


@inlined
def end_round(group: RoundGroup, services: Services, worker: int, round: int) -> bool:
    """Merge the round with the other workers; returns whether there is another round.

    A worker that has listed its features has tested them for NaN and infinity before.
    """
    if services.list_address != 0:
        group.coordinates.sums[U(worker), U(round)] = sum_listed_visits(group, worker)
    else:
        if services.count_address != 0:
            group.coordinates.sums[U(worker), U(round)] = sum_visits(group, worker)
        group.finite[U(worker), U(round)] = is_finite(group.states[U(worker)], group.size)
    if not pass_barrier(group, services, worker, 2 * round + 1):
        return False
    call_kernel(services.merge_address, (group, services.merge, worker, round))
    if worker == 0:
        store_decision(group, round)
    if not pass_barrier(group, services, worker, 2 * round + 2):
        return False
    # the merged state lasts until all workers are at the next barrier
    update_answer(group, services.merge, worker, round, services.list_address != 0)
    group.times[U(worker), U(round), 1] = read_clock(services)
    return not has_ended(group)
