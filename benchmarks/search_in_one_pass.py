"""All settings of a search in one run over the rows, against separate fits and against scikit-learn's grid search.

Usage: python benchmarks/search_in_one_pass.py DATA_FOLDER [--turns 3] [--passes 5] [--quick] [--save]

16 settings (alpha x eta0, inverse scaling) x 5 folds.  ``SGDClassifierCV`` and the 80 separate fits of parsgd have one
thread; ``GridSearchCV`` of scikit-learn's ``SGDClassifier`` has two processes.  All make the same number of passes, and
score accuracy on the same folds, without a last fit.  Runs take turns.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from sklearn import linear_model
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from benchmarks import stored_tables
from benchmarks.markdown import number, table
from benchmarks.measuring import Spread
from benchmarks.time_to_goal import tasks
from parsgd import SGDClassifier, SGDClassifierCV

ALPHAS, ETAS = (1e-7, 1e-6, 1e-5, 1e-4), (0.01, 0.03, 0.1, 0.3)
N_FOLDS, POWER_T = 5, 0.25


def in_one_run(X: Any, y: np.ndarray, folds: Any, passes: int) -> np.ndarray:
    search = SGDClassifierCV(
        alphas=ALPHAS,
        etas=ETAS,
        learning_rate="invscaling",
        power_t=POWER_T,
        cv=folds,
        max_iter=passes,
        tol=None,
        refit=False,
        n_jobs=1,
        random_state=0,
    )
    return search.fit(X, y).cv_results_["mean_test_score"]


def settings(passes: int) -> dict[str, Any]:
    """Return the common arguments of separate fits."""
    return {
        "loss": "log_loss",
        "learning_rate": "invscaling",
        "power_t": POWER_T,
        "max_iter": passes,
        "tol": None,
        "random_state": 0,
    }


def separate_fits(X: Any, y: np.ndarray, folds: Any, passes: int) -> np.ndarray:
    scores = np.zeros((len(ALPHAS) * len(ETAS), N_FOLDS))
    for fold, (train, test) in enumerate(folds.split(X, y)):
        # each fold's rows are copied once for all settings
        X_train, y_train, X_test, y_test = X[train], y[train], X[test], y[test]
        for place, (alpha, eta0) in enumerate((alpha, eta0) for alpha in ALPHAS for eta0 in ETAS):
            fit = SGDClassifier(alpha=alpha, eta0=eta0, n_jobs=1, **settings(passes)).fit(X_train, y_train)
            scores[place, fold] = fit.score(X_test, y_test)
    return scores.mean(axis=1)


def scikit_learn(X: Any, y: np.ndarray, folds: Any, passes: int) -> np.ndarray:
    grid = {"alpha": ALPHAS, "eta0": ETAS}
    fit = linear_model.SGDClassifier(**settings(passes))
    search = GridSearchCV(fit, grid, cv=folds, n_jobs=2, refit=False).fit(X, y)
    return search.cv_results_["mean_test_score"]


SOLVERS: dict[str, Callable[..., np.ndarray]] = {
    "SGDClassifierCV, one thread": in_one_run,
    "80 fits of parsgd, one thread": separate_fits,
    "GridSearchCV of scikit-learn, n_jobs=2": scikit_learn,
}


def load(name: str, folder: Path | None) -> tuple[Any, np.ndarray]:
    task = tasks.load(name, folder)
    X = task.X if hasattr(task.X, "indptr") else StandardScaler().fit_transform(task.X)
    return X, np.asarray(task.y)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the real data; not needed with --quick")
    parser.add_argument("--datasets", nargs="+", choices=("enron_spam", "covtype"), default=("enron_spam", "covtype"))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="2,000 generated rows and one turn; no measurement")
    stored_tables.add_option(parser, "search_in_one_pass")
    given = parser.parse_args(arguments)
    if given.folder is None and not given.quick:
        parser.error("a folder of real data is needed, except with --quick")
    warnings.simplefilter("ignore")
    rows = []
    for name in given.datasets:
        X, y = load(name, None if given.quick else given.folder)
        folds = StratifiedKFold(N_FOLDS)
        seconds: dict[str, list[float]] = {solver: [] for solver in SOLVERS}
        scores = {solver: run(X[:500], y[:500], folds, 1) for solver, run in SOLVERS.items()}
        for _ in range(1 if given.quick else given.turns):
            for solver, run in SOLVERS.items():
                began = time.perf_counter()
                scores[solver] = run(X, y, folds, given.passes)
                seconds[solver].append(time.perf_counter() - began)
        ours = np.array(seconds["SGDClassifierCV, one thread"])
        for solver, found in seconds.items():
            share = Spread.of(ours / np.array(found))
            cells = [f"{number(share.median)} ({number(share.low)} to {number(share.high)})"]
            cells.append(f"{scores[solver].max():.4f}")
            rows.append([f"{name}, {X.shape[0]:,} x {X.shape[1]:,}", solver, number(float(np.median(found))), *cells])
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["data", "search", "seconds", "time of SGDClassifierCV against it", "best accuracy"]
    libraries = ("parsgd", "numpy", "numba", "scikit-learn")
    stored_tables.show(table(header, rows, words=(0, 1)), given.save, __file__, libraries)


if __name__ == "__main__":
    main()
