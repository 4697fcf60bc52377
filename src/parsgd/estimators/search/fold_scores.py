"""Scores of models as sums over rows: rows are added block by block, so that they need not be in memory together."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from parsgd.estimators.search.column_block import ColumnBlock


class RunningScore(ABC):
    """Sums for the scores of ``models`` of a block.

    :meth:`add` takes decision values ``(n_rows, n_models, n_outputs)`` and targets ``(n_rows,)``: class numbers, or
    numbers.  ``finite (n_models,)`` is False for models with a decision value that is not finite.
    """

    def __init__(self, block: ColumnBlock, models: np.ndarray):
        self.block, self.models = block, models
        self.n_rows: int = 0
        self.finite: np.ndarray = np.ones(len(models), dtype=bool)

    def add(self, decision: np.ndarray, y: np.ndarray) -> None:
        """Add rows."""
        if len(y):
            self.finite &= np.isfinite(decision).all(axis=(0, 2))
            with np.errstate(all="ignore"):
                self._add(decision, y)
            self.n_rows += len(y)

    @abstractmethod
    def _add(self, decision: np.ndarray, y: np.ndarray) -> None: ...

    @abstractmethod
    def scores(self) -> np.ndarray:
        """Return the scores ``(n_models, 1)`` or ``(n_models, n_outputs)``."""

    def test_scores(self) -> np.ndarray:
        """Return the scores ``(n_models,)``; minus infinity for models that have diverged."""
        return np.where(self.finite & ~self.block.diverged()[self.models], self.scores()[:, 0], -np.inf)


class Accuracy(RunningScore):
    """Share of rows whose class is predicted."""

    def __init__(self, block: ColumnBlock, models: np.ndarray):
        super().__init__(block, models)
        self.n_correct: np.ndarray = np.zeros((len(models), 1), dtype=np.int64)

    def _add(self, decision: np.ndarray, y: np.ndarray) -> None:
        self.n_correct = self.n_correct + self._correct(decision, y).sum(axis=0)

    def _correct(self, decision: np.ndarray, y: np.ndarray) -> np.ndarray:
        found = decision.argmax(axis=2) if decision.shape[2] > 1 else decision[:, :, 0] > 0
        return (found == y[:, None])[:, :, None]

    def scores(self) -> np.ndarray:
        return self.n_correct / self.n_rows


class OutputAccuracy(Accuracy):
    """Share of rows on whose class each output is right: its class against the rest.  Softmax has one for all."""

    def _correct(self, decision: np.ndarray, y: np.ndarray) -> np.ndarray:
        if self.block.described.joint:
            return super()._correct(decision, y)
        n_outputs = decision.shape[2]
        classes: np.ndarray = np.array([1]) if n_outputs == 1 else np.arange(n_outputs)
        return (decision > 0) == (y[:, None] == classes)[:, None, :]


class R2(RunningScore):
    """Coefficient of determination ``1 - sum (y - prediction)^2 / sum (y - mean y)^2``.

    The second sum is merged from those of the blocks: Chan, Golub, LeVeque, "Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances", 1979.
    """

    def __init__(self, block: ColumnBlock, models: np.ndarray):
        super().__init__(block, models)
        self.squares: np.ndarray = np.zeros(len(models))
        self.mean: float = 0.0
        self.total: float = 0.0

    def _add(self, decision: np.ndarray, y: np.ndarray) -> None:
        y = np.asarray(y, dtype=np.float64)
        residuals = self.block.described.predict(decision[:, :, 0].astype(np.float64)) - y[:, None]
        self.squares = self.squares + np.square(residuals).sum(axis=0)
        mean, n_rows = y.mean(), self.n_rows + len(y)
        between = (mean - self.mean) ** 2 * self.n_rows * len(y) / n_rows
        self.total += np.square(y - mean).sum() + between
        self.mean += (mean - self.mean) * len(y) / n_rows

    def scores(self) -> np.ndarray:
        with np.errstate(all="ignore"):
            found = 1.0 - self.squares / self.total
        # of constant targets it is 1 for an exact prediction and else 0, as in scikit-learn
        return np.where(self.total > 0.0, found, (self.squares == 0.0).astype(np.float64))[:, None]
