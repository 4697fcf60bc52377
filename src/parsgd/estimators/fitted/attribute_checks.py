"""Checks that fitted attributes of a model file are consistent for prediction and resuming."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parsgd.data.columns.encoder import Encoder
from parsgd.data.formats.svmlight import SvmlightColumns
from parsgd.errors import Outcome
from parsgd.estimators import kinds
from parsgd.estimators.auto_select import Choice
from parsgd.training.reporting import history
from parsgd.training.stopping import StoppingRule


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
    yield from _problems_of_records(estimator)


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


def _problems_of_records(estimator: Any) -> Iterator[str]:
    """Yield a sentence per invalid attribute; missing attributes are allowed."""
    for key, (accepts, expected) in _RECORDS.items():
        if key in vars(estimator) and not accepts(vars(estimator)[key]):
            yield f"{key} is {vars(estimator)[key]!r:.80}, not {expected}"
    seed = estimator.random_state
    if not (seed is None or is_number(seed, 0, whole=True) and seed < 2**32):
        yield f"random_state is {estimator.random_state!r:.80}, not None or an int from 0 to 2^32 - 1"
    if getattr(estimator, "checkpoint", None) is not None:
        yield "checkpoint is set, which a model file must not contain"


def problems_of_rule(rule: Any, n_parameters: int) -> Iterator[str]:
    """Yield problems of the stopping rule that ``partial_fit`` of a network resumes."""
    if not isinstance(rule, StoppingRule):
        yield "_rule is not a StoppingRule"
    valid = (
        _is_real(rule.tol)
        and _is_real(rule.patience)
        and (rule.adaptive_from is None or _is_real(rule.adaptive_from))
        and rule.monitor is None
        and isinstance(rule.decides, bool)
        and isinstance(rule.keeps_best, bool)
        and (rule.best is None) == (rule.idle is None)
        and (rule.best is None or _is_array(rule.best, "f", 1) and _is_array(rule.idle, "i", 1))
        and _are_reals(rule.scores)
        and (rule.best_state is None or _is_array(rule.best_state, "f", n_parameters))
    )
    if not valid:
        yield "_rule, the stopping rule, has invalid fields"


def _is_real(value: Any) -> bool:
    return isinstance(value, float) or is_number(value, -(2**63), whole=True)


def _are_reals(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, float) for item in value)


def _is_array(value: Any, kind: str, least: int) -> bool:
    fits = isinstance(value, np.ndarray) and value.dtype.kind == kind and value.ndim == 1
    return fits and (value.size == 1 if least == 1 else value.size >= least)


def _is_choice(value: Any) -> bool:
    if not isinstance(value, Choice) or not isinstance(value.n_workers, int):
        return False
    return isinstance(value.name, str) and isinstance(value.why, str)


_OPTIONAL_FLOAT = (lambda value: value is None or isinstance(value, float), "a number or None")
_OPTIONAL_FLOATS = (lambda value: value is None or _are_reals(value), "a list of numbers or None")
_RECORDS = {
    "algorithm_": (_is_choice, "a Choice"),
    "outcome_": (lambda value: isinstance(value, Outcome), "an Outcome"),
    "loss_": _OPTIONAL_FLOAT,
    "best_loss_": _OPTIONAL_FLOAT,
    "best_validation_score_": _OPTIONAL_FLOAT,
    "loss_curve_": (_are_reals, "a list of numbers"),
    "validation_scores_": _OPTIONAL_FLOATS,
    "_no_improvement_count": (lambda value: isinstance(value, int) and value >= 0, "a number of epochs"),
}


def problems_of_array(key: str, array: Any, shape: tuple[int, ...]) -> Iterator[str]:
    """Yield the problems of a float array of finite values."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != shape:
        yield f"{key} should be a float array of shape {shape}"
    if not np.isfinite(array).all():
        yield f"{key} holds NaN or infinite values"


def is_number(value: Any, least: int, whole: bool = False) -> bool:
    """Return True for a number of at least ``least`` that fits into 64 bits."""
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and least <= value < 2**63
