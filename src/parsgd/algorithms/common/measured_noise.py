"""Gradient noise, measured from the gradients that workers send.

For gradients ``g_1, ..., g_B`` of different batches at one state, with mean ``G`` and variance ``sigma^2``::

    E |g_j|^2 = |G|^2 + sigma^2,        E g_i . g_j = |G|^2   for i != j

The ratio ``sigma^2 / |G|^2`` is the number of gradients whose mean has as much noise as gradient: the gradient noise
scale of McCandlish et al. (arXiv 1812.06162), in batches instead of rows.  It takes the place of ``sigma^2 / epsilon``
in the theory, where ``epsilon`` is the squared gradient norm at which a fit should end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

# Weight of the latest measurement, and the largest increase of the answer from one step to the next.
_LATEST, _GROWTH = 0.02, 2


class MeasuredNoise(NamedTuple):
    """Running means of ``|g|^2`` and of ``g_i . g_j``, the number of measurements, and the number of batches chosen."""

    square: float = 0.0
    product: float = 0.0
    n: int = 0
    batches: int = 1

    def updated(self, square: float, product: float, most: int) -> MeasuredNoise:
        """Return the means with one more measurement, and ``ceil(sigma^2 / |G|^2)`` batches, between 1 and ``most``.

        The number at most doubles, because one measurement is not precise.

        >>> MeasuredNoise().updated(5.0, 1.0, most=100)
        MeasuredNoise(square=5.0, product=1.0, n=1, batches=2)
        >>> _.updated(5.0, 1.0, most=100).batches
        4
        """
        if not (math.isfinite(square) and math.isfinite(product)):
            return self
        latest = max(_LATEST, 1.0 / (self.n + 1))
        square = self.square + latest * (square - self.square)
        product = self.product + latest * (product - self.product)
        most = max(1, min(most, _GROWTH * self.batches))
        wanted = (square - product) / product if product > 0.0 else math.inf
        return MeasuredNoise(square, product, self.n + 1, math.ceil(min(max(wanted, 1.0), most)))


def most_batches(n_rows: int, rows_per_gradient: int) -> int:
    """Return the largest number of batches to choose, a tenth of the rows.

    >>> most_batches(10_000, 50)
    20
    """
    return max(1, n_rows // (10 * rows_per_gradient))


def mean_gradient(message: np.ndarray) -> np.ndarray:
    """Return the mean gradient of a message: a sum, followed by the number of its rows."""
    return message[:-1] / max(float(message[-1]), 1.0)


def squared_norm(gradient: np.ndarray) -> float:
    """Return ``|g|^2``; infinity if it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.vdot(gradient, gradient))
