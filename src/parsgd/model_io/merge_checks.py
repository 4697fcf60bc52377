"""Whether fitted estimators can be merged: what must agree among them, and who differs in what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted_attributes import FITTED, base_name, is_fitted, is_network
from parsgd.model_io.from_sklearn import from_sklearn

# scikit-learn's estimators that are read as parsgd's of the same name.
_FOREIGN = ("SGDClassifier", "SGDOneClassSVM", "SGDRegressor")
# Attributes and parameters on which the meaning of the weights rests, and what to do where they differ.
_SAME = {
    "classes_": "Name all classes in the first call to partial_fit of each, partial_fit(X, y, classes=...).",
    "_multilabel": "Fit all to one label a row, or all to several.",
    "n_features_in_": "Fit all to the same columns.",
    "feature_names_in_": "Fit all to the same columns, in the same order.",
    "coefs_": "Fit all with the same hidden_layer_sizes.",
    "coef_": "Fit all to the same classes and columns.",
    "loss": "Fit all with the same loss: decision values of different losses are not on one scale.",
    "activation": "Fit all with the same activation.",
}


def as_ours(estimator: Any, number: int) -> Any:
    """The estimator, if it is one of parsgd's and fitted; a fitted SGD estimator of scikit-learn as parsgd's."""
    name = base_name(estimator)
    home = type(estimator).__module__.partition(".")[0]
    if name not in FITTED or home not in ("parsgd", "sklearn") or home == "sklearn" and name not in _FOREIGN:
        raise InvalidArgumentError(
            f"average_models takes fitted estimators of parsgd ({', '.join(FITTED)}) and scikit-learn's"
            f" {', '.join(_FOREIGN)}; estimators[{number}] is {type(estimator)!r}."
        )
    if not is_fitted(estimator):
        raise InvalidArgumentError(f"estimators[{number}] is not fitted: call its fit before average_models.")
    if home == "parsgd":
        return estimator
    return from_sklearn(estimator)


def check_alike(estimators: Sequence[Any]) -> None:
    """Raise InvalidArgumentError unless all are of one class and agree in what their weights mean."""
    first = estimators[0]
    for number, other in enumerate(estimators[1:], start=1):
        if type(other) is not type(first):
            raise InvalidArgumentError(
                f"Only estimators of one class can be merged; estimators[0] is {type(first).__name__},"
                f" estimators[{number}] is {type(other).__name__}."
            )
        for key, remedy in _SAME.items():
            ours, theirs = _described(first, key), _described(other, key)
            if ours is not None and theirs is not None and ours != theirs:
                what = {"coefs_": "layers", "coef_": "shape of coef_"}.get(key, key)
                raise InvalidArgumentError(
                    f"estimators[{number}] differs from estimators[0] in {what}: {theirs}, not {ours}. {remedy}"
                )


def cosines(networks: Sequence[Any]) -> list[float]:
    """Of each network's weights with the first one's: near 1 after a common start, near 0 after different ones."""
    flat = [np.concatenate([coef.ravel() for coef in network.coefs_]).astype(float) for network in networks]
    lengths = [float(np.linalg.norm(weights)) for weights in flat]
    return [
        float(flat[0] @ weights) / max(lengths[0] * length, 1e-300)
        for weights, length in zip(flat, lengths, strict=True)
    ]


def _described(estimator: Any, key: str) -> Any:
    """What is compared: texts and numbers, or None where the estimator has no such thing."""
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
