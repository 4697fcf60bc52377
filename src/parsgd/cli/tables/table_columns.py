"""Kinds of columns and how each becomes numbers: what was learned from training rows, and its application.

Nothing in here is more than names, numbers and texts, so a model file can hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.errors import DataFileError

# Values turned into float64 at a time, so that wide 8-bit data need no second copy eight times their size.
_CHUNK_VALUES = 1 << 22
_WORD_FEATURES = 1 << 18
OTHER, MISSING = "(other)", "(missing)"


@dataclass
class NumberColumn:
    """Columns of numbers: ``(x - mean) / scale``, a missing ``x`` being ``fill``; all arrays are ``(n_columns,)``.

    ``dates`` are those that are read as dates and counted in days since 1970.
    """

    names: list[str]
    dates: list[str]
    fill: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def learn(cls, matrix: np.ndarray, names: list[str], dates: list[str], standardize: bool) -> NumberColumn:
        """Medians, means and standard deviations of the known values."""
        n = matrix.shape[1]
        fill, mean, scale = np.zeros(n), np.zeros(n), np.ones(n)
        step = max(1, _CHUNK_VALUES // max(len(matrix), 1))
        for start in range(0, n, step):
            part = np.asarray(matrix[:, start : start + step], dtype=np.float64)
            gaps = np.isnan(part)
            at = slice(start, start + part.shape[1])
            pairs = zip(part.T, gaps.T, strict=True)
            fill[at] = [0.0 if gap.all() else np.median(column[~gap]) for column, gap in pairs]
            if standardize:
                part = np.where(gaps, fill[at], part)
                mean[at], scale[at] = part.mean(axis=0), part.std(axis=0)
        # a column that does not vary: rounding must not be blown up into signal
        scale[scale <= 1e-12 * np.maximum(1.0, np.abs(mean))] = 1.0
        return cls(names, dates, fill, mean, scale)

    @property
    def width(self) -> int:
        return len(self.fill)

    def apply(self, matrix: np.ndarray, dtype: type) -> np.ndarray:
        """``(n_rows, n_columns)`` numbers of type ``dtype``, filled and scaled."""
        out = np.empty(matrix.shape, dtype=dtype)
        step = max(1, _CHUNK_VALUES // max(self.width, 1))
        for start in range(0, len(matrix), step):
            part = np.asarray(matrix[start : start + step], dtype=np.float64)
            part = np.where(np.isnan(part), self.fill, part)
            out[start : start + step] = (part - self.mean) / self.scale
        return out


@dataclass
class CategoryColumn:
    """A column of categories: one column of 0 and 1 for each.

    A category never seen in training is 0 in all of them, or counts as ``(other)`` where rare ones were put together.
    """

    name: str
    categories: list[str]
    other: bool
    missing: bool

    @classmethod
    def learn(cls, column: Any, name: str, most: int) -> CategoryColumn:
        """The ``most`` most frequent categories, in alphabetical order."""
        texts = as_texts(column)
        counts = texts.dropna().value_counts()
        missing = bool(texts.isna().any())
        other = len(counts) + missing > most
        ranked = sorted(counts.index, key=lambda category: (-counts[category], category))
        return cls(name, sorted(ranked[: max(1, most - 1 - missing)] if other else ranked), other, missing)

    @property
    def outputs(self) -> list[str]:
        """Names of the columns it becomes."""
        extra = [OTHER] * self.other + [MISSING] * self.missing
        return [f"{self.name}={category}" for category in (*self.categories, *extra)]

    @property
    def width(self) -> int:
        return len(self.categories) + self.other + self.missing

    def apply(self, frame: Any) -> sparse.csr_matrix:
        """``(n_rows, width)``, at most one 1 in a row."""
        import pandas as pd

        texts = as_texts(frame[self.name])
        codes = pd.Index(self.categories, dtype=object).get_indexer(texts.to_numpy(dtype=object))
        gaps = texts.isna().to_numpy()
        if self.other:
            codes[(codes < 0) & ~gaps] = len(self.categories)
        codes[gaps] = self.width - 1 if self.missing else -1
        known = codes >= 0
        pointers = np.concatenate([[0], np.cumsum(known)])
        shape = (len(codes), self.width)
        return sparse.csr_matrix((np.ones(known.sum(), dtype=np.float32), codes[known], pointers), shape=shape)


@dataclass
class TextColumn:
    """A column of running text: its words, counted and hashed into ``width`` columns, each row scaled to length 1."""

    name: str
    width: int = _WORD_FEATURES

    def apply(self, frame: Any) -> sparse.csr_matrix:
        """``(n_rows, width)``."""
        from sklearn.feature_extraction.text import HashingVectorizer

        texts = as_texts(frame[self.name])
        hashing = HashingVectorizer(n_features=self.width, alternate_sign=False, dtype=np.float32)
        return hashing.transform("" if text is None else text for text in texts)


def as_texts(column: Any) -> Any:
    """A Series of str objects and None, the same for 3, 3.0 and "3", whichever the file format made of it."""
    import pandas as pd

    def text(value: Any) -> str:
        return str(int(value)) if isinstance(value, (float, np.floating)) and value.is_integer() else str(value)

    # a category's text is made once, not once a row
    codes, values = pd.factorize(column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column)
    texts = np.array([*(text(value) for value in values), None], dtype=object)
    return pd.Series(texts[codes], dtype=object)


class BadCellError(DataFileError):
    """A value that cannot be used; ``row`` counts from 0 in the table that was given, ``what`` leaves the row out."""

    def __init__(self, message: str, row: int, what: str):
        super().__init__(message)
        self.row, self.what = row, what


def as_numbers(frame: Any, names: list[str], dates: list[str], where: str) -> np.ndarray:
    """``(n_rows, n_columns)`` float64 with NaN for what is missing.  Names the first row that holds something else."""
    out = np.empty((len(frame), len(names)))
    for i, name in enumerate(names):
        column = frame[name]
        numbers = days(column) if name in dates else plain_numbers(column)
        bad = np.isinf(numbers) | (np.isnan(numbers) & column.notna().to_numpy())
        if bad.any():
            row = int(np.argmax(bad))
            kind = "dates" if name in dates else "finite numbers"
            has, remedy = shown(column.iloc[row]), "Correct it, or leave it empty to have the median taken."
            raise BadCellError(
                f"{where}: column {name!r} should hold {kind}, and row {row + 1} has {has}. {remedy}",
                row, f"column {name!r} should hold {kind}, and has {has}. {remedy}",
            )  # fmt: skip
        out[:, i] = numbers
    return out


def shown(value: Any) -> str:
    """A value as it is written in a message.

    >>> shown(np.float64("inf")), shown("high")
    ('inf', "'high'")
    """
    return repr(value) if isinstance(value, str) else str(value)


def plain_numbers(column: Any) -> np.ndarray:
    """Numbers of a Series; NaN for what is missing or is no number.  True is 1, a duration counts in seconds."""
    import pandas as pd

    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return column.dt.total_seconds().to_numpy(dtype=float)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def days(column: Any) -> np.ndarray:
    """Dates of a Series as days since 1970 in UTC; NaN for what is missing or is no date."""
    import pandas as pd

    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = pd.Series(column.to_numpy(dtype=object), dtype=object)
    how = {"format": "ISO8601"} if column.dtype == object else {}
    moments = pd.to_datetime(column, errors="coerce", utc=True, **how)
    return ((moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)).to_numpy(dtype=float)
