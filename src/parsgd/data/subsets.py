"""Pieces with a subset of rows, and pieces with changed reading options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd.data.columns.encoder import OptionalTargets
from parsgd.data.columns.numeric import arrow
from parsgd.data.contracts import BasePiece, Chunk, Piece


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
    def home(self) -> str | None:
        return self.piece.home

    def futures(self) -> list[Any]:
        """Return the futures of the whole piece."""
        return self.piece.futures()

    def filled(self, values: Iterator[Any]) -> PartPiece:
        """Replace the futures by their values."""
        return replace(self, piece=self.piece.filled(values))

    def chunks(self) -> Iterator[Chunk]:
        taken, at = np.unpackbits(self.taken, count=self.piece.n_rows).astype(bool), 0
        encoder = getattr(self.piece, "encoder", None)
        piece = self.piece if encoder is None else replace(self.piece, encoder=OptionalTargets(encoder))
        for chunk in piece.chunks():
            size = chunk.x.shape[0]
            own = np.flatnonzero(taken[at : at + size])
            at += size
            if len(own):
                yield Chunk(*(None if part is None else _rows(part, own) for part in chunk))


def _rows(part: Any, numbers: np.ndarray) -> Any:
    """Select rows of an array, a matrix or an Arrow batch."""
    return part.take(arrow().array(numbers)) if hasattr(part, "schema") else part[numbers]


def part_of(piece: Piece, taken: np.ndarray) -> PartPiece:
    """Select the rows of the piece for which ``taken (n_rows,)`` is True."""
    return PartPiece(piece, np.packbits(taken), int(taken.sum()))


def split(pieces: tuple[Piece, ...], fraction: float, seed: int) -> tuple[list[PartPiece], list[PartPiece]]:
    """Return the remaining rows, and a random ``fraction`` of the rows, as pieces.

    The rows drawn from a piece depend only on ``seed`` and the index of the piece.
    """
    left, taken = [], []
    for number, piece in enumerate(pieces):
        drawn = np.random.default_rng((seed, number)).random(piece.n_rows) < fraction
        taken.append(part_of(piece, drawn))
        left.append(part_of(piece, ~drawn))
    return left, taken


def reread(piece: Any, **changes: Any) -> Any:
    """Replace ``encoder``, ``target``, ``weight`` or ``scale`` of a piece; return it unchanged if it lacks one."""
    if isinstance(piece, PartPiece):
        return replace(piece, piece=reread(piece.piece, **changes))
    return replace(piece, **changes) if all(hasattr(piece, name) for name in changes) else piece
