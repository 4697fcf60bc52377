"""Pieces of which only some rows are taken, and pieces that are read in another way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd.data.sources.pieces import Chunk, Piece


@dataclass(frozen=True)
class PartPiece:
    """Of a piece the rows that a draw from the uniform distribution puts below ``fraction``, or all but these.

    What is drawn depends on ``seed`` and the piece's ``number`` alone; ``n_rows`` is how many rows it leaves.
    """

    piece: Piece
    number: int
    seed: int
    fraction: float
    below: bool
    n_rows: int

    @property
    def name(self) -> str:
        return self.piece.name

    @property
    def home(self) -> str | None:
        return self.piece.home

    def futures(self) -> list[Any]:
        """Those of the whole piece."""
        return getattr(self.piece, "futures", list)()

    def filled(self, values: Iterator[Any]) -> PartPiece:
        """With what the futures gave."""
        return replace(self, piece=self.piece.filled(values)) if hasattr(self.piece, "filled") else self

    def chunks(self) -> Iterator[Chunk]:
        taken, at = drawn(self.piece, self.number, self.seed, self.fraction) == self.below, 0
        for chunk in self.piece.chunks():
            size = chunk.x.shape[0]
            own = np.flatnonzero(taken[at : at + size])
            at += size
            if len(own):
                yield Chunk(*(None if part is None else part[own] for part in chunk))


def drawn(piece: Piece, number: int, seed: int, fraction: float) -> np.ndarray:
    """``(piece.n_rows,)``: which rows are drawn."""
    return np.random.default_rng((seed, number)).random(piece.n_rows) < fraction


def split(pieces: tuple[Piece, ...], fraction: float, seed: int) -> tuple[list[PartPiece], list[PartPiece]]:
    """The rows that are left, and the ``fraction`` of the rows that is drawn, in pieces."""
    left, taken = [], []
    for number, piece in enumerate(pieces):
        n = int(drawn(piece, number, seed, fraction).sum())
        taken.append(PartPiece(piece, number, seed, fraction, True, n))
        left.append(PartPiece(piece, number, seed, fraction, False, piece.n_rows - n))
    return left, taken


def reread(piece: Any, **changes: Any) -> Any:
    """A piece of a table with another ``encoder``, ``target`` or ``weight``; any other piece as it is."""
    if isinstance(piece, PartPiece):
        return replace(piece, piece=reread(piece.piece, **changes))
    return replace(piece, **changes) if hasattr(piece, "encoder") else piece
