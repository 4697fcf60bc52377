"""Pieces: the parts in which data that do not fit in memory are read.

A piece is a row group of a Parquet file, a stretch of a text file, a partition that lies on a worker.  It knows how
many rows it has, and reads them when asked, where it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class Chunk(NamedTuple):
    """Some rows as they were read: ``x`` is ``(n, n_features)``, an ndarray or a CSR matrix; ``y`` ``(n,)`` holds the
    targets as the data have them (texts, too), or is None; ``weight`` is ``(n,)`` or None."""

    x: Any
    y: np.ndarray | None
    weight: np.ndarray | None


@runtime_checkable
class Piece(Protocol):
    """Small and picklable.

    ``name`` says which it is, in errors: ``"flights/part-3.parquet, row group 7"``.  ``home`` is where its rows lie in
    memory already (the address of a machine), or None.  ``chunks`` reads it in stored order, some thousand rows at a
    time, so that not all of it need be in memory; always the same rows, or an error that says what has changed.  A
    piece that has ``finite = True`` has looked for NaN and infinite numbers itself; the others are looked through.  One
    that has ``passing`` can do without memory of its own for rows: ``x`` has a ``shape``, can be sliced, and its
    ``write(out, begin, end)`` makes rows in the room that it is given.
    """

    name: str
    n_rows: int
    home: str | None

    def chunks(self) -> Iterator[Chunk]: ...


# Targets and weights as they were read -> as kernels take them: ``y`` in the dtype of the data or as class numbers, and
# ``weight (n,)``, empty where all weigh 1.  Picklable.
Pose = Callable[[np.ndarray | None, np.ndarray | None], tuple[np.ndarray, np.ndarray]]
