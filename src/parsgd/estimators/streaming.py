"""What estimators do with a Dataset in place of arrays: check it, and predict block by block."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from parsgd.data.dataset import Dataset
from parsgd.data.open_dataset import open_dataset
from parsgd.errors import InvalidArgument
from parsgd.estimators.training_data import OwnTargets, StreamedData
from parsgd.estimators.transaction import snapshot
from parsgd.utils.floating import silent


def is_streamed(X: Any) -> bool:
    """Whether ``X`` is a Dataset, to be read while it is used; refuses a path, which does not say what to predict."""
    if isinstance(X, (str, os.PathLike)):
        raise InvalidArgument(
            f"X is the path {os.fspath(X)!r}. Open it, and say what to predict: open_dataset(path, target=...)."
        )
    return isinstance(X, Dataset)


def streamed(
    estimator: Any, dataset: Dataset, y: Any, sample_weight: Any, reset: bool, supervised: bool = True
) -> StreamedData:
    """The examples of a Dataset; sets ``n_features_in_`` and ``columns_`` if ``reset``, and else compares.

    Raises
    ------
    InvalidArgument
        If targets or weights are given besides, targets are lacking, or the features are not as many as before.
    """
    who = type(estimator).__name__
    for name, given, opened in (("y", y, "target"), ("sample_weight", sample_weight, "weight")):
        if given is not None:
            raise InvalidArgument(
                f"{who}: a Dataset brings its own {opened}s; leave out {name}, and name them when you open it:"
                f" open_dataset(..., {opened}=...)."
            )
    if supervised and not dataset.target:
        raise InvalidArgument(f"{dataset.name}: has no targets. Name the column: open_dataset(..., target=...).")
    if reset:
        estimator.n_features_in_ = dataset.n_features
        forget_columns(estimator)
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        if dataset.columns is not None:
            estimator.columns_ = dataset.columns
    else:
        _check_width(estimator, dataset)
    return StreamedData(dataset)


def forget_columns(estimator: Any) -> None:
    """A fit to arrays knows of no columns."""
    if hasattr(estimator, "columns_"):
        del estimator.columns_


def _check_width(estimator: Any, dataset: Dataset) -> None:
    if dataset.n_features != estimator.n_features_in_:
        columns = " Open it with columns=estimator.columns_." if hasattr(estimator, "columns_") else ""
        raise InvalidArgument(
            f"X has {dataset.n_features} features, but {type(estimator).__name__} is expecting"
            f" {estimator.n_features_in_} features as input: {dataset.name}.{columns}"
        )


def opened(estimator: Any, X: Any) -> Any:
    """A path as a Dataset with the columns that the estimator was fitted with; anything else as it is."""
    if not isinstance(X, (str, os.PathLike)):
        return X
    check_is_fitted(estimator)
    columns = getattr(estimator, "columns_", None)
    if columns is not None:
        return open_dataset(X, columns=columns)
    svmlight = any(end in os.fspath(X).lower() for end in (".svm", ".libsvm"))
    return open_dataset(X, n_features=estimator.n_features_in_ if svmlight else None)


def blockwise(method: Callable) -> Callable:
    """A method of rows that also takes a Dataset, or a path, and goes through it block by block."""

    @functools.wraps(method)
    @silent()
    def over(self: Any, X: Any) -> Any:
        self = snapshot(self)  # another thread may be fitting
        X = opened(self, X)
        if not is_streamed(X):
            return method(self, X)
        if hasattr(self, "n_features_in_"):
            _check_width(self, X)
        return np.concatenate([method(self, chunk.x) for chunk in X.without_targets().blocks()])

    return over


def _check_labels(estimator: Any, dataset: Dataset, target: np.ndarray) -> None:
    """Refuse targets that are texts where the classes are numbers, and the other way round."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None and (classes.dtype.kind in "UO") != (target.dtype.kind in "UO"):
        raise InvalidArgument(
            f"{dataset.name}: the targets are {target[:3].tolist()}, and the classes of the model are"
            f" {classes[:3].tolist()}. Open the data with columns=estimator.columns_, or give both the same type."
        )


def score_of(estimator: Any, dataset: Dataset, y: Any, sample_weight: Any) -> float:
    """Accuracy of a classifier, R^2 of a regressor, on the rows of a Dataset; weighted, if they have weights."""
    if not isinstance(y, OwnTargets) and (y is not None or sample_weight is not None):
        raise InvalidArgument("A Dataset brings its own targets and weights; leave out y and sample_weight.")
    if not dataset.target:
        raise InvalidArgument(f"{dataset.name}: has no targets. Name the column: open_dataset(..., target=...).")
    _check_width(estimator, dataset)
    estimator = snapshot(estimator)
    predicted, targets, weights = [], [], []
    for x, target, weight in dataset.blocks():
        if not predicted:
            _check_labels(estimator, dataset, target)
        predicted.append(estimator.predict(x))
        targets.append(target)
        weights.append(weight)
    guess, truth = np.concatenate(predicted), np.concatenate(targets)
    weight = np.concatenate(weights) if dataset.weight else None
    if hasattr(estimator, "classes_"):
        return float(np.average(guess == truth, weights=weight))
    return float(r2_score(truth, guess, sample_weight=weight))
