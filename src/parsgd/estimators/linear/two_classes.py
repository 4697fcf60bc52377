"""Softmax of two classes: one row of coefficients for the estimator's users, two rows while it is fitted.

As of scikit-learn's classifiers, ``coef_`` is ``(1, n_features)`` and the decision value is that of the second class.
A fit that starts from zeros keeps its two rows opposite to each other, so half of the row gives back both.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def difference(array: Any) -> Any:
    """The second class minus the first: ``(1, ...)`` of ``(2, ...)``.

    >>> difference(np.array([-1.5, 1.5]))
    array([3.])
    """
    return array[1:] - array[:1]


def halves(array: Any) -> np.ndarray:
    """The inverse of :func:`difference` for opposite rows.

    >>> halves(np.array([3.0]))
    array([-1.5,  1.5])
    """
    half = (array.toarray() if hasattr(array, "toarray") else np.asarray(array)) / 2
    return np.concatenate([-half, half])


def is_difference(estimator: Any) -> bool:
    """Whether a fitted estimator keeps the difference of the two rows of its model."""
    classes = getattr(estimator, "classes_", None)
    kept = hasattr(estimator, "coef_") and isinstance(estimator.loss, str) and estimator.loss == "softmax"
    return kept and isinstance(classes, np.ndarray) and classes.shape == (2,)


def with_difference(estimator: Any) -> None:
    """Bring an estimator of an earlier version, which has both rows, to this form."""
    if not is_difference(estimator):
        return
    for name, n_axes in (("coef_", 2), ("intercept_", 1)):
        rows = getattr(estimator, name, None)
        if len(getattr(rows, "shape", ())) == n_axes and rows.shape[0] == 2:
            setattr(estimator, name, difference(rows))
