"""Validation of input: scikit-learn's, for arrays of any byte order, and at once for arrays that need nothing done.

scikit-learn spends a tenth of a millisecond on finding out that an array is an array.  Where rows are a plain matrix of
finite numbers and everything it checks holds, the array is taken as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data as _validate_data

from parsgd.utils.row_arrays import check_csr

__all__ = ["native", "validate_data"]

_NOTHING = "no_validation"
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


def native(X: Any) -> Any:
    """The same numbers in the machine's byte order; anything but arrays and sparse matrices as it is.

    scikit-learn takes float32 in the other byte order for an unknown type, and makes float64 of it.

    >>> native(np.ones(2, dtype=">f4")).dtype
    dtype('float32')
    """
    if (isinstance(X, np.ndarray) or sparse.issparse(X)) and not X.dtype.isnative:
        return X.astype(X.dtype.newbyteorder("="))
    return X


def validate_data(estimator: Any, X: Any = _NOTHING, y: Any = _NOTHING, *, reset: bool = True, **settings: Any) -> Any:
    """:func:`sklearn.utils.validation.validate_data`, of arrays in any byte order.

    Raises
    ------
    InvalidArgumentError
        If the indices of a sparse matrix lie outside of it.
    """
    if _is_plain(estimator, X, y, reset, settings.get("dtype", "numeric")):
        if reset:
            estimator.n_features_in_ = X.shape[1]
        return X if y is _NOTHING else (X, y)
    checked = _validate_data(estimator, native(X), native(y), reset=reset, **settings)
    x = checked[0] if isinstance(checked, tuple) else checked
    if sparse.issparse(x):
        check_csr(x)
    return checked


def _is_plain(estimator: Any, X: Any, y: Any, reset: bool, dtype: Any) -> bool:
    """Whether scikit-learn's validation would return the very arrays, and say nothing."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype in _FLOATS
        and (dtype == "numeric" or (isinstance(dtype, list) and X.dtype in dtype))
        and X.flags.c_contiguous
        and X.flags.aligned
        and X.size > 0
        and (reset or X.shape[1] == getattr(estimator, "n_features_in_", None))
        and not hasattr(estimator, "feature_names_in_")
        and (y is _NOTHING or _is_plain_target(y, X.shape[0]))
        and _is_finite(X)
    )


def _is_plain_target(y: Any, n_rows: int) -> bool:
    if type(y) is not np.ndarray or y.shape != (n_rows,) or not y.dtype.isnative:
        return False
    return y.dtype.kind in "iub" or (y.dtype in _FLOATS and _is_finite(y))


def _is_finite(array: np.ndarray) -> bool:
    """Whether the sum is finite: then every number is; if it is not, it may have overflowed."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum(dtype=np.float64)))
