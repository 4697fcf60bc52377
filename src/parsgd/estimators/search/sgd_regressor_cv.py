"""Cross-validated search for regressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import RegressorMixin

from parsgd.estimators.linear.sgd_regressor import SGDRegressor
from parsgd.estimators.search.column_block import ColumnBlock
from parsgd.estimators.search.folds import Folds
from parsgd.estimators.search.search_grid import Setting
from parsgd.estimators.search.search_rows import SearchRows
from parsgd.estimators.search.sgd_search import BaseSGDSearch
from parsgd.estimators.validation import param_validation
from parsgd.kernels import losses

if TYPE_CHECKING:
    from parsgd.estimators.validation.argument_types import RandomState


class SGDRegressorCV(RegressorMixin, BaseSGDSearch):
    """Linear regression whose settings are chosen by cross-validation, all in one run over the rows.

    See :class:`parsgd.SGDClassifierCV`.  The score is R^2 by default.

    Parameters
    ----------
    losses : sequence of str, default=("squared_error",)
        Losses of :class:`parsgd.SGDRegressor`, but no custom ones.
    quantile : float, default=0.5
        Level of the loss ``"quantile"``.
    penalties, alphas, l1_ratios, etas, learning_rate, cv, scoring, halving, refit, n_jobs, max_memory :
        As in :class:`parsgd.SGDClassifierCV`.
    max_iter, tol, n_iter_no_change, early_stopping, validation_fraction, shuffle, power_t, fit_intercept, epsilon :
        As in :class:`parsgd.SGDRegressor`, for every setting; ``max_iter`` is 20 by default.
    random_state, verbose :
        As in :class:`parsgd.SGDRegressor`.

    Attributes
    ----------
    cv_results_, scores_, best_params_, best_score_, best_index_, best_estimator_, coef_, intercept_, n_iter_ :
        As in :class:`parsgd.SGDClassifierCV`; ``best_estimator_`` is a :class:`parsgd.SGDRegressor`.

    Examples
    --------
    >>> from parsgd import SGDRegressorCV
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = SGDRegressorCV(etas=[0.1, 1.0, 10.0], random_state=0).fit(scale(X), scale(y))
    >>> search.best_score_ > 0.4
    True
    """

    _serves = losses.REGRESSOR

    def __init__(
        self,
        *,
        losses: Sequence[str] = ("squared_error",),
        penalties: Sequence[str | None] = ("l2",),
        alphas: Sequence[float] = (1e-6, 1e-5, 1e-4, 1e-3),
        l1_ratios: Sequence[float] = (0.15,),
        etas: Sequence[float] | None = None,
        learning_rate: str = "adagrad",
        cv: Any = None,
        scoring: Any = None,
        max_iter: int = 20,
        tol: float | None = 1e-3,
        n_iter_no_change: int = 5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        shuffle: bool = True,
        power_t: float = 0.25,
        fit_intercept: bool = True,
        epsilon: float = 0.1,
        quantile: float = 0.5,
        halving: bool = False,
        refit: bool = True,
        n_jobs: int | None = None,
        max_memory: float | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        param_validation.store_arguments(self, locals())

    def _new_estimator(self) -> SGDRegressor:
        names = ("learning_rate", "max_iter", "tol", "n_iter_no_change", "early_stopping", "validation_fraction")
        names += ("shuffle", "power_t", "fit_intercept", "epsilon", "quantile", "n_jobs", "random_state")
        return SGDRegressor(**{name: getattr(self, name) for name in names})

    def _check_parameters(self) -> list[Setting]:
        param_validation.check_number(self, "quantile", 0, 1, closed="neither")
        return super()._check_parameters()

    def _check_targets(self, estimator: Any, folds: Folds, y: np.ndarray) -> None:
        """Regressions fit any targets."""

    def _fold_class_weights(self, setting: Setting, train: np.ndarray, estimator: Any, y: np.ndarray) -> np.ndarray:
        return np.ones(0)

    def _score_targets(self, rows: SearchRows) -> np.ndarray:
        # in float64, also with rows in float32
        return rows.labels

    def _sums(self, block: ColumnBlock, decision: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the sums of squared residuals."""
        residuals = block.described.predict(decision[:, :, 0].astype(np.float64)) - y.astype(np.float64)[:, None]
        return np.square(residuals).sum(axis=0)[:, None]

    def _column_sums(self, block: ColumnBlock, decision: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self._sums(block, decision, y)

    def _scores_from(self, sums: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the coefficients of determination."""
        y = np.asarray(y, dtype=np.float64)
        total = np.square(y - y.mean()).sum()
        with np.errstate(all="ignore"):
            found = 1.0 - sums / total
        # of constant targets it is 1 for an exact prediction and else 0, as in scikit-learn
        return np.where(total > 0.0, found, (sums == 0.0).astype(np.float64))
