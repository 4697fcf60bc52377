"""Pieces of tables: conversion of batches to chunks of rows, with file and row in errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.data.columns.arrow_values import bad_value, located, numbers_in, spelled
from parsgd.data.columns.numeric import arrow, kind_of_type
from parsgd.data.contracts import ArrowBatch, ArrowColumn, ArrowTable, ArrowType, BasePiece, Chunk, Reading
from parsgd.errors import DataFileError

# Rows decoded at a time: few enough for the CPU cache, and enough to amortize a call.
CHUNK_ROWS = 8192
# Rows per piece of a table in memory.
_PIECE_ROWS = 65_536
_NO_TARGET = "Give the row a target, or leave it out (of Parquet by filters=)."


def chunk_of(batch: ArrowBatch, reading: Reading, name: str, first_row: int) -> Chunk:
    """Convert an Arrow batch to rows; ``name`` and 0-based ``first_row`` locate errors."""
    try:
        return Chunk(reading.encoder.encode(batch), *targets_and_weights(batch, reading))
    except DataFileError as error:
        raise located(error, name, first_row) from error


def targets_and_weights(batch: ArrowBatch, reading: Reading) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Read the targets and the weights ``(n_rows,)`` of a batch, as far as the reading has them."""
    target, weight, labels = reading.target, reading.weight, reading.encoder.labels
    y = None if target is None else targets_in(batch.column(target), target, labels, reading.optional_targets)
    return y, None if weight is None else weights_in(batch.column(weight), weight)


def targets_in(column: ArrowColumn, name: str, labels: str | None, optional: bool) -> np.ndarray:
    """Read ``(n_rows,)`` targets of the table's type: texts as str, integers, floats or booleans.

    ``labels`` is the target type at fit time: ``text``, ``number`` or ``boolean``. Targets of another type are
    converted if possible. Missing targets raise an error, or are NaN or empty if they are ``optional``.
    """
    pa = arrow()
    kind = kind_of_type(column.type)
    if kind == "text" or (labels == "text" and kind == "number"):
        y = _text_targets(column, name, optional)
        return y if kind != "text" or labels in (None, "text") else _converted(y, labels)
    if kind not in ("number", "nothing"):
        what = f"is the target, and holds {column.type}"
        raise bad_value(name, None, what, "Targets are numbers, texts or booleans.")
    if column.null_count and not optional:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise bad_value(name, row, "is the target, and is missing", _NO_TARGET)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not column.null_count and (pa.types.is_boolean(column.type) or pa.types.is_integer(column.type)):
        y = column.to_numpy(zero_copy_only=False)
    else:
        y = numbers_in(column, name)
        bad = np.isinf(y) if optional else ~np.isfinite(y)
        if bad.any():
            row = int(np.argmax(bad))
            what = f"is the target, and is {'missing' if np.isnan(y[row]) else y[row]}"
            raise bad_value(name, row, what, _NO_TARGET)
    if labels == "boolean" and y.dtype != bool and np.isin(y[~np.isnan(y)], (0, 1)).all():
        return y == 1
    return y.astype(np.int64) if labels == "number" and y.dtype == bool else y


def label_type(kind: ArrowType) -> str:
    """Classify an Arrow type as target type: ``text``, ``number`` or ``boolean``."""
    pa = arrow()
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return "boolean" if pa.types.is_boolean(value) else "number" if kind_of_type(value) == "number" else "text"


def _text_targets(column: ArrowColumn, name: str, optional: bool) -> np.ndarray:
    """Read targets as stripped texts; numbers get their canonical spelling."""
    pa = arrow()
    column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = column.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    values = column.dictionary.to_pylist()
    texts = [_target_text(value) for value in values]
    missing = np.array([*(not text for text in texts), True])[codes]
    if missing.any() and not optional:
        raise bad_value(name, int(np.argmax(missing)), "is the target, and is missing", _NO_TARGET)
    texts.append("")
    return np.array(texts, dtype=str)[codes]


def _target_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, bool) else spelled(value)


def _converted(y: np.ndarray, labels: str) -> np.ndarray:
    """Convert texts to numbers or booleans; return them unchanged if that fails."""
    try:
        if labels == "number":
            return y.astype(np.float64)
        known = {"true": True, "false": False, "1": True, "0": False}
        return np.array([known[spelled(text)] for text in y.tolist()], dtype=bool)
    except (ValueError, KeyError):
        return y


def weights_in(column: ArrowColumn, name: str) -> np.ndarray:
    """Read ``(n_rows,)`` weights; raise if one is missing or negative."""
    weight = numbers_in(column, name)
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise bad_value(name, row, f"is the weight, and is {weight[row]}", "Weights must be finite and >= 0.")
    return weight


@dataclass(frozen=True)
class TablePiece(BasePiece):
    """Rows ``[first_row, first_row + n_rows)`` of a table in memory; pickled with its rows."""

    table: ArrowTable
    name: str
    first_row: int
    reading: Reading

    @property
    def n_rows(self) -> int:
        return self.table.num_rows

    def chunks(self) -> Iterator[Chunk]:
        at = self.first_row
        for batch in self.table.select(self.reading.names).to_batches(max_chunksize=CHUNK_ROWS):
            yield chunk_of(batch, self.reading, self.name, at)
            at += batch.num_rows


def as_arrow(data: Any) -> ArrowTable:
    """Convert a pandas, polars or Arrow table to an Arrow table; return None for anything else."""
    home = type(data).__module__.partition(".")[0]
    if home == "pandas" and hasattr(data, "columns"):
        return _of_pandas(data)
    if home == "polars" and hasattr(data, "to_arrow") and hasattr(data, "columns"):
        arrow()
        return data.to_arrow()
    if home == "pyarrow":
        pa = arrow()
        if isinstance(data, pa.RecordBatch):
            return pa.Table.from_batches([data])
        return data if isinstance(data, pa.Table) else None
    return None


def _of_pandas(frame: Any) -> Any:
    pa = arrow()
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataFileError(f"the table has more than one column {twice[0]!r}. Give each column a distinct name.")
    # Arrow does not support sparse pandas columns
    packed = {name: kind.subtype for name, kind in frame.dtypes.items() if hasattr(kind, "fill_value")}
    try:
        return pa.Table.from_pandas(frame.astype(packed) if packed else frame, preserve_index=False)
    except (pa.ArrowException, TypeError) as error:
        raise DataFileError(
            f"the table cannot be read: {' '.join(map(str, error.args))}. Convert the column to numbers or texts, or"
            " leave it out."
        ) from error


def table_pieces(table: ArrowTable, name: str, reading: Reading) -> list[TablePiece]:
    """Slice the table into pieces without a copy."""
    return [
        TablePiece(table.slice(start, _PIECE_ROWS), name, start, reading)
        for start in range(0, table.num_rows, _PIECE_ROWS)
    ]
