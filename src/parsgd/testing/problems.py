"""Test problems: random rows, and convex objectives with a known optimum.

Rows have unit norm and labels follow a linear rule with some noise.  SGD is therefore stable at ordinary rates, and
results can be compared to many digits.

>>> from parsgd import SGDRegressor
>>> problem = ridge()
>>> model = SGDRegressor(alpha=problem.alpha, learning_rate="optimal", max_iter=50, tol=None, random_state=0)
>>> model = model.fit(problem.X, problem.y)
>>> 0.0 <= problem.gap(model.coef_, model.intercept_) < 1e-3
True
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, sparse


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


@dataclass(frozen=True)
class Problem:
    """A convex problem with its minimum.

    ``objective(w, b) = 1/n sum_i loss(y_i, x_i . w + b) + alpha/2 |w|^2``.  ``values`` returns the losses ``(n_rows,)``
    of margins ``(n_rows,)``.  ``coef`` is ``(n_features,)``.
    """

    X: np.ndarray
    y: np.ndarray
    alpha: float
    values: Callable[[np.ndarray, np.ndarray], np.ndarray]
    coef: np.ndarray
    intercept: float

    def objective(self, coef: Any, intercept: Any) -> float:
        """Return the objective at the given weights."""
        coef, intercept = np.asarray(coef, dtype=float).ravel(), float(np.squeeze(intercept))
        return float(self.values(self.y, self.X @ coef + intercept).mean() + 0.5 * self.alpha * coef @ coef)

    def gap(self, coef: Any, intercept: Any) -> float:
        """Return the excess of the objective over its minimum."""
        return self.objective(coef, intercept) - self.objective(self.coef, self.intercept)


def ridge(n_rows: int = 200, n_features: int = 8, *, alpha: float = 0.1, seed: int = 0) -> Problem:
    """Return least squares with an l2 penalty; its optimum solves ``(Z^T Z / n + alpha D) w = Z^T y / n``."""
    X = unit_rows(n_rows, n_features, seed=seed)
    y = targets(X, seed=seed + 1)
    Z = np.column_stack([X, np.ones(n_rows)])
    penalty = alpha * np.diag([1.0] * n_features + [0.0])
    solution = np.linalg.solve(Z.T @ Z / n_rows + penalty, Z.T @ y / n_rows)
    return Problem(X, y, alpha, lambda y, p: 0.5 * (p - y) ** 2, solution[:-1], float(solution[-1]))


def logistic(n_rows: int = 200, n_features: int = 8, *, alpha: float = 0.01, seed: int = 0) -> Problem:
    """Return logistic regression with an l2 penalty, labels -1 and +1; its optimum by L-BFGS, gradients below 1e-9."""
    X = unit_rows(n_rows, n_features, seed=seed)
    y = 2.0 * labels(X, seed=seed + 1) - 1.0

    def values(y: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.logaddexp(0.0, -y * p)

    def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
        p = X @ v[:-1] + v[-1]
        gradients = -y / (1.0 + np.exp(y * p)) / n_rows
        value = values(y, p).mean() + 0.5 * alpha * v[:-1] @ v[:-1]
        return value, np.append(X.T @ gradients + alpha * v[:-1], gradients.sum())

    start = np.zeros(n_features + 1)
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 0.0})
    return Problem(X, y, alpha, values, found.x[:-1], float(found.x[-1]))
