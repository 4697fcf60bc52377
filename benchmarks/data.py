"""Generated rows, the same ones every time."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def word_rows(n_rows: int, n_features: int, per_row: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Rows of unit length whose features are as unevenly frequent as words; two classes by a linear rule.

    The frequency of the k-th most frequent feature is proportional to ``k ** -0.9``.  Features drawn twice for a row
    are added up, so that rows have somewhat fewer than `per_row` values.  Shapes: (n_rows, n_features), (n_rows,).
    """
    rng = np.random.default_rng(0)
    popularity = 1.0 / np.arange(1, n_features + 1) ** 0.9
    cumulative = np.cumsum(popularity) / popularity.sum()
    drawn = rng.permutation(n_features)[np.searchsorted(cumulative, rng.random(n_rows * per_row))]
    pointers = np.arange(0, n_rows * per_row + 1, per_row, dtype=np.int32)
    values = rng.random(n_rows * per_row, dtype=np.float32)
    X = sparse.csr_matrix((values, drawn.astype(np.int32), pointers), shape=(n_rows, n_features))
    X.sum_duplicates()
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X.data /= np.repeat(lengths, np.diff(X.indptr)).astype(np.float32)
    return X, (X @ rng.standard_normal(n_features) > 0).astype(int)


def normal_rows(n_rows: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Independent normal numbers, float32; two classes by a linear rule.  Shapes: (n_rows, n_features), (n_rows,)."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_features), dtype=np.float32)
    return X, (X @ rng.standard_normal(n_features) > 0).astype(int)
