"""Conversion of Arrow columns to numbers and to texts. pyarrow is imported only when such a column is read.

Each value has one canonical spelling, independent of the file format: 3, 3.0 and "3.0" are ``3``, true and "True" are
``true``, and a timestamp at midnight is its date. Whitespace around a text is stripped, and an empty text is a missing
value.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

import numpy as np

from parsgd.data.columns.numeric import arrow, flat, kind_of_type, plain_types
from parsgd.data.sources.piece_reader import BadRow
from parsgd.errors import DataFileError

_DAY_SECONDS = 86_400.0
# Texts that stand for a missing number.
MISSING_NUMBERS = ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A", "<NA>"]
# Numbers as libraries write them; codes such as 01 and 1e5 stay as they are.
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+(?:e[-+]\d+)?|e[-+]\d+)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d.*|\d\d:\d\d:\d\d\.0+")
_CORRECT = "Correct it, or leave it empty if it is missing."


def bad_value(column: str, row: int | None, what: str, remedy: str) -> DataFileError:
    """Build the error for an unusable column: for one ``row`` of the batch, or for the whole column if None.

    The reader of the batch adds the location (:func:`parsgd.data.formats.tables.chunk_of`,
    :mod:`parsgd.data.sources.piece_reader`).
    """
    message = f"column {column!r} {what}. {remedy}"
    return DataFileError(message) if row is None else BadRow(row, message)


def located(error: DataFileError, name: str, first_row: int) -> DataFileError:
    """Add the name of the data to the error; ``first_row`` is the 0-based number of the batch's first row."""
    if isinstance(error, BadRow):
        return DataFileError(f"{name}, row {first_row + error.row + 1:,}: {error.what}")
    return error if name in str(error) else DataFileError(f"{name}: {error}")


def bad_number(name: str, expected: str, found: str) -> str:
    """Build the message for a value that does not match the type of its column."""
    return (
        f"column {name!r} should hold {expected}, and has {found!r}. {_CORRECT} If the column holds categories or text,"
        " declare it: columns= OneHot, HashedCategories or Text (--categorical)."
    )


def numbers_in(column: Any, name: str) -> np.ndarray:
    """Convert an Arrow array to ``(n_rows,)`` numbers, NaN where a value is missing.

    True becomes 1, a date days since 1970 (UTC), a duration and a time of day seconds. Texts are parsed as numbers.

    Raises BadRow if a text is not a number.
    """
    if column.type.id in plain_types() and not column.null_count:
        return column.to_numpy()
    pa = arrow()
    column = flat(column)
    kind = kind_of_type(column.type)
    if kind == "moment":
        return _moments(column)
    if kind == "time":
        return _seconds(column.cast(pa.time64("ns")).cast(pa.int64())) / 1e9
    if kind == "text":
        return _parsed(column, name)
    if kind == "other":
        raise bad_value(name, None, f"holds {column.type}, not numbers", "Leave it out of columns= (--drop).")
    column = column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column
    return _seconds(column.cast(pa.float64(), safe=False))


def _seconds(column: Any) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False)


def _trimmed(column: Any) -> Any:
    import pyarrow.compute as pc

    return pc.utf8_trim_whitespace(column)


def _parsed(column: Any, name: str) -> np.ndarray:
    """Parse a column of texts as numbers."""
    import pyarrow.compute as pc

    pa = arrow()
    texts = _trimmed(column)
    texts = pc.if_else(pc.is_in(texts, pa.array(MISSING_NUMBERS, texts.type)), None, texts)
    try:
        return _seconds(texts.cast(pa.float64()))
    except pa.ArrowInvalid:
        for row, text in enumerate(texts.to_pylist()):
            try:
                float(text or 0)
            except ValueError:
                raise BadRow(row, bad_number(name, "numbers", text)) from None
        return np.array([math.nan if text is None else float(text) for text in texts.to_pylist()])


