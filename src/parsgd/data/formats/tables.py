"""Pieces of tables: a batch becomes a chunk of rows, and what is wrong in it is said with file and row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.data.columns.arrow_values import bad_value, kind_of_type, located, numbers_in, spelled
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
        y = None if target is None else targets_in(batch.column(target), target, encoder)
        weights = None if weight is None else weights_in(batch.column(weight), weight)
        return Chunk(encoder.encode(batch), y, weights)
    except DataFileError as error:
        raise located(error, name, first_row) from error


def targets_in(column: Any, name: str, encoder: Any) -> np.ndarray:
    """``(n_rows,)`` targets as the table has them: texts as str, whole numbers, floats, True and False.

    ``encoder.labels`` is what they were in the data of the fit, ``text``, ``number`` or ``boolean``; targets of another
    type become such if they can.  Missing targets are refused, unless ``encoder.optional_targets`` is True: then they
    are NaN or empty.
    """
    pa, labels, optional = arrow(), encoder.labels, getattr(encoder, "optional_targets", False)
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


def label_type(kind: Any) -> str:
    """``text``, ``number`` or ``boolean``: what targets of an Arrow type are."""
    pa = arrow()
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return "boolean" if pa.types.is_boolean(value) else "number" if kind_of_type(value) == "number" else "text"


def _text_targets(column: Any, name: str, optional: bool) -> np.ndarray:
    """Texts without spaces around them; a number as a category is spelled."""
    pa = arrow()
    column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = column.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    values = column.dictionary.to_pylist()
    texts = [value.strip() if isinstance(value, str) else str(value) if value is True or value is False
             else spelled(value) for value in values]  # fmt: skip
    missing = np.array([*(not text for text in texts), True])[codes]
    if missing.any() and not optional:
        raise bad_value(name, int(np.argmax(missing)), "is the target, and is missing", _NO_TARGET)
    texts.append("")
    return np.array(texts, dtype=str)[codes] if len(codes) else np.zeros(0, dtype=str)


def _converted(y: np.ndarray, labels: str) -> np.ndarray:
    """Texts as the numbers or booleans that they spell; as they are if they spell none."""
    try:
        if labels == "number":
            return y.astype(np.float64)
        known = {"true": True, "false": False, "1": True, "0": False}
        return np.array([known[spelled(text)] for text in y.tolist()], dtype=bool)
    except (ValueError, KeyError):
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
