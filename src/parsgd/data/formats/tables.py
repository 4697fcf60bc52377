"""Pieces of tables: a batch becomes a chunk of rows, and what is wrong in it is said with file and row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.data.columns.arrow_values import bad_value, kind_of_type, located, numbers_in, texts_in
from parsgd.data.columns.numeric import arrow
from parsgd.data.sources.pieces import Chunk
from parsgd.errors import DataFileError

# Rows that are decoded at a time: few enough to stay in a cache, and many enough to be worth a call.
CHUNK_ROWS = 8192
# Rows of a piece of a table in memory.
_PIECE_ROWS = 65_536
_NO_TARGET = "Give the row a target, or leave it out (of Parquet by filters=)."


def chunk_of(
    batch: Any, encoder: Any, target: str | None, weight: str | None, name: str, first_row: int
) -> Chunk:  # fmt: skip
    """The rows of an Arrow batch; ``name`` and ``first_row``, from 0 on, say in errors where they are."""
    try:
        y = None if target is None else targets_in(batch.column(target), target)
        weights = None if weight is None else weights_in(batch.column(weight), weight)
        return Chunk(encoder.encode(batch), y, weights)
    except DataFileError as error:
        raise located(error, name, first_row) from error


def targets_in(column: Any, name: str) -> np.ndarray:
    """``(n_rows,)`` targets as the table has them: texts as str, whole numbers, floats, True and False."""
    pa = arrow()
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise bad_value(name, row, "is the target, and is missing", _NO_TARGET)
    kind = kind_of_type(column.type)
    if kind == "text":
        codes, texts = texts_in(column, name)
        return np.array(texts, dtype=str)[codes] if len(codes) else np.zeros(0, dtype=str)
    if kind != "number":
        what = f"is the target, and holds {column.type}"
        raise bad_value(name, None, what, "Targets are numbers, texts or booleans.")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type):
        return column.to_numpy(zero_copy_only=False)
    y = numbers_in(column, name)
    bad = ~np.isfinite(y)
    if bad.any():
        row = int(np.argmax(bad))
        what = f"is the target, and is {'missing' if np.isnan(y[row]) else y[row]}"
        raise bad_value(name, row, what, _NO_TARGET)
    return y


def weights_in(column: Any, name: str) -> np.ndarray:
    """``(n_rows,)`` weights, none of them missing or below 0."""
    weight = numbers_in(column, name)
    bad = ~(np.isfinite(weight) & (weight >= 0)) if weight.size else np.zeros(0, dtype=bool)
    if bad.any():
        row = int(np.argmax(bad))
        raise bad_value(name, row, f"is the weight, and is {weight[row]}", "Weights are finite numbers from 0 on.")
    return weight


@dataclass(frozen=True)
class TablePiece:
    """Rows ``[first_row, first_row + n_rows)`` of a table in memory; it travels by value."""

    table: Any
    name: str
    first_row: int
    encoder: Any
    target: str | None
    weight: str | None
    home: str | None = None

    @property
    def n_rows(self) -> int:
        return self.table.num_rows

    def chunks(self) -> Iterator[Chunk]:
        needed = dict.fromkeys(n for n in (*self.encoder.columns, self.target, self.weight) if n is not None)
        at = self.first_row
        for batch in self.table.select(list(needed)).to_batches(max_chunksize=CHUNK_ROWS):
            yield chunk_of(batch, self.encoder, self.target, self.weight, self.name, at)
            at += batch.num_rows


def as_arrow(data: Any) -> Any:
    """A pandas, polars or Arrow table as an Arrow table; None of anything else."""
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
        raise DataFileError(f"the table has more than one column {twice[0]!r}. Give each column a name of its own.")
    # Arrow takes no sparse columns of pandas
    packed = {name: kind.subtype for name, kind in frame.dtypes.items() if hasattr(kind, "fill_value")}
    try:
        return pa.Table.from_pandas(frame.astype(packed) if packed else frame, preserve_index=False)
    except (pa.ArrowException, TypeError) as error:
        raise DataFileError(
            f"the table cannot be read: {' '.join(map(str, error.args))}. Convert the column to numbers or texts, or"
            " leave it out."
        ) from error


def table_pieces(table: Any, name: str, encoder: Any, target: str | None, weight: str | None) -> list[TablePiece]:
    """The table in slices; nothing is copied."""
    return [
        TablePiece(table.slice(start, _PIECE_ROWS), name, start, encoder, target, weight)
        for start in range(0, table.num_rows, _PIECE_ROWS)
    ]
