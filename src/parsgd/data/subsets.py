"""Pieces with a subset of rows, and pieces with changed reading options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

import numpy as np

from parsgd.data.columns.encoder import PassThroughEncoder
from parsgd.data.columns.numeric import arrow
from parsgd.data.contracts import ArrowBatch, BatchEncoder, Chunk, Piece, PieceDefaults, Reading
from parsgd.data.formats.svmlight import SvmlightPiece


@dataclass(frozen=True)
class PartPiece(PieceDefaults):
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

    @property
    def reading(self) -> Reading | None:
        return self.piece.reading

    def reread(self, reading: Reading) -> PartPiece:
        return replace(self, piece=self.piece.reread(reading))

    def futures(self) -> list[Any]:
        """Return the futures of the whole piece."""
        return self.piece.futures()

    def filled(self, values: Iterator[Any]) -> PartPiece:
        """Replace the futures by their values."""
        return replace(self, piece=self.piece.filled(values))

    def chunks(self) -> Iterator[Chunk]:
        taken, at = np.unpackbits(self.taken, count=self.piece.n_rows).astype(bool), 0
        # missing targets may be in the other rows
        for chunk in reread(self.piece, optional_targets=True).chunks():
            own = np.flatnonzero(taken[at : at + chunk.n_rows])
            at += chunk.n_rows
            if len(own):
                yield self._selected(chunk, own)

    def _selected(self, chunk: Chunk, rows: np.ndarray) -> Chunk:
        if self.reading is None or not isinstance(self.reading.encoder, PassThroughEncoder):
            return chunk.select(rows)
        batch: ArrowBatch = chunk.x
        y, weight = (None if part is None else part[rows] for part in (chunk.y, chunk.weight))
        return Chunk(batch.take(arrow().array(rows)), y, weight)


def part_of(piece: Piece, taken: np.ndarray) -> PartPiece:
    """Select the rows of the piece for which ``taken (n_rows,)`` is True."""
    return PartPiece(piece, np.packbits(taken), int(taken.sum()))


def split(pieces: tuple[Piece, ...], fraction: float, seed: int) -> tuple[list[PartPiece], list[PartPiece]]:
    """Return the remaining rows, and a random ``fraction`` of the rows, as pieces.

    The rows drawn from a piece depend only on ``seed`` and the index of the piece.
    """
    left: list[PartPiece] = []
    taken: list[PartPiece] = []
    for number, piece in enumerate(pieces):
        drawn = np.random.default_rng((seed, number)).random(piece.n_rows) < fraction
        taken.append(part_of(piece, drawn))
        left.append(part_of(piece, ~drawn))
    return left, taken


class Changes(TypedDict, total=False):
    """The fields of a :class:`~parsgd.data.contracts.Reading`."""

    encoder: BatchEncoder
    target: str | None
    weight: str | None
    optional_targets: bool


def reread(piece: Piece, **changes: Unpack[Changes]) -> Piece:
    """Change the encoder, the target or the weight of a piece of a table; return other pieces unchanged."""
    reading = piece.reading
    return piece if reading is None else piece.reread(replace(reading, **changes))


def rescaled(piece: Piece, scale: tuple[float, ...] | None) -> Piece:
    """Set the divisors of the features of a piece of an svmlight file."""
    if isinstance(piece, PartPiece):
        return replace(piece, piece=rescaled(piece.piece, scale))
    return replace(piece, scale=scale) if isinstance(piece, SvmlightPiece) else piece
