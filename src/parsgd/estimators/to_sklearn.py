"""``to_sklearn``: conversion of a fitted estimator to scikit-learn's, for use without parsgd.

The result has the class of the same name if scikit-learn's has the loss. Otherwise it is a class with the same
predictions, such as LogisticRegression for softmax. Arrays are copied.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from parsgd.errors import IncompatiblePartsError
from parsgd.estimators.fitted_attributes import FITTED
from parsgd.estimators.network import sklearn_optimizer_state
from parsgd.estimators.resume_attributes import AVERAGES
from parsgd.estimators.transaction import snapshot

_COMMON = ("n_features_in_", "feature_names_in_", "classes_", "n_iter_", "t_")
_CURVES = ("loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")
_SHAPE = ("n_layers_", "n_outputs_", "out_activation_")
_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
# Losses and solvers that scikit-learn's networks lack -> ones with the same predictions.
_SAME_PREDICTION = {"absolute_error": "squared_error", "huber": "squared_error", "adamw": "adam"}


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
        name = next(cls.__name__ for cls in type(self).__mro__ if cls.__name__ in FITTED)
        return _network(self, name) if hasattr(self, "coefs_") else _linear(self, name)


def _linear(ours: Any, name: str) -> Any:
    # imported here, to keep import parsgd fast
    from sklearn import linear_model, svm

    loss = ours.loss
    if name == "SGDClassifier" and loss == "softmax":
        return _without_sgd(ours, linear_model.LogisticRegression)
    if name == "SGDRegressor" and loss in ("quantile", "pinball"):
        return _without_sgd(ours, linear_model.QuantileRegressor)
    if name == "SGDRegressor" and loss == "poisson":
        theirs = _without_sgd(ours, linear_model.PoissonRegressor)
        theirs._base_loss = theirs._get_loss()
        return theirs
    if not isinstance(loss, str):
        return _without_sgd(ours, svm.LinearSVC if name == "SGDClassifier" else linear_model.LinearRegression)
    theirs = _construct(ours, getattr(linear_model, name))
    if theirs.learning_rate == "adagrad":
        theirs.learning_rate = "invscaling"
    _copy(ours, theirs, (*_COMMON, "coef_", "intercept_", "offset_"))
    single = name != "SGDClassifier" or len(ours.classes_) == 2
    for key in AVERAGES:
        if key in vars(ours):
            # without the output axis, if there is one output
            setattr(theirs, key, getattr(ours, key).reshape(-1).copy() if single else getattr(ours, key).copy())
    return theirs


def _without_sgd(ours: Any, cls: type) -> Any:
    """Build an estimator of a class that is not fitted by SGD; prediction needs its weights and classes only."""
    coef, intercept = ours.coef_, ours.intercept_
    if hasattr(coef, "toarray"):
        # sparse after sparsify, which scikit-learn's classifiers support and its regressors do not
        coef = coef.copy() if hasattr(ours, "classes_") else coef.toarray()
    else:
        coef = coef.copy(order="K")
    if hasattr(ours, "classes_"):
        theirs = _construct(ours, cls, ("fit_intercept", "class_weight", "random_state"))
        theirs.coef_, theirs.intercept_ = coef, intercept.copy()
    else:
        theirs = _construct(ours, cls, ("fit_intercept", "quantile"))
        theirs.coef_, theirs.intercept_ = coef.reshape(-1), intercept[0]
    _copy(ours, theirs, ("n_features_in_", "feature_names_in_", "classes_"))
    theirs.n_iter_ = np.array([ours.n_iter_]) if cls.__name__ == "LogisticRegression" else ours.n_iter_
    return theirs


def _network(ours: Any, name: str) -> Any:
    from sklearn import neural_network

    if ours.activation not in _ACTIVATIONS:
        raise IncompatiblePartsError(
            f"scikit-learn's {name} has no activation {ours.activation!r}, only {', '.join(_ACTIVATIONS)}. Use"
            " parsgd.to_onnx or parsgd.network_state_dict, which support all activations."
        )
    theirs = _construct(ours, getattr(neural_network, name))
    for key in ("loss", "solver"):
        if hasattr(theirs, key):
            setattr(theirs, key, _SAME_PREDICTION.get(getattr(theirs, key), getattr(theirs, key)))
    _copy(ours, theirs, (*_COMMON, *_CURVES, *_SHAPE))
    theirs.coefs_ = [coef.copy() for coef in ours.coefs_]
    theirs.intercepts_ = [intercept.copy() for intercept in ours.intercepts_]
    if name == "MLPClassifier":
        theirs._label_binarizer = _binarizer(ours)
    if ours.solver == "lbfgs":
        return theirs
    # state of scikit-learn's stochastic solvers
    theirs._optimizer = sklearn_optimizer_state.optimizer_of(ours, theirs.coefs_ + theirs.intercepts_)
    idle = getattr(getattr(ours, "_rule", None), "idle", None)
    theirs._no_improvement_count = 0 if idle is None else int(idle[0])
    defaults = {"loss_curve_": [], "validation_scores_": None, "best_validation_score_": None}
    for key, value in (defaults | {"best_loss_": None if ours.early_stopping else np.inf}).items():
        if not hasattr(theirs, key):
            setattr(theirs, key, value)
    return theirs


def _binarizer(ours: Any) -> Any:
    """Build the LabelBinarizer in which scikit-learn's network keeps its classes."""
    from sklearn.preprocessing import LabelBinarizer

    binarizer = LabelBinarizer()
    binarizer.classes_ = ours.classes_
    y_type = "multiclass" if len(ours.classes_) > 2 else "binary"
    binarizer.y_type_ = "multilabel-indicator" if ours._multilabel else y_type
    binarizer.sparse_input_ = False
    return binarizer


def _construct(ours: Any, cls: type, names: tuple[str, ...] | None = None) -> Any:
    """Construct a scikit-learn estimator with the parameters, from ``names`` or all, that both classes have."""
    known = set(cls._get_param_names())
    params = ours.get_params(deep=False)
    return cls(**{name: params[name] for name in (names or params) if name in known and name in params})


def _copy(ours: Any, theirs: Any, names: tuple[str, ...]) -> None:
    for key in names:
        if key in vars(ours):
            value = getattr(ours, key)
            # arrays keep their memory order, which affects the last bits of a product
            setattr(theirs, key, value.copy(order="K") if isinstance(value, np.ndarray) else copy.copy(value))
