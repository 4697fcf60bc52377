"""Contracts of data sets: pieces of rows, chunks of a piece, and encoders of table columns.

A data set is a list of **pieces**, such as a row group of a Parquet file, a span of a text file, or a partition on a
Dask worker. A piece yields **chunks** of rows. Pieces of tables convert batches of columns to rows with an **encoder**.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class Chunk(NamedTuple):
    """Some rows as read.

    ``x`` is ``(n, n_features)``, an ndarray or a CSR matrix. ``y (n,)`` holds the targets as stored (also texts), or is
    None. ``weight`` is ``(n,)`` or None.
    """

    x: Any
    y: np.ndarray | None
    weight: np.ndarray | None


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
    home : str or None
        Address of the machine that holds the rows in memory, if there is one.
    finite : bool
        True if the piece checks for NaN and infinite values; the reader checks the rows of other pieces.
    """

    @property
    def name(self) -> str: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def home(self) -> str | None: ...
    @property
    def finite(self) -> bool: ...

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows in stored order, a few thousand at a time, so that the piece need not fit in memory.

        Every pass yields the same rows, or raises an error that names the change.
        """
        ...

    def lazy_chunks(self) -> Iterator[Chunk]:
        """Yield the same chunks, for a caller with its own output array: ``x`` may be :class:`LazyRows`."""
        ...

    def futures(self) -> list[Any]:
        """Return the futures of data on a cluster that the piece needs where it is read."""
        ...

    def filled(self, values: Iterator[Any]) -> Piece:
        """Return the piece with the next of ``values``, the results of its futures, in their place."""
        ...


class BasePiece:
    """Defaults of the members of :class:`Piece`: a piece that is read from files, without Dask."""

    home: str | None = None
    finite: bool = False

    def chunks(self) -> Iterator[Chunk]:
        raise NotImplementedError

    def lazy_chunks(self) -> Iterator[Chunk]:
        return self.chunks()

    def futures(self) -> list[Any]:
        return []

    def filled(self, values: Iterator[Any]) -> Any:
        return self


# Converts targets and weights as read to those for kernels: ``y`` in the dtype of the data or as class indices, and
# ``weight (n,)``, empty if all weights are 1. Picklable.
Pose = Callable[[np.ndarray | None, np.ndarray | None], tuple[np.ndarray, np.ndarray]]


def pose_numbers(y: np.ndarray | None, weight: np.ndarray | None, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Convert numeric targets and weights to ``dtype``: the :data:`Pose` of a model of one output.

    >>> pose_numbers(np.array([1, 0]), None, "float32")
    (array([1., 0.], dtype=float32), array([], dtype=float32))
    """
    return np.asarray(y, dtype=dtype), np.zeros(0, dtype=dtype) if weight is None else np.asarray(weight, dtype=dtype)
