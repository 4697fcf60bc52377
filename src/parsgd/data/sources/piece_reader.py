"""Reading of spans of pieces in stored order, with the location of each error."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from parsgd.data.contracts import Chunk, LazyRows, Matrix, Piece, Pose, is_csr
from parsgd.errors import DataFileError, ParsgdError
from parsgd.utils.row_arrays import standard_csr


class BadRow(DataFileError):
    """An invalid row; ``row`` is its index in the chunk.

    The reader of the piece converts it to the row of the piece (:func:`error_location`).

    >>> BadRow(3, "column 'age' has no value").row
    3
    """

    def __init__(self, row: int, what: str):
        super().__init__(row, what)
        self.row: int = row
        self.what: str = what

    def __str__(self) -> str:
        return self.what


class PosedRows(NamedTuple):
    """Rows for a shuffle buffer.

    Shapes: ``x (n, n_features)``, ``y (n,)`` or ``(n, n_outputs)``, ``weight (n,)`` or empty.
    """

    x: Matrix | LazyRows
    y: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class RowSpan:
    """Rows ``first`` to ``stop - 1`` of a piece."""

    piece: Piece
    first: int
    stop: int

    @property
    def n_rows(self) -> int:
        return self.stop - self.first

    def cut(self, start: int, stop: int) -> RowSpan:
        """Return the span of its rows ``start`` to ``stop - 1``."""
        return RowSpan(self.piece, self.first + start, self.first + stop)

    def read(self, pose: Pose, skip: int = 0) -> Iterator[PosedRows]:
        """Read its rows from index ``skip`` on, in chunks of a few thousand; each call starts a new pass."""
        if skip >= self.n_rows:
            return
        first = self.first + skip
        for at, chunk in chunks_of(self.piece, self.stop):
            begin, end = max(first - at, 0), min(self.stop - at, chunk.n_rows)
            if begin >= end:
                continue
            with error_location(self.piece, at + begin, at + end):
                chunk = chunk.select(slice(begin, end))
                # data without targets, for models without targets: all rows belong to one class
                y = np.ones(chunk.n_rows) if chunk.y is None else chunk.y
                x = standard_csr(chunk.x) if is_csr(chunk.x) else chunk.x
                posed = PosedRows(x, *pose(y, chunk.weight))
                if not self.piece.finite:
                    check_rows_finite(posed)
            yield posed


def chunks_of(piece: Piece, stop: int | None = None, lazy: bool = True) -> Iterator[tuple[int, Chunk]]:
    """Yield ``(first_row, chunk)`` of a piece up to row ``stop``; rows may be lazy if ``lazy``.

    Raises DataFileError if the piece cannot be read, or its number of rows has changed; names the piece and the rows.
    """
    stop = piece.n_rows if stop is None else stop
    with error_location(piece, 0, piece.n_rows):
        chunks = iter(piece.lazy_chunks() if lazy else piece.chunks())
    at = 0
    with _closing(chunks):
        while at < stop:
            chunk = _next(piece, chunks, at)
            if chunk is None:
                raise DataFileError(_miscounted(piece, f"it ends after {at:,} rows"))
            following = at + chunk.n_rows
            # check for the end before using the last rows: the piece may raise an error there
            if following > piece.n_rows or (following == piece.n_rows and _next(piece, chunks, at) is not None):
                raise DataFileError(_miscounted(piece, "it has more"))
            if following > at:
                yield at, chunk
            at = following


def _closing(chunks: Iterator[Chunk]) -> contextlib.AbstractContextManager[object]:
    # a generator, or an iterator of an open file
    close = getattr(chunks, "close", None)
    return contextlib.nullcontext() if close is None else contextlib.closing(cast("Generator[Chunk]", chunks))


def check_rows_finite(posed: PosedRows) -> None:
    """Raise :class:`BadRow` if a value, a target or a weight is NaN or infinite.

    A sum detects them faster than an elementwise check, which runs only if the sum is not finite.
    """
    x = posed.x
    if isinstance(x, LazyRows):
        raise TypeError("Lazy rows are checked where they are computed: their piece must be finite.")
    stored = x if isinstance(x, np.ndarray) else x.data
    for what, values in (("a value", stored), ("the target", posed.y), ("the weight", posed.weight)):
        with np.errstate(over="ignore", invalid="ignore"):
            if values.dtype.kind != "f" or np.isfinite(values.sum()) or np.isfinite(values).all():
                continue
        where = np.argwhere(~np.isfinite(values))[0]
        number = int(where[0])
        if values is stored and not isinstance(x, np.ndarray):
            number = int(np.searchsorted(x.indptr, number, side="right")) - 1
        column = f" of feature {where[1]}" if len(where) > 1 else ""
        raise BadRow(number, f"{what}{column} is {values[tuple(where)]}. Fill or drop such rows first.")


@contextlib.contextmanager
def error_location(piece: Piece, first: int, stop: int) -> Generator[None]:
    """Add the piece, and the rows unless more is known, to errors raised in the block.

    A MemoryError passes unchanged, since the data are not its cause.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, ParsgdError) and piece.where in str(error):
            raise
        first += piece.rows_before
        if isinstance(error, BadRow):
            raise DataFileError(f"{piece.where} (row {first + error.row + 1:,}): {error}") from error
        message = str(error) if isinstance(error, ParsgdError) else f"{type(error).__name__}: {error}"
        raise DataFileError(f"{piece.where} ({rows_named(first, stop + piece.rows_before)}): {message}") from error


def rows_named(first: int, stop: int) -> str:
    """Format a range of rows, counted from 1.

    >>> rows_named(70_000, 80_000), rows_named(3, 4)
    ('rows 70,001 to 80,000', 'row 4')
    """
    return f"row {first + 1:,}" if stop - first <= 1 else f"rows {first + 1:,} to {stop:,}"


def _next(piece: Piece, chunks: Iterator[Chunk], at: int) -> Chunk | None:
    with error_location(piece, at, piece.n_rows):
        return next(chunks, None)


def _miscounted(piece: Piece, found: str) -> str:
    return (
        f"{piece.name}: {piece.n_rows:,} rows were counted when it was opened, and now {found}. Data must not change"
        " during a fit; open them again."
    )
