"""Arrays on cache lines of their own.

Processors fetch cache lines in pairs.  Workers that write to one pair slow each other down at every step, also where
they write to different numbers: by a third on 54 features.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

# Two cache lines.
PAIR_BYTES = 128


def padded_empty(shape: int | tuple[int, ...], dtype: DTypeLike = np.float64) -> np.ndarray:
    """Return an uninitialized array that begins a pair of cache lines and ends one before the next array.

    >>> padded_empty((2, 3)).ctypes.data % 128
    0
    """
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    memory = np.empty(-(-n_bytes // PAIR_BYTES) * PAIR_BYTES + 2 * PAIR_BYTES, dtype=np.uint8)
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
    """Return an uninitialized array ``(n_rows, pitch)`` whose rows of ``size`` numbers are two pairs of lines apart.

    >>> padded_rows(2, 5, np.float64).shape
    (2, 48)
    """
    per_pair = PAIR_BYTES // np.dtype(dtype).itemsize
    return padded_empty((n_rows, (-(-size // per_pair) + 2) * per_pair), dtype)
