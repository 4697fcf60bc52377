"""scikit-learn's LogisticRegression by `saga`, `lbfgs` and `liblinear` (LIBLINEAR): an iteration is a pass or more."""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression

from benchmarks.problems import Problem
from benchmarks.solvers import in_precision

NAME = "scikit-learn LogisticRegression"
PACKAGE = "sklearn"
SPEEDS = ({"dtype": "float32"}, {"dtype": "float64"})


def grid(problem: Problem) -> list[dict]:
    """C is the inverse of alpha times the number of rows."""
    # LIBLINEAR computes in float64, whatever it is given
    ways = (("lbfgs", "float32"), ("liblinear", "float64"), ("saga", "float32"))
    return [{"solver": solver, "C": C, "dtype": dtype} for solver, dtype in ways for C in (0.1, 1.0, 10.0, 100.0)]


def prepare(problem: Problem, n_epochs: int, loss: str = "log_loss", seed: int = 0, dtype: str = "float64", **setting):
    if loss != "log_loss":
        raise ValueError(f"LogisticRegression has log_loss only, not {loss}")
    rows = in_precision(problem, dtype)
    model = LogisticRegression(max_iter=n_epochs, tol=1e-12, random_state=seed, **setting)
    return lambda: model.fit(rows.X, rows.y)
