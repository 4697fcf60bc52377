"""Contracts of data sets: pieces of rows, chunks of a piece, and encoders of table columns.

A data set is a list of **pieces**, such as a row group of a Parquet file, a span of a text file, or a partition on a
Dask worker. A piece yields **chunks** of rows. A piece of a table has a **reading**: the columns to read, and the
**encoder** that converts batches of them to rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeGuard, runtime_checkable

import numpy as np
from scipy.sparse import csr_array, csr_matrix

# Objects of pyarrow, which has no type stubs and is imported on first use.
ArrowBatch: TypeAlias = Any
ArrowColumn: TypeAlias = Any
ArrowSchema: TypeAlias = Any
ArrowTable: TypeAlias = Any
ArrowType: TypeAlias = Any


CsrMatrix: TypeAlias = csr_array | csr_matrix
Matrix: TypeAlias = np.ndarray | CsrMatrix


class LazyRows(ABC):
    """Dense rows that are computed when they are written to their destination."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    @abstractmethod
    def write(self, out: np.ndarray, begin: int, end: int) -> None:
        """Write rows ``begin`` to ``end - 1`` into ``out``."""

    @abstractmethod
    def __getitem__(self, rows: slice | np.ndarray) -> LazyRows | np.ndarray:
        """Return a slice as lazy rows, other selections as an array."""


def is_csr(x: Matrix | LazyRows) -> TypeGuard[CsrMatrix]:
    """Return True unless rows are dense.

    >>> is_csr(np.ones((2, 3)))
    False
    """
    return not isinstance(x, (np.ndarray, LazyRows))


class Chunk(NamedTuple):
    """Some rows as read.

    ``x`` is ``(n, n_features)``, an ndarray or a CSR matrix. ``y (n,)`` holds the targets as stored (also texts), or is
    None. ``weight`` is ``(n,)`` or None.
    """

    x: Matrix | LazyRows
    y: np.ndarray | None
    weight: np.ndarray | None

    @property
    def n_rows(self) -> int:
        return self.x.shape[0]

    def select(self, rows: slice | np.ndarray) -> Chunk:
        """Return some rows."""
        if isinstance(rows, slice) and rows == slice(0, self.n_rows):
            return self
        y, weight = (None if part is None else part[rows] for part in (self.y, self.weight))
        # Arrow batches are not indexed by rows
        batch = type(self.x).__module__.partition(".")[0] == "pyarrow"
        x: Any = self.x
        return Chunk(x.take(rows) if batch else x[rows], y, weight)


@runtime_checkable
class BatchEncoder(Protocol):
    """Conversion of Arrow batches to rows.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns to read.
    texts, numbers : tuple of str
        Those to read as texts or as numbers, regardless of their apparent type.
    labels : str or None
        Type of the targets that the encoder was learned from: ``text``, ``number`` or ``boolean``.
    n_features : int
        0 if batches are not converted.
    dtype : str
    sparse : bool
        True for CSR rows.
    """

    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def texts(self) -> tuple[str, ...]: ...
    @property
    def numbers(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> str | None: ...
    @property
    def n_features(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def sparse(self) -> bool: ...

    def encode(self, batch: ArrowBatch, out: np.ndarray | None = None) -> Any:
        """Return ``(n_rows, n_features)`` rows; dense rows may be written into ``out``."""
        ...


@runtime_checkable
class ColumnLearner(Protocol):
    """A specification of columns that becomes an encoder once the data are open; ``texts`` are read as texts."""

    @property
    def texts(self) -> Collection[str]: ...

    def learn(self, columns: tuple[str, ...], pieces: Sequence[Piece], schema: ArrowSchema) -> BatchEncoder:
        """Return the encoder of a table with these columns (without target and weight)."""
        ...


@dataclass(frozen=True)
class Reading:
    """The part of a table that a piece reads: the columns of ``encoder``, and those of targets and weights, if any.

    ``optional_targets`` permits missing targets, for a reader that drops such rows.
    """

    encoder: BatchEncoder
    target: str | None = None
    weight: str | None = None
    optional_targets: bool = False

    @property
    def names(self) -> list[str]:
        """Names of all columns to read, each once."""
        wanted = [*self.encoder.columns, self.target, self.weight]
        return list(dict.fromkeys(name for name in wanted if name is not None))


@runtime_checkable
class Piece(Protocol):
    """A small picklable object that reads some rows on demand, in the process that uses them.

    :class:`BasePiece` has defaults for all members but ``name``, ``n_rows`` and ``chunks``.

    Attributes
    ----------
    name : str
        Name in errors: ``"flights/part-3.parquet, row group 7"``.
    n_rows : int
        Number of rows.
    where : str
        Name of the whole, such as a file, in errors that name a row.
    rows_before : int
        Number of rows of the whole before this piece.
    home : str or None
        Address of the machine that holds the rows in memory, if there is one.
    finite : bool
        True if the piece checks for NaN and infinite values; the reader checks the rows of other pieces.
    reading : Reading or None
        The columns to read; None unless it is a piece of a table.
    """

    @property
    def name(self) -> str: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def where(self) -> str: ...
    @property
    def rows_before(self) -> int: ...
    @property
    def home(self) -> str | None: ...
    @property
    def finite(self) -> bool: ...
    @property
    def reading(self) -> Reading | None: ...

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows in stored order, a few thousand at a time, so that the piece need not fit in memory.

        Every pass yields the same rows, or raises an error that names the change.
        """
        ...

    def lazy_chunks(self) -> Iterator[Chunk]:
        """Yield the same chunks, for a caller with its own output array: ``x`` may be :class:`LazyRows`."""
        ...

    def reread(self, reading: Reading) -> Piece:
        """Return the piece with another reading; called only for pieces of tables."""
        ...

    def futures(self) -> list[Any]:
        """Return the futures of data on a cluster that the piece needs where it is read."""
        ...

    def filled(self, values: Iterator[Any]) -> Piece:
        """Return the piece with the next of ``values``, the results of its futures, in their place."""
        ...


def reread(piece: Piece, **changes: Any) -> Piece:
    """Change fields of the :class:`Reading` of a piece of a table; return other pieces unchanged."""
    return piece if piece.reading is None else piece.reread(replace(piece.reading, **changes))


class BasePiece:
    """Defaults of the members of :class:`Piece`; a piece of a table is a dataclass with a field ``reading``."""

    home: str | None = None
    finite: bool = False
    reading: Reading | None = None

    @property
    def where(self) -> str:
        this: Any = self
        return this.name

    @property
    def rows_before(self) -> int:
        return 0

    def chunks(self) -> Iterator[Chunk]:
        raise NotImplementedError

    def lazy_chunks(self) -> Iterator[Chunk]:
        return self.chunks()

    def reread(self, reading: Reading) -> Any:
        this: Any = self
        return this if self.reading is None else replace(this, reading=reading)

    def futures(self) -> list[Any]:
        return []

    def filled(self, values: Iterator[Any]) -> Any:
        return self


# Converts targets and weights as read to those for kernels: ``y`` in the dtype of the data or as class indices, and
# ``weight (n,)``, empty if all weights are 1. Picklable.
Pose: TypeAlias = Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]]


def pose_numbers(y: np.ndarray, weight: np.ndarray | None, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Convert numeric targets and weights to ``dtype``: the :data:`Pose` of a model of one output.

    >>> pose_numbers(np.array([1, 0]), None, "float32")
    (array([1., 0.], dtype=float32), array([], dtype=float32))
    """
    return np.asarray(y, dtype=dtype), np.zeros(0, dtype=dtype) if weight is None else np.asarray(weight, dtype=dtype)
