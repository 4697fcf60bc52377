"""Conversion of linear models to scikit-learn's estimators."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.errors import IncompatiblePartsError
from parsgd.estimators.linear.sgd_base import AVERAGES
from parsgd.estimators.to_sklearn import COMMON, construct, copy_attributes
from parsgd.kernels import losses


def convert(ours: Any, name: str) -> Any:
    """Convert an estimator, whose class or base class is ``name``."""
    # imported here, to keep import parsgd fast
    from sklearn import linear_model, svm

    loss = losses.describe(ours.loss)
    if loss.to_sklearn is None:
        if loss.inverse_link is not None:
            raise IncompatiblePartsError(
                f"scikit-learn has no estimator with the predictions of {name}(loss={loss.name!r})."
                " Use parsgd.save or parsgd.to_onnx."
            )
        return _without_sgd(ours, svm.LinearSVC if name == "SGDClassifier" else linear_model.LinearRegression)
    if loss.to_sklearn != losses.SGD:
        theirs = _without_sgd(ours, getattr(linear_model, loss.to_sklearn))
        if loss.inverse_link is not None:
            # scikit-learn's generalized linear models predict with the link of this object
            theirs._base_loss = theirs._get_loss()
        return theirs
    theirs = construct(ours, getattr(linear_model, name))
    if theirs.learning_rate in ("adagrad", "auto"):
        theirs.learning_rate = "invscaling"
    copy_attributes(ours, theirs, (*COMMON, "coef_", "intercept_", "offset_"))
    if isinstance(theirs.coef_, np.ndarray):
        # scikit-learn's steps read one output in contiguous memory
        theirs.coef_ = np.ascontiguousarray(theirs.coef_)
    single = name != "SGDClassifier" or len(ours.classes_) == 2
    for key in AVERAGES:
        if key in vars(ours):
            value = getattr(ours, key)
            # without the output axis, if there is one output
            setattr(theirs, key, value.reshape(-1).copy() if single else value.copy(order="C"))
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
        theirs = construct(ours, cls, ("fit_intercept", "class_weight", "random_state"))
        theirs.coef_, theirs.intercept_ = coef, intercept.copy()
    else:
        theirs = construct(ours, cls, ("fit_intercept", "quantile"))
        theirs.coef_, theirs.intercept_ = coef.reshape(-1), intercept[0]
    copy_attributes(ours, theirs, ("n_features_in_", "feature_names_in_", "classes_"))
    theirs.n_iter_ = np.array([ours.n_iter_]) if cls.__name__ == "LogisticRegression" else ours.n_iter_
    return theirs
