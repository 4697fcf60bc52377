"""Conversion of numeric Arrow columns to a row-major matrix of a given dtype."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.data.sources.piece_reader import BadRow
from parsgd.errors import MissingDependencyError
from parsgd.utils import first_use


def arrow() -> Any:
    """Import and return pyarrow.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
    except ModuleNotFoundError as error:
        raise MissingDependencyError("Parquet files and tables need pyarrow: pip install 'parsgd[files]'") from error
    return pyarrow


def encode_numbers(
    batch: Any,
    names: Sequence[str],
    dtype: Any = "float32",
    fill: Mapping[str, float] | None = None,
    mean: np.ndarray | None = None,
    scale: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Encode columns of an Arrow RecordBatch: ``(value - mean) / scale``, shape ``(n_rows, len(names))``, C-order.

    ``fill`` maps a column to its replacement for missing values; ``mean`` and ``scale`` are ``(len(names),)``.

    Raises
    ------
    BadRow
        If a value is missing and has no replacement, or is NaN or infinite; names column and row.

    Examples
    --------
    >>> import pyarrow as pa
    >>> encode_numbers(pa.record_batch({"a": [1, 2], "b": [0.5, None]}), ["a", "b"], fill={"b": 0.0})
    array([[1. , 0.5],
           [2. , 0. ]], dtype=float32)
    """
    out = np.empty((batch.num_rows, len(names)), dtype=dtype) if out is None else out
    columns = [batch.column(name) for name in names]
    for place in put_plain(columns, out, mean, scale):
        values = numbers_of(columns[place], names[place], None if fill is None else fill.get(names[place]))
        out[:, place] = scaled(values, place, mean, scale)
    for place, column in enumerate(columns):
        if arrow().types.is_floating(column.type) and not column.null_count:
            _finite(column.to_numpy(), names[place])
    return out


def scaled(values: np.ndarray, place: int, centers: Any, divisors: Any) -> np.ndarray:
    """Compute ``(value - center) / divisor`` in the column's precision or better.

    float32 is too coarse for a timestamp in seconds.
    """
    if centers is not None and centers[place] != 0.0:
        values = values - float(centers[place])
    if divisors is not None and divisors[place] != 1.0:
        values = values / float(divisors[place])
    return values


def put_plain(columns: Sequence[Any], out: np.ndarray, centers: Any, divisors: Any) -> list[int]:
    """Write columns of plain numbers without missing values into ``out (n_rows, n_columns)``, scaled.

    Return the indices of the other columns.
    """
    kinds: dict[int, list[int]] = {}
    plain = plain_types()
    for place, column in enumerate(columns):
        kind = column.type.id if column.type.id in plain and not column.null_count else -1
        kinds.setdefault(kind, []).append(place)
    others = kinds.pop(-1, [])
    if len(out):
        for places in kinds.values():
            _put(columns, np.array(places), out, centers, divisors)
    return others


def _put(columns: Sequence[Any], places: np.ndarray, out: np.ndarray, centers: Any, divisors: Any) -> None:
    """Copy columns of one type in one call, which releases the GIL."""
    copy_columns = first_use.kernels("columns_to_rows").copy_columns

    kind = columns[places[0]].type
    size = kind.bit_width // 8
    addresses = [columns[place].buffers()[1].address + columns[place].offset * size for place in places]
    n = len(places)
    center = np.zeros(n) if centers is None else np.asarray(centers, dtype=np.float64)[places]
    divisor = np.ones(n) if divisors is None else np.asarray(divisors, dtype=np.float64)[places]
    like = np.empty(0, dtype=kind.to_pandas_dtype())
    copy_columns(np.array(addresses, dtype=np.int64), like, out, places, center, divisor)


def numbers_of(column: Any, name: str, fill: float | None = None) -> np.ndarray:
    """Return the finite numbers of an Arrow array ``(n,)``, as a view if possible.

    Booleans become 0 and 1, decimals float64.
    """
    if column.type.id in plain_types() and not column.null_count:
        return _finite(column.to_numpy(), name)
    pa = arrow()
    column = flat(column)
    if column.null_count:
        if fill is None:
            raise BadRow(
                first_null(column),
                f"column {name!r} has no value. Declare a replacement for missing values, or leave such rows out.",
            )
        column = column.cast(pa.float64()) if pa.types.is_integer(column.type) else column
        column = column.fill_null(fill)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "iuf":
        raise BadRow(0, f"column {name!r} holds {column.type}, not numbers. Declare it as a category or as text.")
    return _finite(values, name)


@functools.cache
def plain_types() -> frozenset:
    """Return the ids of the Arrow types that NumPy reads without a copy."""
    pa = arrow()
    whole = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    return frozenset(kind.id for kind in (*whole, pa.float32(), pa.float64()))


def flat(column: Any) -> Any:
    """Convert to one array, without chunks or a dictionary."""
    pa = arrow()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def is_text(kind: Any) -> bool:
    """Return True if an Arrow type holds texts, directly or in a dictionary."""
    types = arrow().types
    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_whole(kind: Any) -> bool:
    """Return True if an Arrow type holds integers."""
    return arrow().types.is_integer(kind)


def is_number(kind: Any) -> bool:
    """Return True if an Arrow type holds numbers; booleans count as 0 and 1."""
    types = arrow().types
    if types.is_dictionary(kind):
        return is_number(kind.value_type)
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)


def first_null(column: Any) -> int:
    """Return the row of the first missing value."""
    return int(np.argmin(column.is_valid().to_numpy(zero_copy_only=False)))


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    # a sum detects NaN and infinity at a fraction of the cost
    with np.errstate(over="ignore", invalid="ignore"):
        if values.dtype.kind != "f" or np.isfinite(values.sum()):
            return values
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise BadRow(int(bad[0]), f"column {name!r} is {values[bad[0]]}. Fill or drop such rows first.")
    return values


@dataclass(frozen=True)
class NumberEncoder:
    """The simplest encoder: the named columns, unscaled, row-major.

    >>> import pyarrow as pa
    >>> NumberEncoder(("a",)).encode(pa.record_batch({"a": [True, False]}))
    array([[1.],
           [0.]], dtype=float32)
    """

    columns: tuple[str, ...]
    dtype: str = "float32"
    sparse = False
    labels = None

    @property
    def n_features(self) -> int:
        return len(self.columns)

    def encode(self, batch: Any) -> np.ndarray:
        return encode_numbers(batch, self.columns, self.dtype)
