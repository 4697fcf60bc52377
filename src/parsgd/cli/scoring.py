"""Scores of a model on the command line."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_outlier_detector

from parsgd.errors import DataFileError


def task_of(estimator: Any) -> str:
    """Return ``"classes"``, ``"numbers"`` or ``"outliers"``."""
    if is_classifier(estimator):
        return "classes"
    return "outliers" if is_outlier_detector(estimator) else "numbers"


def has_probabilities(estimator: Any) -> bool:
    """Return True if the loss gives probabilities of classes."""
    return is_classifier(estimator) and hasattr(estimator, "predict_proba")


def label_type(classes: np.ndarray) -> str:
    """Return the type of the classes: ``"text"``, ``"boolean"`` or ``"number"``."""
    kind = classes.dtype.kind
    return "text" if kind in "UO" else "boolean" if kind == "b" else "number"


def score(estimator: Any, rows: Any, target: np.ndarray | None) -> dict[str, float]:
    """Return scores by name: accuracy and log-loss, R² and RMSE, or the share of inliers.

    A one-class model also has an accuracy if the targets are -1 and 1.
    """
    task, predicted = task_of(estimator), estimator.predict(rows)
    if predicted.ndim > 1:
        raise DataFileError(
            f"The model predicts {predicted.shape[1]} columns, but the command line compares one."
            " Score the model in Python with its score method."
        )
    if task == "numbers":
        return _regression(target, predicted)
    if task == "classes":
        return _classification(estimator, rows, target, predicted)
    scores = {"inliers": float(np.mean(predicted == 1))}
    if target is not None and target.dtype.kind in "if" and np.isin(target, (-1, 1)).all():
        scores["accuracy"] = float(np.mean(predicted == target))
    return scores


def _regression(target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    residual = target - predicted
    spread = float(np.sum((target - target.mean()) ** 2))
    # R² is undefined for one row or for equal targets
    r2 = 1.0 - float(np.sum(residual**2)) / spread if spread > 0 else float("nan")
    return {"r2": r2, "rmse": float(np.sqrt(np.mean(residual**2)))}


def _classification(estimator: Any, rows: Any, target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    classes = estimator.classes_
    if (label_type(classes) == "text") != (label_type(target) == "text"):
        raise DataFileError(f"The model's classes are {classes[:5].tolist()}; the targets are {target[:5].tolist()}.")
    scores = {"accuracy": float(np.mean(predicted == target))}
    known = np.isin(target, classes)
    if not known.all():
        scores["rows_of_unknown_class"] = int((~known).sum())
    if has_probabilities(estimator) and known.any():
        p = estimator.predict_proba(rows)[known, np.searchsorted(classes, target[known])].astype(float)
        scores["log_loss"] = float(-np.mean(np.log(np.clip(p, np.finfo(np.float64).eps, 1.0))))
    return scores
