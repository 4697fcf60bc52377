"""Sums of states with weights per feature, one block of features at a time, for merging.

Features ``first`` to ``first + n`` have ``width`` adjacent values each, from position ``start`` of a state.
"""

from __future__ import annotations

import numpy as np

from parsgd.kernels.lowlevel.compiling import kernel

F, U = np.float64, np.uint64


@kernel
def add_visits(total: np.ndarray, visits: np.ndarray, first: int, n: int, once: bool) -> None:
    """Add the visits of ``n`` features to ``total``, or 1 for each visited one with ``once``."""
    for i in range(U(n)):
        count = visits[U(first) + i]
        total[i] += F(count > 0) if once else F(count)


@kernel
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


@kernel
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


@kernel
def add_moves(sums: np.ndarray, vector: np.ndarray, base: np.ndarray) -> None:
    """Add ``vector - base`` to ``sums``, which is float64."""
    for i in range(U(sums.shape[0])):
        sums[i] += F(vector[i]) - F(base[i])
