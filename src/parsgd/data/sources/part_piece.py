"""Pieces with a subset of the rows of another piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd.data.contracts import BasePiece, Chunk, Piece, Reading, reread
from parsgd.data.sources.piece_reader import chunks_of


@dataclass(frozen=True)
class PartPiece(BasePiece):
    """A subset of ``n_rows`` rows of a piece, selected by the bits of ``taken`` (:func:`part_of`)."""

    piece: Piece
    taken: np.ndarray
    n_rows: int

    @property
    def name(self) -> str:
        return self.piece.name

    @property
    def where(self) -> str:
        return self.piece.where

    @property
    def home(self) -> str | None:
        return self.piece.home

    @property
    def finite(self) -> bool:
        # optional targets may be missing in its own rows
        return self.piece.finite and not (self.reading is not None and self.reading.optional_targets)

    @property
    def reading(self) -> Reading | None:
        return self.piece.reading

    def reread(self, reading: Reading) -> PartPiece:
        return replace(self, piece=self.piece.reread(reading))

    def futures(self) -> list[Any]:
        return self.piece.futures()

    def filled(self, values: Iterator[Any]) -> PartPiece:
        return replace(self, piece=self.piece.filled(values))

    def chunks(self) -> Iterator[Chunk]:
        return self._selected(lazy=False)

    def lazy_chunks(self) -> Iterator[Chunk]:
        return self._selected(lazy=self.finite)

    def _selected(self, lazy: bool) -> Iterator[Chunk]:
        taken = np.unpackbits(self.taken, count=self.piece.n_rows).astype(bool)
        for at, chunk in chunks_of(self.piece, lazy=lazy):
            own = np.flatnonzero(taken[at : at + chunk.n_rows])
            if len(own):
                yield chunk if len(own) == chunk.n_rows else chunk.select(own)


def part_of(piece: Piece, taken: np.ndarray) -> PartPiece:
    """Select the rows of the piece for which ``taken (n_rows,)`` is True."""
    return PartPiece(piece, np.packbits(taken), int(taken.sum()))


def labeled_part(piece: Piece, taken: np.ndarray) -> PartPiece:
    """Select rows of a piece that have targets; targets of the other rows may be missing."""
    return part_of(reread(piece, optional_targets=True), taken)


def drawn_rows(
    pieces: Sequence[Piece], n_rows: int, fewest: int, rng: np.random.Generator
) -> Iterator[tuple[int, np.ndarray]]:
    """Draw ``n_rows`` random rows of ``fewest`` random pieces, or of more if these have too few rows.

    Yield the number of each piece and the mask of its drawn rows, in stored order.
    """
    if not pieces:
        return
    order = rng.permutation(len(pieces))
    total = np.cumsum([pieces[number].n_rows for number in order])
    chosen = np.sort(order[: max(fewest, int(np.searchsorted(total, n_rows)) + 1)]).tolist()
    ends = np.cumsum([pieces[number].n_rows for number in chosen])
    taken = np.zeros(ends[-1], dtype=bool)
    taken[rng.choice(len(taken), min(n_rows, len(taken)), replace=False)] = True
    yield from zip(chosen, np.split(taken, ends[:-1]), strict=True)
