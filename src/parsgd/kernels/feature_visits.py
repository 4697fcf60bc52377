"""Count of the visits of each feature: the rows of an order in which it is not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.linear.row_ops import get_feature, get_span
from parsgd.kernels.lowlevel.compiling import kernel
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows

U = np.uint64


@kernel
def count_visits(
    x: DenseRows | CsrRows, order: np.ndarray, start: int, stop: int, visits: np.ndarray, release_gil_from: int
) -> None:
    """Add 1 to ``visits[j]`` for each of the rows ``order[start:stop]`` in which feature ``j`` is not zero.

    A zero that a CSR matrix stores does not count.  The GIL is released for at least ``release_gil_from`` rows.
    """
    token = release_gil(stop - start >= release_gil_from)
    for i in range(start, stop):
        begin, end = get_span(x, order[U(i)])
        for position in range(begin, end):
            visits[get_feature(x, position, begin)] += x.data[position] != 0.0
    reacquire_gil(token)
