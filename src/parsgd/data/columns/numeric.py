"""Conversion of numeric Arrow columns to a row-major matrix of a given dtype."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from parsgd.data.contracts import ArrowColumn, ArrowType
from parsgd.errors import MissingDependencyError
from parsgd.utils import first_use


def arrow() -> Any:
    """Import and return pyarrow.

    Raises MissingDependencyError if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
    except ModuleNotFoundError as error:
        raise MissingDependencyError("Parquet files and tables need pyarrow: pip install 'parsgd[files]'") from error
    return pyarrow


def scaled(
    values: np.ndarray, place: int, centers: Sequence[float] | None, divisors: Sequence[float] | None
) -> np.ndarray:
    """Compute ``(value - center) / divisor`` in the column's precision or better.

    float32 is too coarse for a timestamp in seconds.
    """
    if centers is not None and centers[place] != 0.0:
        values = values - float(centers[place])
    if divisors is not None and divisors[place] != 1.0:
        values = values / float(divisors[place])
    return values


def put_plain(
    columns: Sequence[ArrowColumn],
    out: np.ndarray,
    centers: Sequence[float] | None,
    divisors: Sequence[float] | None,
) -> list[int]:
    """Write columns of plain numbers without missing values into ``out (n_rows, n_columns)``, scaled.

    Return the indices of the other columns.
    """
    plain = plain_types()
    groups: dict[int, list[int]] = {}
    others: list[int] = []
    for place, column in enumerate(columns):
        kind = column.type.id
        (groups.setdefault(kind, []) if kind in plain and not column.null_count else others).append(place)
    if groups and len(out):
        copy_columns = first_use.kernels("columns_to_rows").copy_columns
        center = np.zeros(len(columns)) if centers is None else np.asarray(centers, dtype=np.float64)
        divisor = np.ones(len(columns)) if divisors is None else np.asarray(divisors, dtype=np.float64)
        # the columns of one type in one call, which releases the GIL
        for places in map(np.array, groups.values()):
            kind = columns[places[0]].type
            size = kind.bit_width // 8
            starts = [columns[place].buffers()[1].address + columns[place].offset * size for place in places]
            like = np.empty(0, dtype=kind.to_pandas_dtype())
            copy_columns(np.array(starts, dtype=np.int64), like, out, places, center[places], divisor[places])
    return others


@functools.cache
def plain_types() -> frozenset[int]:
    """Return the ids of the Arrow types that NumPy reads without a copy."""
    pa = arrow()
    whole = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    return frozenset(kind.id for kind in (*whole, pa.float32(), pa.float64()))


def flat(column: ArrowColumn) -> ArrowColumn:
    """Convert to one array, without chunks or a dictionary."""
    pa = arrow()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def kind_of_type(kind: ArrowType) -> str:
    """Classify an Arrow type: ``number``, ``moment`` (date, timestamp, duration), ``time``, ``text``, ``nothing`` or
    ``other``; booleans are numbers.
    """
    types = arrow().types
    if types.is_dictionary(kind):
        return kind_of_type(kind.value_type)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        return "number"
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_duration(kind):
        return "moment"
    if types.is_time(kind):
        return "time"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    return "nothing" if types.is_null(kind) else "other"
