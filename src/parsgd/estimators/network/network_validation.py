"""Validation of networks during a fit: the split of the rows, and scorers of a state on the held-out ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from parsgd.errors import InvalidArgumentError

if TYPE_CHECKING:
    from parsgd.models.network.network_model import Network


def split_rows(
    estimator: Any, random: Any, stratify: bool, y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers into training and validation rows, stratified by class if ``stratify``."""
    # scikit-learn names a class that is too small "True" or "False"
    train, held_out = train_test_split(
        np.arange(len(y)),
        random_state=random,
        test_size=estimator.validation_fraction,
        stratify=np.where(y.ravel() > 0, "True", "False") if stratify else None,
    )
    if len(held_out) < 2:
        raise InvalidArgumentError(
            f"The validation set is too small: validation_fraction={estimator.validation_fraction!r} of {len(y)}"
            f" rows are {len(held_out)}. Increase 'validation_fraction' or the size of your dataset."
        )
    for part, name in ((train, "train"), (held_out, "validation")):
        if weight.size and not weight[part].any():
            raise InvalidArgumentError(
                f"The sample weights of the {name} set are all zero; another random_state draws other rows."
            )
    return train, held_out


class NetworkAccuracy:
    """Accuracy of a state on held-out rows (multilabel: share of rows with all labels correct); picklable."""

    def __init__(self, model: Network, X: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        self.model: Network = model
        self.X = X
        self.y: np.ndarray = y
        self.weight: np.ndarray | None = weight

    def __call__(self, state: np.ndarray) -> np.ndarray:
        # a diverged state gets the score NaN, without warnings
        with np.errstate(over="ignore", invalid="ignore"):
            p = self.model.predict(state, self.X)
        if not np.isfinite(p).all():
            return np.array([np.nan])
        correct = p.argmax(axis=1) == self.y if self.y.ndim == 1 else ((p > 0.5) == (self.y > 0.5)).all(axis=1)
        return np.array([np.average(correct, weights=self.weight)])


class NetworkR2:
    """Coefficient of determination of a state on held-out rows; picklable."""

    def __init__(self, model: Network, X: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        self.model: Network = model
        self.X = X
        self.y: np.ndarray = y
        self.weight: np.ndarray | None = weight

    def __call__(self, state: np.ndarray) -> np.ndarray:
        # a diverged state gets the score NaN, without warnings
        with np.errstate(over="ignore", invalid="ignore"):
            predicted = self.model.predict(state, self.X)
            if not np.isfinite(predicted).all():
                return np.array([np.nan])
            return np.array([r2_score(self.y, predicted, sample_weight=self.weight)])
