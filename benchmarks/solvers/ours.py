"""parsgd's SGDClassifier: with all its defaults but the number of workers, and with one average at the end."""

from __future__ import annotations

from scipy import sparse

from benchmarks.problems import Problem
from benchmarks.solvers import ALPHAS, in_precision
from parsgd import SGDClassifier

NAME = "parsgd"
PACKAGE = "parsgd"
ADAGRAD, RATES = "adagrad", (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SPEEDS = ({"n_jobs": 2}, {"n_jobs": 1}, {"n_jobs": 2, "algorithm": "simuparallel"})


def grid(problem: Problem) -> list[dict]:
    """The same settings as scikit-learn's; on sparse rows also two workers on one set of weights; and AdaGrad."""
    found: list[dict] = [{"alpha": alpha, "average": average} for average in (False, True) for alpha in ALPHAS]
    if sparse.issparse(problem.X):
        found += [{"alpha": alpha, "algorithm": "hogwild"} for alpha in ALPHAS]
    ours = [{"learning_rate": ADAGRAD, "eta0": eta0, "alpha": alpha} for alpha in (0.0, 1e-6, 1e-5) for eta0 in RATES]
    return found + ours + [{**setting, "algorithm": "simuparallel"} for setting in ours]


def prepare(problem: Problem, n_epochs: int, loss: str = "log_loss", seed: int = 0, dtype: str = "float32", **setting):
    rows = in_precision(problem, dtype)
    model = SGDClassifier(loss=loss, max_iter=n_epochs, tol=None, random_state=seed, **setting)
    return lambda: model.fit(rows.X, rows.y)
