"""Random rows with targets or labels of a linear rule with some noise.

Rows have unit norm.  SGD is therefore stable at ordinary rates, and results can be compared to many digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


def unit_rows(
    n_rows: int = 200,
    n_features: int = 8,
    *,
    density: float = 0.7,
    seed: int = 0,
    dtype: Any = np.float64,
    layout: str = "dense",
) -> Any:
    """Return random rows ``(n_rows, n_features)`` of unit norm; ``layout`` is "dense" or "csr".

    ``density`` is the fraction of nonzero values.

    >>> unit_rows(3, 2).shape
    (3, 2)
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features))
    stored = rng.random(X.shape) < density
    stored[np.arange(n_rows), rng.integers(0, n_features, n_rows)] = True  # no row is all zeros
    X *= stored
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(dtype)
    return sparse.csr_matrix(X) if layout == "csr" else X


def targets(X: Any, *, noise: float = 0.1, seed: int = 1) -> np.ndarray:
    """Return targets ``(n_rows,)`` of a linear rule with noise."""
    rng = np.random.default_rng(seed)
    return np.asarray(X @ rng.standard_normal(X.shape[1])) + noise * rng.standard_normal(X.shape[0]) + 0.3


def labels(X: Any, n_classes: int = 2, *, noise: float = 0.1, seed: int = 1) -> np.ndarray:
    """Return class indices ``(n_rows,)``, the largest of ``n_classes`` linear scores with noise."""
    rng = np.random.default_rng(seed)
    scores = np.asarray(X @ rng.standard_normal((X.shape[1], n_classes)))
    return (scores + noise * rng.standard_normal(scores.shape)).argmax(axis=1)
