"""Merges per coordinate for sparse rows: a round costs by the features of its rows, not by all features.

The merged state is ``base``.  A worker's own state has valid values only for the features that it has listed::

    list    list the features of the round's rows, count their visits, copy their values from ``base``
    run     SGD steps on these values
    send    sort the listed features by the worker that merges them, with their visits and values
    barrier
    merge   every worker merges its own features into ``base``
    barrier

A penalty also changes the features that no worker listed.  The sums are those of
:mod:`parsgd.kernels.coordinate_sums`, so that the bits are the same.  Loops over lists have no branches that depend on
the data: a mispredicted one waits for a value from another core's cache.
"""

from __future__ import annotations

import numpy as np

from parsgd.core.round_group import OWNED_TOGETHER, RoundGroup
from parsgd.kernels.linear.adagrad import shrink_weight
from parsgd.kernels.linear.row_ops import get_feature, get_span, prefetch_row
from parsgd.kernels.linear.single import ROWS_AHEAD, prefetch_next_weights
from parsgd.kernels.lowlevel.compiling import exact, exact_kernel, inlined, kernel
from parsgd.kernels.lowlevel.extremes import smaller
from parsgd.kernels.lowlevel.intrinsics import prefetch
from parsgd.kernels.rounds.merges import Decay, FeatureSums, MergeServices, find_only_worker, merge_rests

F, U = np.float64, np.uint64
# Features between prefetch and use.
FEATURES_AHEAD = U(16)


