"""Convex objectives with a known optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from parsgd.testing.problems import labels, targets, unit_rows


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
