"""Validation of linear models during a fit: the split of the rows, and scorers of a state on the held-out ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import r2_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils.extmath import safe_sparse_dot

from parsgd.errors import InvalidArgumentError

if TYPE_CHECKING:
    from parsgd.models.linear.linear_model import Linear


def validation_rows(
    estimator: Any, splitter: Any, y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Split row numbers into training and validation rows."""
    train, validation = next(splitter.split(np.zeros((len(y), 1)), y))
    if len(train) == 0 or len(validation) == 0:
        raise InvalidArgumentError(
            f"Splitting {len(y)} samples into a train set and a validation set with validation_fraction="
            f"{estimator.validation_fraction!r} led to an empty set ({len(train)} and {len(validation)} samples)."
            " Please either change validation_fraction, increase number of samples, or disable early_stopping."
        )
    if weight.size and not np.any(weight[validation] > 0):
        raise InvalidArgumentError(
            "The sample weights for validation set are all zero, consider using a different random state."
        )
    return np.sort(train), np.sort(validation)


def stratified_rows(
    estimator: Any, random_state: Any, y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers into training and validation rows, stratified by class."""
    numbers = (y > 0).astype(np.int64) if y.dtype.kind == "f" else y
    if np.bincount(numbers).min() < 2:
        # the splitter raises an error that names the class
        numbers = estimator.classes_[numbers]
    splitter = StratifiedShuffleSplit(test_size=estimator.validation_fraction, random_state=random_state)
    return validation_rows(estimator, splitter, numbers, weight)


class LinearAccuracy:
    """Accuracy of a state on held-out rows, per class against the rest or of softmax's prediction; picklable."""

    def __init__(self, model: Linear, X: Any, numbers: np.ndarray, weight: np.ndarray | None) -> None:
        self.model: Linear = model
        self.X = X
        self.numbers: np.ndarray = numbers
        self.weight: np.ndarray | None = weight

    def __call__(self, state: np.ndarray) -> np.ndarray:
        views = self.model.views(state)
        decision = safe_sparse_dot(self.X, views["coef"], dense_output=True) + views["intercept"]
        if self.model.described_loss.joint:
            correct = (decision.argmax(axis=1) == self.numbers)[:, None]
        elif self.model.n_outputs == 1:
            correct = (decision > 0) == (self.numbers == 1)[:, None]
        else:
            correct = (decision > 0) == (self.numbers[:, None] == np.arange(self.model.n_outputs))
        mean = np.average(correct, axis=0, weights=self.weight)
        return np.broadcast_to(mean, (self.model.n_outputs,))


class LinearR2:
    """Coefficient of determination of a state on held-out rows; picklable."""

    def __init__(self, model: Linear, X: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        self.model: Linear = model
        self.X = X
        self.y: np.ndarray = y
        self.weight: np.ndarray | None = weight

    def __call__(self, state: np.ndarray) -> np.ndarray:
        views = self.model.views(state)
        decision = safe_sparse_dot(self.X, views["coef"], dense_output=True)[:, 0] + views["intercept"][0]
        predicted = self.model.described_loss.predict(decision)
        return np.array([r2_score(self.y, predicted, sample_weight=self.weight)])
