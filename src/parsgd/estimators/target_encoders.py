"""Encoders of targets for the kernels; picklable, because workers encode the rows that they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgumentError

# Integer labels within this range are counted in a table, several times faster than sorting or hashing.
_MAX_TABLE_SPAN = 1 << 16


def check_classes(classes: Any) -> None:
    """Check the argument ``classes`` of ``partial_fit``."""
    if classes is not None and np.size(classes) == 0:
        raise InvalidArgumentError("classes must contain the labels of all calls; it is empty.")


@dataclass(frozen=True, eq=False)
class LabelEncoder:
    """Encoder of class labels.

    Form ``"signs"`` gives -1 and 1 ``(n_rows,)``, ``"numbers"`` class numbers ``(n_rows,)`` int64, ``"column"`` 0 and 1
    ``(n_rows, 1)``. ``factors (n_classes,)`` multiply the weights.
    """

    classes: np.ndarray
    form: str
    dtype: str
    factors: np.ndarray | None = None

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.ndim != 1:
            raise InvalidArgumentError(f"y must have shape (n_rows,), as before; its shape is {y.shape}.")
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
    """Encoder of multilabel targets: 0 and 1, ``(n_rows, n_labels)``."""

    n_labels: int
    dtype: str

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.ndim != 2 or y.shape[1] != self.n_labels:
            raise InvalidArgumentError(f"y must have {self.n_labels} labels per row; its shape is {y.shape}.")
        if not np.isin(y, (0, 1)).all():
            raise InvalidArgumentError(f"multilabel y must hold 0 and 1 only. Got {np.unique(y)[:5]}.")
        return np.ascontiguousarray(y, dtype=self.dtype), plain_weight(weight, self.dtype)


@dataclass(frozen=True)
class ValueEncoder:
    """Encoder of numeric targets: ``(n_rows,)``, or ``(n_rows, n_outputs)`` if ``column``.

    With ``nonnegative_loss``, the name of a loss, values below 0 raise an error.
    """

    dtype: str
    nonnegative_loss: str | None = None
    column: bool = False

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.dtype.kind not in "biuf":
            raise InvalidArgumentError(f"A regression needs numbers as targets; the first one is {y[0]!r}.")
        if y.dtype.kind == "f" and not np.isfinite(y).all():  # None in an array of objects
            raise InvalidArgumentError("Input y contains NaN or infinity; a regression needs finite targets.")
        if self.nonnegative_loss and np.any(y < 0):
            raise InvalidArgumentError(
                f"loss={self.nonnegative_loss!r} needs targets y >= 0; the smallest one is {y.min()}."
            )
        y = y.reshape(len(y), -1) if self.column else y
        return np.ascontiguousarray(y, dtype=self.dtype), plain_weight(weight, self.dtype)


@dataclass(frozen=True)
class OneClassEncoder:
    """Encoder that gives 1 for every row."""

    dtype: str

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(len(y), dtype=self.dtype), plain_weight(weight, self.dtype)


def plain_weight(weight: np.ndarray | None, dtype: Any) -> np.ndarray:
    """Return weights ``(n_rows,)``, or an empty array if every row has weight 1."""
    return np.zeros(0, dtype=dtype) if weight is None else np.ascontiguousarray(weight, dtype=dtype)


def classes_of(y: np.ndarray) -> np.ndarray:
    """Return the sorted labels ``(n_classes,)`` like ``numpy.unique``; integers in a small range are counted.

    >>> classes_of(np.array([7, -2, 7]))
    array([-2,  7])
    """
    span = _offsets_from_min(y)
    if span is None:
        return np.unique(y)
    minimum, offsets = span
    # computed in the labels' own type, whose wrap-around is correct where the range exceeds it
    return np.flatnonzero(np.bincount(offsets)).astype(y.dtype) + y.dtype.type(minimum)


def is_second(classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a bool array ``(n_rows,)``, True for labels equal to the second of the sorted ``classes``.

    >>> is_second(np.array(["no", "yes"]), np.array(["yes", "no"]))
    array([ True, False])
    """
    if len(classes) == 2 and classes.dtype.kind == y.dtype.kind:
        second = y == classes[1]
        if np.count_nonzero(second) + np.count_nonzero(y == classes[0]) == len(y):
            return second
    # class_numbers raises an error that names the unknown label
    return class_numbers(classes, y) == 1


def class_numbers(classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the index of each label in the sorted ``classes``, ``(n_rows,)`` int64.

    >>> class_numbers(np.array(["no", "yes"]), np.array(["yes", "no"]))
    array([1, 0])
    """
    span = _offsets_from_min(y) if classes.dtype.kind in "iu" else None
    if span is not None:
        numbers = _look_up(classes, *span)
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


def _offsets_from_min(y: np.ndarray) -> tuple[int, np.ndarray] | None:
    """Return the smallest label and int64 offsets from it; None unless labels are integers in a small range."""
    if y.dtype.kind not in "iu" or y.size == 0:
        return None
    minimum, largest = int(y.min()), int(y.max())
    if largest - minimum >= min(_MAX_TABLE_SPAN, 8 * y.size):
        return None
    # unsigned labels may exceed int64; differences of signed labels may exceed their own type
    offsets = np.subtract(y, minimum, dtype=np.int64) if y.dtype.kind == "i" else (y - y.dtype.type(minimum))
    return minimum, offsets.astype(np.int64, copy=False)


def _look_up(classes: np.ndarray, minimum: int, offsets: np.ndarray) -> np.ndarray:
    """Return the index of each label, -1 for labels that are not in ``classes``."""
    numbers = np.full(int(offsets.max()) + 1, -1, dtype=np.int64)
    for number, label in enumerate(classes.tolist()):
        if 0 <= label - minimum < len(numbers):
            numbers[label - minimum] = number
    return numbers[offsets]