def days_in(column: Any, name: str) -> np.ndarray:
    """Convert dates, or texts such as 2020-01-31, to ``(n_rows,)`` days since 1970 (UTC); NaN where missing.

    Raises BadRow if a value is not a date.
    """
    pa = arrow()
    column = flat(column)
    kind = kind_of_type(column.type)
    if kind == "nothing":
        return np.full(len(column), np.nan)
    if kind == "moment" and not pa.types.is_duration(column.type):
        return _moments(column)
    if kind != "text":
        raise bad_value(name, None, f"holds {column.type}, not dates", "Write dates as 2020-01-31.")
    encoded = _trimmed(column).dictionary_encode()
    found = np.array([*(_day(text) for text in encoded.dictionary.to_pylist()), math.nan])
    days = found[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    bad = np.flatnonzero(np.isinf(days))
    if len(bad):
        raise BadRow(int(bad[0]), bad_number(name, "dates such as 2020-01-31", column[int(bad[0])].as_py()))
    return days


def _day(text: str | None) -> float:
    """Convert a text to days since 1970: NaN for a missing value, infinity for anything but a date."""
    if text is None or text in MISSING_NUMBERS:
        return math.nan
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return math.inf
    moment = moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds() / _DAY_SECONDS


def _moments(column: Any) -> np.ndarray:
    pa = arrow()
    column = column.cast(pa.timestamp("ms")) if pa.types.is_date(column.type) else column
    per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    counted = column.cast(pa.int64()).to_numpy(zero_copy_only=False) / per_second
    return counted if pa.types.is_duration(column.type) else counted / _DAY_SECONDS


def texts_in(column: Any, name: str) -> tuple[np.ndarray, list[str]]:
    """Return ``(codes, texts)`` of an Arrow array: per row the index into the list of texts, -1 where it is missing.

    The texts are the canonical spellings (:func:`spelled`).
    """
    pa = arrow()
    if not pa.types.is_dictionary(column.type):
        if kind_of_type(column.type) == "other":
            raise bad_value(name, None, f"holds {column.type}, not texts or numbers", "Leave it out of columns=.")
        if pa.types.is_null(column.type):
            column = column.cast(pa.string())
        column = column.dictionary_encode()
    codes = column.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    texts = [spelled(value) for value in _values(column.dictionary)]
    if "" in texts:
        missing = np.array([*(text == "" for text in texts), True])
        codes = np.where(missing[codes], -1, codes)
    return codes, texts


def _values(column: Any) -> list[Any]:
    """Convert to Python objects, or to texts for types that Python lacks."""
    pa = arrow()
    kind = column.type
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        # shortest decimal representation of the float32, not of the nearest float64
        return [None if value is None else float(str(value)) for value in column.to_numpy(zero_copy_only=False)]
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            column = column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit))
        return column.cast(pa.string()).to_pylist()
    if pa.types.is_duration(kind):
        return [float(value) for value in _moments(column)]
    return column.to_pylist()


def spelled(value: Any) -> str:
    """Return the canonical spelling of a value as a category; empty if it is missing.

    >>> [spelled(value) for value in (3, 3.0, "3.0", " 2.50", "01", True, "TRUE", None, float("nan"))]
    ['3', '3', '3', '2.5', '01', 'true', 'true', '', '']
    >>> spelled("2020-01-31 00:00:00.000"), spelled("2020-01-31T12:30:00Z"), spelled(datetime.date(2020, 1, 31))
    ('2020-01-31', '2020-01-31 12:30:00', '2020-01-31')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    text = str(value).strip()
    if len(text) in (4, 5) and text.lower() in ("true", "false"):
        return text.lower()
    if not text[:1].isdigit() and not text.startswith("-"):
        return text
    if len(text) < 25 and _DECIMAL.fullmatch(text):
        return spelled(float(text))
    return _moment(text) if _MOMENT.fullmatch(text) else text


def _moment(text: str) -> str:
    """Format a timestamp in UTC without trailing zeros, or a time of day without a zero fraction."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        # fractions of a nanosecond, or a time of day
        return re.sub(r"\.0+$", "", text)
    moment = moment if moment.tzinfo is None else moment.astimezone(datetime.UTC).replace(tzinfo=None)
    if moment.time() == datetime.time():
        return moment.date().isoformat()
    return moment.isoformat(sep=" ")
