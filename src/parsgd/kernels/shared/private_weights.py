"""A worker's own copy of weights that all workers share, and its exchange with them.

A cache line that one core writes must be transferred before another core can read it.  Workers that write to shared
weights at every step wait for each other nearly all the time.  So each worker makes its steps on a copy of its own, and
adds its increments to the shared weights now and then::

    c    = 1 if the shared weight is the one of the last exchange, else 1 / K
    w    = w + c (own - base)
    own  = base = w

for K workers, where ``base`` is the weight after the worker's last exchange.  If only one worker moves a weight, its
increment counts in full.  Increments of several workers are averaged, because each corrects the same error.  No lock is
held: of two simultaneous exchanges of a weight one may be lost, as in Hogwild.

After each chunk of steps a worker exchanges the features of one row, always by ``1 / K``, and the next part of all
weights.  So the staleness of a weight is limited both in visits and in rows, and the cost is a fixed share of the
steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from parsgd.kernels.linear.row_ops import get_feature, get_span
from parsgd.kernels.lowlevel.atomics import unlock
from parsgd.kernels.lowlevel.compiling import called, inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.lowlevel.intrinsics import prefetch
from parsgd.kernels.shared.shared_scalars import FOLDED, N_WORKERS, TICKETS
from parsgd.kernels.shared.shared_weights import begin_chunk, end_chunk

U = np.uint64
# Weights that are tested together: those of a cache line of float32.
_BLOCK = 16
# Values of rows per exchanged weight.
_VALUES_PER_WEIGHT = 16
# Weights that are exchanged at least.  Models with so few weights need no exchange by rows.
_MIN_WEIGHTS = 256


class PrivateWeights(NamedTuple):
    """A worker's own copies.

    ``own``, ``base`` ``(n_weights,)``: the own weights, and the shared ones after the last exchange.  ``own_l1``,
    ``base_l1``: the same for the applied l1 penalty.  ``folded (n_outputs,)``: logarithm of the scales that the own
    weights contain.  ``next (2,)``: position of the next exchange, and whether it is known.
    """

    own: np.ndarray
    base: np.ndarray
    own_l1: np.ndarray
    base_l1: np.ndarray
    folded: np.ndarray
    next: np.ndarray


@called
def adopt_folds(shared_scalars: np.ndarray, private: PrivateWeights) -> None:
    """Multiply the scales that were folded since the last chunk into the own weights; the caller holds the lock."""
    n_outputs = shared_scalars.shape[1]
    if private.next[1] == 0:
        # workers begin at different places, so that they do not meet
        ticket = shared_scalars[TICKETS, 0]
        shared_scalars[TICKETS, 0] = ticket + 1.0
        place = private.own.shape[0] * (ticket % shared_scalars[N_WORKERS, 0]) / shared_scalars[N_WORKERS, 0]
        private.next[0], private.next[1] = np.int64(place) // _BLOCK * _BLOCK, 1
    for k in range(U(n_outputs)):
        if private.folded[k] != shared_scalars[FOLDED, k]:
            factor = private.own.dtype.type(np.exp(shared_scalars[FOLDED, k] - private.folded[k]))
            private.folded[k] = shared_scalars[FOLDED, k]
            for at in range(k, U(private.own.shape[0]), U(n_outputs)):
                private.own[at] *= factor
                private.base[at] *= factor


@inlined
def exchange_weight(
    w: np.ndarray, applied_l1: np.ndarray, private: PrivateWeights, share: float, counts_alone: bool, at: int
) -> None:
    """Exchange one weight; with ``counts_alone`` the increment counts in full where nobody else has moved the weight.

    A weight without an increment is only read, so that no increment of another worker is overwritten.
    """
    own, base, shared, factor = private.own[at], private.base[at], w[at], w.dtype.type(share)
    is_alone = counts_alone and shared == base
    merged = own if is_alone else shared + factor * (own - base)
    if own != base:
        w[at] = merged
    private.own[at] = private.base[at] = merged
    if applied_l1.shape[0] > 0:
        own_l1, base_l1 = private.own_l1[at], private.base_l1[at]
        applied = own_l1 if is_alone else applied_l1[at] + factor * (own_l1 - base_l1)
        if own_l1 != base_l1:
            applied_l1[at] = applied
        private.own_l1[at] = private.base_l1[at] = applied


@inlined
def exchange_part(
    w: np.ndarray, applied_l1: np.ndarray, private: PrivateWeights, share: float, start: int, stop: int
) -> None:
    """Exchange ``w[start:stop]``; increments count by ``share`` where others have moved the weight."""
    own, base = private.own, private.base
    for first in range(U(start), U(stop), U(_BLOCK)):
        last = smaller(first + U(_BLOCK), U(stop))
        # no branches, so that the loop is vectorized
        is_moved, is_changed = False, False
        for at in range(first, last):
            is_moved |= own[at] != base[at]
            is_changed |= w[at] != base[at]
        if is_moved or is_changed:
            for at in range(first, last):
                exchange_weight(w, applied_l1, private, share, True, at)


@inlined
def exchange_next(
    w: np.ndarray, applied_l1: np.ndarray, private: PrivateWeights, share: float, n_values: float
) -> None:
    """Exchange the next part of the weights, as long as steps on ``n_values`` values allow."""
    size = private.own.shape[0]
    left = smaller(larger(np.int64(n_values) // _VALUES_PER_WEIGHT // _BLOCK * _BLOCK, _MIN_WEIGHTS), size)
    while left > 0:
        start = private.next[0]
        stop = smaller(start + left, size)
        exchange_part(w, applied_l1, private, share, start, stop)
        left -= larger(stop - start, 1)
        private.next[0] = 0 if stop == size else stop


@inlined
def exchange_row(x, row: int, w: np.ndarray, applied_l1: np.ndarray, private: PrivateWeights, share: float, width: int):
    """Exchange the weights of a row's features: most often the frequent ones, which all workers move.

    ``width`` is the number of outputs.
    """
    if w.shape[0] <= _MIN_WEIGHTS:
        return
    begin, end = get_span(x, row)
    for position in range(begin, end):
        prefetch(w, get_feature(x, position, begin) * U(width))
    for position in range(begin, end):
        first = get_feature(x, position, begin) * U(width)
        for at in range(first, first + U(width)):
            exchange_weight(w, applied_l1, private, share, False, at)


@kernel
def exchange_all(
    w: np.ndarray,
    applied_l1: np.ndarray,
    tiny: float,
    release_gil_from: int,
    shared_scalars: np.ndarray,
    private: PrivateWeights,
) -> None:
    """Exchange all weights, at the end of a worker's steps."""
    token = release_gil(w.shape[0] >= release_gil_from)
    begin_chunk(shared_scalars, w, shared_scalars.shape[1], tiny)
    adopt_folds(shared_scalars, private)
    unlock(shared_scalars)
    start = private.next[0]
    share = 1.0 / shared_scalars[N_WORKERS, 0]
    exchange_part(w, applied_l1, private, share, start, private.own.shape[0])
    exchange_part(w, applied_l1, private, share, 0, start)
    end_chunk(shared_scalars)
    unlock(shared_scalars)
    reacquire_gil(token)
