"""Validation of input: scikit-learn's, for arrays of any byte order."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data as _validate_data

from parsgd.rows import check_csr

__all__ = ["native", "validate_data"]


def native(X: Any) -> Any:
    """The same numbers in the machine's byte order; anything but arrays and sparse matrices as it is.

    scikit-learn takes float32 in the other byte order for an unknown type, and makes float64 of it.

    >>> native(np.ones(2, dtype=">f4")).dtype
    dtype('float32')
    """
    if (isinstance(X, np.ndarray) or sparse.issparse(X)) and not X.dtype.isnative:
        return X.astype(X.dtype.newbyteorder("="))
    return X


def validate_data(estimator: Any, X: Any = "no_validation", y: Any = "no_validation", **settings: Any) -> Any:
    """:func:`sklearn.utils.validation.validate_data`, of arrays in any byte order."""
    checked = _validate_data(estimator, native(X), native(y), **settings)
    x = checked[0] if isinstance(checked, tuple) else checked
    if sparse.issparse(x):
        check_csr(x)
    return checked
