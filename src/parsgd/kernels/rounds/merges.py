"""Merges inside compiled rounds: every worker merges its part of the state, and writes it into all states.

The sums are those of :mod:`parsgd.utils.tree_reduce` and :mod:`parsgd.algorithms.merging.coordinate_merge`, by the same
compiled functions, so that the bits are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parsgd.core.round_group import ROW, RoundGroup
from parsgd.kernels.coordinate_sums import add_by_visits, add_moves, add_visits, store_by_visits
from parsgd.kernels.lowlevel.compiling import exact, inlined, kernel, kernel_address
from parsgd.kernels.lowlevel.extremes import smaller
from parsgd.kernels.lowlevel.routines import call_kernel
from parsgd.kernels.weighted_sum import add_weighted
from parsgd.kernels.weighted_sum import store as store_sum

U = np.uint64
# Numbers per block: sums that fit the first-level cache.
_BLOCK = 1024


class Decay(NamedTuple):
    """Effect of a penalty on the features without a visit.

    ``squares_start``: position of AdaGrad's sums of squares in a state, -1 without them.  ``l1``, ``l2``: shares of
    AdaGrad's penalty.  Without AdaGrad, a weight is multiplied by ``Coordinates.shrinkage``.
    """

    squares_start: int
    l1: float
    l2: float


class FeatureSums(NamedTuple):
    """Work arrays of one worker for the features that it merges.

    ``slots (n_features,)``: place of a feature in the others, 0 if no worker has sent it.  ``features``, ``total``:
    the feature, and its visits by all workers.  ``sums``: sums of its values.  ``places``: slots of the features sent.
    """

    slots: np.ndarray
    features: np.ndarray
    total: np.ndarray
    sums: np.ndarray
    places: np.ndarray


def make_feature_sums(group: RoundGroup) -> FeatureSums:
    """Allocate the work arrays of one worker; of length 1 or 0 if workers do not list features."""
    coordinates = group.coordinates
    n_workers, integer = len(coordinates.sent), coordinates.sent.dtype
    n_owned = coordinates.sent.shape[2] if n_workers else 0
    widest = int(coordinates.parts[:, 1].max(initial=1))
    return FeatureSums(
        slots=np.zeros(coordinates.visits.shape[1] if n_workers else 0, dtype=integer),
        features=np.empty(n_owned + 1, dtype=integer),
        total=np.zeros(n_owned + 1),
        sums=np.zeros((n_owned + 1) * widest),
        places=np.empty((n_workers, n_owned), dtype=integer),
    )


class MergeServices(NamedTuple):
    """Addresses of the functions that sum, and work arrays; ``total`` is empty for means."""

    add_address: int
    store_address: int
    add_visits_address: int
    add_by_visits_address: int
    store_by_visits_address: int
    add_moves_address: int
    sums: np.ndarray
    total: np.ndarray
    decay: Decay
    feature_sums: FeatureSums


def mean_services(group: RoundGroup) -> MergeServices:
    """Return what :func:`merge_means` needs."""
    sums, state = np.zeros(_BLOCK), group.states[0]
    add, put = kernel_address(add_weighted, (sums, state, 0, 0, 1.0)), kernel_address(store_sum, (sums, state, 0, 0))
    return MergeServices(add, put, 0, 0, 0, 0, sums, sums[:0], Decay(-1, 0.0, 1.0), make_feature_sums(group))


def coordinate_services(group: RoundGroup) -> MergeServices:
    """Return what :func:`merge_coordinates` needs."""
    widest = int(group.coordinates.parts[:, 1].max())
    total, sums = np.zeros(max(_BLOCK // widest, 1)), np.zeros(max(_BLOCK, widest))
    state, visits, once = group.states[0], group.coordinates.visits[0], True
    return mean_services(group)._replace(
        add_visits_address=kernel_address(add_visits, (total, visits, 0, 0, once)),
        add_by_visits_address=kernel_address(add_by_visits, (sums, total, visits, state, state, 0, 0, 0, 0, once, 1.0)),
        store_by_visits_address=kernel_address(store_by_visits, (sums, total, state, state, 0, 0, 0, 0)),
        add_moves_address=kernel_address(add_moves, (sums, state, state, 1.0)),
        sums=sums,
        total=total,
    )


@inlined
def find_only_worker(group: RoundGroup, round: int) -> int:
    """Return the only worker that moved in the round, or -1."""
    for worker in range(group.states.shape[0]):
        if group.weights[U(round), U(worker)] == 1.0:
            return worker
    return -1


@inlined
def copy_to_all(group: RoundGroup, worker: int, start: int, stop: int) -> None:
    """Copy a part of a worker's state to all other states, and to the base of the next merge."""
    merged = group.states[U(worker)]
    for other in range(group.states.shape[0]):
        if other != worker:
            state = group.states[U(other)]
            for i in range(U(start), U(stop)):
                state[i] = merged[i]
    if group.coordinates.rule != 0:
        for i in range(U(start), U(stop)):
            group.coordinates.base[i] = merged[i]


