"""Mean, squared deviations, least and largest value and number of values of every column, in one pass over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.linear.row_ops import U, count_values_per_row, get_feature, get_span
from parsgd.kernels.lowlevel.compiling import kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.gil import MIN_VALUES_TO_RELEASE, reacquire_gil, release_gil

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows


@kernel
def add_rows(x: DenseRows | CsrRows, order: np.ndarray, counted: float, centered: bool, moments: np.ndarray) -> None:
    """Add the rows ``order`` to ``moments (5, n_features)``.

    These are means, squared deviations, least and largest values, and numbers of nonzero values.  ``counted`` rows were
    added before.  Deviations are from the mean if ``centered`` (Welford), else from 0.
    """
    token = release_gil(order.shape[0] * count_values_per_row(x) >= MIN_VALUES_TO_RELEASE)
    n = counted
    for i in range(order.shape[0]):
        begin, end = get_span(x, order[U(i)])
        n += 1.0
        inverse = 1.0 / n if centered else 0.0
        for position in range(begin, end):
            j, value = get_feature(x, position, begin), np.float64(x.data[position])
            deviation = value - moments[0, j]
            moments[0, j] += deviation * inverse
            moments[1, j] += deviation * (value - moments[0, j])
            moments[2, j] = smaller(moments[2, j], value)
            moments[3, j] = larger(moments[3, j], value)
            moments[4, j] += 1.0 if value != 0.0 else 0.0
    reacquire_gil(token)
