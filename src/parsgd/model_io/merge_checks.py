"""Checks that fitted estimators can be merged, with errors that name the estimator and the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import kinds
from parsgd.model_io.from_sklearn import from_sklearn

# scikit-learn's estimators that are converted to parsgd's class of the same name.
_SKLEARN_CLASSES = ("SGDClassifier", "SGDOneClassSVM", "SGDRegressor")
# Attributes and parameters that must agree for weights to be comparable, and the remedy if they differ.
_MUST_AGREE = {
    "classes_": "Name all classes in the first call to partial_fit of each, partial_fit(X, y, classes=...).",
    "_multilabel": "Fit all to one label per row, or all to several labels.",
    "n_features_in_": "Fit all to the same columns.",
    "feature_names_in_": "Fit all to the same columns, in the same order.",
}


def to_parsgd(estimator: Any, number: int) -> Any:
    """Return a fitted estimator of parsgd; convert a fitted SGD estimator of scikit-learn."""
    name = kinds.base_name(estimator)
    package = type(estimator).__module__.partition(".")[0]
    if (
        name not in kinds.estimator_names()
        or package == "sklearn"
        and name not in _SKLEARN_CLASSES
        or package != "sklearn"
        and not isinstance(estimator, kinds.estimator_class(name))
    ):
        raise InvalidArgumentError(
            f"average_models takes fitted estimators of parsgd ({', '.join(kinds.estimator_names())}) and"
            f" scikit-learn's {', '.join(_SKLEARN_CLASSES)}; estimators[{number}] is {type(estimator)!r}."
        )
    if not kinds.is_fitted(estimator):
        raise InvalidArgumentError(f"estimators[{number}] is not fitted: call its fit before average_models.")
    return from_sklearn(estimator) if package == "sklearn" else estimator


def check_mergeable(estimators: Sequence[Any]) -> None:
    """Raise InvalidArgumentError unless all estimators have one class and comparable weights."""
    first = estimators[0]
    for number, other in enumerate(estimators[1:], start=1):
        if type(other) is not type(first):
            raise InvalidArgumentError(
                f"Only estimators of one class can be merged; estimators[0] is {type(first).__name__},"
                f" estimators[{number}] is {type(other).__name__}."
            )
        theirs = _comparable(other)
        for name, (value, remedy) in _comparable(first).items():
            if value is not None and theirs[name][0] is not None and value != theirs[name][0]:
                raise InvalidArgumentError(
                    f"estimators[{number}] differs from estimators[0] in {name}: {theirs[name][0]}, not {value}."
                    f" {remedy}"
                )


def cosines(estimators: Sequence[Any]) -> np.ndarray:
    """Compute the cosine of each model's parameters with the first: near 1 for a common start, else near 0."""
    flat = np.stack([kinds.kind_of(estimator).parameters(estimator) for estimator in estimators])
    lengths = np.linalg.norm(flat, axis=1)
    return flat @ flat[0] / np.maximum(lengths[0] * lengths, 1e-300)


def _comparable(estimator: Any) -> dict[str, tuple[Any, str]]:
    """Return strings or numbers that must agree, None for a missing attribute, each with the remedy if it differs."""
    values = {name: (getattr(estimator, name, None), remedy) for name, remedy in _MUST_AGREE.items()}
    plain = {
        name: (value.tolist() if isinstance(value, np.ndarray) else value, remedy)
        for name, (value, remedy) in values.items()
    }
    return plain | kinds.kind_of(estimator).comparable(estimator)
