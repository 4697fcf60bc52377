"""Compiled loops of the study of many workers: SGD of thousands of workers in one call.

The rows of worker i are ``order[ends[i]:ends[i + 1]]``.  A state has the weights and, last, the intercept.  The loss is
log loss with l2 penalty.  Orders, steps and schedules are those of the library; tests/benchmarks compares the two.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import numpy as np
from numba import njit

_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}
# e^-z counts as 0 above.
_NEGLIGIBLE = 50.0


class Shards(NamedTuple):
    """Rows and targets of -1 and 1, the order of the rows, the ends of the workers' parts, and the workers' seeds."""

    X: np.ndarray
    y: np.ndarray
    order: np.ndarray
    ends: np.ndarray
    seeds: np.ndarray


class Rates(NamedTuple):
    """Learning rate ``eta0 / t^power`` and penalty."""

    eta0: float
    power: float
    alpha: float


@njit(cache=True)
def _permute(order, begin, end, seed, spare):
    """Permute ``order[begin:end]`` once more, as the library does at the start of an epoch."""
    places, moved = spare
    n = np.uint64(end - begin)
    state = np.uint64(seed) & np.uint64(0xFFFFFFFF)
    if state == np.uint64(0):
        state = np.uint64(1)
    for i in range(n):
        places[i] = i
    for i in range(n - np.uint64(1)):
        state ^= (state << np.uint64(13)) & np.uint64(0xFFFFFFFF)
        state ^= state >> np.uint64(17)
        state ^= (state << np.uint64(5)) & np.uint64(0xFFFFFFFF)
        j = i + (state & np.uint64(0x7FFFFFFF)) % (n - np.uint64(i))
        places[i], places[j] = places[j], places[i]
    for i in range(n):
        moved[i] = order[begin + np.int64(places[i])]
    for i in range(n):
        order[begin + np.int64(i)] = moved[i]


@njit(cache=True)
def permute_all(order, seed):
    """Permute the whole order, for mini-batches, whose workers share one order."""
    _permute(order, 0, order.shape[0], seed, (np.empty_like(order), np.empty_like(order)))


@njit(cache=True)
def _gradient(p, target):
    z = p * target
    if z > _NEGLIGIBLE:
        return 0.0
    return -target / (1.0 + math.exp(z))


@njit(cache=True, fastmath=_FASTMATH)
def mean_loss(X, y, w):
    """Return the mean log loss."""
    d, total = X.shape[1], 0.0
    for row in range(X.shape[0]):
        p = np.float32(0.0)
        for j in range(d):
            p += X[row, j] * w[j]
        z = np.float64((p + w[d]) * y[row])
        total += math.log1p(math.exp(-abs(z))) + max(-z, 0.0)
    return total / X.shape[0]


@njit(cache=True)
def _spare(ends):
    """Return the work space of a permutation of any worker's rows."""
    longest = np.max(ends[1:] - ends[:-1])
    return np.empty(longest, np.int32), np.empty(longest, np.int32)


@njit(cache=True)
def _eta(rates, t):
    return rates.eta0 if rates.power == 0.0 else rates.eta0 / t**rates.power


@njit(cache=True, fastmath=_FASTMATH)
def _steps(shards, first, end, w, rates, t, dt):
    """SGD on the rows ``order[first:end]``, in place; t is the schedule step, and dt its increase per step."""
    X, y, order = shards.X, shards.y, shards.order
    d = X.shape[1]
    for k in range(first, end):
        row = order[k]
        p = np.float32(0.0)
        for j in range(d):
            p += X[row, j] * w[j]
        eta = _eta(rates, t)
        step = np.float32(-eta * _gradient(p + w[d], y[row]))
        kept = np.float32(1.0 - eta * rates.alpha)
        for j in range(d):
            w[j] = kept * w[j] + step * X[row, j]
        w[d] += step
        t += dt


@njit(cache=True)
def _advance(shards, i, cursor, count, spare, w, rates, t, dt):
    """Visit the next ``count`` rows of worker i from its cursor on; each epoch has a new order."""
    begin, end = shards.ends[i], shards.ends[i + 1]
    n = end - begin
    while count > 0:
        at = cursor % n
        if at == 0:
            _permute(shards.order, begin, end, shards.seeds[i], spare)
        m = min(count, n - at)
        _steps(shards, begin + at, begin + at + m, w, rates, t, dt)
        t += m * dt
        cursor += m
        count -= m


@njit(cache=True)
def run_round(shards, cursors, counts, weights, state, rates, t, dt):
    """Return ``sum_i a_i (w_i - w)`` after a round from the common state w; cursors advance by the counts."""
    spare = _spare(shards.ends)
    w, total = np.empty_like(state), np.zeros(state.shape[0])
    for i in range(counts.shape[0]):
        w[:] = state
        _advance(shards, i, cursors[i], counts[i], spare, w, rates, t, dt)
        cursors[i] += counts[i]
        for j in range(w.shape[0]):
            total[j] += weights[i] * (np.float64(w[j]) - np.float64(state[j]))
    return total


@njit(cache=True)
def continue_runs(shards, cursors, counts, states, rates):
    """Continue each worker's own run, from schedule step ``cursor + 1`` on, in place."""
    spare = _spare(shards.ends)
    for i in range(counts.shape[0]):
        _advance(shards, i, cursors[i], counts[i], spare, states[i], rates, cursors[i] + 1.0, 1.0)
        cursors[i] += counts[i]


