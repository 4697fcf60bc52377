"""Averaging per coordinate against plain averages: test losses, each rule at its own best learning rate.

Usage: python studies/coordinate_averaging.py [DATA_FOLDER] [--datasets enron_spam news20] [--workers 2 8 32]
           [--passes 1] [--seeds 3] [--rates 6] [--adagrad] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import datasets
import numpy as np

from parsgd import LocalSGD, SGDClassifier
from parsgd.core import EngineDefaults
from parsgd.engines.serial import Serial

RULES = ("uniform", "learned", "coordinate", "touched")
PROBLEMS = ("enron_spam", "news20", "covtype", "adult")
# The first rate of each grid; rates grow by RATIO.  Sparse rows have unit length.
FIRST_RATES = {"enron_spam": 4.0, "news20": 2.0, "covtype": 0.001, "adult": 0.01}
FIRST_ADAGRAD_RATES = {"enron_spam": 0.05, "news20": 0.05, "covtype": 0.005, "adult": 0.01}
RATIO = 2.0
MERGES_PER_PASS = 100


def load(folder: Path, name: str):
    """Return the split of a data set; news20 as two groups of classes."""
    X_train, X_test, y_train, y_test = getattr(datasets, name)(folder)
    if name == "news20":
        y_train, y_test = y_train % 2, y_test % 2
    return X_train, X_test, y_train, y_test


def test_loss(model: SGDClassifier, X, y: np.ndarray) -> float:
    """Return the mean log loss on the test rows."""
    decision = model.decision_function(X).astype(np.float64)
    return float(np.logaddexp(0.0, np.where(y == model.classes_[1], -decision, decision)).mean())


def fit(data, rate: float, passes: int, seed: int, adagrad: bool, **settings) -> float:
    """Return the test loss of one fit; NaN for one that diverges."""
    X, X_test, y, y_test = data
    schedule = {"learning_rate": "adagrad"} if adagrad else {"learning_rate": "invscaling", "power_t": 0.25}
    if not adagrad:
        # eta / (1 + t / n)^0.5 is not among the schedules; t^-0.25 spans a similar range within a few passes
        rate *= X.shape[0] ** 0.25
    model = SGDClassifier(
        "log_loss", alpha=0.0, penalty=None, eta0=rate, max_iter=passes, tol=None, random_state=seed, **schedule, **settings
    )
    return test_loss(model.fit(X, y), X_test, y_test)
