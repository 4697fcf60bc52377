"""Validation of networks during a fit: the split of the rows, and scores of a state on the held-out ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from parsgd.errors import InvalidArgumentError
from parsgd.models.network.forward import BLOCK_ROWS
from parsgd.models.row_blocks import in_row_blocks
from parsgd.utils.row_arrays import csr_block

if TYPE_CHECKING:
    from parsgd.models.network.network_model import Network


def split_rows(estimator: Any, random: Any, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers into training and validation rows, stratified by class for two classes."""
    stratify = is_classifier(estimator) and estimator.n_outputs_ == 1
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


def accuracy(
    model: Network, X: Any, y: np.ndarray, weight: np.ndarray | None, state: np.ndarray, n_threads: int = 1
) -> np.ndarray:
    """Return the accuracy of a state on held-out rows; for multilabel targets the share with all labels correct."""
    p = _finite_predictions(model, X, state, n_threads)
    if p is None:
        return np.array([np.nan])
    correct = p.argmax(axis=1) == y if y.ndim == 1 else ((p > 0.5) == (y > 0.5)).all(axis=1)
    return np.array([np.average(correct, weights=weight)])


def r2(
    model: Network, X: Any, y: np.ndarray, weight: np.ndarray | None, state: np.ndarray, n_threads: int = 1
) -> np.ndarray:
    """Return the coefficient of determination of a state on held-out rows."""
    predicted = _finite_predictions(model, X, state, n_threads)
    if predicted is None:
        return np.array([np.nan])
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array([r2_score(y, predicted, sample_weight=weight)])


def _finite_predictions(model: Network, X: Any, state: np.ndarray, n_threads: int) -> np.ndarray | None:
    """Compute predictions, or return None for a diverged state."""

    def compute(rows: slice) -> np.ndarray:
        return model.predict(state, csr_block(X, rows) if issparse(X) else X[rows])

    with np.errstate(over="ignore", invalid="ignore"):
        predicted = in_row_blocks(compute, X.shape[0], BLOCK_ROWS, n_threads)
    return predicted if np.isfinite(predicted).all() else None
