"""Sums of states with weights per feature, one block of features at a time, for merging.

Features ``first`` to ``first + n`` have ``width`` adjacent values each, from position ``start`` of a state.  Operations
are not reordered, so that every merge has the same bits.
"""

from __future__ import annotations

import numpy as np

from parsgd.kernels.lowlevel.compiling import exact_kernel, kernel
from parsgd.kernels.lowlevel.extremes import smaller

F, U = np.float64, np.uint64
# Features compared between two tests for a difference, and features tested for visits together.
_RUN, _GROUP = 4096, 32


@kernel
def add_visits(total: np.ndarray, visits: np.ndarray, first: int, n: int, once: bool) -> None:
    """Add the visits of ``n`` features to ``total``, or 1 for each visited one with ``once``."""
    for i in range(U(n)):
        count = visits[U(first) + i]
        total[i] += F(count > 0) if once else F(count)


@exact_kernel
def add_by_visits(
    sums: np.ndarray,
    total: np.ndarray,
    visits: np.ndarray,
    vector: np.ndarray,
    base: np.ndarray,
    start: int,
    width: int,
    first: int,
    n: int,
    once: bool,
    work: float,
) -> None:
    """Add ``visits / total`` times the values of ``vector`` to ``sums``.

    Where ``total`` is 0, add ``work`` times their displacement from ``base``.
    """
    for i in range(U(n)):
        count = visits[U(first) + i]
        visited = total[i] > 0.0
        weight = (F(count > 0) if once else F(count)) / total[i] if visited else work
        at = U(start) + (U(first) + i) * U(width)
        for k in range(U(width)):
            origin = 0.0 if visited else F(base[at + k])
            sums[i * U(width) + k] += weight * (F(vector[at + k]) - origin)


@exact_kernel
def store_by_visits(
    sums: np.ndarray, total: np.ndarray, base: np.ndarray, out: np.ndarray, start: int, width: int, first: int, n: int
) -> None:
    """Round ``sums`` to the values of ``out``, with ``base`` added where ``total`` is 0, and set ``sums = 0``."""
    number = out.dtype.type
    for i in range(U(n)):
        at = U(start) + (U(first) + i) * U(width)
        for k in range(U(width)):
            origin = 0.0 if total[i] > 0.0 else F(base[at + k])
            out[at + k] = number(origin + sums[i * U(width) + k])
            sums[i * U(width) + k] = 0.0


@exact_kernel
def add_moves(sums: np.ndarray, vector: np.ndarray, base: np.ndarray, weight: float) -> None:
    """Add ``weight (vector - base)`` to ``sums``, which is float64."""
    for i in range(U(base.shape[0])):
        sums[i] += weight * (F(vector[i]) - F(base[i]))


@exact_kernel
def merge_visited(
    features: np.ndarray,
    visits: np.ndarray,
    values: np.ndarray,
    heads: np.ndarray,
    ends: np.ndarray,
    total: np.ndarray,
    sums: np.ndarray,
    base: np.ndarray,
    out: np.ndarray,
    start: int,
    width: int,
    n_features: int,
    once: bool,
    is_sum: bool,
) -> None:
    """Write the merged values of all visited features to ``out``.

    ``features``, ``visits`` and ``values`` hold the reports one after the other.  Report ``i`` begins at ``heads[i]``,
    which is modified, and ends at ``ends[i]``.  ``total`` and ``sums`` are zeros for one block of features.  With
    ``is_sum`` displacements from ``base`` are added with weight 1.
    """
    n_block = total.shape[0]
    for first in range(0, n_features, n_block):
        for i in range(heads.shape[0]):
            p = heads[i]
            while p < ends[i] and features[p] < first + n_block:
                total[features[p] - first] += F(visits[p] > 0) if once else F(visits[p])
                p += 1
        for i in range(heads.shape[0]):
            p = heads[i]
            while p < ends[i] and features[p] < first + n_block:
                f = features[p] - first
                weight = 1.0 if is_sum else (F(visits[p] > 0) if once else F(visits[p])) / total[f]
                at = start + features[p] * width
                for k in range(width):
                    origin = F(base[at + k]) if is_sum else 0.0
                    sums[f * width + k] += weight * (F(values[p * width + k]) - origin)
                p += 1
        for i in range(heads.shape[0]):
            p = heads[i]
            while p < ends[i] and features[p] < first + n_block:
                f = features[p] - first
                if total[f] > 0.0:
                    at = start + features[p] * width
                    for k in range(width):
                        origin = F(base[at + k]) if is_sum else 0.0
                        out[at + k] = out.dtype.type(origin + sums[f * width + k])
                        sums[f * width + k] = 0.0
                    total[f] = 0.0
                p += 1
            heads[i] = p


@kernel
def is_unvisited_scaled(
    state: np.ndarray, base: np.ndarray, visits: np.ndarray, start: int, width: int, factors: np.ndarray
) -> bool:
    """Return True if all values of features without visits are ``factors`` times those of ``base``, bit for bit."""
    n_features = visits.shape[0]
    for first in range(0, n_features, _RUN):
        end, n_others = smaller(first + _RUN, n_features), 0
        if width == 1:
            factor = factors[0]
            for j in range(U(first), U(end)):
                n_others += (visits[j] == 0) & (state[U(start) + j] != base[U(start) + j] * factor)
        else:
            for j in range(U(first), U(end)):
                if visits[j] == 0:
                    at = U(start) + j * U(width)
                    for k in range(U(width)):
                        n_others += state[at + k] != base[at + k] * factors[k]
        if n_others > 0:
            return False
    return True


@kernel
def find_visited(visits: np.ndarray, features: np.ndarray) -> int:
    """Write the numbers of the features with visits to ``features``; return how many, or -1 if they do not fit."""
    n_features, n_visited, number = visits.shape[0], 0, features.dtype.type
    for first in range(0, n_features, _GROUP):
        end, seen = smaller(first + _GROUP, n_features), visits[0] & 0
        for j in range(U(first), U(end)):
            seen |= visits[j]
        if seen != 0:
            for j in range(first, end):
                if visits[j] != 0:
                    if n_visited == features.shape[0]:
                        return -1
                    features[n_visited] = number(j)
                    n_visited += 1
    return n_visited
