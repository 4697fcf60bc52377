"""svmlight (libsvm) files: spans of lines, each parsed by scikit-learn's reader."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.data.formats.line_spans import LineSpan, blocks_of_lines, read_span
from parsgd.data.formats.paths import Address
from parsgd.data.sources.pieces import Chunk
from parsgd.errors import DataFileError

# Bytes of a packed file that are parsed at a time.
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class SvmlightPiece:
    """A span of an svmlight file; of a packed one, all of it.  ``first`` is the number of its first feature, 0 or 1."""

    address: Address
    span: LineSpan
    stamp: tuple
    n_features: int
    first: int
    dtype: str
    with_target: bool = True
    home: str | None = None

    @property
    def n_rows(self) -> int:
        return self.span.n_rows

    @property
    def name(self) -> str:
        first = self.span.first_row + 1
        return f"{self.address} (rows {first:,} to {first + self.n_rows - 1:,})"

    def chunks(self) -> Iterator[Chunk]:
        self.address.check(self.stamp)
        rows = 0
        for block in _blocks(self.address, self.span):
            x, y = parsed(block, self.name, self.dtype)
            rows += len(y)
            yield Chunk(self._fitting(x), y if self.with_target else None, None)
        if rows != self.n_rows:
            raise DataFileError(f"{self.name}: {rows:,} rows were read, and {self.n_rows:,} were counted.")

    def _fitting(self, x: sparse.csr_matrix) -> sparse.csr_matrix:
        """With ``n_features`` columns, counted from 0."""
        if len(x.indices) and not self.first <= x.indices.min() <= x.indices.max() < self.n_features + self.first:
            raise DataFileError(
                f"{self.name}: has features {x.indices.min()} to {x.indices.max()}; {self.n_features:,} were expected,"
                f" counted from {self.first}. Give n_features= when you open the data."
            )
        indices = x.indices - np.int32(self.first) if self.first else x.indices
        return sparse.csr_matrix((x.data, indices, x.indptr), shape=(x.shape[0], self.n_features))


def parsed(block: bytes, name: str, dtype: str) -> tuple[sparse.csr_matrix, np.ndarray]:
    """``(x, y)`` of some lines, columns numbered as they are in the file."""
    from sklearn.datasets import load_svmlight_file

    try:
        # 64-bit values are what the targets are parsed as, too
        x, y = load_svmlight_file(io.BytesIO(block), zero_based=True, dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise DataFileError(f"{name}: cannot be read as svmlight: {error}. Is the file complete?") from error
    if not np.isfinite(x.data).all() or not np.isfinite(y).all():
        raise DataFileError(f"{name}: holds numbers that are not finite; correct them.")
    return x.astype(dtype), y


def _blocks(address: Address, span: LineSpan) -> Iterator[bytes]:
    if not address.packed:
        yield read_span(address, span)
        return
    with address.open() as file:
        yield from blocks_of_lines(file, quoted=False, size=_BLOCK_BYTES)


def svmlight_pieces(
    addresses: Sequence[Address], n_features: int | None, zero_based: bool | None, dtype: str
) -> list[SvmlightPiece]:
    """The pieces of svmlight files, found in one pass that parses them, since only then the width is known.

    ``zero_based=None``: features count from 1 if none is numbered 0 anywhere.
    """
    pieces, lowest, highest = [], [], [-1]
    for address in addresses:
        stamp, offset, rows, found = address.stamp(), 0, 0, []
        with address.open() as file:
            for block in blocks_of_lines(file, quoted=False):
                x, y = parsed(block, str(address), dtype)
                found.append(LineSpan(offset, len(block), len(y), rows))
                offset, rows = offset + len(block), rows + len(y)
                if len(x.indices):
                    lowest.append(int(x.indices.min()))
                    highest.append(int(x.indices.max()))
        if address.packed:
            found = [LineSpan(0, 0, rows, 0)] if found else []
        pieces += [SvmlightPiece(address, span, stamp, 0, 0, dtype) for span in found]
    first = int(min(lowest, default=0) > 0) if zero_based is None else int(not zero_based)
    width = max(highest) + 1 - first
    if n_features is not None and n_features < width:
        raise DataFileError(
            f"{addresses[0]}: n_features={n_features} was given, and the files have {width:,} features, counted from"
            f" {first}. Give a larger number, or None."
        )
    return [replace(piece, n_features=n_features or width, first=first) for piece in pieces]


def is_svmlight(ending: Any) -> bool:
    """Whether files that end so are svmlight files."""
    return ending in (".svm", ".svmlight", ".libsvm")
