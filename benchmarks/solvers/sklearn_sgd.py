"""scikit-learn's SGDClassifier.  Its threads work on classes side by side, so there is no use for them with two."""

from __future__ import annotations

from sklearn.linear_model import SGDClassifier

from benchmarks.problems import Problem
from benchmarks.solvers import ALPHAS, in_precision

NAME = "scikit-learn SGD"
PACKAGE = "sklearn"
SPEEDS = ({"dtype": "float32", "n_jobs": 1}, {"dtype": "float64", "n_jobs": 1}, {"dtype": "float32", "n_jobs": 2})


def grid(problem: Problem) -> list[dict]:
    return [
        {"alpha": alpha, "average": average, "dtype": dtype}
        for dtype in ("float32", "float64")
        for average in (False, True)
        for alpha in ALPHAS
    ]


def prepare(problem: Problem, n_epochs: int, loss: str = "log_loss", seed: int = 0, dtype: str = "float32", **setting):
    rows = in_precision(problem, dtype)
    model = SGDClassifier(loss=loss, max_iter=n_epochs, tol=None, random_state=seed, **setting)
    return lambda: model.fit(rows.X, rows.y)
