"""What a scan of the targets tells: which classes there are, and how many rows of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.data.columns.encoder import EmptyEncoder
from parsgd.data.subsets import PartPiece, reread
from parsgd.errors import DataFileError

# More different targets than these are no classes.
_MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Targets:
    """Of all rows: how many there are, the different targets ``(n,)`` in order and how often each occurs, ``(n,)``.

    ``low`` and ``high`` are the smallest and the largest number, and None of texts.  If there are more than 100,000
    different ones, ``values`` and ``counts`` are None.
    """

    n_rows: int
    values: np.ndarray | None
    counts: np.ndarray | None
    low: float | None
    high: float | None


def scanned(pieces: Iterable[Any], name: str) -> Targets:
    """One pass over the targets of all pieces; of tables nothing else is read.

    Whole numbers that a text format brought as floats are taken for whole numbers.
    """
    n_rows, low, high = 0, np.inf, -np.inf
    values: np.ndarray | None = None
    counts = np.zeros(0, dtype=np.int64)
    many = False
    for piece in pieces:
        for chunk in targets_only(piece).chunks():
            if chunk.y is None:
                raise DataFileError(f"{name}: has no targets. Name the column: open_dataset(..., target=...).")
            if not len(chunk.y):
                continue
            found, numbers = np.unique(chunk.y, return_counts=True)
            n_rows += len(chunk.y)
            if found.dtype.kind in "biuf":
                low, high = min(low, float(found[0])), max(high, float(found[-1]))
            if not many:
                values, counts = (found, numbers) if values is None else _united(values, counts, found, numbers, piece)
                many = len(values) > _MOST_CLASSES
    if values is None:
        raise DataFileError(f"{name}: has no rows.")
    if values.dtype.kind == "f" and not many and np.all(values == np.floor(values)) and max(-low, high) < 2**53:
        values = values.astype(np.int64)
    texts = values.dtype.kind not in "biuf"
    return Targets(n_rows, *((None, None) if many else (values, counts)), *((None, None) if texts else (low, high)))


def _united(
    values: np.ndarray, counts: np.ndarray, found: np.ndarray, numbers: np.ndarray, piece: Any
) -> tuple[np.ndarray, np.ndarray]:
    if (values.dtype.kind in "biuf") != (found.dtype.kind in "biuf"):
        raise DataFileError(
            f"{piece.name}: the target holds {found[0]!r}, and {values[0]!r} before it: texts and numbers. Correct one."
        )
    both, places = np.unique(np.concatenate([values, found]), return_inverse=True)
    return both, np.bincount(places.reshape(-1), np.concatenate([counts, numbers])).astype(np.int64)


def targets_only(piece: Any) -> Any:
    """The piece of a table without its features, so that they are not read; any other piece as it is."""
    whole = piece.piece if isinstance(piece, PartPiece) else piece
    encoder = getattr(whole, "encoder", None)
    return reread(piece, encoder=EmptyEncoder(labels=None if encoder is None else encoder.labels))
