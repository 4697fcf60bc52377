"""Pieces with a random subset of rows, and pieces with changed reading options."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict, Unpack

import numpy as np

from parsgd.data.contracts import BatchEncoder, Piece
from parsgd.data.sources.part_piece import PartPiece, part_of


def split(pieces: tuple[Piece, ...], fraction: float, seed: int) -> tuple[list[PartPiece], list[PartPiece]]:
    """Return the remaining rows, and a random ``fraction`` of the rows, as pieces.

    The rows drawn from a piece depend only on ``seed`` and the index of the piece.
    """
    left: list[PartPiece] = []
    taken: list[PartPiece] = []
    for number, piece in enumerate(pieces):
        drawn = np.random.default_rng((seed, number)).random(piece.n_rows) < fraction
        for parts, rows in ((taken, drawn), (left, ~drawn)):
            parts.append(labeled_part(piece, rows))
    return left, taken


def labeled_part(piece: Piece, taken: np.ndarray) -> PartPiece:
    """Select rows of a piece that have targets; targets of the other rows may be missing."""
    return part_of(reread(piece, optional_targets=True), taken)


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
