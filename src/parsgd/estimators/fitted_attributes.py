"""Names of the fitted attributes per estimator, and checks that they are consistent for prediction and resuming."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parsgd.data.columns.encoder import Encoder
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.estimators.resume_attributes import AVERAGES, SQUARES, problems_of_records, problems_of_rule
from parsgd.models.network.network_model import Network
from parsgd.training import history

_ALL = (
    "n_features_in_",
    "feature_names_in_",
    "t_",
    "n_iter_",
    "algorithm_",
    "outcome_",
    "history_",
    "merge_weights_",
    "columns_",
)
_LINEAR = (
    *_ALL,
    "coef_",
    "intercept_",
    "offset_",
    *AVERAGES,
    *SQUARES,
    "sparsified",
)
_NETWORK = (
    *_ALL,
    "coefs_",
    "intercepts_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "_clock",
    "_slots",
    "_rule",
    "_gains",
    "_no_improvement_count",
)
# Estimator -> fitted attributes. A model file sets ``sparsified`` if coef_ was sparse.
FITTED = {
    "SGDClassifier": (*_LINEAR, "classes_"),
    "SGDOneClassSVM": _LINEAR,
    "SGDRegressor": _LINEAR,
    "MLPClassifier": (*_NETWORK, "classes_", "_multilabel"),
    "MLPRegressor": _NETWORK,
}


def base_name(estimator: Any) -> str:
    """Return the name of the estimator's class; for estimators of :mod:`parsgd.dask`, of its base class."""
    return type(estimator).__name__.removeprefix("Dask")


def is_network(estimator: Any) -> bool:
    """Return True for network estimators."""
    return "coefs_" in FITTED[base_name(estimator)]


def is_fitted(estimator: Any) -> bool:
    """Return True if the estimator has the attributes that prediction needs."""
    return hasattr(estimator, "coefs_" if is_network(estimator) else "coef_")


def problem(estimator: Any) -> str | None:
    """Return the first inconsistency among the fitted attributes, or None."""
    return next(_problems(estimator), None)


def _problems(estimator: Any) -> Iterator[str]:
    """Yield inconsistencies; each check may rely on the earlier ones."""
    network, n_features = is_network(estimator), getattr(estimator, "n_features_in_", None)
    if not _is_number(n_features, 1, whole=True):
        yield f"n_features_in_ is {n_features!r}, not a number of features"
    yield from _problems_of_names(estimator, n_features)
    if "classes_" in FITTED[base_name(estimator)]:
        yield from _problems_of_classes(estimator, 1 if network else 2)
    # counts of networks start at 0 as in scikit-learn: lbfgs visits no examples, and its initial point may be the best
    # one
    for key in ("t_", "n_iter_"):
        if not _is_number(getattr(estimator, key, None), 0 if network else 1):
            yield f"{key} is {getattr(estimator, key, None)!r}, not a number >= {0 if network else 1}"
    columns = getattr(estimator, "columns_", None)
    if columns is not None and (
        not isinstance(columns, (Encoder, SvmlightColumns)) or columns.n_features != n_features
    ):
        yield "columns_ does not say how columns become the features"
    wrong = history.problem(getattr(estimator, "history_", []))
    if wrong:
        yield wrong
    merged = getattr(estimator, "merge_weights_", None)
    if merged is not None:
        yield from _problems_of_array("merge_weights_", merged, (getattr(merged, "size", 0),))
    yield from _problems_of_network(estimator) if network else _problems_of_linear(estimator)
    yield from problems_of_records(estimator)


def _problems_of_names(estimator: Any, n_features: int) -> Iterator[str]:
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        are_strings = isinstance(names, np.ndarray) and all(isinstance(name, str) for name in names.flat)
        if not are_strings or names.shape != (n_features,):
            yield f"feature_names_in_ should be an array of {n_features} strings"


def _problems_of_classes(estimator: Any, least: int) -> Iterator[str]:
    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) < least:
        yield f"classes_ is {classes!r}, not an array of {least} or more classes"


def _problems_of_linear(estimator: Any) -> Iterator[str]:
    name, n_features, n_outputs = base_name(estimator), estimator.n_features_in_, 1
    if name == "SGDClassifier":
        n_classes = len(estimator.classes_)
        n_outputs = 1 if n_classes == 2 and estimator.loss != "softmax" else n_classes
    # two classes share one row for any number of outputs
    n_rows = 1 if n_outputs <= 2 else n_outputs
    coef_shape = (n_rows, n_features) if name == "SGDClassifier" else (n_features,)
    shapes = {"coef_": coef_shape, "offset_" if name == "SGDOneClassSVM" else "intercept_": (n_rows,)}
    optional = dict.fromkeys(("_standard_coef", "_average_coef", "_squares"), (n_outputs, n_features))
    optional |= dict.fromkeys(("_standard_intercept", "_average_intercept", "_intercept_squares"), (n_outputs,))
    shapes |= {key: shape for key, shape in optional.items() if hasattr(estimator, key)}
    for key, shape in shapes.items():
        yield from _problems_of_array(key, getattr(estimator, key, None), shape)


def _problems_of_network(estimator: Any) -> Iterator[str]:
    n_outputs = getattr(estimator, "n_outputs_", None)
    if not _is_number(n_outputs, 1, whole=True):
        yield f"n_outputs_ is {n_outputs!r}, not a number of outputs"
    if hasattr(estimator, "classes_"):
        multilabel = getattr(estimator, "_multilabel", None)
        if not isinstance(multilabel, bool):
            yield f"_multilabel is {multilabel!r}, not True or False"
        n_classes = len(estimator.classes_)
        n_outputs = n_classes if multilabel or n_classes > 2 else 1
    coefs, intercepts = getattr(estimator, "coefs_", None), getattr(estimator, "intercepts_", None)
    if not (isinstance(coefs, list) and isinstance(intercepts, list) and len(coefs) == len(intercepts) > 0):
        yield "coefs_ and intercepts_ should be lists of arrays, one per layer"
    layers = (estimator.n_features_in_, *(getattr(array, "size", 0) for array in intercepts[:-1]), n_outputs)
    for i, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        yield from _problems_of_array(f"coefs_[{i}]", coef, layers[i : i + 2])
        yield from _problems_of_array(f"intercepts_[{i}]", intercept, layers[i + 1 : i + 2])
    yield from _problems_of_partial_fit(estimator, Network(layers).n_parameters)


def _problems_of_partial_fit(estimator: Any, n_parameters: int) -> Iterator[str]:
    """Check what ``partial_fit`` of a network resumes from: solver slots, schedule step and stopping rule."""
    slots = getattr(estimator, "_slots", None)
    yield from _problems_of_array("_slots", slots, (getattr(slots, "size", 0),))
    if slots.size % n_parameters:
        yield f"_slots has {slots.size} values, not a multiple of {n_parameters} parameters"
    if not _is_number(getattr(estimator, "_clock", 1), 1):
        yield f"_clock is {estimator._clock!r}, not a number >= 1"
    if hasattr(estimator, "_rule") or hasattr(estimator, "_gains"):
        yield from _problems_of_array("_gains", getattr(estimator, "_gains", None), (1,))
        yield from problems_of_rule(getattr(estimator, "_rule", None), n_parameters)


def _problems_of_array(key: str, array: Any, shape: tuple[int, ...]) -> Iterator[str]:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != shape:
        yield f"{key} should be a float array of shape {shape}"
    if not np.isfinite(array).all():
        yield f"{key} holds NaN or infinite values"


def _is_number(value: Any, least: int, whole: bool = False) -> bool:
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and least <= value < 2**63
