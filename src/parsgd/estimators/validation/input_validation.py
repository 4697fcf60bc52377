"""Input validation: scikit-learn's, for arrays of any byte order, with a fast path for arrays that need no change.

scikit-learn takes a tenth of a millisecond to validate an array. A plain, finite, C-ordered float array or CSR
matrix that meets every check is returned directly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data as _validate_data

from parsgd.estimators.auto_select import count_threads
from parsgd.models.row_blocks import in_row_blocks
from parsgd.utils import first_use
from parsgd.utils.row_arrays import CsrBlock, check_csr, csr_block, standard_csr

__all__ = ["has_plain_rows", "to_native", "validate_data"]

_NO_VALIDATION = "no_validation"
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
# Values that are checked together: about a millisecond.
_BLOCK_VALUES = 1 << 20
_CSR = (sparse.csr_matrix, sparse.csr_array, CsrBlock)


def to_native(X: Any) -> Any:
    """Convert arrays and sparse matrices to the machine's byte order; return anything else unchanged.

    scikit-learn does not recognize float32 in the other byte order and converts it to float64.

    >>> to_native(np.ones(2, dtype=">f4")).dtype
    dtype('float32')
    """
    if (isinstance(X, np.ndarray) or sparse.issparse(X)) and not X.dtype.isnative:
        return X.astype(X.dtype.newbyteorder("="))
    return X


def validate_data(
    estimator: Any, X: Any = _NO_VALIDATION, y: Any = _NO_VALIDATION, *, reset: bool = True, **options: Any
) -> Any:
    """Validate with :func:`sklearn.utils.validation.validate_data`, for arrays in any byte order.

    Rows to predict (``reset=False``) are returned in C order or canonical CSR form.  Otherwise the last bits of
    predictions would depend on the layout.

    Raises
    ------
    InvalidArgumentError
        If indices of a sparse matrix are out of range.
    """
    if _is_plain(estimator, X, y, reset, options.get("dtype", "numeric")):
        if reset:
            estimator.n_features_in_ = X.shape[1]
        checked = X if y is _NO_VALIDATION else (X, y)
    else:
        if not reset:
            options.setdefault("order", "C")
        checked = _validate_data(estimator, to_native(X), to_native(y), reset=reset, **options)
    x = checked[0] if isinstance(checked, tuple) else checked
    if not sparse.issparse(x):
        return checked
    if _is_large_csr(x):
        x = _checked_csr(estimator, x)
        return (x, *checked[1:]) if isinstance(checked, tuple) else x
    if not reset and y is _NO_VALIDATION:
        return standard_csr(x)
    check_csr(x)
    return checked


def has_plain_rows(estimator: Any, X: Any) -> bool:
    """Return True if blocks of rows of ``X`` can be validated separately: a float array, or a CSR matrix in order.

    scikit-learn then gives no warning, and its errors do not depend on the block.
    """
    if hasattr(estimator, "feature_names_in_") or getattr(X, "ndim", 0) != 2 or X.dtype not in _FLOATS:
        return False
    if X.shape[1] != getattr(estimator, "n_features_in_", None):
        return False
    return type(X) in (np.ndarray, np.memmap) or (_is_plain_csr(X) and _has_plain_pointers(X))


def _has_plain_pointers(X: Any) -> bool:
    pointers = X.indptr
    return (
        len(pointers) == X.shape[0] + 1
        and pointers[0] == 0
        and pointers[-1] == len(X.indices) == len(X.data)
        and bool((pointers[1:] >= pointers[:-1]).all())
        and all(array.ndim == 1 and array.flags.c_contiguous and array.flags.aligned for array in (X.data, X.indices))
    )


def _is_plain(estimator: Any, X: Any, y: Any, reset: bool, dtype: Any) -> bool:
    """Return True if scikit-learn's validation would return the same arrays without a warning."""
    return (
        (_is_plain_array(X) or _is_plain_csr(X))
        and X.dtype in _FLOATS
        and (dtype == "numeric" or (isinstance(dtype, list) and X.dtype in dtype))
        and X.shape[0] > 0
        and X.shape[1] > 0
        and (reset or X.shape[1] == getattr(estimator, "n_features_in_", None))
        and not hasattr(estimator, "feature_names_in_")
        and (y is _NO_VALIDATION or _is_plain_target(y, X.shape[0]))
        and _are_finite(estimator, X if isinstance(X, np.ndarray) else X.data)
    )


def _is_plain_array(X: Any) -> bool:
    return type(X) is np.ndarray and X.ndim == 2 and X.flags.c_contiguous and X.flags.aligned


def _is_plain_csr(X: Any) -> bool:
    return type(X) in _CSR and X.ndim == 2 and X.indices.dtype == X.indptr.dtype == np.int32


def _is_plain_target(y: Any, n_rows: int) -> bool:
    if type(y) is not np.ndarray or y.shape != (n_rows,) or not y.dtype.isnative:
        return False
    return y.dtype.kind in "iub" or (y.dtype in _FLOATS and _is_finite(y))


def _is_large_csr(X: Any) -> bool:
    return type(X) is not CsrBlock and X.nnz >= _BLOCK_VALUES and _is_plain_csr(X) and _has_plain_pointers(X)


def _checked_csr(estimator: Any, X: Any) -> Any:
    """Return a large CSR matrix in canonical form; one that is in this form is checked on several threads."""
    are_canonical = first_use.kernels("csr_check").are_canonical
    n_threads, n_rows = _count_threads(estimator), X.shape[0]
    block_rows = n_rows if n_threads == 1 else max(1, _BLOCK_VALUES * n_rows // X.nnz)

    def check(rows: slice) -> np.ndarray:
        is_canonical = are_canonical(X.indices, X.indptr, rows.start, rows.stop, X.shape[1], 0)
        return np.full(rows.stop - rows.start, is_canonical)

    if not in_row_blocks(check, n_rows, block_rows, n_threads).all():
        return standard_csr(X)
    checked = csr_block(X, slice(0, X.shape[0]))
    checked.is_checked = True
    return checked


def _count_threads(estimator: Any) -> int:
    return count_threads(estimator.n_jobs, estimator.engine, type(estimator).__name__)


def _are_finite(estimator: Any, array: np.ndarray) -> bool:
    """Return True if all values are finite; those of a large array are checked on several threads."""
    values = array.reshape(-1)
    if values.size <= _BLOCK_VALUES or (n_threads := _count_threads(estimator)) == 1:
        return _is_finite(values)

    def check(blocks: slice) -> np.ndarray:
        return np.array([_is_finite(values[blocks.start * _BLOCK_VALUES : blocks.stop * _BLOCK_VALUES])])

    return bool(in_row_blocks(check, -(-values.size // _BLOCK_VALUES), 1, n_threads).all())


def _is_finite(array: np.ndarray) -> bool:
    """Return True if the sum is finite, which implies that every value is; an overflowing sum returns False."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return True
        # a sum in float32 overflows earlier, but takes half the time
        return array.dtype == np.float32 and bool(np.isfinite(array.sum(dtype=np.float64)))