@inlined
def get_share(n: int, worker: int, n_workers: int) -> tuple[int, int]:
    """Return the start and end of a worker's part of ``n`` numbers, in whole cache lines."""
    per_worker = (n // n_workers + ROW) // ROW * ROW
    return smaller(worker * per_worker, n), n if worker == n_workers - 1 else smaller((worker + 1) * per_worker, n)


@exact
def average(group: RoundGroup, services: MergeServices, round: int, start: int, stop: int) -> None:
    """Write the weighted mean of ``states[:, start:stop]`` to the first state."""
    at = start
    while at < stop:
        n = smaller(services.sums.shape[0], stop - at)
        for other in range(group.states.shape[0]):
            weight = group.weights[U(round), U(other)]
            if weight != 0.0:
                call_kernel(services.add_address, (services.sums, group.states[U(other)], at, n, weight))
        call_kernel(services.store_address, (services.sums, group.states[U(0)], at, n))
        at += n


@inlined
def update_answer(group: RoundGroup, services: MergeServices, worker: int, round: int, is_listed: bool) -> None:
    """Add the merged state to this worker's part of the running mean."""
    newest, n_workers = group.answer_weights[U(round)], group.states.shape[0]
    if newest == 0.0:
        return
    merged = group.coordinates.base if is_listed else group.states[U(worker)]
    at, stop = get_share(group.size, worker, n_workers)
    while at < stop:
        n = smaller(services.sums.shape[0], stop - at)
        if newest != 1.0:
            call_kernel(services.add_address, (services.sums, group.answer, at, n, 1.0 - newest))
        call_kernel(services.add_address, (services.sums, merged, at, n, newest))
        call_kernel(services.store_address, (services.sums, group.answer, at, n))
        at += n


@kernel
def merge_means(group: RoundGroup, services: MergeServices, worker: int, round: int) -> None:
    """Merge this worker's part of the states into their weighted mean."""
    start, stop = get_share(group.size, worker, group.states.shape[0])
    only = find_only_worker(group, round)
    if only < 0:
        average(group, services, round, start, stop)
    copy_to_all(group, only if only >= 0 else 0, start, stop)


@exact
def add_increases(group: RoundGroup, services: MergeServices, round: int, start: int, stop: int) -> None:
    """Write the base plus the increases of all workers of ``states[:, start:stop]`` to the first state."""
    base, out = group.coordinates.base, group.states[U(0)]
    number, at = out.dtype.type, start
    while at < stop:
        n = smaller(services.sums.shape[0], stop - at)
        sums = services.sums[:n]
        for other in range(group.states.shape[0]):
            if group.weights[U(round), U(other)] != 0.0:
                state = group.states[U(other)]
                call_kernel(services.add_moves_address, (sums, state[at : at + n], base[at : at + n], 1.0))
        for i in range(U(n)):
            out[U(at) + i] = number(np.float64(base[U(at) + i]) + sums[i])
            sums[i] = 0.0
        at += n


@inlined
def keep_nonnegative(group: RoundGroup, start: int, stop: int) -> None:
    """Raise values of the first state that rounding may have made negative to 0."""
    out, bounds = group.states[U(0)], group.coordinates.nonnegative
    for i in range(start if start > bounds[0] else bounds[0], smaller(stop, bounds[1])):
        if out[U(i)] < 0.0:
            out[U(i)] = 0.0


@inlined
def merge_rests(group: RoundGroup, services: MergeServices, worker: int, round: int, only: int) -> None:
    """Merge this worker's part of the values without a feature; ``only`` is the only worker that moved, or -1."""
    coordinates, n_workers = group.coordinates, group.states.shape[0]
    for q in range(U(coordinates.rests.shape[0])):
        offset, stop = coordinates.rests[q, 0], coordinates.rests[q, 1]
        begin, end = get_share(stop - offset, worker, n_workers)
        if only < 0:
            if coordinates.rests[q, 2]:
                add_increases(group, services, round, offset + begin, offset + end)
            else:
                average(group, services, round, offset + begin, offset + end)
            keep_nonnegative(group, offset + begin, offset + end)
        copy_to_all(group, only if only >= 0 else 0, offset + begin, offset + end)


@kernel
def merge_coordinates(group: RoundGroup, services: MergeServices, worker: int, round: int) -> None:
    """Merge this worker's part of the features, and of the other values, per coordinate."""
    coordinates, n_workers = group.coordinates, group.states.shape[0]
    once, out = coordinates.rule == 2, group.states[U(0)]
    only = find_only_worker(group, round)
    begin, end = get_share(coordinates.visits.shape[1], worker, n_workers)
    first = begin
    while first < end and only < 0:
        n = smaller(services.total.shape[0], end - first)
        services.total[:] = 0.0
        for other in range(n_workers):
            if group.weights[U(round), U(other)] != 0.0:
                arguments = services.total, coordinates.visits[U(other)], first, n, once
                call_kernel(services.add_visits_address, arguments)
        for p in range(U(coordinates.parts.shape[0])):
            start, width, is_sum = coordinates.parts[p, 0], coordinates.parts[p, 1], coordinates.parts[p, 2]
            if is_sum:
                add_increases(group, services, round, start + first * width, start + (first + n) * width)
            else:
                for other in range(n_workers):
                    weight = group.weights[U(round), U(other)]
                    if weight != 0.0:
                        call_kernel(
                            services.add_by_visits_address,
                            (
                                services.sums,
                                services.total,
                                coordinates.visits[U(other)],
                                group.states[U(other)],
                                coordinates.base,
                                start,
                                width,
                                first,
                                n,
                                once,
                                weight,
                            ),
                        )
                call_kernel(
                    services.store_by_visits_address,
                    (services.sums, services.total, coordinates.base, out, start, width, first, n),
                )
        first += n
    for p in range(U(coordinates.parts.shape[0])):
        start, width = coordinates.parts[p, 0], coordinates.parts[p, 1]
        keep_nonnegative(group, start + begin * width, start + end * width)
        copy_to_all(group, only if only >= 0 else 0, start + begin * width, start + end * width)
    merge_rests(group, services, worker, round, only)
