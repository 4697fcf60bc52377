"""Arrays that are far enough from the memory of other workers.

A cache line that one core writes is taken from the other cores.  Processors also fetch lines that nobody asked for: the
other line of a pair, and the lines that follow an array read in ascending order, up to the end of a page.  If these
belong to another worker, its steps wait for them: a third longer with 54 features, and with 100 features and 20
outputs at a distance of 1 KB.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

# A pair of cache lines, and a page.
PAIR_BYTES, GAP_BYTES = 128, 4096


def padded_empty(shape: int | tuple[int, ...], dtype: DTypeLike = np.float64) -> np.ndarray:
    """Return an uninitialized array that begins a pair of cache lines, and ends a page before the next array.

    >>> padded_empty((2, 3)).ctypes.data % 128
    0
    """
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    memory = np.empty(PAIR_BYTES + n_bytes + GAP_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % PAIR_BYTES
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def padded_zeros(shape: int | tuple[int, ...], dtype: DTypeLike = np.float64) -> np.ndarray:
    """Return zeros in memory as that of :func:`padded_empty`."""
    out = padded_empty(shape, dtype)
    out[...] = 0
    return out


def private_copy(array: np.ndarray) -> np.ndarray:
    """Return a copy in memory as that of :func:`padded_empty`."""
    copy = padded_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def padded_rows(n_rows: int, size: int, dtype: DTypeLike) -> np.ndarray:
    """Return an uninitialized array ``(n_rows, pitch)`` whose rows of ``size`` numbers are a page apart.

    >>> padded_rows(2, 5, np.float64).shape
    (2, 528)
    """
    per_pair = PAIR_BYTES // np.dtype(dtype).itemsize
    return padded_empty((n_rows, (-(-size // per_pair) + GAP_BYTES // PAIR_BYTES) * per_pair), dtype)
