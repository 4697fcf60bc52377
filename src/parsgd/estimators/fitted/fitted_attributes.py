"""Checks that fitted attributes are consistent for prediction and resuming, whatever the kind of model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parsgd.data.columns.encoder import Encoder
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.estimators import kinds
from parsgd.estimators.fitted.resume_attributes import problems_of_records
from parsgd.estimators.validation.attribute_checks import is_number, problems_of_array
from parsgd.training.reporting import history


def problem(estimator: Any) -> str | None:
    """Return the first inconsistency among the fitted attributes, or None."""
    return next(_problems(estimator), None)


def _problems(estimator: Any) -> Iterator[str]:
    """Yield inconsistencies; each check may rely on the earlier ones."""
    kind, n_features = kinds.kind_of(estimator), getattr(estimator, "n_features_in_", None)
    if not is_number(n_features, 1, whole=True):
        yield f"n_features_in_ is {n_features!r}, not a number of features"
    yield from _problems_of_names(estimator, n_features)
    if "classes_" in kind.fitted[kinds.known_name(estimator)]:
        yield from _problems_of_classes(estimator, kind.least_classes)
    for key in ("t_", "n_iter_"):
        if not is_number(getattr(estimator, key, None), kind.least_count):
            yield f"{key} is {getattr(estimator, key, None)!r}, not a number >= {kind.least_count}"
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
        yield from problems_of_array("merge_weights_", merged, (getattr(merged, "size", 0),))
    yield from kind.problems(estimator)
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
