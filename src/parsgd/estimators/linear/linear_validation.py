"""Validation of linear models during a fit: the split of the rows, and scores of a state on the held-out ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.metrics import r2_score
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from parsgd.errors import InvalidArgumentError
from parsgd.models.row_blocks import in_row_blocks, rows_per_block
from parsgd.utils.row_arrays import csr_block

if TYPE_CHECKING:
    from parsgd.models.linear.linear_model import Linear

# Rows per block are multiples of this number: OpenBLAS processes up to 24 rows together, and rows left over have other
# last bits.
BLOCK_UNIT = 1536


def validation_rows(
    estimator: Any, random_state: Any, y: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers into training and validation rows, stratified by class for a classifier."""
    kind = ShuffleSplit
    if is_classifier(estimator):
        kind = StratifiedShuffleSplit
        y = (y > 0).astype(np.int64) if y.dtype.kind == "f" else y
        if np.bincount(y).min() < 2:
            # the splitter raises an error that names the class
            y = estimator.classes_[y]
    splitter = kind(test_size=estimator.validation_fraction, random_state=random_state)
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


def _decision(model: Linear, X: Any, state: np.ndarray, n_threads: int) -> np.ndarray:
    """Compute decision values ``(n_rows, n_outputs)``, of many rows in blocks on several threads."""
    sparse = issparse(X)

    def compute(rows: slice) -> np.ndarray:
        return model.decision(state, csr_block(X, rows) if sparse else X[rows])

    n_rows = X.shape[0]
    row_values = X.nnz / n_rows if sparse else X.shape[1]
    return in_row_blocks(compute, n_rows, rows_per_block(row_values + model.n_outputs, BLOCK_UNIT), n_threads)


def accuracy(
    model: Linear, X: Any, y: np.ndarray, weight: np.ndarray | None, state: np.ndarray, n_threads: int = 1
) -> np.ndarray:
    """Return the accuracy of a state on held-out rows, per class against the rest or of softmax's prediction."""
    decision = _decision(model, X, state, n_threads)
    if model.described_loss.joint:
        correct = (decision.argmax(axis=1) == y)[:, None]
    elif model.n_outputs == 1:
        correct = (decision > 0) == (y == 1)[:, None]
    else:
        correct = (decision > 0) == (y[:, None] == np.arange(model.n_outputs))
    return np.broadcast_to(np.average(correct, axis=0, weights=weight), (model.n_outputs,))


def r2(
    model: Linear, X: Any, y: np.ndarray, weight: np.ndarray | None, state: np.ndarray, n_threads: int = 1
) -> np.ndarray:
    """Return the coefficient of determination of a state on held-out rows."""
    decision = _decision(model, X, state, n_threads)[:, 0]
    return np.array([r2_score(y, model.described_loss.predict(decision), sample_weight=weight)])
