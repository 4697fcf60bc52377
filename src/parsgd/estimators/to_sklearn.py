"""``to_sklearn``: conversion of a fitted estimator to scikit-learn's, for use without parsgd.

The result has the class of the same name if scikit-learn's has the loss. Otherwise it is a class with the same
predictions, such as LogisticRegression for softmax. Arrays are copied.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from parsgd.estimators import kinds
from parsgd.estimators.fitted.transaction import snapshot

COMMON = ("n_features_in_", "feature_names_in_", "classes_", "n_iter_", "t_")


class ToSklearn:
    """Mixin with the method ``to_sklearn``."""

    def to_sklearn(self) -> Any:
        """Convert to a fitted scikit-learn estimator with the same predictions.

        Returns
        -------
        estimator
            Of the class of the same name, with the parameters that both have; ``partial_fit`` continues from the
            current state, with ``"invscaling"`` rates instead of ``"adagrad"`` ones. ``loss="softmax"`` becomes a
            LogisticRegression, ``"quantile"`` a QuantileRegressor, ``"poisson"`` a PoissonRegressor, a user's loss a
            LinearSVC or a LinearRegression. These predict the same; their ``fit`` starts from zero. In networks the
            losses ``"huber"`` and ``"absolute_error"`` become ``"squared_error"`` and the solver ``"adamw"`` becomes
            ``"adam"``.

            Predictions are equal to the bit; probabilities of softmax for two classes to rounding.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        parsgd.errors.IncompatiblePartsError
            For networks with gelu or leaky_relu, which scikit-learn does not have.

        Examples
        --------
        >>> from parsgd import SGDClassifier
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> ours = SGDClassifier("softmax", max_iter=5, tol=None, random_state=0).fit(X, y)
        >>> theirs = ours.to_sklearn()
        >>> type(theirs).__module__, bool((theirs.predict_proba(X) == ours.predict_proba(X)).all())
        ('sklearn.linear_model._logistic', True)
        """
        self = snapshot(self)
        check_is_fitted(self)
        # for a user's subclass, the name of its parsgd base class
        return kinds.kind_of(self).to_sklearn(self, kinds.known_name(self))


def construct(source: Any, cls: type, names: Sequence[str] | None = None) -> Any:
    """Construct an estimator of ``cls`` with the parameters, from ``names`` or all, that both classes have."""
    params = source.get_params(deep=False)
    shared = params.keys() & cls._get_param_names()
    return cls(**{name: params[name] for name in names or params if name in shared})


def copy_attributes(ours: Any, theirs: Any, names: tuple[str, ...]) -> None:
    """Copy the attributes that exist."""
    for key in names:
        if key in vars(ours):
            value = getattr(ours, key)
            # arrays keep their memory order, which affects the last bits of a product
            setattr(theirs, key, value.copy(order="K") if isinstance(value, np.ndarray) else copy.copy(value))
