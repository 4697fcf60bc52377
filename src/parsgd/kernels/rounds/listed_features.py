"""Merges per coordinate for sparse rows: a round costs by the features of its rows, not by all features.

The merged state is ``base``.  A worker's own state has valid values only for the features that it has listed::

    list    list the features of the round's rows, count their visits, copy their values from ``base``
    run     SGD steps on these values
    barrier
    merge   one of the workers that listed a feature writes its merged value to ``base``
    barrier

A penalty also changes the features that no worker listed: their part of ``base`` is shared out between the workers.
The sums are those of :mod:`parsgd.kernels.coordinate_sums`, so that the bits are the same.
"""

from __future__ import annotations

import numpy as np

from parsgd.core.round_group import RoundGroup
from parsgd.kernels.linear.adagrad import shrink_weight
from parsgd.kernels.linear.row_ops import get_feature, get_span, prefetch_row
from parsgd.kernels.linear.single import ROWS_AHEAD
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.extremes import smaller
from parsgd.kernels.rounds.merges import Decay, MergeServices, find_only_worker, get_share, merge_rests

F, U = np.float64, np.uint64
# Adjacent features that the same worker merges: two cache lines of float64.
_OWNED_TOGETHER = 16


@kernel
def list_features(
    group: RoundGroup, worker: int, x, order: np.ndarray, start: int, stop: int, applied_penalty: np.ndarray
) -> None:
    """List the features of the rows ``order[start:stop]``, count their visits, and copy their values from ``base``.

    A zero that a CSR matrix stores is listed, without a visit.
    """
    coordinates = group.coordinates
    visits, listed, base = coordinates.visits[U(worker)], coordinates.listed[U(worker)], coordinates.base
    state, parts = group.states[U(worker)], coordinates.parts
    n, width = U(coordinates.n_listed[U(worker), 0]), U(parts[0, 1])
    for i in range(start, stop):
        if i + ROWS_AHEAD < stop:
            prefetch_row(x, order[U(i + ROWS_AHEAD)])
        begin, end = get_span(x, order[U(i)])
        for position in range(begin, end):
            j = get_feature(x, position, begin)
            count = visits[j]
            if count == 0:
                count = listed.dtype.type(1)
                listed[n] = listed.dtype.type(j)
                n += U(1)
                for p in range(U(parts.shape[0])):
                    for at in range(U(parts[p, 0]) + j * width, U(parts[p, 0]) + (j + U(1)) * width):
                        state[at] = base[at]
                if applied_penalty.shape[0] > 0:
                    for at in range(j * width, (j + U(1)) * width):
                        applied_penalty[at] = 0.0
            visits[j] = count + listed.dtype.type(x.data[position] != 0.0)
    coordinates.n_listed[U(worker), 0] = np.int64(n)


@inlined
def clear_list(group: RoundGroup, worker: int) -> None:
    """Forget the features of the last round."""
    coordinates = group.coordinates
    visits, listed = coordinates.visits[U(worker)], coordinates.listed[U(worker)]
    for p in range(U(coordinates.n_listed[U(worker), 0])):
        visits[U(listed[p])] = 0
    coordinates.n_listed[U(worker), 0] = 0


@kernel
def finish_listed(group: RoundGroup, decay: Decay, worker: int, applied_penalty: np.ndarray) -> int:
    """Bring the listed weights back to unscaled ones; returns 1 if all values of the listed features are finite."""
    coordinates, state = group.coordinates, group.states[U(worker)]
    number, listed, parts = state.dtype.type, coordinates.listed[U(worker)], coordinates.parts
    width, shrinkage, total = parts[0, 1], coordinates.shrinkage[U(worker)], 0.0
    is_scaled = False
    for k in range(U(width)):
        is_scaled |= decay.squares_start < 0 and shrinkage[k] != 1.0
    for q in range(U(coordinates.n_listed[U(worker), 0])):
        first = np.int64(listed[q]) * width
        for k in range(width):
            at = parts[0, 0] + first + k
            if is_scaled:
                state[U(at)] *= number(shrinkage[U(k)])
            elif applied_penalty.shape[0] > 0:
                pending = number(shrinkage[U(k)]) - applied_penalty[U(first + k)]
                square = state[U(decay.squares_start + first + k)]
                state[U(at)] = shrink_weight(state[U(at)], square, pending, number(decay.l1), number(decay.l2))
        for p in range(U(parts.shape[0])):
            for at in range(parts[p, 0] + first, parts[p, 0] + first + width):
                total += 0.0 * state[U(at)]
    return np.int64(total == 0.0)


@inlined
def sum_listed_visits(group: RoundGroup, worker: int) -> int:
    """Return the visits of all features, or with rule 2 the number of visited features."""
    coordinates, total = group.coordinates, 0
    visits, listed = coordinates.visits[U(worker)], coordinates.listed[U(worker)]
    for p in range(U(coordinates.n_listed[U(worker), 0])):
        count = np.int64(visits[U(listed[p])]) - 1
        total += count if coordinates.rule == 1 else np.int64(count > 0)
    return total


