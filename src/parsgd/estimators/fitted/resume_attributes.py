"""Checks of history and resume attributes in a model file.

Prediction does not need them, so :mod:`parsgd.estimators.fitted.fitted_attributes` checks them last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parsgd.errors import Outcome
from parsgd.estimators.auto_select import Choice
from parsgd.training.stopping import StoppingRule

# Groups of attributes: all or none must be present.
AVERAGES = ("_standard_coef", "_standard_intercept", "_average_coef", "_average_intercept")
SQUARES = ("_squares", "_intercept_squares")


def problems_of_records(estimator: Any) -> Iterator[str]:
    """Yield a sentence per invalid attribute; missing attributes are allowed."""
    for key, (accepts, expected) in _RECORDS.items():
        if key in vars(estimator) and not accepts(vars(estimator)[key]):
            yield f"{key} is {vars(estimator)[key]!r:.80}, not {expected}"
    if not _is_seed(estimator.random_state):
        yield f"random_state is {estimator.random_state!r:.80}, not None or an int from 0 to 2^32 - 1"
    if getattr(estimator, "checkpoint", None) is not None:
        yield "checkpoint is set, which a model file must not contain"
    for group in (AVERAGES, SQUARES):
        if 0 < sum(hasattr(estimator, key) for key in group) < len(group):
            yield f"some of {', '.join(group)} are missing; all or none must be present"


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
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return whole or isinstance(value, float)


def _are_reals(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, float) for item in value)


def _is_array(value: Any, kind: str, least: int) -> bool:
    fits = isinstance(value, np.ndarray) and value.dtype.kind == kind and value.ndim == 1
    return fits and (value.size == 1 if least == 1 else value.size >= least)


def _is_seed(value: Any) -> bool:
    return value is None or isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _is_choice(value: Any) -> bool:
    if not isinstance(value, Choice) or not isinstance(value.n_workers, int):
        return False
    return isinstance(value.name, str) and isinstance(value.why, str)


def _is_history(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


_OPTIONAL_FLOAT = (lambda value: value is None or isinstance(value, float), "a number or None")
_OPTIONAL_FLOATS = (lambda value: value is None or _are_reals(value), "a list of numbers or None")
_RECORDS = {
    "history_": (_is_history, "a list of records, one per round"),
    "algorithm_": (_is_choice, "a Choice"),
    "outcome_": (lambda value: isinstance(value, Outcome), "an Outcome"),
    "loss_": _OPTIONAL_FLOAT,
    "best_loss_": _OPTIONAL_FLOAT,
    "best_validation_score_": _OPTIONAL_FLOAT,
    "loss_curve_": (_are_reals, "a list of numbers"),
    "validation_scores_": _OPTIONAL_FLOATS,
    "_no_improvement_count": (lambda value: isinstance(value, int) and value >= 0, "a number of epochs"),
}
