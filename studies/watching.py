"""Fits that are looked at from outside: what a one-shot merge was made from, and when a loss was reached."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from parsgd import SGDClassifier, Simulated
from parsgd.errors import DivergedError
from parsgd.estimators.linear.linear_kind import LINEAR
from parsgd.planning.trials.heldout import HeldOut, ObservedFit

Data = tuple[Any, Any, np.ndarray, np.ndarray]


class Kept:
    """An algorithm as it is, and what its one merge was made from."""

    def __init__(self, algorithm: Any):
        self.algorithm = algorithm

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "algorithm" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.algorithm, name)

    def merge(self, standing: Any, reports: Any) -> Any:
        self.standing, self.reports = standing, reports
        self.merged = self.algorithm.merge(standing, reports)
        return self.merged


class Reached(Exception):
    """The fit is as good as it was to become."""


class Until(ObservedFit):
    """A fit that ends when its held-out loss is at ``target``."""

    target = -np.inf

    def record_loss(self) -> None:
        super().record_loss()
        if self.curve[-1].loss <= self.target:
            raise Reached


def timed(data: Data, alpha: float, algorithm: Any, seed: int, target: float, passes: int, speeds: tuple) -> tuple:
    """When the target was reached (nan: not), and the last loss."""
    warnings.simplefilter("ignore")
    X, X_test, y, y_test = data
    fit = Until(algorithm, Simulated(speeds=speeds, rate=float(len(y))), HeldOut(X_test, y_test, np.unique(y), LINEAR))
    fit.target = target
    model = SGDClassifier(
        "log_loss",
        alpha=alpha,
        max_iter=passes,
        tol=None,
        n_jobs=len(speeds),
        algorithm=fit,
        engine=fit,
        random_state=seed,
    )
    try:
        model.fit(X, y)
        fit.record_loss()
    except Reached:
        return fit.curve[-1].seconds, fit.curve[-1].loss
    except DivergedError:
        return np.nan, np.inf
    return np.nan, fit.curve[-1].loss
