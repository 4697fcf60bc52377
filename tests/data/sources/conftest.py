"""Pieces in memory, of which tests know every row."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from parsgd.data.contracts import BasePiece, Chunk
from parsgd.data.sources.streaming_source import StreamingSource
from parsgd.errors import DataFileError


@dataclass
class MemoryPiece(BasePiece):
    """Rows of arrays, ``step`` at a time; fails at row ``bad``; ``claims`` to have so many rows; counts its reads."""

    name: str
    x: Any
    y: np.ndarray
    step: int = 3
    weight: np.ndarray | None = None
    bad: int | None = None
    claims: int | None = None
    home: str | None = None
    reads: list = field(default_factory=list, repr=False)

    @property
    def n_rows(self):
        return self.x.shape[0] if self.claims is None else self.claims

    def chunks(self):
        self.reads.append(self.name)
        for at in range(0, self.x.shape[0], self.step):
            part = slice(at, at + self.step)
            if self.bad is not None and at <= self.bad < at + self.step:
                raise DataFileError("the rows are damaged")
            yield Chunk(self.x[part], self.y[part], None if self.weight is None else self.weight[part])


def pose(y, weight):
    return y, np.zeros(0) if weight is None else weight


def pieces_of(sizes, n_features=3, step=3, csr=False, weighted=False, **settings):
    """Pieces of so many rows; the target of a row is its number in stored order."""
    rng, pieces, at = np.random.default_rng(0), [], 0
    for number, size in enumerate(sizes):
        x = rng.standard_normal((size, n_features)) * (rng.random((size, n_features)) < 0.7)
        y = np.arange(at, at + size, dtype=float)
        weight = 1.0 + y % 5 if weighted else None
        x = sparse.csr_matrix(x) if csr else x
        pieces.append(MemoryPiece(f"piece {number}", x, y, step, weight, **settings))
        at += size
    return pieces


def source_of(sizes=(), pieces=None, csr=False, n_features=3, weighted=False, dtype="float64", pose=pose, **settings):
    pieces = pieces_of(sizes, n_features, csr=csr, weighted=weighted) if pieces is None else pieces
    return StreamingSource(tuple(pieces), n_features, dtype, csr, pose, **settings)


def visited(shard, epoch=0, start=0, seed=7, keep=False):
    """The targets in the order of visits; the shard is closed then, or kept open."""
    try:
        found = [block.rows.y[block.order] for block in shard.blocks(seed, epoch, start)]
        return np.concatenate(found).astype(int).tolist() if found else []
    finally:
        if not keep:
            shard.close()


@pytest.fixture
def blocks():
    """``blocks.source(sizes)``, ``blocks.pieces(sizes)``, ``blocks.visited(shard)``."""

    class Blocks:
        piece = MemoryPiece
        source, pieces, visited = staticmethod(source_of), staticmethod(pieces_of), staticmethod(visited)

    return Blocks
