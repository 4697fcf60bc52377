"""``to_sklearn``: a fitted estimator as scikit-learn's own, for where parsgd is not installed.

The class of the same name where scikit-learn's has the loss; otherwise the class of scikit-learn that predicts the
same: of softmax its logistic regression, and so on.  Arrays are copied.
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
# Losses that scikit-learn's networks lack but that predict as one that they have, and likewise solvers.
_SAME_PREDICTION = {"absolute_error": "squared_error", "huber": "squared_error", "adamw": "adam"}


class ToSklearn:
    """Gives estimators the method ``to_sklearn``."""

    def to_sklearn(self) -> Any:
        """A fitted estimator of scikit-learn that predicts the same.

        Returns
        -------
        estimator
            Of the class of the same name, with the parameters that scikit-learn has too; ``partial_fit`` goes on where
            this one is, at ``"invscaling"`` rates instead of ``"adagrad"`` ones.  ``loss="softmax"`` becomes a
            LogisticRegression, ``"quantile"`` a QuantileRegressor, ``"poisson"`` a PoissonRegressor, a loss of your own
            a LinearSVC or a LinearRegression: they predict the same, and a fit of theirs begins anew.  Of networks the
            losses ``"huber"`` and ``"absolute_error"`` become ``"squared_error"`` and the solver ``"adamw"`` becomes
            ``"adam"``.

            Predictions are equal to the bit; probabilities of softmax for two classes to rounding.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If this one is not fitted.
        parsgd.errors.IncompatiblePartsError
            Of networks with an activation that scikit-learn does not have, gelu or leaky_relu.

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
        # of a user's subclass the name of parsgd's class
        name = next(face.__name__ for face in type(self).__mro__ if face.__name__ in FITTED)
        return _network(self, name) if hasattr(self, "coefs_") else _linear(self, name)


def _linear(ours: Any, name: str) -> Any:
    # not needed before: import parsgd is to stay light
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
    theirs = _made(ours, getattr(linear_model, name))
    if theirs.learning_rate == "adagrad":
        theirs.learning_rate = "invscaling"
    _copy(ours, theirs, (*_COMMON, "coef_", "intercept_", "offset_"))
    single = name != "SGDClassifier" or len(ours.classes_) == 2
    for key in AVERAGES:
        if key in vars(ours):
            # without the axis of outputs, where there is one output
            setattr(theirs, key, getattr(ours, key).reshape(-1).copy() if single else getattr(ours, key).copy())
    return theirs


def _without_sgd(ours: Any, cls: type) -> Any:
    """An estimator of a class that is fitted in another way; predicting takes its weights and classes only."""
    coef, intercept = ours.coef_, ours.intercept_
    if hasattr(coef, "toarray"):
        # after sparsify, which scikit-learn's classifiers have too, and its regressors do not
        coef = coef.copy() if hasattr(ours, "classes_") else coef.toarray()
    else:
        coef = coef.copy(order="K")
    if hasattr(ours, "classes_"):
        theirs = _made(ours, cls, ("fit_intercept", "class_weight", "random_state"))
        theirs.coef_, theirs.intercept_ = coef, intercept.copy()
    else:
        theirs = _made(ours, cls, ("fit_intercept", "quantile"))
        theirs.coef_, theirs.intercept_ = coef.reshape(-1), intercept[0]
    _copy(ours, theirs, ("n_features_in_", "feature_names_in_", "classes_"))
    theirs.n_iter_ = np.array([ours.n_iter_]) if cls.__name__ == "LogisticRegression" else ours.n_iter_
    return theirs


def _network(ours: Any, name: str) -> Any:
    from sklearn import neural_network

    if ours.activation not in _ACTIVATIONS:
        raise IncompatiblePartsError(
            f"scikit-learn's {name} has no activation {ours.activation!r}, only {', '.join(_ACTIVATIONS)}. Take"
            " parsgd.to_onnx or parsgd.network_state_dict, which know all of parsgd's."
        )
    theirs = _made(ours, getattr(neural_network, name))
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
    # what scikit-learn's stochastic solvers take up again
    theirs._optimizer = sklearn_optimizer_state.optimizer_of(ours, theirs.coefs_ + theirs.intercepts_)
    idle = getattr(getattr(ours, "_rule", None), "idle", None)
    theirs._no_improvement_count = 0 if idle is None else int(idle[0])
    fresh = {"loss_curve_": [], "validation_scores_": None, "best_validation_score_": None}
    for key, value in (fresh | {"best_loss_": None if ours.early_stopping else np.inf}).items():
        if not hasattr(theirs, key):
            setattr(theirs, key, value)
    return theirs


def _binarizer(ours: Any) -> Any:
    """scikit-learn's network keeps its classes in a LabelBinarizer; predictions go through it."""
    from sklearn.preprocessing import LabelBinarizer

    binarizer = LabelBinarizer()
    binarizer.classes_ = ours.classes_
    kind = "multiclass" if len(ours.classes_) > 2 else "binary"
    binarizer.y_type_ = "multilabel-indicator" if ours._multilabel else kind
    binarizer.sparse_input_ = False
    return binarizer


def _made(ours: Any, cls: type, names: tuple[str, ...] | None = None) -> Any:
    """An estimator of scikit-learn with those parameters of ours that it knows, of ``names`` or of all."""
    known = set(cls._get_param_names())
    params = ours.get_params(deep=False)
    return cls(**{name: params[name] for name in (names or params) if name in known and name in params})


def _copy(ours: Any, theirs: Any, names: tuple[str, ...]) -> None:
    for key in names:
        if key in vars(ours):
            value = getattr(ours, key)
            # an array keeps its order in memory, which decides the last bits of a product
            setattr(theirs, key, value.copy(order="K") if isinstance(value, np.ndarray) else copy.copy(value))
