"""Rows as the matrix they came from."""

from __future__ import annotations

from typing import Any

from parsgd.core import Rows


def as_matrix(rows: Rows, n_features: int) -> Any:
    """``(n_rows, n_features)``, an array or a CSR array; nothing is copied."""
    x = rows.x
    if hasattr(x, "indices"):
        from scipy.sparse import csr_array

        return csr_array((x.data, x.indices, x.indptr), shape=(len(x.indptr) - 1, n_features))
    return x.data.reshape(-1, n_features)
