"""Conversion of rows in the kernels' format to the matrix they came from."""

from __future__ import annotations

from typing import Any

from parsgd.core import CsrRows, DenseRows, Rows


def as_matrix(rows: Rows, n_features: int) -> Any:
    """View rows as ``(n_rows, n_features)``, an array or a CSR array, without a copy."""
    return matrix_of(rows.x, n_features)


def matrix_of(x: Any, n_features: int) -> Any:
    """View ``x`` of rows as a matrix; a matrix is returned unchanged."""
    if isinstance(x, CsrRows):
        from scipy.sparse import csr_array

        return csr_array((x.data, x.indices, x.indptr), shape=(len(x.indptr) - 1, n_features))
    return x.data.reshape(-1, n_features) if isinstance(x, DenseRows) else x