@inlined
def merges_feature(group: RoundGroup, worker: int, feature: int) -> bool:
    """Return whether it is this worker, among those that listed the feature, that merges it."""
    n_workers, visits = group.states.shape[0], group.coordinates.visits
    other = (feature // _OWNED_TOGETHER) % n_workers
    while other != worker:
        if visits[U(other), U(feature)] != 0:
            return False
        other = other + 1 if other + 1 < n_workers else 0
    return True


@inlined
def get_count(group: RoundGroup, worker: int, feature: int) -> float:
    """Return what the worker's visits of a feature count in the merge; negative if the feature is not listed."""
    count = np.int64(group.coordinates.visits[U(worker), U(feature)]) - 1
    return F(count) if group.coordinates.rule == 1 else F(smaller(count, 1))


@inlined
def decay_value(group: RoundGroup, decay: Decay, worker: int, value: float, square: float, output: int) -> float:
    """Return a weight of a feature that the worker did not list, at the end of its steps."""
    number, shrinkage = group.states.dtype.type, group.coordinates.shrinkage[U(worker), U(output)]
    if decay.squares_start >= 0:
        return shrink_weight(value, square, number(shrinkage), number(decay.l1), number(decay.l2))
    return number(value * number(shrinkage))


@inlined
def get_square(group: RoundGroup, decay: Decay, weight: int) -> float:
    """Return AdaGrad's sum of squares of a weight."""
    base = group.coordinates.base
    return base[U(decay.squares_start + weight)] if decay.squares_start >= 0 else base.dtype.type(0)


@inlined
def merge_listed(group: RoundGroup, decay: Decay, worker: int, round: int, only: int) -> None:
    """Merge the listed features that fall to this worker."""
    coordinates, n_workers, base = group.coordinates, group.states.shape[0], group.coordinates.base
    number, listed, width = base.dtype.type, coordinates.listed[U(worker)], coordinates.parts[0, 1]
    for q in range(U(coordinates.n_listed[U(worker), 0])):
        j = np.int64(listed[q])
        if not merges_feature(group, worker, j):
            continue
        total = 0.0
        for other in range(n_workers):
            count = get_count(group, other, j)
            if count > 0.0:
                total += count
        for p in range(coordinates.parts.shape[0]):
            start, is_sum = coordinates.parts[p, 0], coordinates.parts[p, 2]
            for k in range(width):
                at = start + j * width + k
                before, moved = F(base[U(at)]), 0.0
                for other in range(n_workers):
                    count = get_count(group, other, j)
                    if is_sum:
                        if count >= 0.0:
                            moved += F(group.states[U(other), U(at)]) - before
                    elif total > 0.0:
                        if count > 0.0:
                            moved += count / total * F(group.states[U(other), U(at)])
                    else:
                        value = group.states[U(other), U(at)]
                        if count < 0.0:
                            value = base[U(at)]
                            if p == 0:
                                value = decay_value(group, decay, other, value, get_square(group, decay, j * width + k), k)
                        moved += group.weights[U(round), U(other)] * (F(value) - before)
                if only >= 0:
                    base[U(at)] = group.states[U(only), U(at)]
                else:
                    base[U(at)] = number((0.0 if total > 0.0 and not is_sum else before) + moved)


@inlined
def is_listed(group: RoundGroup, feature: int) -> bool:
    """Return whether any worker has listed the feature."""
    seen = group.coordinates.visits[0, U(feature)]
    for other in range(1, group.states.shape[0]):
        seen |= group.coordinates.visits[U(other), U(feature)]
    return seen != 0


@inlined
def decay_others(group: RoundGroup, decay: Decay, round: int, only: int, first: int, last: int) -> None:
    """Apply the penalty to the features from ``first`` to ``last`` that no worker has listed."""
    coordinates, n_workers, base = group.coordinates, group.states.shape[0], group.coordinates.base
    number, width, start = base.dtype.type, coordinates.parts[0, 1], coordinates.parts[0, 0]
    for j in range(first, last):
        if is_listed(group, j):
            continue
        for k in range(width):
            at = start + j * width + k
            before, moved = base[U(at)], 0.0
            if before == 0.0:
                continue
            square = get_square(group, decay, j * width + k)
            if only >= 0:
                base[U(at)] = decay_value(group, decay, only, before, square, k)
                continue
            for other in range(n_workers):
                value = decay_value(group, decay, other, before, square, k)
                moved += group.weights[U(round), U(other)] * (F(value) - F(before))
            base[U(at)] = number(F(before) + moved)


@inlined
def is_decayed(group: RoundGroup, decay: Decay, round: int) -> bool:
    """Return whether the steps of the round changed features without a visit."""
    neutral = 0.0 if decay.squares_start >= 0 else 1.0
    for other in range(group.states.shape[0]):
        if group.weights[U(round), U(other)] != 0.0:
            for k in range(U(group.coordinates.shrinkage.shape[1])):
                if group.coordinates.shrinkage[U(other), k] != neutral:
                    return True
    return False


@kernel
def merge_listed_features(group: RoundGroup, services: MergeServices, worker: int, round: int) -> None:
    """Merge this worker's share of the listed features, of the others, and of the values without a feature."""
    n_workers, only = group.states.shape[0], find_only_worker(group, round)
    merge_listed(group, services.decay, worker, round, only)
    if is_decayed(group, services.decay, round):
        first, last = get_share(group.coordinates.visits.shape[1], worker, n_workers)
        decay_others(group, services.decay, round, only, first, last)
    merge_rests(group, services, worker, round, only)
