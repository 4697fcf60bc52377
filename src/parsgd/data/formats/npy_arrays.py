"""Arrays in memory, in ``.npy`` files, or memory-mapped; a mapped array is pickled by file name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.data.contracts import BasePiece, Chunk
from parsgd.data.formats.paths import Address
from parsgd.errors import DataFileError, InvalidArgumentError

# Rows per piece, and values per chunk.
_PIECE_ROWS, _CHUNK_VALUES = 65_536, 1 << 20


@dataclass(frozen=True)
class MappedArray:
    """An array in a file, from ``offset`` on."""

    address: Address
    stamp: tuple[Any, ...]
    offset: int
    dtype: str
    shape: tuple[int, ...]
    order: str

    def __getitem__(self, at: slice) -> np.ndarray:
        self.address.check(self.stamp)
        # NumPy cannot map an empty array
        if 0 in self.shape:
            return np.empty(self.shape, dtype=self.dtype)[at]
        return np.memmap(self.address.path, self.dtype, "r", self.offset, self.shape, self.order)[at]


def handle_of(data: Any, what: str) -> Any:
    """Return a sliceable, cheaply pickled handle: :class:`MappedArray` for a mapped array, otherwise the array."""
    if isinstance(data, (str, os.PathLike)):
        path = os.fspath(data)
        try:
            data = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataFileError(f"{path}: cannot be read as an .npy file of numbers or texts: {error}.") from error
    if isinstance(data, np.memmap) and data.filename is not None:
        # only a contiguous view can be described by an offset into the file
        whole = data.flags.c_contiguous or data.flags.f_contiguous
        base = data
        while isinstance(base.base, np.memmap):
            base = base.base
        if whole:
            offset = base.offset + (data.ctypes.data - base.ctypes.data)
            address = Address(str(data.filename))
            order = "C" if data.flags.c_contiguous else "F"
            return MappedArray(address, address.stamp(), offset, data.dtype.str, data.shape, order)
    if sparse.issparse(data):
        return data.tocsr()
    array = np.asarray(data)
    if array.dtype.kind not in "biufUSO":
        raise InvalidArgumentError(f"{what} must be an array of numbers. Got {array.dtype} instead.")
    return array


@dataclass(frozen=True)
class ArrayPiece(BasePiece):
    """Rows ``[first, first + n_rows)`` of array handles; ``y`` and ``weight`` may be None."""

    x: Any
    y: Any
    weight: Any
    first: int
    n_rows: int
    dtype: str
    whole: str

    @property
    def form(self) -> str:
        """The width, the kind and the parts of the rows, which all blocks of a list must share."""
        kind = "dense" if isinstance(self.x, (np.ndarray, MappedArray)) else "CSR"
        extras = [name for name, part in (("y", self.y), ("weight", self.weight)) if part is not None]
        return f"{self.x.shape[1]} {kind} features with {' and '.join(extras) or 'no y'}"

    @property
    def name(self) -> str:
        return f"{self.whole} (rows {self.first + 1:,} to {self.first + self.n_rows:,})"

    def chunks(self) -> Iterator[Chunk]:
        width = self.x.shape[1]
        step = max(1, min(_CHUNK_VALUES // max(width, 1), 8192))
        for start in range(self.first, self.first + self.n_rows, step):
            at = slice(start, min(start + step, self.first + self.n_rows))
            x = as_rows(self.x[at], self.dtype)
            y, weight = (None if part is None else np.array(part[at]) for part in (self.y, self.weight))
            check_finite(x, y, weight, self.whole, start)
            yield Chunk(x, y, weight)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the piece's own rows of arrays in memory."""
        at = slice(self.first, self.first + self.n_rows)
        parts = {"x": self.x, "y": self.y, "weight": self.weight}
        if any(isinstance(part, MappedArray) for part in parts.values()):
            return self.__dict__
        own = {name: None if part is None else part[at] for name, part in parts.items()}
        return {**self.__dict__, **own, "first": 0, "whole": f"{self.whole}, from row {self.first + 1:,} on"}


def as_rows(x: Any, dtype: str) -> Any:
    """Convert to an array in C order, or to CSR, of the given dtype."""
    if sparse.issparse(x):
        return sparse.csr_matrix(x, dtype=dtype)
    return np.ascontiguousarray(x, dtype=dtype)


def check_finite(x: Any, y: Any, weight: Any, name: str, first: int) -> None:
    """Raise DataFileError, with the row, if a value is not finite; ``first`` is the number of the first row."""
    values = x.data if sparse.issparse(x) else x
    parts = [("feature", values), ("target", y), ("weight", weight)]
    for what, part in parts:
        if part is None or part.dtype.kind != "f" or np.isfinite(part).all():
            continue
        bad = int(np.flatnonzero(~np.isfinite(part).reshape(len(part), -1).all(axis=1))[0])
        if what == "feature" and sparse.issparse(x):
            bad = int(np.searchsorted(x.indptr, bad, side="right")) - 1
        raise DataFileError(
            f"{name}, row {first + bad + 1:,}: a {what} is missing or infinite. Correct it, or leave the row out."
        )
    if weight is not None and np.any(weight < 0):
        bad = int(np.argmax(weight < 0))
        raise DataFileError(f"{name}, row {first + bad + 1:,}: the weight is {weight[bad]}; weights must be >= 0.")


def array_pieces(data: Any, target: Any, weight: Any, dtype: str, name: str) -> list[ArrayPiece]:
    """Slice a matrix, an ``.npy`` file or a CSR matrix, with targets and weights of equal length, into pieces."""
    x = handle_of(data, "data")
    if len(x.shape) != 2 or np.dtype(x.dtype).kind not in "biuf":
        raise InvalidArgumentError(
            f"{name}: an array of numbers with rows and columns was expected; it has shape {tuple(x.shape)} and type"
            f" {x.dtype}."
        )
    parts = []
    for what, part in (("target", target), ("weight", weight)):
        part = None if part is None else handle_of(part, what)
        if part is not None and tuple(part.shape) not in ((x.shape[0],), (x.shape[0], 1)):
            raise InvalidArgumentError(
                f"{what}= has the shape {tuple(part.shape)}; {x.shape[0]:,} values were expected."
            )
        if part is not None:
            part = replace(part, shape=(x.shape[0],)) if isinstance(part, MappedArray) else part.reshape(-1)
        parts.append(part)
    rows = x.shape[0]
    return [
        ArrayPiece(x, *parts, start, min(_PIECE_ROWS, rows - start), dtype, name)
        for start in range(0, rows, _PIECE_ROWS)
    ]
