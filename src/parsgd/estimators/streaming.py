"""Datasets as input of estimators: checks, and prediction block by block."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from parsgd.data.dataset import Dataset
from parsgd.data.open_dataset import open_dataset
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted.prediction_blocks import predict_in_blocks
from parsgd.estimators.fitted.transaction import forget, snapshot
from parsgd.estimators.training_data import OwnTargets, StreamedData
from parsgd.utils.floating import silent

Method = TypeVar("Method", bound=Callable[..., Any])


def is_streamed(X: Any) -> bool:
    """Return True if ``X`` is a Dataset; raise for a path, which does not name the target."""
    if isinstance(X, (str, os.PathLike)):
        raise InvalidArgumentError(
            f"X is the path {os.fspath(X)!r}. Open it and name the target: open_dataset(path, target=...)."
        )
    return isinstance(X, Dataset)


def streamed_data(
    estimator: Any, dataset: Dataset, y: Any, sample_weight: Any, reset: bool, supervised: bool = True
) -> StreamedData:
    """Wrap a Dataset as training data; set ``n_features_in_`` and ``columns_`` if ``reset``, else compare them.

    Raises
    ------
    InvalidArgumentError
        If targets or weights are given as well, targets are missing, or the number of features differs.
    """
    who = type(estimator).__name__
    for name, given, opened in (("y", y, "target"), ("sample_weight", sample_weight, "weight")):
        if given is not None:
            raise InvalidArgumentError(
                f"{who}: a Dataset has its own {opened}s; omit {name}, and name the column on opening:"
                f" open_dataset(..., {opened}=...)."
            )
    if supervised and not dataset.target:
        raise InvalidArgumentError(f"{dataset.name}: has no targets. Name the column: open_dataset(..., target=...).")
    if reset:
        estimator.n_features_in_ = dataset.n_features
        forget(estimator, "columns_", "feature_names_in_")
        if dataset.columns is not None:
            estimator.columns_ = dataset.columns
    else:
        _check_width(estimator, dataset)
    return StreamedData(dataset)


def _check_width(estimator: Any, dataset: Dataset) -> None:
    if dataset.n_features != estimator.n_features_in_:
        columns = " Open it with columns=estimator.columns_." if hasattr(estimator, "columns_") else ""
        raise InvalidArgumentError(
            f"X has {dataset.n_features} features, but {type(estimator).__name__} is expecting"
            f" {estimator.n_features_in_} features as input: {dataset.name}.{columns}"
        )


def open_path(estimator: Any, X: Any) -> Any:
    """Open a path as a Dataset with the estimator's columns; return anything else unchanged."""
    if not isinstance(X, (str, os.PathLike)):
        return X
    check_is_fitted(estimator)
    columns = getattr(estimator, "columns_", None)
    if columns is not None:
        return open_dataset(X, columns=columns)
    svmlight = any(end in os.fspath(X).lower() for end in (".svm", ".libsvm"))
    return open_dataset(X, n_features=estimator.n_features_in_ if svmlight else None)


def blockwise(method: Method) -> Method:
    """Decorate a method of rows to accept a Dataset or a path as well, processed block by block.

    Large arrays are processed in blocks on several threads, so the result for a row may depend on this row only.
    """

    @functools.wraps(method)
    @silent()
    def apply_blockwise(self: Any, X: Any) -> Any:
        self = snapshot(self)  # another thread may be fitting
        X = open_path(self, X)
        if not is_streamed(X):
            return predict_in_blocks(method, self, X, self._block_rows)
        if hasattr(self, "n_features_in_"):
            _check_width(self, X)
        chunks = X.without_targets().blocks()
        return np.concatenate([predict_in_blocks(method, self, chunk.x, self._block_rows) for chunk in chunks])

    return cast(Method, apply_blockwise)


def _check_labels(estimator: Any, dataset: Dataset, target: np.ndarray) -> None:
    """Refuse targets that are texts where the classes are numbers, and the other way round."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None and (classes.dtype.kind in "UO") != (target.dtype.kind in "UO"):
        raise InvalidArgumentError(
            f"{dataset.name}: the targets are {target[:3].tolist()}, and the classes of the model are"
            f" {classes[:3].tolist()}. Open the data with columns=estimator.columns_, or give both the same type."
        )


def score_of(estimator: Any, dataset: Dataset, y: Any, sample_weight: Any) -> float:
    """Compute accuracy or R^2 on the rows of a Dataset, weighted if it has weights."""
    if not isinstance(y, OwnTargets) and (y is not None or sample_weight is not None):
        raise InvalidArgumentError("A Dataset has its own targets and weights; omit y and sample_weight.")
    if not dataset.target:
        raise InvalidArgumentError(f"{dataset.name}: has no targets. Name the column: open_dataset(..., target=...).")
    _check_width(estimator, dataset)
    estimator = snapshot(estimator)
    predicted, targets, weights = [], [], []
    for x, target, weight in dataset.blocks():
        if not predicted:
            _check_labels(estimator, dataset, target)
        predicted.append(estimator.predict(x))
        targets.append(target)
        weights.append(weight)
    predictions, true_targets = np.concatenate(predicted), np.concatenate(targets)
    weight = np.concatenate(weights) if dataset.weight else None
    if hasattr(estimator, "classes_"):
        return float(np.average(predictions == true_targets, weights=weight))
    return float(r2_score(true_targets, predictions, sample_weight=weight))


class DatasetScore:
    """Mixin whose ``score`` accepts a Dataset as well; it precedes scikit-learn's mixin, which scores arrays."""

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy of a classifier, R^2 of a regressor; a Dataset has its own targets and weights."""
        if is_streamed(X):
            return score_of(self, X, y, sample_weight)
        return super().score(X, y, sample_weight)
