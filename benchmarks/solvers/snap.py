"""Snap ML's LogisticRegression: dual coordinate descent by threads."""

from __future__ import annotations

import numpy as np

from benchmarks.problems import Problem
from benchmarks.solvers import in_precision

NAME = "Snap ML"
PACKAGE = "snapml"
SPEEDS = ({"n_jobs": 1}, {"n_jobs": 2})


def grid(problem: Problem) -> list[dict]:
    """The penalty's factor is alpha of SGD times the number of rows."""
    return [{"alpha": alpha, "n_jobs": n_jobs} for alpha in (1e-7, 1e-6, 1e-5, 1e-4) for n_jobs in (1, 2)]


def prepare(
    problem: Problem,
    n_epochs: int,
    loss: str = "log_loss",
    seed: int = 0,
    dtype: str = "float32",
    alpha: float = 1e-4,
    n_jobs: int = 1,
):
    import snapml

    if loss != "log_loss":
        raise ValueError(f"Snap ML is set up for log_loss only, not {loss}")
    rows = in_precision(problem, dtype)
    y = np.where(rows.y == 1, 1.0, -1.0)
    model = snapml.LogisticRegression(
        max_iter=n_epochs,
        regularizer=alpha * rows.n_rows,
        n_jobs=n_jobs,
        fit_intercept=True,
        tol=0.0,
        random_state=seed,
    )
    return lambda: model.fit(rows.X, y)
