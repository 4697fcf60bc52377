"""``from_sklearn``: conversion of a fitted scikit-learn estimator to parsgd's, to continue training."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import kinds
from parsgd.estimators.linear.one_class_svm import SGDOneClassSVM
from parsgd.estimators.linear.sgd_classifier import SGDClassifier
from parsgd.estimators.linear.sgd_regressor import SGDRegressor
from parsgd.estimators.network import sklearn_optimizer_state
from parsgd.estimators.network.mlp_classifier import MLPClassifier
from parsgd.estimators.network.mlp_regressor import MLPRegressor
from parsgd.kernels import losses

# Classes of the same name, converted with their SGD state.
_SAME_CLASS = {cls.__name__: cls for cls in (SGDClassifier, SGDRegressor, SGDOneClassSVM, MLPClassifier, MLPRegressor)}
# Estimators that scikit-learn fits without SGD -> the loss with which parsgd continues.
_LOSSES = losses.from_sklearn_classes()
# scikit-learn's schedule for regressors; the long first steps of "optimal" would discard the fitted weights.
_SCHEDULE = {"learning_rate": "invscaling", "eta0": 0.01, "power_t": 0.25}
_KNOWN = (*_SAME_CLASS, *_LOSSES)


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
    if type(estimator).__module__.partition(".")[0] != "sklearn" or name not in _KNOWN:
        raise InvalidArgumentError(
            f"from_sklearn takes a fitted estimator of scikit-learn: {', '.join(_KNOWN)}. Got {type(estimator)!r}."
        )
    if getattr(estimator, "coefs_" if name.startswith("MLP") else "coef_", None) is None:
        raise InvalidArgumentError(
            f"from_sklearn takes a fitted estimator; this {name} is not fitted: call its fit first."
        )
    if name not in _SAME_CLASS:
        return _from_other_solver(estimator)
    params = estimator.get_params(deep=False)
    ours = _SAME_CLASS[name](**{key: params[key] for key in _SAME_CLASS[name]._get_param_names() if key in params})
    for key in kinds.kind_named(name).fitted[name]:
        if key in vars(estimator) and key not in ("coefs_", "intercepts_"):
            setattr(ours, key, copy.deepcopy(vars(estimator)[key]))
    if name.startswith("MLP"):
        _copy_network(ours, estimator)
    # for two classes scikit-learn stores the averages without the output axis
    for key in ("_standard_coef", "_average_coef"):
        if hasattr(ours, key):
            setattr(ours, key, np.reshape(getattr(ours, key), (-1, ours.n_features_in_)))
    return ours


def _copy_network(ours: Any, theirs: Any) -> None:
    ours.coefs_ = [coef.copy(order="K") for coef in theirs.coefs_]
    ours.intercepts_ = [intercept.copy() for intercept in theirs.intercepts_]
    if hasattr(theirs, "_label_binarizer"):
        ours._multilabel = theirs._label_binarizer.y_type_.startswith("multilabel")
    optimizer = getattr(theirs, "_optimizer", None)
    dtype = ours.coefs_[0].dtype
    ours._slots, ours._clock = sklearn_optimizer_state.slots_of(
        optimizer, sklearn_optimizer_state.layers_of(theirs), dtype
    )
    rule = sklearn_optimizer_state.rule_of(theirs)
    if rule is not None:
        ours._rule, ours._gains = rule


def _from_other_solver(theirs: Any) -> Any:
    """Build a linear estimator of parsgd with the weights of an estimator that was not fitted by SGD."""
    name = type(theirs).__name__
    classes = getattr(theirs, "classes_", None)
    sparsified = hasattr(theirs.coef_, "toarray")
    coef = theirs.coef_.toarray() if sparsified else np.asarray(theirs.coef_)
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
    return ours.sparsify() if sparsified else ours
