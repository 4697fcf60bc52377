"""Tests that decide if standard errors are valid; each raises an error with the reason.

The covariance is that of the optimum for the rows. A state is refused if the Newton step to the optimum without penalty
exceeds a fraction of the standard error in any coefficient: the fit has not converged, or the penalty has an effect.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.linear.uncertainty.sandwich import Sandwich
from parsgd.estimators.linear.uncertainty.score_sums import ScoreSums

# Largest Newton step in standard errors.  At this distance a 95 % interval covers in 94.3 % of cases.
MAX_SHIFT = 0.25
# Fewest rows per coefficient: the coverage with fewer was not measured (studies/uncertainty.py).
MIN_ROWS_PER_COEFFICIENT = 10
# Memory of all matrices.
MAX_BYTES = 1 << 30


def check_supported(estimator: Any, who: str) -> None:
    """Raise for a loss or penalty without valid intervals."""
    loss = estimator._described_loss
    if loss.joint:
        raise InvalidArgumentError(
            f"{who}: loss={estimator.loss!r} determines differences of the classes' coefficients only, so they have no"
            " standard errors. Use loss='log_loss'."
        )
    if loss.curvature is None:
        others = ("log_loss", "squared_hinge") if hasattr(estimator, "classes_") else ("squared_error", "huber")
        raise InvalidArgumentError(
            f"{who}: loss={loss.name!r} has no second derivative, which standard errors need."
            f" Use {' or '.join(others)}."
        )
    l1 = {"l1": 1.0, "elasticnet": estimator.l1_ratio or 0.0}.get(estimator.penalty, 0.0)
    if l1 > 0 and estimator.alpha > 0:
        raise InvalidArgumentError(
            f"{who}: penalty={estimator.penalty!r} selects features, and intervals after a selection are not valid."
            " Fit with penalty=None or 'l2'."
        )


def check_memory(n_features: int, n_outputs: int, who: str) -> None:
    """Raise if the matrices of all outputs exceed 1 GiB."""
    # Hessian, moment and covariance per output; scaled Hessian, eigenvectors and two products
    n_matrices = 3 * n_outputs + 4
    largest = math.isqrt(MAX_BYTES // (8 * n_matrices)) - 1
    if n_features > largest:
        raise InvalidArgumentError(
            f"{who}: uncertainty needs {n_matrices} matrices of n_features^2 numbers, of at most"
            f" {MAX_BYTES / 2**30:.0f} GiB. X has {n_features:,} features, at most {largest:,} fit with {n_outputs:,}"
            " outputs. Select fewer features."
        )


def check_rows(sums: ScoreSums, n_coefficients: int, who: str, classes: bool) -> None:
    """Raise if there are too few rows for the number of coefficients."""
    least = MIN_ROWS_PER_COEFFICIENT * n_coefficients
    k = int(np.argmin(sums.rarer))
    if sums.rarer[k] < least:
        which = " of the rarer class" if classes else ""
        raise InvalidArgumentError(
            f"{who}: uncertainty of {n_coefficients:,} coefficients needs at least {least:,} rows{which},"
            f" {MIN_ROWS_PER_COEFFICIENT} per coefficient, with positive weights and curvature. Output {k} has"
            f" {sums.rarer[k]:,}. Use more rows or fewer features."
        )


def check_distance(found: Sandwich, penalty: float, names: list[str], who: str) -> None:
    """Raise if the state is too far from the optimum without penalty, and name the cause."""
    shift, step = (found.relative(each) for each in (found.shift, found.step))
    at = int(np.argmax(shift))
    # NaN is refused as well
    if shift[at] <= MAX_SHIFT:
        return
    if step.max() <= MAX_SHIFT:
        raise InvalidArgumentError(
            f"{who}: the penalty moves {_parameter(names, at)} by {shift[at]:.2g} standard errors; at most"
            f" {MAX_SHIFT} is allowed, because intervals do not contain this bias. Fit with penalty=None, or with alpha"
            f" of at most {0.8 * penalty * MAX_SHIFT / shift[at]:.2g} (it is {penalty:g})."
        )
    at = int(np.argmax(step))
    raise InvalidArgumentError(
        f"{who}: {_parameter(names, at)} is {step[at]:.2g} standard errors from the optimum for these rows; at"
        f" most {MAX_SHIFT} is allowed. Fit with average=True, another rate or more passes, or pass correct=True,"
        " which makes Newton steps. Pass all rows of the fit and no others; early_stopping=True holds some of them"
        " out."
    )


def _parameter(names: list[str], at: int) -> str:
    """Return the name of a parameter; the last one is the intercept."""
    return names[at] if at == len(names) - 1 else f"the coefficient of {names[at]}"
