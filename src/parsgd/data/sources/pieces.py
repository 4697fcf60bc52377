"""Pieces: the parts in which out-of-core data are read.

Examples are a row group of a Parquet file, a span of a text file, or a partition on a Dask worker. A piece has its
number of rows, and reads them on demand, in the process that uses them.
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
    """A small picklable object that reads some rows.

    ``name`` identifies the piece in errors: ``"flights/part-3.parquet, row group 7"``. ``home`` is the address of the
    machine that holds its rows in memory, or None. ``chunks`` yields the rows in stored order, a few thousand at a
    time, so that the piece need not fit in memory. Every pass yields the same rows, or raises an error that names the
    change. A piece with ``finite = True`` has checked for NaN and infinite values; the reader checks the others. A
    piece with ``passing`` avoids a copy: its ``x`` has a ``shape``, can be sliced, and ``write(out, begin, end)``
    writes rows into ``out``.
    """

    name: str
    n_rows: int
    home: str | None

    def chunks(self) -> Iterator[Chunk]: ...


# Converts targets and weights as read to those for kernels: ``y`` in the dtype of the data or as class indices, and
# ``weight (n,)``, empty if all weights are 1. Picklable.
Pose = Callable[[np.ndarray | None, np.ndarray | None], tuple[np.ndarray, np.ndarray]]
