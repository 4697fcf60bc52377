"""From targets as data have them to targets as kernels take them: picklable, since workers do it where they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError

# Integer labels that span less than this are counted in a table, which is several times faster than sorting or hashing.
_FAR_APART = 1 << 16


@dataclass(frozen=True, eq=False)
class LabelEncoder:
    """Class labels as -1 and 1 ``(n_rows,)``, form ``"signs"``; as class numbers ``(n_rows,)`` int64, ``"numbers"``; or
    as 0 and 1 ``(n_rows, 1)``, ``"column"``.  ``factors (n_classes,)`` multiply the weights."""

    classes: np.ndarray
    form: str
    dtype: str
    factors: np.ndarray | None = None

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.ndim != 1:
            raise InvalidArgumentError(f"y must be (n_rows,), as it was before; its shape is {y.shape}.")
        weight = plain_weight(weight, self.dtype)
        if self.factors is not None:
            factors = self.factors[class_numbers(self.classes, y)].astype(self.dtype)
            weight = factors * (weight if weight.size else 1)
        if self.form == "numbers":
            return class_numbers(self.classes, y), weight
        second = is_second(self.classes, y).astype(self.dtype)
        return (2 * second - 1 if self.form == "signs" else second[:, None]), weight


@dataclass(frozen=True)
class MultiLabelEncoder:
    """0 and 1 for each of ``n_labels`` labels, ``(n_rows, n_labels)``."""

    n_labels: int
    dtype: str

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.ndim != 2 or y.shape[1] != self.n_labels:
            raise InvalidArgumentError(f"y must have {self.n_labels} labels a row; its shape is {y.shape}.")
        if not np.isin(y, (0, 1)).all():
            raise InvalidArgumentError(f"y of several labels a row must hold 0 and 1 only. Got {np.unique(y)[:5]}.")
        return np.ascontiguousarray(y, dtype=self.dtype), plain_weight(weight, self.dtype)


@dataclass(frozen=True)
class ValueEncoder:
    """Numbers ``(n_rows,)``; given ``column``, ``(n_rows, n_outputs)``.  ``loss="poisson"`` refuses those below 0."""

    dtype: str
    loss: Any = None
    column: bool = False

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.dtype.kind not in "biuf":
            raise InvalidArgumentError(f"A regression needs numbers as targets; the first one is {y[0]!r}.")
        if isinstance(self.loss, str) and self.loss == "poisson" and np.any(y < 0):
            raise InvalidArgumentError(f"loss='poisson' needs targets y >= 0; the smallest one is {y.min()}.")
        y = y.reshape(len(y), -1) if self.column else y
        return np.ascontiguousarray(y, dtype=self.dtype), plain_weight(weight, self.dtype)


@dataclass(frozen=True)
class OneClassEncoder:
    """1 for every row, whatever its target: all belong to the one class."""

    dtype: str

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(len(y), dtype=self.dtype), plain_weight(weight, self.dtype)


def plain_weight(weight: np.ndarray | None, dtype: Any) -> np.ndarray:
    """``(n_rows,)``, or empty when every row weighs 1."""
    return np.zeros(0, dtype=dtype) if weight is None else np.ascontiguousarray(weight, dtype=dtype)


def classes_of(y: np.ndarray) -> np.ndarray:
    """The sorted labels, ``(n_classes,)``: ``numpy.unique``; of integers that lie close together they are counted.

    >>> classes_of(np.array([7, -2, 7]))
    array([-2,  7])
    """
    found = _from_least(y)
    if found is None:
        return np.unique(y)
    least, above = found
    # in the labels' own type, which wraps around to the right ones where the span is wider than it
    return np.flatnonzero(np.bincount(above)).astype(y.dtype) + y.dtype.type(least)


def is_second(classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``(n_rows,)`` bool, whether each label is the second of the sorted ``classes``.

    >>> is_second(np.array(["no", "yes"]), np.array(["yes", "no"]))
    array([ True, False])
    """
    if len(classes) == 2 and classes.dtype.kind == y.dtype.kind:
        second = y == classes[1]
        if np.count_nonzero(second) + np.count_nonzero(y == classes[0]) == len(y):
            return second
    # this one says which label is unknown
    return class_numbers(classes, y) == 1


def class_numbers(classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``(n_rows,)`` int64, the number of each label among the sorted ``classes``.

    >>> class_numbers(np.array(["no", "yes"]), np.array(["yes", "no"]))
    array([1, 0])
    """
    found = _from_least(y) if classes.dtype.kind in "iu" else None
    if found is not None:
        numbers = _looked_up(classes, *found)
        if len(numbers) == 0 or numbers.min() >= 0:
            return numbers
    try:
        numbers = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    except TypeError:
        raise InvalidArgumentError(
            f"`y` has classes not in `self.classes_`: {classes.tolist()[:20]} are {classes.dtype}, y is {y.dtype} with"
            f" {y[0]!r} as its first."
        ) from None
    unknown = classes[numbers] != y
    if np.any(unknown):
        labels = np.unique(np.asarray(y)[unknown])[:5].tolist()
        raise InvalidArgumentError(
            f"`y` has classes not in `self.classes_`: labels {labels} are not among {classes.tolist()[:20]}. Name all"
            " classes in the first call to partial_fit."
        )
    return numbers.astype(np.int64)


def _from_least(y: np.ndarray) -> tuple[int, np.ndarray] | None:
    """The least label and how far each is above it, int64; None where they are no integers, or far apart."""
    if y.dtype.kind not in "iu" or y.size == 0:
        return None
    least, largest = int(y.min()), int(y.max())
    if largest - least >= min(_FAR_APART, 8 * y.size):
        return None
    # unsigned ones may be beyond int64, signed ones farther apart than their own type reaches
    above = np.subtract(y, least, dtype=np.int64) if y.dtype.kind == "i" else (y - y.dtype.type(least))
    return least, above.astype(np.int64, copy=False)


def _looked_up(classes: np.ndarray, least: int, above: np.ndarray) -> np.ndarray:
    """The number of each label, -1 where it is not among the classes."""
    numbers = np.full(int(above.max()) + 1, -1, dtype=np.int64)
    for number, label in enumerate(classes.tolist()):
        if 0 <= label - least < len(numbers):
            numbers[label - least] = number
    return numbers[above]