@njit(cache=True)
def _part(n, parts, cursor):
    """Return the examples to the end of the present part of an epoch, which has ``parts`` parts."""
    parts = max(1, min(parts, n))
    begin = cursor % n
    part = -(-parts * (begin + 1) // n)
    return min(n, n * part // parts) - begin


class UnderWay(NamedTuple):
    """Runs under way: displacement or gradient, count of merges at the start, examples, and time of arrival."""

    moves: np.ndarray
    merges: np.ndarray
    examples: np.ndarray
    arrivals: np.ndarray


@njit(cache=True)
def _send(shards, cursors, i, parts, spare, state, w, under_way, rates, clocks, seconds):
    """Run the next part of worker i from the present state."""
    count = _part(shards.ends[i + 1] - shards.ends[i], parts, cursors[i])
    w[:] = state
    _advance(shards, i, cursors[i], count, spare, w, rates, float(math.ceil(clocks[1] - 1e-9)), 1.0)
    under_way.moves[i] = w - state
    under_way.merges[i], under_way.examples[i] = clocks[2], count
    under_way.arrivals[i] = clocks[0] + count * seconds[i]


@njit(cache=True)
def run_asynchronous(shards, cursors, parts, state, under_way, seconds, most, rates, clocks):
    """Merge one report after the other until ``most`` examples are merged; return their number.

    ``clocks`` has the time, the schedule step and the count of merges; all arrays are updated.
    """
    n_workers = seconds.shape[0]
    spare, w, done = _spare(shards.ends), np.empty_like(state), 0
    if under_way.examples[0] == 0:
        for i in range(n_workers):
            _send(shards, cursors, i, parts, spare, state, w, under_way, rates, clocks, seconds)
    heap = [(under_way.arrivals[i], i) for i in range(n_workers)]
    heapq.heapify(heap)
    while done < most:
        arrival, i = heapq.heappop(heap)
        clocks[0] = max(clocks[0], arrival)
        stale = max(clocks[2] - under_way.merges[i] - (n_workers - 1), 0.0)
        state += np.float32((1.0 + stale) ** -0.5 / n_workers) * under_way.moves[i]
        count = under_way.examples[i]
        done += count
        cursors[i] += count
        clocks[1] += count / n_workers
        clocks[2] += 1.0
        _send(shards, cursors, i, parts, spare, state, w, under_way, rates, clocks, seconds)
        heapq.heappush(heap, (under_way.arrivals[i], i))
    return done


@njit(cache=True, fastmath=_FASTMATH)
def _sum_gradients(X, y, order, first, end, w, out):
    """Fill ``out`` with the summed gradients of the rows ``order[first:end]``."""
    d = X.shape[1]
    out[:] = 0.0
    for k in range(first, end):
        row = order[k]
        p = np.float32(0.0)
        for j in range(d):
            p += X[row, j] * w[j]
        g = np.float32(_gradient(p + w[d], y[row]))
        for j in range(d):
            out[j] += g * X[row, j]
        out[d] += g


@njit(cache=True)
def _apply(w, gradient, n, rates, t):
    """Make one step along the mean of n gradients."""
    eta = _eta(rates, t)
    kept, step = np.float32(1.0 - eta * rates.alpha), np.float32(-eta / n)
    d = w.shape[0] - 1
    for j in range(d):
        w[j] = kept * w[j] + step * gradient[j]
    w[d] += step * gradient[d]


@njit(cache=True)
def run_batches(X, y, order, first, end, batch, state, rates, t):
    """Make mini-batch steps on ``order[first:end]``; return the next schedule step."""
    gradient = np.empty_like(state)
    while first < end:
        last = min(first + batch, end)
        _sum_gradients(X, y, order, first, last, state, gradient)
        _apply(state, gradient, last - first, rates, t)
        t += 1.0
        first = last
    return t


@njit(cache=True)
def run_delayed(shards, cursors, batch, state, under_way, seconds, most, rates, clocks):
    """Apply the gradients of the workers in turn until ``most`` examples are applied; return their number.

    ``clocks`` has the time, the schedule step and the turn, from ``-K`` on; the first K turns only send.
    """
    ends, examples, n_workers = shards.ends, under_way.examples, seconds.shape[0]
    spare, done = _spare(ends), 0
    while done < most:
        i = int(clocks[2]) % n_workers
        if clocks[2] >= 0.0:
            clocks[0] = max(clocks[0], under_way.arrivals[i])
            _apply(state, under_way.moves[i], examples[i], rates, float(math.ceil(clocks[1] - 1e-9)))
            done += examples[i]
            clocks[1] += 1.0
        n = ends[i + 1] - ends[i]
        at = cursors[i] % n
        if at == 0:
            _permute(shards.order, ends[i], ends[i + 1], shards.seeds[i], spare)
        examples[i] = min(batch, n - at)
        first = ends[i] + at
        _sum_gradients(shards.X, shards.y, shards.order, first, first + examples[i], state, under_way.moves[i])
        cursors[i] += examples[i]
        under_way.arrivals[i] = clocks[0] + examples[i] * seconds[i]
        clocks[2] += 1.0
    return done
