"""Blocks ``(X, y)`` or ``(X, y, weight)`` from a list, a function or a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.data.contracts import BasePiece, Chunk
from parsgd.data.formats.npy_arrays import ArrayPiece, as_rows, check_finite, handle_of
from parsgd.errors import DataFileError, InvalidArgumentError
from parsgd.utils import interrupts, temporary

_FORMS = "(X, y) or (X, y, weight)"


def block_of(item: Any, number: int) -> tuple[Any, Any, Any]:
    """Validate a user's block and return ``(X, y, weight)``."""
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        raise InvalidArgumentError(f"Block {number} must be {_FORMS}. Got {type(item).__name__} instead.")
    x, y, weight = (*item, None)[:3]
    x = x.tocsr() if sparse.issparse(x) else np.asarray(x)
    if x.ndim != 2 or x.dtype.kind not in "biuf":
        raise InvalidArgumentError(
            f"X of block {number} must be numbers, (n_rows, n_features); it is {x.dtype} {x.shape}."
        )
    for name, part in (("y", y), ("weight", weight)):
        if part is not None and np.shape(part) != (x.shape[0],):
            raise InvalidArgumentError(
                f"{name} of block {number} must have {x.shape[0]} values; its shape is {np.shape(part)}."
            )
    return x, *(None if part is None else np.asarray(part) for part in (y, weight))


def list_pieces(blocks: Sequence[Any], dtype: str) -> list[ArrayPiece]:
    """Make a piece of each block of a list."""
    pieces = []
    for number, item in enumerate(blocks):
        x, y, weight = (None if part is None else handle_of(part, "a block") for part in block_of(item, number))
        pieces.append(ArrayPiece(x, y, weight, 0, x.shape[0], dtype, f"block {number}"))
    return pieces


@dataclass(frozen=True)
class CalledPiece(BasePiece):
    """All rows that a function yields; each pass calls it again, and must yield the same rows."""

    make: Callable[[], Iterable[Any]]
    n_rows: int
    n_features: int
    dtype: str

    @property
    def name(self) -> str:
        return f"blocks of {getattr(self.make, '__name__', type(self.make).__name__)}()"

    def chunks(self) -> Iterator[Chunk]:
        rows = 0
        for number, item in enumerate(self.make()):
            x, y, weight = block_of(item, number)
            if x.shape[1] != self.n_features:
                raise DataFileError(
                    f"{self.name}: block {number} has {x.shape[1]} features, and the first has {self.n_features}."
                )
            x = as_rows(x, self.dtype)
            check_finite(x, y, weight, self.name, rows)
            rows += x.shape[0]
            if rows > self.n_rows:
                break
            yield Chunk(x, y, weight)
        if rows != self.n_rows:
            raise DataFileError(
                f"{self.name}: yielded {rows:,} rows{' or more' * (rows > self.n_rows)} in this pass, and"
                f" {self.n_rows:,} in the first one. It must yield the same rows in every pass."
            )


def called_pieces(make: Callable[[], Iterable[Any]], dtype: str) -> list[CalledPiece]:
    """Make one piece, after a pass that counts its rows."""
    rows, features = 0, None
    for number, item in enumerate(make()):
        x, _, _ = block_of(item, number)
        rows, features = rows + x.shape[0], x.shape[1] if features is None else features
    return [CalledPiece(make, rows, features, dtype)] if rows else []


@dataclass(frozen=True)
class MappedCsr:
    """CSR rows with three memory-mapped arrays."""

    data: Any
    indices: Any
    indptr: Any
    shape: tuple[int, int]

    def __getitem__(self, at: slice) -> sparse.csr_matrix:
        first, last, _ = at.indices(self.shape[0])
        indptr = np.asarray(self.indptr[first : last + 1])
        places = slice(int(indptr[0]), int(indptr[-1]))
        shape = (last - first, self.shape[1])
        return sparse.csr_matrix((self.data[places], self.indices[places], indptr - indptr[0]), shape=shape)


def spooled_pieces(blocks: Iterable[Any], dtype: str) -> tuple[list[ArrayPiece], temporary.TemporaryFolder]:
    """Write the blocks of a generator to files; they exist as long as the returned folder."""
    with interrupts.shielded():
        folder = temporary.TemporaryFolder("blocks")
    try:
        pieces = [
            _written_block(folder.path, *block_of(item, number), number, dtype) for number, item in enumerate(blocks)
        ]
    except BaseException:
        folder.close()
        raise
    return pieces, folder


def _written_block(folder: Path, x: Any, y: Any, weight: Any, number: int, dtype: str) -> ArrayPiece:
    """Write a block, and return the piece that reads it."""

    def written(part: Any, name: str) -> Any:
        if part is None:
            return None
        path = folder / f"{number}-{name}.npy"
        np.save(path, part.astype(str) if part.dtype.kind == "O" else part)
        return handle_of(path, "a block")

    if sparse.issparse(x):
        parts = (written(getattr(x, name), name) for name in ("data", "indices", "indptr"))
        held: Any = MappedCsr(*parts, x.shape)
    else:
        held = written(as_rows(x, dtype), "x")
    return ArrayPiece(held, written(y, "y"), written(weight, "weight"), 0, x.shape[0], dtype, f"block {number}")
