"""The sandwich covariance of a linear model, and the tests that decide if it is valid.

For one output with the sums of :mod:`score_sums`, n rows and p coefficients, the covariance is

``V = n / (n - p) H^-1 M H^-1``

(Huber 1967, White 1980; the factor is that of MacKinnon and White 1985). It does not assume that the noise is constant
or that the model is true. It is the covariance of the optimum of the rows. The average of SGD has the same covariance
in the limit (Polyak and Juditsky 1992), and in a finite fit only near that optimum. So a state is refused if one
Newton step to the optimum without penalty, ``H^-1 g``, exceeds a fraction of the standard error in any coefficient.

References
----------
Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30(4), 1992.
White, "A heteroskedasticity-consistent covariance matrix estimator", Econometrica 48(4), 1980.
MacKinnon, White, "Some heteroskedasticity-consistent covariance matrix estimators", J. Econometrics 29(3), 1985.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.linear.uncertainty.score_sums import ScoreSums

# Largest Newton step in standard errors.  At this distance a 95 % interval covers in 94.3 % of cases.
MAX_SHIFT = 0.25
# Fewest rows per coefficient: with fewer, standard errors are too small (studies/uncertainty.py).
MIN_ROWS_PER_COEFFICIENT = 10
# Memory of all matrices.
MAX_BYTES = 1 << 30
# Smallest eigenvalue of the Hessian, scaled to a diagonal of ones: smaller ones are rounding.
_MIN_EIGENVALUE = 1e-10


@dataclass(frozen=True)
class Sandwich:
    """Covariance ``(p, p)`` of one output, and Newton steps in the parameters.

    ``step`` leads to the optimum of the objective, ``shift`` to that of the loss alone; both ``(p,)``.
    """

    covariance: np.ndarray
    step: np.ndarray
    shift: np.ndarray

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(np.diagonal(self.covariance))

    def relative(self, step: np.ndarray) -> np.ndarray:
        """Return the length of a step in standard errors, ``(p,)``; 0 where there is no coefficient."""
        std = self.std
        return np.divide(np.abs(step), std, out=np.zeros_like(std), where=std > 0)


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


def sandwich(sums: ScoreSums, k: int, penalty: float, coef: np.ndarray, names: list[str], who: str) -> Sandwich:
    """Compute the covariance of output k; ``penalty`` is alpha of an l2 penalty, ``coef (n_features,)``.

    Raises
    ------
    InvalidArgumentError
        If columns are constant or collinear.
    """
    n_features, hessian = len(coef), sums.hessian[k]
    with_intercept = hessian[n_features, n_features] > 0
    p = n_features + int(with_intercept)
    hessian, moment, score = hessian[:p, :p], sums.moment[k][:p, :p], sums.score[k][:p]
    diagonal = np.diagonal(hessian)
    if not (diagonal > 0).all():
        raise InvalidArgumentError(
            f"{who}: {names[int(np.argmin(diagonal))]} is 0 in every row that counts, so its coefficient is not"
            " determined. Remove the column."
        )
    scale = 1.0 / np.sqrt(diagonal)
    values, vectors = linalg.eigh(hessian * scale[:, None] * scale)
    if values[0] < _MIN_EIGENVALUE:
        largest = np.argsort(-np.abs(vectors[:, 0]), kind="stable")[:5]
        among = [names[at] for at in largest if abs(vectors[at, 0]) > 1e-3]
        raise InvalidArgumentError(
            f"{who}: columns are collinear, so their coefficients are not determined: {', '.join(among)}. Remove one"
            " of them (for one-hot columns: drop one category per column)."
        )
    root = vectors * (scale[:, None] / np.sqrt(values))
    inverse = root @ root.T
    factor = sums.used[k] / (sums.used[k] - p)
    covariance = np.zeros((n_features + 1, n_features + 1))
    covariance[:p, :p] = factor * inverse @ moment @ inverse
    shift, step = np.zeros((2, n_features + 1))
    shift[:p] = -inverse @ score
    step[:p] = shift[:p]
    if penalty > 0.0:
        pull = np.zeros(p)
        pull[:n_features] = sums.n_rows * penalty
        step[:p] = -linalg.solve(
            hessian + np.diag(pull), score + pull * np.append(coef, 0.0)[:p], assume_a="pos", check_finite=False
        )
    return Sandwich((covariance + covariance.T) / 2.0, step, shift)


def check_distance(found: Sandwich, penalty: float, names: list[str], who: str) -> None:
    """Raise if the state is too far from the optimum without penalty, and name the cause."""
    shift, step = (found.relative(each) for each in (found.shift, found.step))
    at = int(np.argmax(shift))
    # NaN is refused as well
    if shift[at] <= MAX_SHIFT:
        return
    if step.max() <= MAX_SHIFT:
        raise InvalidArgumentError(
            f"{who}: the penalty moves the coefficient of {names[at]} by {shift[at]:.2g} standard errors; at most"
            f" {MAX_SHIFT} is allowed, because intervals do not contain this bias. Fit with penalty=None, or with alpha"
            f" of at most {penalty * MAX_SHIFT / shift[at]:.1g} (it is {penalty:g})."
        )
    at = int(np.argmax(step))
    raise InvalidArgumentError(
        f"{who}: the coefficient of {names[at]} is {step[at]:.2g} standard errors from the optimum for these rows; at"
        f" most {MAX_SHIFT} is allowed. Fit with average=True, another rate or more passes, or pass correct=True,"
        " which makes Newton steps. Pass all rows of the fit and no others; early_stopping=True holds some of them"
        " out."
    )
