"""The sandwich covariance of a linear model, and Newton steps from its state to the optimum.

For one output with the sums of :mod:`score_sums`, n rows and p coefficients, the covariance is

``V = n / (n - p) H^-1 M H^-1``

(Huber 1967, White 1980; the factor is that of MacKinnon and White 1985). It does not assume that the noise is constant
or that the model is true. It is the covariance of the optimum for the rows. The average of SGD has the same covariance
in the limit (Polyak and Juditsky 1992), and in a finite fit only near that optimum.

References
----------
Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30(4), 1992.
White, "A heteroskedasticity-consistent covariance matrix estimator", Econometrica 48(4), 1980.
MacKinnon, White, "Some heteroskedasticity-consistent covariance matrix estimators", J. Econometrics 29(3), 1985.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.linear.uncertainty.score_sums import ScoreSums

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
        return np.divide(np.abs(step), std, out=np.zeros_like(std), where=std != 0)


def sandwich(sums: ScoreSums, k: int, penalty: float, coef: np.ndarray, names: list[str], who: str) -> Sandwich:
    """Compute the covariance of output k; ``penalty`` is alpha of an l2 penalty, ``coef (n_features,)``.

    Raises
    ------
    InvalidArgumentError
        If columns are 0 or collinear, or so large that their sums overflow.
    """
    n_features, hessian = len(coef), sums.hessian[k]
    with_intercept = hessian[n_features, n_features] > 0
    p = n_features + int(with_intercept)
    hessian, moment, score = hessian[:p, :p], sums.moment[k][:p, :p], sums.score[k][:p]
    if not all(np.isfinite(each).all() for each in (hessian, moment, score)):
        raise InvalidArgumentError(f"{who}: sums of squares of the columns overflow. Scale them, with StandardScaler.")
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
