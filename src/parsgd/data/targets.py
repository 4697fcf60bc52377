"""Target statistics from one scan: distinct targets and their row counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.contracts import Piece, reread
from parsgd.errors import DataFileError

# Maximum number of classes.
_MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Targets:
    """Number of rows, sorted distinct targets ``(n,)`` and their row counts ``(n,)``.

    With more than 100,000 distinct targets, ``values`` and ``counts`` equal None.
    """

    n_rows: int
    values: np.ndarray | None
    counts: np.ndarray | None


def scanned(pieces: Iterable[Piece], name: str) -> Targets:
    """Scan the targets of all pieces in one pass; of tables, only the target column is read.

    Integers that a text format stores as floats are converted to integers.
    """
    n_rows, too_many = 0, False
    values: np.ndarray | None = None
    counts = np.zeros(0, dtype=np.int64)
    for piece in pieces:
        for chunk in targets_only(piece).chunks():
            if chunk.y is None:
                raise DataFileError(f"{name}: has no targets. Name the column: open_dataset(..., target=...).")
            n_rows += len(chunk.y)
            if too_many or not len(chunk.y):
                continue
            found, numbers = np.unique(chunk.y, return_counts=True)
            if values is None:
                values, counts = found, numbers
            else:
                values, counts = _merge_counts(values, counts, found, numbers, piece)
            too_many = len(values) > _MOST_CLASSES
    if values is None:
        raise DataFileError(f"{name}: has no rows.")
    if too_many:
        return Targets(n_rows, None, None)
    if values.dtype.kind == "f" and np.all(values == np.floor(values)) and np.abs(values).max() < 2**53:
        values = values.astype(np.int64)
    return Targets(n_rows, values, counts)


def _merge_counts(
    values: np.ndarray, counts: np.ndarray, found: np.ndarray, numbers: np.ndarray, piece: Piece
) -> tuple[np.ndarray, np.ndarray]:
    if (values.dtype.kind in "biuf") != (found.dtype.kind in "biuf"):
        raise DataFileError(
            f"{piece.name}: the target holds {found[0]!r}, and {values[0]!r} before it: texts and numbers. Correct one."
        )
    both, places = np.unique(np.concatenate([values, found]), return_inverse=True)
    return both, np.bincount(places.reshape(-1), np.concatenate([counts, numbers])).astype(np.int64)


def targets_only(piece: Piece) -> Piece:
    """Return the piece of a table without its features, so that they are not read; other pieces unchanged."""
    reading = piece.reading
    return piece if reading is None else reread(piece, encoder=PassThroughEncoder(labels=reading.encoder.labels))
