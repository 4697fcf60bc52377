"""Kinds of columns: declarations of table columns and their encoding as features.

A kind is a frozen dataclass. Statistics to learn from the data (a mean, a vocabulary) are ordinary fields: the user may
set them, and :mod:`parsgd.data.columns.column_stats` fills in the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.data.columns.arrow_values import bad_value, days_in, numbers_in
from parsgd.data.columns.categories import HashedCategories, OneHot, Text, names_given
from parsgd.data.columns.numeric import arrow, put_plain, scaled
from parsgd.errors import InvalidArgumentError, choose

__all__ = ["KINDS", "Dates", "HashedCategories", "Kind", "Numeric", "OneHot", "Text"]


@dataclass(frozen=True)
class Numeric:
    """Numeric columns, one feature each: ``(x - center) / divisor``, where a missing ``x`` is replaced by ``fill``.

    Parameters
    ----------
    names : str or list of str, default=()
        Empty: all numeric columns that no other kind names. Named dates and timestamps count in days since 1970,
        durations in seconds; True is 1.
    missing : None, a number, "mean" or "median", default=None
        Replacement of a missing value. None: an error that names file and row.
    scale : None, "standard" or "unit", default=None
        ``"standard"``: mean 0 and standard deviation 1; ``"unit"``: the smallest value becomes 0, the largest 1.
        Learned, like the mean, from a sample of the rows (see :func:`parsgd.open_dataset`).
    fill, center, divisor : tuple of float, optional
        Learned values, one number per column.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"age": [20.0, None], "rooms": [1, 3]})
    >>> Numeric(["age", "rooms"], missing=30).encode(batch, "float32")
    array([[20.,  1.],
           [30.,  3.]], dtype=float32)
    """

    names: Any = ()
    missing: Any = None
    scale: str | None = None
    fill: tuple[float, ...] | None = None
    center: tuple[float, ...] | None = None
    divisor: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", names_given(self.names, "Numeric"))
        number = isinstance(self.missing, (int, float, np.number)) and not isinstance(self.missing, bool)
        if not (self.missing is None or self.missing in ("mean", "median") or number and np.isfinite(self.missing)):
            raise InvalidArgumentError(
                f"Numeric(missing=) must be None, a number, 'mean' or 'median'. Got {self.missing!r} instead."
            )
        if self.scale is not None:
            choose(self.scale, ("standard", "unit"), "scale", "Numeric")
        if number and self.names and self.fill is None:
            object.__setattr__(self, "fill", (float(self.missing),) * len(self.names))
        for field in ("fill", "center", "divisor"):
            given = getattr(self, field)
            if given is not None and self.names and len(given) != len(self.names):
                raise InvalidArgumentError(f"Numeric({field}=) has {len(given)} numbers for {len(self.names)} columns.")

    @property
    def lacks(self) -> str:
        """Rows needed to learn the missing fields: ``nothing`` or a ``sample``."""
        fill = isinstance(self.missing, str) and self.fill is None
        return "sample" if fill or self.scale is not None and self.divisor is None else "nothing"

    @property
    def width(self) -> int:
        return len(self.names)

    @property
    def outputs(self) -> list[str]:
        return list(self.names)

    def encode(self, batch: Any, dtype: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Encode a batch as ``(n_rows, width)``, C-order, into ``out`` if present."""
        out = np.empty((batch.num_rows, self.width), dtype=dtype) if out is None else out
        columns = [batch.column(name) for name in self.names]
        exact = all(arrow().types.is_integer(column.type) and not column.null_count for column in columns)
        with np.errstate(over="ignore", invalid="ignore"):
            for i in put_plain(columns, out, self.center, self.divisor):
                out[:, i] = scaled(self.values(columns[i], i), i, self.center, self.divisor)
            # a sum detects NaN and infinity faster than an elementwise check
            if exact or np.isfinite(out.sum()) or np.isfinite(out).all():
                return out
        self._fill(out)
        if not np.isfinite(out).all():
            self._refuse(out)
        return out

    def values(self, column: Any, place: int) -> np.ndarray:
        """Convert the Arrow column at index ``place`` of ``names`` to ``(n_rows,)`` numbers, NaN where missing."""
        return numbers_in(column, self.names[place])

    def _fill(self, out: np.ndarray) -> None:
        """Replace missing values by ``fill``."""
        for i, fill in enumerate(self.fill or ()):
            gaps = np.isnan(out[:, i])
            out[gaps, i] = scaled(np.float64(fill), i, self.center, self.divisor)

    def _refuse(self, out: np.ndarray) -> None:
        row, i = np.argwhere(~np.isfinite(out))[0]
        what, remedy = f"is {out[row, i]}, not a finite number", "Correct it."
        if np.isnan(out[row, i]):
            what = "is missing"
            remedy = "Correct it, or declare what it counts as: Numeric([...], missing=0.0) or missing='median'."
        raise bad_value(self.names[i], int(row), what, remedy)


@dataclass(frozen=True)
class Dates(Numeric):
    """Date columns, one feature each: days since 1970 (UTC), filled and scaled like :class:`Numeric`.

    Texts are parsed as ISO 8601: ``2020-01-31``, ``2020-01-31T12:00``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> Dates("since").encode(pa.record_batch({"since": ["1970-01-02", "1970-01-03T12:00"]}), "float32")
    array([[1. ],
           [2.5]], dtype=float32)
    """

    def values(self, column: Any, place: int) -> np.ndarray:
        return days_in(column, self.names[place])


KINDS = (Numeric, Dates, OneHot, HashedCategories, Text)
Kind = Numeric | Dates | OneHot | HashedCategories | Text
