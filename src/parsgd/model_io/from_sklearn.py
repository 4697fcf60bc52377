"""``from_sklearn``: conversion of a fitted scikit-learn estimator to parsgd's, to continue training."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import kinds
from parsgd.estimators.linear.sgd_classifier import SGDClassifier
from parsgd.estimators.linear.sgd_regressor import SGDRegressor
from parsgd.estimators.to_sklearn import construct
from parsgd.kernels import losses

# Estimators that scikit-learn fits without SGD -> the loss with which parsgd continues.
_LOSSES = losses.from_sklearn_classes()
# scikit-learn's schedule for regressors; the long first steps of "optimal" would discard the fitted weights.
_SCHEDULE = {"learning_rate": "invscaling", "eta0": 0.01, "power_t": 0.25}


def from_sklearn(estimator: Any) -> Any:
    """Convert a fitted scikit-learn estimator to parsgd's, with the same predictions.

    Parameters
    ----------
    estimator : fitted estimator of scikit-learn
        SGDClassifier, SGDRegressor, SGDOneClassSVM, MLPClassifier, MLPRegressor: ``partial_fit`` continues from their
        state, including solver moments and averages. LogisticRegression, LinearSVC, RidgeClassifier, LinearRegression,
        Ridge, Lasso, ElasticNet, QuantileRegressor, PoissonRegressor: ``partial_fit`` starts from their weights, with
        the nearest loss, an initial learning rate of 0.01, and parsgd's defaults otherwise. The estimator is not
        changed; arrays are copied.

    Returns
    -------
    estimator
        Estimator of parsgd. ``set_params(n_jobs=..., algorithm=...)`` sets how training continues.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        If the class is not supported, or the estimator is not fitted or has several targets.

    Examples
    --------
    >>> from parsgd import from_sklearn
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> theirs = LogisticRegression(max_iter=500).fit(X, y)
    >>> ours = from_sklearn(theirs)
    >>> ours, bool((ours.predict_proba(X) == theirs.predict_proba(X)).all())
    (SGDClassifier(learning_rate='invscaling', loss='softmax', power_t=0.25), True)
    """
    name = type(estimator).__name__
    # those of the same name are converted with their SGD state
    same_name = kinds.estimator_names()
    if type(estimator).__module__.partition(".")[0] != "sklearn" or name not in (*same_name, *_LOSSES):
        known = ", ".join((*same_name, *_LOSSES))
        raise InvalidArgumentError(
            f"from_sklearn takes a fitted estimator of scikit-learn: {known}. Got {type(estimator)!r}."
        )
    required = kinds.kind_named(name).required if name in same_name else ("coef_",)
    if any(getattr(estimator, attribute, None) is None for attribute in required):
        raise InvalidArgumentError(
            f"from_sklearn takes a fitted estimator; this {name} is not fitted: call its fit first."
        )
    if name not in same_name:
        return _from_other_solver(estimator)
    ours = construct(estimator, kinds.estimator_class(name))
    kinds.kind_named(name).copy_sklearn(ours, estimator)
    return ours


def _from_other_solver(theirs: Any) -> Any:
    """Build a linear estimator of parsgd with the weights of an estimator that was not fitted by SGD."""
    name = type(theirs).__name__
    classes = getattr(theirs, "classes_", None)
    coef = kinds.dense(theirs.coef_)
    intercept = np.atleast_1d(theirs.intercept_)
    multi_target = classes is None and coef.size != theirs.n_features_in_
    if multi_target or isinstance(classes, list):
        raise InvalidArgumentError(
            f"This {name} has several targets; parsgd's linear estimators have one. Convert one target at a time."
        )
    if classes is not None:
        loss = "softmax" if name == "LogisticRegression" and len(classes) > 2 else _LOSSES[name]
        loss = "hinge" if getattr(theirs, "loss", None) == "hinge" else loss
        ours = SGDClassifier(loss, fit_intercept=theirs.fit_intercept, class_weight=theirs.class_weight, **_SCHEDULE)
        ours.classes_, shape = classes.copy(), (-1, theirs.n_features_in_)
    else:
        ours, shape = SGDRegressor(_LOSSES[name], fit_intercept=theirs.fit_intercept), (-1,)
        if name == "QuantileRegressor":
            ours.quantile = float(theirs.quantile)
    ours.coef_ = coef.copy(order="K").reshape(shape)
    ours.intercept_ = np.broadcast_to(intercept, (len(ours.coef_) if classes is not None else 1,)).astype(coef.dtype)
    ours.n_features_in_, ours.n_iter_, ours.t_ = theirs.n_features_in_, 1, 1.0
    if hasattr(theirs, "feature_names_in_"):
        ours.feature_names_in_ = theirs.feature_names_in_.copy()
    return ours.sparsify() if sparse.issparse(theirs.coef_) else ours
