"""Rows of a search with their folds: the interface of the search to them, and rows in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from parsgd.core import Rows, Shard
from parsgd.estimators.search.column_block import ColumnBlock
from parsgd.estimators.search.fold_scores import RunningScore
from parsgd.estimators.search.folds import Folds

# The sums of the test score, and of the score that decides when a fit stops.
SumTypes = tuple[type[RunningScore], type[RunningScore]]
# Block, models, row numbers -> scores (n_models,).
Scorer = Callable[[ColumnBlock, np.ndarray, np.ndarray], np.ndarray]


class FoldedRows(ABC):
    """The rows of the fits.  ``trains (n_kinds, n_folds)`` is True if a fold trains on rows of a kind."""

    trains: np.ndarray

    @property
    def n_folds(self) -> int:
        return self.trains.shape[1]

    @abstractmethod
    def class_counts(self) -> np.ndarray:
        """Return the numbers of training rows ``(n_folds, n_classes)`` of each class."""

    @abstractmethod
    def blocks(self, epoch: int) -> Iterator[tuple[Rows, np.ndarray, np.ndarray]]:
        """Yield the rows of a pass, the order in which they are visited, and the kind of each row."""

    @abstractmethod
    def test_scores(self, blocks: Sequence[ColumnBlock]) -> list[np.ndarray]:
        """Return the scores ``(n_models,)`` of all models of each block on the test rows of their folds."""

    @abstractmethod
    def held_out_scores(self, blocks: Sequence[ColumnBlock]) -> list[np.ndarray]:
        """Return the scores ``(n_columns,)`` that decide when a fit stops."""

    @abstractmethod
    def close(self) -> None:
        """End background work."""


class FoldedArrays(FoldedRows):
    """Rows in memory.  ``numbers`` are class numbers or targets; ``scorer`` replaces the sums of the test score."""

    def __init__(
        self,
        x: Any,
        numbers: np.ndarray,
        n_classes: int,
        folds: Folds,
        shard: tuple[Shard, int],
        sums: SumTypes,
        scorer: Scorer | None,
    ):
        self.x, self.numbers, self.n_classes, self.folds = x, numbers, n_classes, folds
        (self.shard, self.seed), self.sums, self.scorer = shard, sums, scorer
        self.trains: np.ndarray = folds.trains

    def class_counts(self) -> np.ndarray:
        if self.n_classes == 0:
            return np.zeros((self.n_folds, 0))
        return np.array([np.bincount(self.numbers[train], minlength=self.n_classes) for train in self.folds.train])

    def blocks(self, epoch: int) -> Iterator[tuple[Rows, np.ndarray, np.ndarray]]:
        for rows, order in self.shard.blocks(self.seed, epoch):
            yield rows, order, self.folds.kinds

    def test_scores(self, blocks: Sequence[ColumnBlock]) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for block in blocks:
            scores = np.empty(len(block.settings))
            for fold, models in models_by_fold(block):
                rows = self.folds.test[fold]
                if self.scorer is not None:
                    scores[models] = self.scorer(block, models, rows)
                else:
                    scores[models] = self._sums(self.sums[0], block, models, rows).test_scores()
            found.append(scores)
        return found

    def held_out_scores(self, blocks: Sequence[ColumnBlock]) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for block in blocks:
            scores = np.empty((len(block.settings), block.problem.n_outputs))
            for fold, models in models_by_fold(block):
                scores[models] = self._sums(self.sums[1], block, models, self.folds.held_out[fold]).scores()
            found.append(scores.ravel())
        return found

    def _sums(self, kind: type[RunningScore], block: ColumnBlock, models: np.ndarray, rows: np.ndarray) -> RunningScore:
        sums = kind(block, models)
        sums.add(block.decision(models, self.x[rows]), self.numbers[rows])
        return sums

    def close(self) -> None:
        self.shard.close()


def models_by_fold(block: ColumnBlock) -> list[tuple[int, np.ndarray]]:
    """Return each fold of a block with its models."""
    return [(int(fold), np.flatnonzero(block.folds == fold)) for fold in np.unique(block.folds)]
