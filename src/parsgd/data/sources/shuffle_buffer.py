"""Shuffle buffers: windows of rows in memory, refilled repeatedly."""

from __future__ import annotations

import numpy as np

from parsgd.core import CsrRows, DenseRows, Rows
from parsgd.data.contracts import LazyRows, Matrix, is_csr
from parsgd.data.sources.piece_reader import PosedRows
from parsgd.utils.row_arrays import read_only

# Target size of a window, its maximum, and the minimum number of rows, which holds unless it exceeds the maximum.
_WINDOW_BYTES, _MOST_BYTES, _FEWEST_ROWS = 16 << 20, 128 << 20, 8192
# Default of the stored values per CSR row, and the growth factor of the buffer.
_GUESSED_VALUES, _GROWTH = 64.0, 1.5


def bytes_per_row(n_features: int, dtype: str, sparse: bool, values_per_row: float | None) -> float:
    """Compute the memory of one row: its values and, for CSR rows, their indices."""
    size = np.dtype(dtype).itemsize
    if not sparse:
        return float(max(n_features, 1) * size)
    values = min(_GUESSED_VALUES, n_features) if values_per_row is None else values_per_row
    return max(values, 1.0) * (size + 4)


def usual_rows(row_bytes: float) -> int:
    """Return the default number of rows of a window: a power of two, to fit batches, in about 16 MiB.

    At least 8,192, unless these take more than 128 MiB.

    >>> usual_rows(54 * 4), usual_rows(3000.0), usual_rows(8 * 47_000)
    (65536, 8192, 256)
    """
    rows = 1 << int(np.log2(max(_WINDOW_BYTES / row_bytes, 1.0)))
    most = 1 << int(np.log2(max(_MOST_BYTES / row_bytes, 1.0)))
    return max(rows, min(_FEWEST_ROWS, most))


class DenseBuffer:
    """A matrix of ``n_rows``, filled from the first row on."""

    def __init__(self, n_rows: int, n_features: int, dtype: str):
        self.matrix: np.ndarray = np.empty((n_rows, n_features), dtype=dtype)

    def put(self, at: int, x: Matrix | LazyRows, begin: int, end: int) -> None:
        """Copy rows ``begin`` to ``end - 1`` of ``x`` to row ``at``."""
        if not isinstance(x, (np.ndarray, LazyRows)) or x.shape[1] != self.matrix.shape[1]:
            raise _unlike("dense", self.matrix.shape[1], x)
        target = self.matrix[at : at + end - begin]
        if isinstance(x, LazyRows):
            x.write(target, begin, end)
        else:
            target[:] = x[begin:end]

    def rows(self, n_rows: int) -> DenseRows:
        return DenseRows(read_only(self.matrix[:n_rows].reshape(-1)), self.matrix.shape[1])


class CsrBuffer:
    """Consecutive CSR rows in arrays that grow on demand."""

    def __init__(self, n_rows: int, n_features: int, dtype: str, values_per_row: float | None):
        values = int(n_rows * (min(_GUESSED_VALUES, n_features) if values_per_row is None else values_per_row) * 1.05)
        self.n_features = n_features
        self.data: np.ndarray = np.empty(values + 1, dtype=dtype)
        self.indices: np.ndarray = np.empty(values + 1, dtype=np.int32 if n_features < 2**31 else np.int64)
        self.indptr: np.ndarray = np.zeros(n_rows + 1, dtype=np.int64)

    def put(self, at: int, x: Matrix | LazyRows, begin: int, end: int) -> None:
        """Copy rows ``begin`` to ``end - 1`` of ``x`` to row ``at``."""
        if not is_csr(x) or x.shape[1] != self.n_features:
            raise _unlike("CSR", self.n_features, x)
        first, stop = int(x.indptr[begin]), int(x.indptr[end])
        filled = int(self.indptr[at])
        needed = filled + stop - first
        if needed > len(self.data):
            size = max(needed, int(len(self.data) * _GROWTH))
            self.data, self.indices = _grown(self.data, filled, size), _grown(self.indices, filled, size)
        self.data[filled:needed] = x.data[first:stop]
        self.indices[filled:needed] = x.indices[first:stop]
        np.add(x.indptr[begin + 1 : end + 1], filled - first, out=self.indptr[at + 1 : at + 1 + end - begin])

    def rows(self, n_rows: int) -> CsrRows:
        stored = int(self.indptr[n_rows])
        wide = stored >= 2**31 or self.indices.dtype == np.int64
        kind = np.int64 if wide else np.int32
        # the dtypes of ArraySource, to avoid another compilation
        indices = self.indices[:stored].astype(kind, copy=False)
        indptr = self.indptr[: n_rows + 1].astype(kind)
        return CsrRows(read_only(self.data[:stored]), read_only(indices), read_only(indptr))


def _grown(old: np.ndarray, filled: int, size: int) -> np.ndarray:
    new = np.empty(size, dtype=old.dtype)
    new[:filled] = old[:filled]
    return new


def _unlike(form: str, n_features: int, x: Matrix | LazyRows) -> TypeError:
    return TypeError(
        f"The source declared {form} rows of {n_features} features; a piece returned {type(x).__name__} of shape"
        f" {x.shape}."
    )


class ShuffleBuffer:
    """A buffer of up to ``n_rows`` examples, of which ``n`` are filled.

    Refilling the buffer overwrites the result of :meth:`rows`.
    """

    def __init__(self, n_rows: int, n_features: int, dtype: str, sparse: bool, values_per_row: float | None):
        self.x: CsrBuffer | DenseBuffer = (
            CsrBuffer(n_rows, n_features, dtype, values_per_row) if sparse else DenseBuffer(n_rows, n_features, dtype)
        )
        self.dtype: str = dtype
        self.size: int = n_rows
        self.y: np.ndarray | None = None
        self.weight: np.ndarray | None = None
        self.n: int = 0
        self._seen: Rows | None = None

    def clear(self) -> None:
        self.n, self.weight, self._seen = 0, None, None

    def put(self, posed: PosedRows, begin: int, end: int) -> None:
        """Append rows ``begin`` to ``end - 1`` of ``posed``."""
        n, stop = self.n, self.n + end - begin
        self.x.put(n, posed.x, begin, end)
        if self.y is None:
            # a network with one output has a column of targets
            self.y = np.empty((self.size, *posed.y.shape[1:]), dtype=posed.y.dtype)
        self.y[n:stop] = posed.y[begin:end]
        if posed.weight.size and self.weight is None:
            self.weight = np.ones(self.size, dtype=self.dtype)
        if self.weight is not None:
            self.weight[n:stop] = posed.weight[begin:end] if posed.weight.size else 1.0
        self.n = stop

    def rows(self) -> Rows:
        """Return the rows of the buffer, read-only."""
        if self._seen is None:
            weight = np.zeros(0, dtype=self.dtype) if self.weight is None else self.weight[: self.n]
            y = np.zeros(0, dtype=self.dtype) if self.y is None else self.y[: self.n]
            self._seen = Rows(self.x.rows(self.n), read_only(y), read_only(weight))
        return self._seen
