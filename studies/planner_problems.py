"""Problems of the study of the planner, other ones than those that its constants were chosen on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
from sklearn.base import clone

from benchmarks.data import normal_rows, word_rows
from parsgd import MLPClassifier, SGDClassifier, SGDRegressor

PASSES, TEST_ROWS = 5, 10_000


class Problem(NamedTuple):
    """Rows to train on, rows for the test loss, and an estimator."""

    words: str
    estimator: Any
    X: Any
    X_test: Any
    y: np.ndarray
    y_test: np.ndarray


@cache
def covtype(folder: Path) -> datasets.Split:
    return datasets.covtype(folder, classes=True)


def covtype_2(folder: Path) -> datasets.Split:
    X, X_test, y, y_test = covtype(folder)
    return X, X_test, (y == 2).astype(int), (y_test == 2).astype(int)


def generated(X: Any, y: np.ndarray) -> datasets.Split:
    n = len(y) - TEST_ROWS
    return X[:n], X[n:], y[:n], y[n:]


def numbers(_: Path | None) -> datasets.Split:
    """Columns of standard deviations from 1 to 0.1, so that SGD needs several passes."""
    X, _y = normal_rows(200_000 + TEST_ROWS, 30)
    X *= np.geomspace(1.0, 0.1, 30, dtype=np.float32)
    rng = np.random.default_rng(1)
    return generated(X, X @ rng.standard_normal(30) + 0.3 * rng.standard_normal(len(X)))


def few_rows(_: Path | None) -> datasets.Split:
    X, y = normal_rows(2_000, 5)
    return X[:1500], X[1500:], y[:1500], y[1500:]


LINEAR = {"max_iter": PASSES, "tol": None}
ADAM = {"batch_size": 64, "max_iter": PASSES, "tol": 0.0, "n_iter_no_change": 10**9}
# Each with words, the data, the estimator, and the training rows, if not all.
PROBLEMS: dict[str, tuple[str, Callable[[Any], datasets.Split], Any, int | None]] = {
    "flights": (
        "Flights more than 15 minutes late, log loss",
        datasets.nycflights_late,
        SGDClassifier("log_loss"),
        None,
    ),
    "covtype_softmax": ("Seven classes of Covertype, softmax", covtype, SGDClassifier("softmax"), 50_000),
    "covtype_few": ("A class of Covertype, hinge loss", covtype_2, SGDClassifier("hinge"), 20_000),
    "covtype_hinge": ("A class of Covertype, hinge loss", covtype_2, SGDClassifier("hinge"), None),
    "adult_adagrad": (
        "Adult, hinge loss, AdaGrad",
        datasets.adult,
        SGDClassifier("hinge", learning_rate="adagrad", eta0=0.1),
        None,
    ),
    "spam_huber": (
        "Enron-Spam, modified Huber loss",
        datasets.enron_spam,
        SGDClassifier("modified_huber", alpha=1e-6),
        None,
    ),
    "fashion_softmax": ("Fashion-MNIST, softmax", datasets.fashion_mnist, SGDClassifier("softmax"), 10_000),
    "covtype_network": (
        "Seven classes of Covertype, network 54-32-7, batches of 64 rows, Adam",
        covtype,
        MLPClassifier((32,), **ADAM),
        30_000,
    ),
    "dense": ("Generated dense rows, least squares", numbers, SGDRegressor(), None),
    "sparse": (
        "Generated sparse rows, log loss",
        lambda _: generated(*word_rows(100_000 + TEST_ROWS, 50_000, 30)),
        SGDClassifier("log_loss", alpha=1e-6),
        None,
    ),
}
BUSY = ("flights", "covtype_few", "covtype_network", "dense")
QUICK = {"generated": ("Generated rows, log loss", few_rows, SGDClassifier("log_loss"), None)}


def load(name: str, folder: Path | None) -> Problem:
    """Return a problem with its rows."""
    words, read, estimator, most = {**PROBLEMS, **QUICK}[name]
    X, X_test, y, y_test = read(folder)
    estimator = clone(estimator).set_params(random_state=0)
    if not isinstance(estimator, MLPClassifier):
        estimator.set_params(**LINEAR)
    (X, y), (X_test, y_test) = some(X, y, most), some(X_test, y_test, TEST_ROWS)
    return Problem(words, estimator, X, X_test, y, y_test)


def some(X: Any, y: np.ndarray, most: int | None) -> tuple[Any, np.ndarray]:
    """Return at most so many random rows."""
    if most is None or len(y) <= most:
        return X, y
    chosen = np.random.default_rng(0).choice(len(y), most, replace=False)
    return X[chosen], y[chosen]
