"""Folds of a cross-validation as kinds of rows: rows of one kind are trained on by the same folds.

Folds of rows in memory come from a splitter.  Folds of a stream come from a hash of the number of a row, so that a row
has one fold in every pass, however it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError

_DEFAULT_FOLDS = 5
_NUMBERS_PER_BLOCK = 1 << 20
# The hash of a row decides its fold, and that of this key whether it is held out.
_FOLD_KEY, _HELD_OUT_KEY = 0, 1


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


def make_folds(
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    n_rows: int,
    hold_out: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
) -> Folds:
    """Return the folds of a splitter.

    ``hold_out`` splits the training rows of a fold into those that are trained on and those that decide when it stops.
    Folds may overlap and may leave rows out.
    """
    train: list[np.ndarray] = []
    test: list[np.ndarray] = []
    held_out: list[np.ndarray] = []
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


@dataclass(frozen=True)
class StreamFolds:
    """``n_folds`` folds by a hash of row number and ``seed``; a share ``held_out`` of the rows is held out.

    Rows of kind ``fold`` are tested in this fold, and the others train on them.  Rows of kind ``n_folds + fold`` are
    tested in it, too.  They are held out of the training of the others, and decide when these stop.

    >>> StreamFolds(3, seed=0).kinds(np.arange(8))
    array([0, 1, 0, 2, 2, 1, 2, 2], dtype=int32)
    """

    n_folds: int
    seed: int
    held_out: float = 0.0

    @property
    def trains(self) -> np.ndarray:
        """``(n_kinds, n_folds)``: True if a fold trains on rows of a kind."""
        trained = ~np.eye(self.n_folds, dtype=bool)
        return np.concatenate([trained, np.zeros_like(trained)]) if self.held_out else trained

    def kinds(self, numbers: np.ndarray) -> np.ndarray:
        """Return the kinds ``(n,)`` of rows with these numbers in the stream."""
        kinds = (_uniform(numbers, self.seed, _FOLD_KEY) * self.n_folds).astype(np.int32)
        if self.held_out:
            kinds += self.n_folds * (_uniform(numbers, self.seed, _HELD_OUT_KEY) < self.held_out)
        return kinds.astype(np.int32, copy=False)

    def is_test(self, kinds: np.ndarray, fold: int) -> np.ndarray:
        """Return True for rows that are tested in a fold."""
        return kinds % self.n_folds == fold

    def decides(self, kinds: np.ndarray, fold: int) -> np.ndarray:
        """Return True for rows that decide when the fit of a fold stops."""
        return (kinds >= self.n_folds) & (kinds % self.n_folds != fold)

    def check(self, n_rows: int) -> None:
        """Raise if a fold of ``n_rows`` rows lacks rows."""
        if self.n_folds > n_rows:
            raise InvalidArgumentError(
                f"'cv' is {self.n_folds:,}, and the stream has {n_rows:,} rows. Use fewer folds, or more rows."
            )
        sizes = np.zeros(2 * self.n_folds, dtype=np.int64)
        for begin in range(0, n_rows, _NUMBERS_PER_BLOCK):
            numbers = np.arange(begin, min(begin + _NUMBERS_PER_BLOCK, n_rows))
            sizes += np.bincount(self.kinds(numbers), minlength=len(sizes))
        kept, held_out = sizes.reshape(2, -1)
        parts = {"training": kept.sum() - kept, "test": kept + held_out}
        if self.held_out:
            parts["held-out"] = held_out.sum() - held_out
        for part, counts in parts.items():
            if not counts.all():
                raise InvalidArgumentError(
                    f"Fold {counts.argmin()} of 'cv' has no {part} rows: the {n_rows:,} rows of the stream are assigned"
                    f" to {self.n_folds:,} folds at random. Use fewer folds, another random_state, or more rows."
                )


def count_folds(cv: Any, owner: str) -> int:
    """Return the number of folds of a stream; raise unless ``cv`` is None or an int of 2 or more."""
    if cv is None:
        return _DEFAULT_FOLDS
    if not isinstance(cv, bool) and isinstance(cv, (int, np.integer)) and cv >= 2:
        return int(cv)
    raise InvalidArgumentError(
        f"The 'cv' parameter of {owner} must be None or an int of 2 or more for a Dataset, whose rows are assigned to"
        f" folds as they are read. Got {cv!r} instead. Give the number of folds, or load the rows."
    )


def _uniform(numbers: np.ndarray, seed: int, key: int) -> np.ndarray:
    """Return numbers in [0, 1): SplitMix64 of the row number, from a start that depends on seed and key.

    Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    start = np.random.SeedSequence((seed, key)).generate_state(1, np.uint64)
    z = start + (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
