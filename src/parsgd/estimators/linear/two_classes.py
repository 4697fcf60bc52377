"""Softmax of two classes: one row of coefficients on the estimator, two rows during the fit.

As in scikit-learn's classifiers, ``coef_`` is ``(1, n_features)`` and the decision value is that of the second class. A
fit from zeros keeps the two rows opposite to each other, so half of their difference gives back both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.kernels import losses


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
    half = (array.toarray() if hasattr(array, "toarray") else np.asarray(array)) / 2
    return np.concatenate([-half, half])


def both_rows(given: Any, size: int) -> Any:
    """Expand one row to two, ``(2, size)`` or for a single number ``(2,)``; return anything else unchanged."""
    if given is None or np.shape(given) not in ((size,), (1, size)):
        return given
    rows = halves(given)
    return rows.ravel() if size == 1 and np.shape(given) == (1,) else rows.reshape(2, size)


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
