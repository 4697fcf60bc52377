"""Checks that fitted estimators can be merged, with errors that name the estimator and the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted_attributes import FITTED, base_name, is_fitted, is_network
from parsgd.model_io.from_sklearn import from_sklearn

# scikit-learn's estimators that are converted to parsgd's class of the same name.
_SKLEARN_CLASSES = ("SGDClassifier", "SGDOneClassSVM", "SGDRegressor")
# Attributes and parameters that must agree for weights to be comparable, and the remedy if they differ.
_MUST_AGREE = {
    "classes_": "Name all classes in the first call to partial_fit of each, partial_fit(X, y, classes=...).",
    "_multilabel": "Fit all to one label per row, or all to several labels.",
    "n_features_in_": "Fit all to the same columns.",
    "feature_names_in_": "Fit all to the same columns, in the same order.",
    "coefs_": "Fit all with the same hidden_layer_sizes.",
    "coef_": "Fit all to the same classes and columns.",
    "loss": "Fit all with the same loss: decision values of different losses have different scales.",
    "activation": "Fit all with the same activation.",
}


def to_parsgd(estimator: Any, number: int) -> Any:
    """Return a fitted estimator of parsgd; convert a fitted SGD estimator of scikit-learn."""
    name = base_name(estimator)
    package = type(estimator).__module__.partition(".")[0]
    if (
        name not in FITTED
        or package not in ("parsgd", "sklearn")
        or package == "sklearn"
        and name not in _SKLEARN_CLASSES
    ):
        raise InvalidArgumentError(
            f"average_models takes fitted estimators of parsgd ({', '.join(FITTED)}) and scikit-learn's"
            f" {', '.join(_SKLEARN_CLASSES)}; estimators[{number}] is {type(estimator)!r}."
        )
    if not is_fitted(estimator):
        raise InvalidArgumentError(f"estimators[{number}] is not fitted: call its fit before average_models.")
    if package == "parsgd":
        return estimator
    return from_sklearn(estimator)


def check_mergeable(estimators: Sequence[Any]) -> None:
    """Raise InvalidArgumentError unless all estimators have one class and comparable weights."""
    first = estimators[0]
    for number, other in enumerate(estimators[1:], start=1):
        if type(other) is not type(first):
            raise InvalidArgumentError(
                f"Only estimators of one class can be merged; estimators[0] is {type(first).__name__},"
                f" estimators[{number}] is {type(other).__name__}."
            )
        for key, remedy in _MUST_AGREE.items():
            ours, theirs = _comparable(first, key), _comparable(other, key)
            if ours is not None and theirs is not None and ours != theirs:
                attribute = {"coefs_": "layers", "coef_": "shape of coef_"}.get(key, key)
                raise InvalidArgumentError(
                    f"estimators[{number}] differs from estimators[0] in {attribute}: {theirs}, not {ours}. {remedy}"
                )


def cosines(networks: Sequence[Any]) -> list[float]:
    """Compute the cosine of each network's weights with the first: near 1 for a common start, else near 0."""
    flat = [np.concatenate([coef.ravel() for coef in network.coefs_]).astype(float) for network in networks]
    lengths = [float(np.linalg.norm(weights)) for weights in flat]
    return [
        float(flat[0] @ weights) / max(lengths[0] * length, 1e-300)
        for weights, length in zip(flat, lengths, strict=True)
    ]


def _comparable(estimator: Any, key: str) -> Any:
    """Return strings or numbers to compare, or None if the estimator lacks the attribute."""
    value = getattr(estimator, key, None)
    if value is None:
        return None
    if key == "coefs_":
        return [value[0].shape[0], *(coef.shape[1] for coef in value)]
    if key == "coef_":
        return None if is_network(estimator) else value.shape
    if key == "loss" and not isinstance(value, str):
        return f"{type(value).__name__}({', '.join(f'{k}={v!r}' for k, v in sorted(vars(value).items()))})"
    return value.tolist() if isinstance(value, np.ndarray) else value
