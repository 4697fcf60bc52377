"""Rows as the matrix they came from."""

from __future__ import annotations

from typing import Any

from parsgd.core import CsrRows, DenseRows, Rows


def as_matrix(rows: Rows, n_features: int) -> Any:
    """``(n_rows, n_features)``, an array or a CSR array; nothing is copied."""
    return matrix_of(rows.x, n_features)


def matrix_of(x: Any, n_features: int) -> Any:
    """The same of the rows' ``x`` alone; a matrix stays what it is."""
    if isinstance(x, CsrRows):
        from scipy.sparse import csr_array

        return csr_array((x.data, x.indices, x.indptr), shape=(len(x.indptr) - 1, n_features))
    return x.data.reshape(-1, n_features) if isinstance(x, DenseRows) else x
