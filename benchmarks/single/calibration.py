"""Calibrated probabilities and tuned thresholds around linear classifiers: effects and costs.

Usage: python benchmarks/single/calibration.py DATA_FOLDER [--turns N]
       python benchmarks/single/calibration.py --quick

Each row wraps a linear classifier in scikit-learn's ``CalibratedClassifierCV`` or ``TunedThresholdClassifierCV``.
Times are medians of interleaved fits. Scores are those of the test rows. Thresholds favor balanced accuracy. A hinge
loss without calibration has no probabilities, so its column of log loss is empty.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    # a script has its own folder first in the path, and needs the root of the repository
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from sklearn import linear_model
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss
from sklearn.model_selection import TunedThresholdClassifierCV, train_test_split

from benchmarks import stored_tables
from benchmarks.markdown import NOTHING, number, table
from benchmarks.measuring import run_turns, timed
from parsgd import SGDClassifier
from studies import datasets

SETTINGS = {"max_iter": 5, "tol": None, "random_state": 0}
FOLDS = 5
# data sets and alpha of their fits
DATA = {"adult": 1e-5, "enron_spam": 1e-6}


def classifiers(alpha: float) -> dict[str, Callable[[], Any]]:
    """Return functions that make the estimators, by name; the row ``NAME, log loss`` is the plain fit."""
    makers = {"parsgd": SGDClassifier, "scikit-learn": linear_model.SGDClassifier}
    found: dict[str, Callable[[], Any]] = {}
    for name, cls in makers.items():
        make = partial(cls, alpha=alpha, **SETTINGS)
        found |= {
            f"{name}, log loss": partial(make, "log_loss"),
            f"{name}, hinge": partial(make, "hinge"),
            f"{name}, hinge, sigmoid": partial(calibrated, make, "hinge", "sigmoid"),
            f"{name}, log loss, sigmoid": partial(calibrated, make, "log_loss", "sigmoid"),
            f"{name}, log loss, isotonic": partial(calibrated, make, "log_loss", "isotonic"),
            f"{name}, hinge, sigmoid on held-out rows": partial(HeldOut, make, "hinge", "sigmoid"),
            f"{name}, log loss, tuned threshold": partial(tuned, make),
        }
    return found


def calibrated(make: Callable[[str], Any], loss: str, method: str) -> CalibratedClassifierCV:
    return CalibratedClassifierCV(make(loss), method=method, cv=FOLDS)


def tuned(make: Callable[[str], Any]) -> TunedThresholdClassifierCV:
    return TunedThresholdClassifierCV(make("log_loss"), cv=FOLDS, random_state=0)


class HeldOut:
    """A fit on three quarters of the rows, and a calibration on the rest."""

    def __init__(self, make: Callable[[str], Any], loss: str, method: str):
        self.make, self.loss, self.method = make, loss, method

    def fit(self, X: Any, y: np.ndarray) -> CalibratedClassifierCV:
        X_fit, X_rest, y_fit, y_rest = train_test_split(X, y, test_size=0.25, random_state=0)
        fitted = self.make(self.loss).fit(X_fit, y_fit)
        return CalibratedClassifierCV(FrozenEstimator(fitted), method=self.method).fit(X_rest, y_rest)


def measure(rows: datasets.Split, alpha: float, turns: int) -> str:
    """Return the table of a data set."""
    X, X_test, y, y_test = rows
    makers, fitted = classifiers(alpha), {}

    def fit(name: str) -> None:
        fitted[name] = makers[name]().fit(X, y)

    turned = run_turns({name: partial(timed, partial(fit, name)) for name in makers}, turns)
    seconds = {name: float(np.median(found)) for name, found in turned.items()}
    cells = []
    for name, model in fitted.items():
        scores = [NOTHING, NOTHING]
        if hasattr(model, "predict_proba"):
            chances = model.predict_proba(X_test)[:, 1]
            scores = [f"{score(y_test, chances):.4f}" for score in (log_loss, brier_score_loss)]
        accuracy = f"{balanced_accuracy_score(y_test, model.predict(X_test)):.4f}"
        times = seconds[name] / seconds[f"{name.split(',')[0]}, log loss"]
        cells.append([name, number(1e3 * seconds[name]), f"{times:.1f}", *scores, accuracy])
    return table(["estimator", "fit, ms", "plain fits", "log loss", "Brier score", "balanced accuracy"], cells)


def generated() -> datasets.Split:
    """Return 2,000 rows for a quick run."""
    X, y = make_classification(2500, 20, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
    return X_train, X_test, y_train, y_test


def main(arguments: list[str] | None = None) -> None:
    """Print a table per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of the real data; not needed with --quick")
    parser.add_argument("--turns", type=int, default=5, help="turns of all rows (default: 5)")
    parser.add_argument("--quick", action="store_true", help="generated rows and one turn; no measurement")
    stored_tables.add_option(parser, "calibration")
    given = parser.parse_args(arguments)
    if given.folder is None and not given.quick:
        parser.error("a folder of real data is needed, except with --quick")
    parts = []
    for name, alpha in DATA.items():
        rows = generated() if given.quick else getattr(datasets, name)(given.folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # five passes are not convergence
            parts.append(f"**{name}**\n\n{measure(rows, alpha, 1 if given.quick else given.turns)}")
    stored_tables.show("\n".join(parts), given.save, __file__, ("parsgd", "numpy", "scikit-learn"))


if __name__ == "__main__":
    main()
