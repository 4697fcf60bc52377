"""Softmax of two classes: one row of coefficients on the estimator, two rows during the fit.

As in scikit-learn's classifiers, ``coef_`` is ``(1, n_features)`` and the decision value is that of the second class. A
fit from zeros keeps the two rows opposite to each other, so half of their difference gives back both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.estimators.kinds import dense
from parsgd.kernels import losses

# Values that are subtracted at a time.
_BLOCK = 1 << 16


def difference(array: Any) -> Any:
    """Subtract the first class from the second: ``(1, ...)`` of ``(2, ...)``.

    >>> difference(np.array([-1.5, 1.5]))
    array([3.])
    """
    return array[1:] - array[:1]


def halves(array: Any) -> np.ndarray:
    """Invert :func:`difference` for opposite rows.

    >>> halves(np.array([3.0]))
    array([-1.5,  1.5])
    """
    half = dense(array) / 2
    return np.concatenate([-half, half])


def difference_in_place(rows: np.ndarray) -> np.ndarray:
    """Return the difference, ``(1, n)``, in the memory of an F-ordered array ``(2, n)`` that is no longer used.

    >>> difference_in_place(np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], order="F"))
    array([[4., 3., 2.]])
    """
    pairs, values = rows.T, rows.ravel(order="K")
    for begin in range(0, len(pairs), _BLOCK):
        block = pairs[begin : begin + _BLOCK]
        # the place of these values in the memory is that of pairs already read
        values[begin : begin + len(block)] = block[:, 1] - block[:, 0]
    return values[: len(pairs)].reshape(1, -1)


def is_one_row(given: Any, size: int) -> bool:
    """Return True if ``given`` is one row of ``size`` coefficients, or a single intercept if ``size`` is 1."""
    return given is not None and np.shape(given) in ((size,), (1, size))


def set_rows(weights: np.ndarray, rows: np.ndarray) -> None:
    """Set ``weights (n, n_outputs)`` to the rows, or for two outputs to opposite halves of one row of ``n`` values.

    >>> weights = np.empty((1, 2)); set_rows(weights, np.array([[3.0]])); weights
    array([[-1.5,  1.5]])
    """
    if rows.size == weights.size:
        weights[:] = rows.reshape(weights.shape[1], -1).T
        return
    np.multiply(rows.ravel(), 0.5, out=weights[:, 1], casting="same_kind")
    np.negative(weights[:, 1], out=weights[:, 0])


def is_difference(estimator: Any) -> bool:
    """Return True if a fitted estimator stores the difference of the two rows of its model."""
    classes = getattr(estimator, "classes_", None)
    kept = hasattr(estimator, "coef_") and losses.describe(estimator.loss).joint
    return kept and isinstance(classes, np.ndarray) and classes.shape == (2,)


def with_difference(estimator: Any) -> None:
    """Convert an estimator of an earlier version, which stores both rows, to the difference."""
    if not is_difference(estimator):
        return
    for name, n_axes in (("coef_", 2), ("intercept_", 1)):
        rows = getattr(estimator, name, None)
        if len(getattr(rows, "shape", ())) == n_axes and rows.shape[0] == 2:
            setattr(estimator, name, difference(rows))
