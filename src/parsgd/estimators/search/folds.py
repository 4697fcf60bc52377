"""Folds of a cross-validation as kinds of rows: rows of one kind are trained on by the same folds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.core import Shard
from parsgd.data.sources.streaming_source import is_streaming
from parsgd.errors import InvalidArgumentError


@dataclass(frozen=True)
class Folds:
    """``train``, ``test`` and ``held_out``: row numbers of each fold; ``held_out`` decides when a fit stops.

    ``kinds (n_rows,)`` numbers the kinds of rows, and ``trains (n_kinds, n_folds)`` is True if a fold trains on rows of
    a kind.
    """

    train: list[np.ndarray]
    test: list[np.ndarray]
    held_out: list[np.ndarray]
    kinds: np.ndarray
    trains: np.ndarray

    @property
    def n_folds(self) -> int:
        return len(self.train)

    def kinds_of(self, shard: Shard, seed: int, epoch: int, visited: int) -> np.ndarray:
        """Return the kinds of the rows of the block that follows after ``visited`` visits of an epoch."""
        return self.kinds[shard.row_numbers(seed, epoch, visited)] if is_streaming(shard) else self.kinds


def make_folds(
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    n_rows: int,
    hold_out: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
) -> Folds:
    """Return the folds of a splitter.

    ``hold_out`` splits the training rows of a fold into those that are trained on and those that decide when it stops.
    Folds may overlap and may leave rows out.
    """
    train, test, held_out = [], [], []
    for fold, (train_rows, test_rows) in enumerate(splits):
        numbers = [np.sort(_row_numbers(rows, n_rows)) for rows in (train_rows, test_rows)]
        for rows, part in zip(numbers, ("training", "test"), strict=True):
            if len(rows) == 0:
                raise InvalidArgumentError(f"Fold {fold} of 'cv' has no {part} rows. Use another splitter.")
        kept, decides = (numbers[0], numbers[0][:0]) if hold_out is None else hold_out(numbers[0])
        train.append(kept)
        test.append(numbers[1])
        held_out.append(decides)
    if not train:
        raise InvalidArgumentError("'cv' gives no folds; use a splitter or an iterable of (train, test) row numbers.")
    return Folds(train, test, held_out, *_kinds_of(train, n_rows))


def _row_numbers(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Return row numbers, which may be given as a mask."""
    rows = np.asarray(rows)
    if rows.dtype == bool:
        return np.flatnonzero(rows)
    rows = np.where(rows < 0, rows + n_rows, rows)
    if len(rows) and not (rows.min() >= 0 and rows.max() < n_rows):
        raise InvalidArgumentError(f"'cv' gives row numbers beyond the {n_rows} rows of X.")
    if len(np.unique(rows)) < len(rows):
        raise InvalidArgumentError("'cv' gives a row twice in one part of a fold; give each row once, or weights.")
    return rows


def _kinds_of(train: Sequence[np.ndarray], n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct sets of folds that train on a row."""
    member = np.zeros((n_rows, len(train)), dtype=bool)
    for fold, rows in enumerate(train):
        member[rows, fold] = True
    packed = np.packbits(member, axis=1)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, kinds = np.unique(keys, return_index=True, return_inverse=True)
    return kinds.astype(np.int32), member[first]
