"""Cyanure's Classifier: SVRG and MISO, sped up by Catalyst or QNing, in compiled code with threads of its own."""

from __future__ import annotations

import copy

import numpy as np
from scipy.special import expit

from benchmarks.problems import Problem
from benchmarks.solvers import in_precision

NAME = "Cyanure"
PACKAGE = "cyanure"
SPEEDS = ({"n_jobs": 1}, {"n_jobs": 2})


def grid(problem: Problem) -> list[dict]:
    """The penalty's factor is alpha of SGD."""
    solvers = ("auto", "svrg", "qning-svrg")
    return [
        {"solver": solver, "alpha": alpha, "n_jobs": n_jobs}
        for solver in solvers
        for alpha in (1e-7, 1e-6, 1e-5, 1e-4)
        for n_jobs in (1, 2)
    ]


class Fitted:
    """A line through `predict_proba`, of which Cyanure has none for two classes."""

    def __init__(self, model):
        self.coef, self.intercept = np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])

    def predict_proba(self, X) -> np.ndarray:
        p = expit(X @ self.coef + self.intercept)
        return np.column_stack([1 - p, p])


def prepare(
    problem: Problem,
    n_epochs: int,
    loss: str = "log_loss",
    seed: int = 0,
    dtype: str = "float32",
    alpha: float = 1e-4,
    n_jobs: int = 1,
    solver: str = "auto",
):
    from cyanure.estimators import Classifier

    if loss != "log_loss":
        raise ValueError(f"Cyanure is set up for log_loss only, not {loss}")
    rows = in_precision(problem, dtype)
    y = 2.0 * rows.y - 1.0
    model = Classifier(
        loss="logistic",
        penalty="l2",
        lambda_1=alpha,
        fit_intercept=True,
        solver=solver,
        max_iter=n_epochs,
        tol=1e-12,
        n_threads=n_jobs,
        verbose=False,
        random_state=seed,
        duality_gap_interval=10**6,
    )
    return lambda: Fitted(copy.copy(model).fit(rows.X, y))
