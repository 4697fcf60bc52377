"""Gradient noise scale: the number of rows in a batch, or an average of workers, beyond which noise is negligible.

McCandlish, Kaplan, Amodei et al., "An Empirical Model of Large-Batch Training", arXiv 1812.06162.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from parsgd.core import Model, Rows

# Number of batches, and the state size above which gradients are expensive: then half the batches and one state are
# used.
_BATCHES, _LARGE_STATE = 8, 200_000
_STATES, _MOST_ROWS = 3, 2000


@dataclass(frozen=True)
class GradientNoise:
    """Gradient noise: ``gradient`` is ``|G|^2`` and ``variance`` is ``tr Sigma`` of one row, means over several states.

    Batches, or averages, of far more rows than the scale ``tr Sigma / |G|^2`` bring no further improvement.
    """

    gradient: float
    variance: float

    @property
    def scale(self) -> float:
        """Noise scale in rows; inf if the gradient is not distinguishable from noise.

        >>> GradientNoise(gradient=0.5, variance=10.0).scale
        20.0
        """
        return self.variance / self.gradient if self.gradient > 0.0 else math.inf


def noise_of(gradients: Sequence[np.ndarray], rows: Sequence[float]) -> GradientNoise:
    """Estimate ``|G|^2`` and ``tr Sigma`` from the summed gradients of several batches and their numbers of rows.

    For batches of b rows and their union of B rows, the unbiased estimates are
    ``|G|^2 = (B |G_B|^2 - b |G_b|^2) / (B - b)`` and ``tr Sigma = (|G_b|^2 - |G_B|^2) / (1/b - 1/B)``.

    >>> found = noise_of([np.array([1.0, 3.0]), np.array([1.0, -1.0])], [1, 1])
    >>> found.gradient, found.variance
    (-2.0, 8.0)
    """
    rows = np.asarray(rows, dtype=float)
    small, large = float(rows.mean()), float(rows.sum())
    each = float(np.mean([np.vdot(gradient, gradient) / n**2 for gradient, n in zip(gradients, rows, strict=True)]))
    total = sum(gradients)
    union = float(np.vdot(total, total)) / large**2
    return GradientNoise((large * union - small * each) / (large - small), (each - union) / (1.0 / small - 1.0 / large))


def mean_noise(found: Sequence[GradientNoise]) -> GradientNoise:
    """Average both parts separately, because the smallest gradient would dominate a mean of ratios."""
    return GradientNoise(float(np.mean([n.gradient for n in found])), float(np.mean([n.variance for n in found])))


def measure(model: Model, states: Sequence[np.ndarray], rows: Rows) -> GradientNoise:
    """Measure the gradient noise of ``model`` at the last few states, on some rows."""
    n_rows, large = min(len(rows.y), _MOST_ROWS), states[0].size > _LARGE_STATE
    states = states[-1 if large else -_STATES :]
    n_batches = min(_BATCHES // 2 if large else _BATCHES, n_rows)
    ends = np.linspace(0, n_rows, n_batches + 1).astype(int)
    order = np.arange(n_rows, dtype=np.int32)
    found = []
    for state in states:
        sums = [
            model.gradient_sum(state, rows, order, int(first), int(end), 1.0, 0)[0] for first, end in pairwise(ends)
        ]
        # the last element is the summed weight of the rows
        found.append(noise_of([gradient[:-1] for gradient in sums], [float(gradient[-1]) for gradient in sums]))
    return mean_noise(found)
