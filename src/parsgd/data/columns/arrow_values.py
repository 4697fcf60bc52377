"""Values of Arrow columns as numbers and as texts.  pyarrow is imported only when there is such a column."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.data.columns.numeric import arrow, flat, is_number, is_text, plain_types
from parsgd.data.sources.piece_reader import BadRow
from parsgd.errors import DataFileError

_DAY_SECONDS = 86_400.0


def bad_value(column: str, row: int | None, what: str, remedy: str) -> DataFileError:
    """The error of a column that cannot be used, in one ``row`` of the batch or, None, in all of them.

    Who reads the batch adds where it is (:func:`parsgd.data.formats.tables.chunk_of`,
    :mod:`parsgd.data.sources.piece_reader`).
    """
    said = f"column {column!r} {what}. {remedy}"
    return DataFileError(said) if row is None else BadRow(row, said)


def located(error: DataFileError, name: str, first_row: int) -> DataFileError:
    """The same error with the name of what was read; ``first_row``, from 0 on, is the number of the batch's first."""
    if isinstance(error, BadRow):
        return DataFileError(f"{name}, row {first_row + error.row + 1:,}: {error.what}")
    return error if name in str(error) else DataFileError(f"{name}: {error}")


def kind_of_type(kind: Any) -> str:
    """``number``, ``moment`` (a date, a time, a duration), ``text``, ``nothing`` or ``other``."""
    types = arrow().types
    if types.is_dictionary(kind):
        return kind_of_type(kind.value_type)
    if is_number(kind):
        return "number"
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_duration(kind):
        return "moment"
    if is_text(kind):
        return "text"
    return "nothing" if types.is_null(kind) else "other"


def numbers_in(column: Any, name: str) -> np.ndarray:
    """``(n_rows,)`` numbers of an Arrow array, NaN where a value is missing.

    True is 1; a date or a moment counts in days since 1970 (UTC), a duration in seconds.
    """
    if column.type.id in plain_types() and not column.null_count:
        return column.to_numpy()
    pa = arrow()
    column = flat(column)
    kind = kind_of_type(column.type)
    if kind == "moment":
        return _moments(column)
    if kind in ("text", "other"):
        raise bad_value(
            name, None, f"holds {column.type}, not numbers", "Declare it as OneHot, HashedCategories or Text."
        )
    column = column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _moments(column: Any) -> np.ndarray:
    pa = arrow()
    if pa.types.is_date(column.type):
        days = column.cast(pa.timestamp("ms")).cast(pa.int64())
        return days.to_numpy(zero_copy_only=False) / (1e3 * _DAY_SECONDS)
    per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    counted = column.cast(pa.int64()).to_numpy(zero_copy_only=False) / per_second
    return counted if pa.types.is_duration(column.type) else counted / _DAY_SECONDS


def texts_in(column: Any, name: str) -> tuple[np.ndarray, list[str]]:
    """``(codes, texts)`` of an Arrow array: each row's number in the list of different texts, -1 where it is missing.

    Numbers become texts as they are written: 3 and 3.0 are both "3".
    """
    pa = arrow()
    if not pa.types.is_dictionary(column.type):
        if kind_of_type(column.type) == "other":
            raise bad_value(name, None, f"holds {column.type}, not texts or numbers", "Leave it out of columns=.")
        column = column.cast(pa.string()).dictionary_encode()
    texts = column.dictionary.cast(pa.string()).to_pylist()
    codes = column.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    if None in texts:
        codes = np.where(codes == texts.index(None), -1, codes)
        texts = [text or "" for text in texts]
    return codes, texts
