"""svmlight (libsvm) files: spans of lines, each parsed by scikit-learn's reader."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.data.contracts import Chunk, CsrMatrix, Piece
from parsgd.data.formats.line_spans import RowScanner, SpanPiece, blocks_of_rows, read_span, spans
from parsgd.data.formats.paths import Address
from parsgd.data.sources.part_piece import PartPiece
from parsgd.errors import DataFileError


@dataclass(frozen=True)
class SvmlightPiece(SpanPiece):
    """A span of an svmlight file, or all of a compressed one; ``first`` is the index of its first feature, 0 or 1."""

    n_features: int
    first: int
    dtype: str
    # True to leave out features beyond n_features
    wider: bool = False
    # divisor of each feature
    scale: tuple[float, ...] | None = None

    def chunks(self) -> Iterator[Chunk]:
        self.address.check(self.stamp)
        rows = 0
        for block in read_span(self.address, self.span, RowScanner(str(self.address), None)):
            x, y = parsed(block, self.name, self.dtype)
            rows += len(y)
            yield Chunk(self._fitting(x), y, None)
        if rows != self.n_rows:
            raise DataFileError(f"{self.name}: {rows:,} rows were read, and {self.n_rows:,} were counted.")

    def _fitting(self, x: CsrMatrix) -> CsrMatrix:
        """Convert to ``n_features`` columns, counted from 0."""
        if self.wider:
            x = x[:, : self.n_features + self.first]
        if len(x.indices) and not self.first <= x.indices.min() <= x.indices.max() < self.n_features + self.first:
            raise DataFileError(
                f"{self.name}: has features {x.indices.min()} to {x.indices.max()}; {self.n_features:,} were expected,"
                f" counted from {self.first}. Give n_features= when you open the data."
            )
        indices = x.indices - np.int32(self.first) if self.first else x.indices
        data = x.data if self.scale is None else (x.data / np.array(self.scale)[indices]).astype(x.dtype)
        return sparse.csr_matrix((data, indices, x.indptr), shape=(x.shape[0], self.n_features))


def parsed(block: bytes, name: str, dtype: str) -> tuple[CsrMatrix, np.ndarray]:
    """Parse lines to ``(x, y)``, with columns numbered as in the file."""
    from sklearn.datasets import load_svmlight_file

    try:
        # the dtype applies to the targets, too
        loaded: Any = load_svmlight_file(io.BytesIO(block), zero_based=True, dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise DataFileError(f"{name}: cannot be read as svmlight: {error}. Is the file complete?") from error
    x, y = loaded
    if not np.isfinite(x.data).all() or not np.isfinite(y).all():
        raise DataFileError(f"{name}: holds numbers that are not finite; correct them.")
    return x.astype(dtype), y


@dataclass(frozen=True)
class SvmlightColumns:
    """The numbering of svmlight features: ``n_features`` of them, counted from 0 or from 1.

    ``scale`` holds their divisors, if any.
    """

    n_features: int
    zero_based: bool
    scale: tuple[float, ...] | None = None

    @property
    def feature_names(self) -> list[str]:
        return [f"x{i}" for i in range(self.n_features)]

    def pieces(self, addresses: Sequence[Address], dtype: str) -> tuple[list[SvmlightPiece], list[str]]:
        """Return ``(pieces, notes)`` of files with the same feature numbering.

        Raises DataFileError if a file numbers its features differently.
        """
        found, (low, where), (high, wide) = _scanned(addresses, dtype)
        first = int(not self.zero_based)
        notes: list[str] = []
        if low < first:
            raise DataFileError(
                f"{where}: has a feature with the number 0, and the model counts features from 1. Write the file with"
                " numbers from 1 on, or use zero_based=True (--zero-based)."
            )
        extra = high + 1 - first - self.n_features
        if extra == 1 and self.zero_based and low > 0:
            raise DataFileError(
                f"{wide}: has features {low} to {high}, and the model has {self.n_features:,}, counted from 0. The"
                " file seems to count from 1: use zero_based=False (--one-based), or leave out the last feature."
            )
        if extra > 0:
            notes.append(f"{extra:,} columns that the model has not seen were left out")
        width = self.n_features
        pieces = [replace(piece, n_features=width, first=first, wider=extra > 0, scale=self.scale) for piece in found]
        return pieces, notes


def _scanned(addresses: Sequence[Address], dtype: str) -> tuple[list[SvmlightPiece], tuple[int, str], tuple[int, str]]:
    """Return the pieces, and the lowest and highest feature index with their files, from one pass."""
    pieces: list[SvmlightPiece] = []
    lowest, highest = [(1 << 62, "")], [(-1, "")]
    for address in addresses:
        stamp = address.stamp()
        sizes: list[tuple[int, int]] = []
        with address.open() as file:
            for block, _ in blocks_of_rows(file, RowScanner(str(address), None)):
                x, y = parsed(block, str(address), dtype)
                sizes.append((len(block), len(y)))
                if len(x.indices):
                    lowest.append((int(x.indices.min()), str(address)))
                    highest.append((int(x.indices.max()), str(address)))
        pieces += [SvmlightPiece(address, span, stamp, 0, 0, dtype) for span in spans(sizes, 0, address.packed)]
    return pieces, min(lowest), max(highest)


def svmlight_pieces(
    addresses: Sequence[Address], n_features: int | None, zero_based: bool | None, dtype: str
) -> tuple[list[SvmlightPiece], SvmlightColumns]:
    """Return the pieces of svmlight files, and the numbering of their features.

    ``zero_based=None``: features count from 1 if no file has feature 0.
    """
    found, (low, where), (high, _) = _scanned(addresses, dtype)
    if zero_based is False and low == 0:
        raise DataFileError(f"{where}: has a feature with the number 0, and zero_based=False was given. Leave it out.")
    first = int(high >= 0 and low > 0) if zero_based is None else int(not zero_based)
    width = high + 1 - first
    if n_features is not None and n_features < width:
        raise DataFileError(
            f"{addresses[0]}: n_features={n_features} was given, and the files have {width:,} features, counted from"
            f" {first}. Give a larger number, or None."
        )
    columns = SvmlightColumns(n_features or max(width, 1), first == 0)
    width = columns.n_features
    return [replace(piece, n_features=width, first=first) for piece in found], columns


def rescaled(piece: Piece, scale: tuple[float, ...] | None) -> Piece:
    """Set the divisors of the features of a piece of an svmlight file."""
    if isinstance(piece, PartPiece):
        return replace(piece, piece=rescaled(piece.piece, scale))
    return replace(piece, scale=scale) if isinstance(piece, SvmlightPiece) else piece
