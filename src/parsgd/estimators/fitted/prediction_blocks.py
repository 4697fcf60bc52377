"""Predictions of large arrays: blocks of rows on several threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn

from parsgd.estimators.auto_select import count_threads
from parsgd.estimators.validation.input_validation import has_plain_rows
from parsgd.models.row_blocks import in_row_blocks
from parsgd.utils.row_arrays import csr_block

# Inputs of fewer values are one block.
_MIN_VALUES = 1 << 17
# A stored value of a CSR matrix takes as long as this many of a dense one.
_CSR_VALUES = 2.0


def predict_in_blocks(
    method: Callable[[Any, Any], np.ndarray], estimator: Any, X: Any, block_rows_of: Callable[[float], int]
) -> np.ndarray:
    """Return ``method(estimator, X)``, computed in blocks of rows if ``X`` is a large array or CSR matrix.

    ``block_rows_of`` returns the rows per block for rows of a number of stored values. Blocks depend on the input only,
    so the result is the same for every number of threads. Each thread validates its blocks.
    """
    if getattr(X, "size", 0) < _MIN_VALUES or not has_plain_rows(estimator, X):
        return method(estimator, X)
    dense, n_rows = isinstance(X, np.ndarray), X.shape[0]
    block_rows = block_rows_of(X.shape[1] if dense else _CSR_VALUES * X.nnz / n_rows)
    if n_rows < 2 * block_rows:
        return method(estimator, X)
    rows_of = X.__getitem__ if dense else functools.partial(csr_block, X)
    # scikit-learn's settings belong to a thread
    settings = sklearn.get_config()

    def compute(rows: slice) -> np.ndarray:
        with sklearn.config_context(**settings):
            return method(estimator, rows_of(rows))

    n_threads = count_threads(estimator.n_jobs, estimator.engine, type(estimator).__name__)
    return in_row_blocks(compute, n_rows, block_rows, n_threads)