@inlined
def get_owner(group: RoundGroup, feature: int) -> int:
    """Return the worker that merges a feature."""
    return np.int64(np.uint32(feature // OWNED_TOGETHER) % np.uint32(group.states.shape[0]))


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
    before, width, number = U(coordinates.n_listed[U(worker), 0]), U(parts[0, 1]), listed.dtype.type
    n = before
    for i in range(start, stop):
        if i + ROWS_AHEAD < stop:
            prefetch_row(x, order[U(i + ROWS_AHEAD)])
        prefetch_next_weights(x, order, i, visits, U(1))
        begin, end = get_span(x, order[U(i)])
        for position in range(begin, end):
            j = get_feature(x, position, begin)
            count = visits[j]
            # kept only if it is new
            listed[n] = number(j)
            n += U(count == 0)
            visits[j] = count + number(count == 0) + number(x.data[position] != 0.0)
    for p in range(U(parts.shape[0])):
        first = U(parts[p, 0])
        for q in range(before, n):
            if q + FEATURES_AHEAD < n:
                ahead = first + U(listed[q + FEATURES_AHEAD]) * width
                prefetch(base, ahead)
                prefetch(state, ahead)
            at = first + U(listed[q]) * width
            for k in range(width):
                state[at + k] = base[at + k]
    if applied_penalty.shape[0] > 0:
        for q in range(before, n):
            for k in range(width):
                applied_penalty[U(listed[q]) * width + k] = 0.0
    coordinates.n_listed[U(worker), 0] = np.int64(n)


@inlined
def clear_list(group: RoundGroup, worker: int) -> None:
    """Forget the features of the last round."""
    coordinates = group.coordinates
    visits, listed = coordinates.visits[U(worker)], coordinates.listed[U(worker)]
    for p in range(U(coordinates.n_listed[U(worker), 0])):
        visits[U(listed[p])] = 0
    coordinates.n_listed[U(worker)][:] = 0


@kernel
def send_features(group: RoundGroup, decay: Decay, worker: int, applied_penalty: np.ndarray) -> int:
    """Bring the listed weights back to unscaled ones, and sort the features by the worker that merges them.

    Returns 1 if all their values are finite.
    """
    coordinates, state = group.coordinates, group.states[U(worker)]
    number, listed, parts = state.dtype.type, coordinates.listed[U(worker)], coordinates.parts
    sent, counts, values = coordinates.sent[U(worker)], coordinates.counts[U(worker)], coordinates.values[U(worker)]
    width, n_owned, n_listed = parts[0, 1], sent.shape[1], coordinates.n_listed[U(worker)]
    visits, shrinkage, total = coordinates.visits[U(worker)], coordinates.shrinkage[U(worker)], 0.0
    is_scaled = False
    for k in range(U(width)):
        is_scaled |= decay.squares_start < 0 and shrinkage[k] != 1.0
    for q in range(U(n_listed[0])):
        if q + FEATURES_AHEAD < U(n_listed[0]):
            ahead = U(listed[q + FEATURES_AHEAD])
            prefetch(visits, ahead)
            for p in range(U(parts.shape[0])):
                prefetch(state, U(parts[p, 0]) + ahead * U(width))
        j = np.int64(listed[q])
        owner = get_owner(group, j)
        at = n_listed[U(1 + owner)]
        n_listed[U(1 + owner)] = at + 1
        sent[U(owner), U(at)], counts[U(owner), U(at)] = listed[q], visits[U(j)] - 1
        for k in range(U(width)):
            w = parts[0, 0] + j * width + np.int64(k)
            if is_scaled:
                state[U(w)] *= number(shrinkage[k])
            elif applied_penalty.shape[0] > 0:
                pending = number(shrinkage[k]) - applied_penalty[U(j * width) + k]
                square = state[U(decay.squares_start + j * width) + k]
                state[U(w)] = shrink_weight(state[U(w)], square, pending, number(decay.l1), number(decay.l2))
        for p in range(parts.shape[0]):
            target, source = (p * n_owned + at) * width, parts[p, 0] + j * width
            for k in range(width):
                value = state[U(source + k)]
                values[U(owner), U(target + k)] = value
                total += 0.0 * value
    return np.int64(total == 0.0)


@inlined
def sum_listed_visits(group: RoundGroup, worker: int) -> int:
    """Return the visits of all features, or with rule 2 the number of visited features."""
    coordinates, total = group.coordinates, 0
    for owner in range(U(group.states.shape[0])):
        counts = coordinates.counts[U(worker), owner]
        for q in range(U(coordinates.n_listed[U(worker), owner + U(1)])):
            total += np.int64(counts[q]) if coordinates.rule == 1 else np.int64(counts[q] > 0)
    return total


@inlined
def decay_value(group: RoundGroup, decay: Decay, worker: int, weight: int) -> float:
    """Return a weight that the worker did not list, at the end of its steps."""
    base, width = group.coordinates.base, group.coordinates.parts[0, 1]
    number, shrinkage = base.dtype.type, group.coordinates.shrinkage[U(worker), U(weight % width)]
    value = base[U(group.coordinates.parts[0, 0] + weight)]
    if decay.squares_start >= 0:
        square = base[U(decay.squares_start + weight)]
        return shrink_weight(value, square, number(shrinkage), number(decay.l1), number(decay.l2))
    return number(value * number(shrinkage))


@exact
def move_unvisited(group: RoundGroup, decay: Decay, round: int, part: int, value: int) -> float:
    """Return the mean displacement, weighted by work, of a listed value without any visit."""
    coordinates, base = group.coordinates, group.coordinates.base
    at, moved = coordinates.parts[part, 0] + value, 0.0
    feature = value // coordinates.parts[part, 1]
    for other in range(group.states.shape[0]):
        after = group.states[U(other), U(at)]
        if coordinates.visits[U(other), U(feature)] == 0:
            after = decay_value(group, decay, other, value) if part == 0 else base[U(at)]
        moved += group.weights[U(round), U(other)] * (F(after) - F(base[U(at)]))
    return moved


@inlined
def assign_slots(group: RoundGroup, work: FeatureSums, worker: int) -> int:
    """Give a slot to each feature that was sent to the worker, and sum its visits; returns the number of features."""
    coordinates, n = group.coordinates, work.slots.dtype.type(0)
    number = work.slots.dtype.type
    for other in range(U(group.states.shape[0])):
        sent, counts = coordinates.sent[other, U(worker)], coordinates.counts[other, U(worker)]
        for q in range(U(coordinates.n_listed[other, U(1 + worker)])):
            slot = work.slots[U(sent[q])]
            n += number(slot == 0)
            slot = n if slot == 0 else slot
            work.slots[U(sent[q])], work.features[U(slot)] = slot, sent[q]
            work.places[other, q] = slot
            work.total[U(slot)] += F(counts[q]) if coordinates.rule == 1 else F(counts[q] > 0)
    return np.int64(n)


@exact
def sum_sent(group: RoundGroup, work: FeatureSums, worker: int, part: int) -> None:
    """Sum the values of a part that were sent to the worker; of sums, the increases."""
    coordinates, n_owned = group.coordinates, work.places.shape[1]
    width, start, is_sum = coordinates.parts[part, 1], coordinates.parts[part, 0], coordinates.parts[part, 2]
    for other in range(U(group.states.shape[0])):
        sent, counts = coordinates.sent[other, U(worker)], coordinates.counts[other, U(worker)]
        values = coordinates.values[other, U(worker)]
        for q in range(coordinates.n_listed[other, U(1 + worker)]):
            slot, source = np.int64(work.places[other, U(q)]), (part * n_owned + q) * width
            if is_sum:
                at = start + np.int64(sent[U(q)]) * width
                for k in range(width):
                    work.sums[U(slot * width + k)] += F(values[U(source + k)]) - F(coordinates.base[U(at + k)])
            else:
                count = F(counts[U(q)]) if coordinates.rule == 1 else F(counts[U(q)] > 0)
                weight = count / work.total[U(slot)] if count > 0.0 else 0.0
                for k in range(width):
                    work.sums[U(slot * width + k)] += weight * F(values[U(source + k)])


@exact
def store_sent(group: RoundGroup, work: FeatureSums, decay: Decay, round: int, part: int, n: int, only: int) -> None:
    """Write the merged values of a part to ``base``, and set the sums to 0."""
    coordinates, base = group.coordinates, group.coordinates.base
    width, start, is_sum = coordinates.parts[part, 1], coordinates.parts[part, 0], coordinates.parts[part, 2]
    number = base.dtype.type
    for slot in range(1, n + 1):
        first = np.int64(work.features[U(slot)]) * width
        for k in range(width):
            at, total = U(start + first + k), work.sums[U(slot * width + k)]
            work.sums[U(slot * width + k)] = 0.0
            if only >= 0:
                base[at] = group.states[U(only), at]
            elif is_sum:
                base[at] = number(F(base[at]) + total)
            elif work.total[U(slot)] > 0.0:
                base[at] = number(total)
            else:
                base[at] = number(F(base[at]) + move_unvisited(group, decay, round, part, first + k))


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


@exact
def decay_others(group: RoundGroup, work: FeatureSums, decay: Decay, worker: int, round: int, only: int) -> None:
    """Apply the penalty to the worker's features that nobody has sent."""
    coordinates, n_workers, base = group.coordinates, group.states.shape[0], group.coordinates.base
    number, width, start = base.dtype.type, coordinates.parts[0, 1], coordinates.parts[0, 0]
    n_features = work.slots.shape[0]
    for first in range(worker * OWNED_TOGETHER, n_features, n_workers * OWNED_TOGETHER):
        for j in range(first, smaller(first + OWNED_TOGETHER, n_features)):
            if work.slots[U(j)] != 0:
                continue
            for weight in range(j * width, (j + 1) * width):
                before, moved = base[U(start + weight)], 0.0
                if before == 0.0:
                    continue
                if only >= 0:
                    base[U(start + weight)] = decay_value(group, decay, only, weight)
                    continue
                for other in range(n_workers):
                    value = decay_value(group, decay, other, weight)
                    moved += group.weights[U(round), U(other)] * (F(value) - F(before))
                base[U(start + weight)] = number(F(before) + moved)


@exact_kernel
def merge_listed_features(group: RoundGroup, services: MergeServices, worker: int, round: int) -> None:
    """Merge the features of this worker, and its share of the values without a feature."""
    only, work, decay = find_only_worker(group, round), services.feature_sums, services.decay
    n = assign_slots(group, work, worker)
    for part in range(group.coordinates.parts.shape[0]):
        sum_sent(group, work, worker, part)
        store_sent(group, work, decay, round, part, n, only)
    if is_decayed(group, decay, round):
        decay_others(group, work, decay, worker, round, only)
    for slot in range(U(1), U(n + 1)):
        work.total[slot], work.slots[U(work.features[slot])] = 0.0, 0
    merge_rests(group, services, worker, round, only)
