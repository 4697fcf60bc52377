"""Rows of a search that are read from a stream in every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from parsgd.core import Rows
from parsgd.data.cluster_pieces import OnCluster
from parsgd.data.dataset import Dataset
from parsgd.data.sources.part_piece import PartPiece
from parsgd.data.sources.streaming_source import StreamingSource
from parsgd.data.targets import targets_only
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.search.column_block import ColumnBlock
from parsgd.estimators.search.fold_scores import RunningScore
from parsgd.estimators.search.folded_rows import FoldedRows, SumTypes, models_by_fold
from parsgd.estimators.search.folds import StreamFolds
from parsgd.estimators.target_encoders import class_numbers
from parsgd.models.row_matrix import as_matrix

# Decision values that are computed together.
_VALUES_PER_PRODUCT = 1 << 22


def check_not_on_cluster(dataset: Dataset, owner: str) -> None:
    """Raise for a collection of Dask or Ray."""
    for piece in dataset.pieces:
        whole = piece
        while isinstance(whole, PartPiece):
            whole = whole.piece
        if isinstance(whole, OnCluster):
            raise InvalidArgumentError(
                f"{owner} reads all rows in this process, in every pass; {dataset.name} is a collection of Dask or Ray."
                " Store it as files and open these, or load the rows."
            )


class FoldedStream(FoldedRows):
    """Rows of ``dataset``, read by ``source``; ``classes`` is empty for a regression.

    Scores are sums over one pass in stored order.
    """

    def __init__(
        self,
        dataset: Dataset,
        source: StreamingSource,
        classes: np.ndarray,
        folds: StreamFolds,
        seed: int,
        sums: SumTypes,
    ):
        self.dataset, self.classes, self.folds, self.seed, self.sums = dataset, classes, folds, seed, sums
        self.trains: np.ndarray = folds.trains
        # one shard with all rows, whose numbers are those of the stream
        self.shard = source.split(1, seed, "contiguous")[0]
        self.in_order = replace(source, shuffle=False).split(1, seed, "contiguous")[0]

    def class_counts(self) -> np.ndarray:
        if not len(self.classes):
            return np.zeros((self.n_folds, 0))
        n_classes, first = len(self.classes), 0
        counts = np.zeros((len(self.trains), n_classes), dtype=np.int64)
        for piece in self.dataset.pieces:
            for chunk in targets_only(piece).chunks():
                numbers = class_numbers(self.classes, np.asarray(chunk.y))
                kinds = self.folds.kinds(np.arange(first, first + len(numbers)))
                counts += np.bincount(kinds * n_classes + numbers, minlength=counts.size).reshape(counts.shape)
                first += len(numbers)
        return self.trains.T.astype(np.int64) @ counts

    def blocks(self, epoch: int) -> Iterator[tuple[Rows, np.ndarray, np.ndarray]]:
        for number, (rows, order) in enumerate(self.shard.blocks(self.seed, epoch)):
            yield rows, order, self.folds.kinds(self.shard.row_numbers(self.seed, epoch, number))

    def test_scores(self, blocks: Sequence[ColumnBlock]) -> list[np.ndarray]:
        found = [np.empty(len(block.settings)) for block in blocks]
        for number, sums in self._sums(blocks, self.sums[0], self.folds.is_test):
            found[number][sums.models] = sums.test_scores()
        return found

    def held_out_scores(self, blocks: Sequence[ColumnBlock]) -> list[np.ndarray]:
        found = [np.empty((len(block.settings), block.problem.n_outputs)) for block in blocks]
        for number, sums in self._sums(blocks, self.sums[1], self.folds.decides):
            found[number][sums.models] = sums.scores()
        return [scores.ravel() for scores in found]

    def _sums(
        self, blocks: Sequence[ColumnBlock], kind: type[RunningScore], chosen: Callable[[np.ndarray, int], np.ndarray]
    ) -> list[tuple[int, RunningScore]]:
        """Return the sums of the models of each block and fold over its ``chosen`` rows, with the block's number."""
        found: dict[int, list[tuple[int, RunningScore]]] = {}
        for number, block in enumerate(blocks):
            for fold, models in models_by_fold(block):
                found.setdefault(fold, []).append((number, kind(block, models)))
        for window, (rows, _) in enumerate(self.in_order.blocks(0, 0) if found else ()):
            x = as_matrix(rows, self.dataset.n_features)
            kinds = self.folds.kinds(self.in_order.row_numbers(0, 0, window))
            for fold, of_fold in found.items():
                numbers = np.flatnonzero(chosen(kinds, fold))
                for _, sums in of_fold:
                    step = max(_VALUES_PER_PRODUCT // sums.block.state.shape[1], 1)
                    for begin in range(0, len(numbers), step):
                        part = numbers[begin : begin + step]
                        sums.add(sums.block.decision(sums.models, x[part]), rows.y[part])
        return [one for of_fold in found.values() for one in of_fold]

    def close(self) -> None:
        self.shard.close()
        self.in_order.close()
