"""Check of the indices of CSR rows, which the other kernels do not check."""

from __future__ import annotations

import numpy as np

from parsgd.kernels.lowlevel.compiling import kernel
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil

U = np.uint64


@kernel
def are_canonical(
    indices: np.ndarray, indptr: np.ndarray, start: int, stop: int, n_features: int, release_gil_from: int
) -> bool:
    """Return whether the indices of each row ``start <= row < stop`` ascend strictly, from 0 to ``n_features - 1``.

    Pointers must be within ``indices`` and must not decrease.  The GIL is released for at least ``release_gil_from``
    indices.
    """
    token = release_gil(indptr[stop] - indptr[start] >= release_gil_from)
    is_canonical = True
    for row in range(start, stop):
        begin, end = U(indptr[U(row)]), U(indptr[U(row) + U(1)])
        if begin == end:
            continue
        is_canonical &= indices[begin] >= 0 and indices[end - U(1)] < n_features
        for position in range(begin + U(1), end):
            is_canonical &= indices[position] > indices[position - U(1)]
    reacquire_gil(token)
    return is_canonical
