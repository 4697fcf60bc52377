"""The estimator that a search has chosen, behind the methods of the search."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.estimators.validation.argument_types import MatrixLike


def best_has(name: str) -> Callable[[Any], bool]:
    """Return a check that the best estimator, or a new one, has an attribute."""
    return lambda search: hasattr(getattr(search, "best_estimator_", None) or search._estimator(), name)


class BestScore:
    """Mixin with the score of ``best_estimator_``; it precedes scikit-learn's mixin, which ignores ``scoring``."""

    scoring: Any
    best_estimator_: Any

    def score(self, X: MatrixLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the score of the best estimator by ``scoring``: accuracy or R^2 by default.

        A Dataset has its own targets and weights.
        """
        check_is_fitted(self)
        if self.scoring is None:
            return self.best_estimator_.score(X, y, sample_weight)
        scorer = self.scoring if callable(self.scoring) else get_scorer(self.scoring)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return scorer(self.best_estimator_, X, y, **weights)


class BestEstimator(BaseEstimator):
    """Predictions and attributes of ``best_estimator_``."""

    scoring: Any
    best_estimator_: Any

    @property
    def coef_(self) -> np.ndarray:
        """Weights of the best estimator."""
        return self._best.coef_

    @property
    def intercept_(self) -> np.ndarray:
        """Intercept of the best estimator."""
        return self._best.intercept_

    @property
    def n_iter_(self) -> int:
        """Passes of the best estimator."""
        return self._best.n_iter_

    @property
    def _best(self) -> Any:
        if "best_estimator_" not in vars(self):
            # hasattr is False before the fit, and with refit=False
            raise AttributeError(f"this {type(self).__name__} has no best_estimator_; call fit with refit=True")
        return self.best_estimator_

    def __sklearn_is_fitted__(self) -> bool:
        return "best_estimator_" in vars(self)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict with the best estimator."""
        check_is_fitted(self)
        return self.best_estimator_.predict(X)

    @available_if(best_has("decision_function"))
    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Compute the decision values of the best estimator."""
        check_is_fitted(self)
        return self.best_estimator_.decision_function(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
