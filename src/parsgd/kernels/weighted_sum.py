"""Weighted sums of states, one block at a time, for merging."""

from __future__ import annotations

import numpy as np

from parsgd.kernels.lowlevel.compiling import kernel

U = np.uint64


@kernel
def add_weighted(total: np.ndarray, vector: np.ndarray, start: int, n: int, weight: float) -> None:
    """Add ``weight * vector[start:start + n]`` to ``total[:n]``, which is float64."""
    for i in range(U(n)):
        total[i] += weight * vector[U(start) + i]


@kernel
def store(total: np.ndarray, out: np.ndarray, start: int, n: int) -> None:
    """Set ``out[start:start + n] = total[:n]``, rounded to the type of ``out``, and ``total[:n] = 0``."""
    number = out.dtype.type
    for i in range(U(n)):
        out[U(start) + i] = number(total[i])
        total[i] = 0.0
