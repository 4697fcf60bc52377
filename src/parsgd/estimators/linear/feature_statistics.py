"""Statistics of features and targets, from which ``learning_rate="auto"`` takes its scales and its rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.training_data import Examples, InMemoryData
from parsgd.models.linear.linear_auto import FeatureScales
from parsgd.models.linear.linear_model import Linear
from parsgd.utils import first_use
from parsgd.utils.row_arrays import rows_of

# Attributes of an estimator that hold the statistics; complete or missing.
MOMENTS = ("_feature_moments", "_target_moments")
# Rate in units of the scaled coordinates; chosen from 0.7, 1 and 1.5 on 12 data sets.
_RATE = 1.0
# Deviations below this part of the mean are rounding errors of a constant.
_ROUNDING = 1e-12
_STREAMED_ROWS = 20_000


@dataclass(frozen=True)
class FeatureStatistics:
    """Statistics of ``n`` rows.

    ``features (5, n_features)``: means, squared deviations, least and largest values, numbers of nonzero values.  The
    means and the extremes of CSR columns are 0, because such rows are not centered.  ``target (2,)``: mean and squared
    deviations.
    """

    n: float
    features: np.ndarray
    target: np.ndarray

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        """Return the statistics of both sets of rows (Chan, Golub, LeVeque 1979)."""
        n = self.n + other.n
        share = other.n / n

        def joined(one: np.ndarray, two: np.ndarray) -> np.ndarray:
            difference = two[0] - one[0]
            means = one[0] + share * difference
            return np.stack([means, one[1] + two[1] + self.n * share * difference**2])

        one, two = self.features, other.features
        extremes = [np.minimum(one[2], two[2]), np.maximum(one[3], two[3]), one[4] + two[4]]
        features = np.concatenate([joined(one, two), extremes])
        return FeatureStatistics(n, features, joined(self.target, other.target))

    def scales(self, dtype: Any, dense: bool, centered: bool) -> tuple[FeatureScales, float]:
        """Return the scales of the features, and ``1 / sqrt(1 + mean |z|^2)`` of the scaled rows.

        Dense columns have their mean and the largest deviation from it; not ``centered``, as without an intercept, 0
        and the largest size.  CSR columns have 0 and the root mean square of their nonzero values.
        """
        means, deviations, least, largest, n_nonzero = self.features
        squares = deviations / self.n
        if not dense:
            scale, known = np.sqrt(deviations / np.maximum(n_nonzero, 1.0)), n_nonzero > 0.0
        elif centered:
            scale = np.maximum(largest - means, means - least)
            known = scale > _ROUNDING * np.abs(means)
        else:
            scale, squares = np.maximum(np.abs(largest), np.abs(least)), squares + means**2
            known = scale > 0.0
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=known)
        mean_squares = squares * inverse**2
        center = means.astype(dtype) if dense and centered else np.zeros(0, dtype)
        return FeatureScales(center, inverse.astype(dtype)), 1.0 / math.sqrt(1.0 + float(mean_squares.sum()))

    @property
    def spread(self) -> float:
        """Standard deviation of the targets; of constant ones their size, or 1."""
        deviation = math.sqrt(self.target[1] / self.n)
        return deviation if deviation > _ROUNDING * abs(self.target[0]) else abs(float(self.target[0])) or 1.0

    @property
    def attributes(self) -> dict[str, np.ndarray]:
        """Attributes of the estimator from which :func:`scaled` continues."""
        return dict(zip(MOMENTS, (self.features, np.array([self.n, *self.target])), strict=True))


def scaled(
    model: Linear, examples: Examples, seed: int, is_number: bool, attributes: Mapping[str, Any]
) -> tuple[Linear, FeatureStatistics]:
    """Return the model with its scales and its rate, and the statistics of the rows of this and earlier calls.

    ``is_number``: the decision values are the predictions of a regression.
    """
    found = statistics_of(examples, seed)
    if attributes.get(MOMENTS[0]) is not None:
        n, *target = attributes[MOMENTS[1]]
        found = FeatureStatistics(float(n), attributes[MOMENTS[0]], np.array(target)) + found
    scales, rate = found.scales(model.dtype, not model.sparse, model.fit_intercept)
    return replace(model, scales=scales, eta0=_RATE * rate * (found.spread if is_number else 1.0)), found


def statistics_of(examples: Examples, seed: int) -> FeatureStatistics:
    """Return the statistics of the training rows; of a stream those of up to 20,000 rows that are drawn."""
    if isinstance(examples, InMemoryData):
        rows = rows_of(examples.x, examples.target, examples.factor)
        order = np.arange(examples.x.shape[0]) if examples.subset is None else np.asarray(examples.subset)
    else:
        source = examples.source(shuffle=False)
        rows, _ = source.draw(min(_STREAMED_ROWS, max(examples.n_rows - 1, 1)), seed)
        order = np.arange(len(rows.y))
    features = np.zeros((5, examples.shape[1]))
    features[2], features[3] = np.inf, -np.inf
    first_use.kernels("linear.column_moments").add_rows(rows.x, order, 0.0, not examples.sparse, features)
    if examples.sparse:
        # not computed for CSR rows; model files hold finite numbers
        features[2:4] = 0.0
    if rows.weight.size and rows.weight.min() < 0.0:
        raise InvalidArgumentError(
            f"learning_rate='auto' needs sample weights of 0 or more; the least one is {rows.weight.min()}. Use another"
            " learning_rate, or weights without a sign."
        )
    y = np.asarray(rows.y, dtype=np.float64)[order]
    return FeatureStatistics(float(len(order)), features, np.array([y.mean(), np.square(y - y.mean()).sum()]))
