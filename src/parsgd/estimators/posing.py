"""From targets as data have them to targets as kernels take them: picklable, since workers do it where they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.errors import InvalidArgument


@dataclass(frozen=True, eq=False)
class Labels:
    """Class labels as -1 and 1 ``(n_rows,)``, form ``"signs"``; as class numbers ``(n_rows,)`` int64, ``"numbers"``; or
    as 0 and 1 ``(n_rows, 1)``, ``"column"``.  ``factors (n_classes,)`` multiply the weights."""

    classes: np.ndarray
    form: str
    dtype: str
    factors: np.ndarray | None = None

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.ndim != 1:
            raise InvalidArgument(f"y must be (n_rows,), as it was before; its shape is {y.shape}.")
        numbers = class_numbers(self.classes, y)
        weight = plain_weight(weight, self.dtype)
        if self.factors is not None:
            weight = self.factors[numbers].astype(self.dtype) * (weight if weight.size else 1)
        if self.form == "signs":
            return np.where(numbers == 1, 1, -1).astype(self.dtype), weight
        if self.form == "column":
            return (numbers == 1).astype(self.dtype)[:, None], weight
        return numbers, weight


@dataclass(frozen=True)
class Several:
    """0 and 1 for each of ``n_labels`` labels, ``(n_rows, n_labels)``."""

    n_labels: int
    dtype: str

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.ndim != 2 or y.shape[1] != self.n_labels:
            raise InvalidArgument(f"y must have {self.n_labels} labels a row; its shape is {y.shape}.")
        if not np.isin(y, (0, 1)).all():
            raise InvalidArgument(f"y of several labels a row must hold 0 and 1 only. Got {np.unique(y)[:5]}.")
        return np.ascontiguousarray(y, dtype=self.dtype), plain_weight(weight, self.dtype)


@dataclass(frozen=True)
class Values:
    """Numbers ``(n_rows,)``; given ``column``, ``(n_rows, n_outputs)``.  ``loss="poisson"`` refuses those below 0."""

    dtype: str
    loss: Any = None
    column: bool = False

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        if y.dtype.kind not in "biuf":
            raise InvalidArgument(f"A regression needs numbers as targets; the first one is {y[0]!r}.")
        if isinstance(self.loss, str) and self.loss == "poisson" and np.any(y < 0):
            raise InvalidArgument(f"loss='poisson' needs targets y >= 0; the smallest one is {y.min()}.")
        y = y.reshape(len(y), -1) if self.column else y
        return np.ascontiguousarray(y, dtype=self.dtype), plain_weight(weight, self.dtype)


@dataclass(frozen=True)
class Ones:
    """1 for every row, whatever its target: all belong to the one class."""

    dtype: str

    def __call__(self, y: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(len(y), dtype=self.dtype), plain_weight(weight, self.dtype)


def plain_weight(weight: np.ndarray | None, dtype: Any) -> np.ndarray:
    """``(n_rows,)``, or empty when every row weighs 1."""
    return np.zeros(0, dtype=dtype) if weight is None else np.ascontiguousarray(weight, dtype=dtype)


def class_numbers(classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``(n_rows,)`` int64, the number of each label among the sorted ``classes``.

    >>> class_numbers(np.array(["no", "yes"]), np.array(["yes", "no"]))
    array([1, 0])
    """
    try:
        numbers = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    except TypeError:
        raise InvalidArgument(
            f"`y` has classes not in `self.classes_`: {classes.tolist()[:20]} are {classes.dtype}, y is {y.dtype} with"
            f" {y[0]!r} as its first."
        ) from None
    unknown = classes[numbers] != y
    if np.any(unknown):
        labels = np.unique(np.asarray(y)[unknown])[:5].tolist()
        raise InvalidArgument(
            f"`y` has classes not in `self.classes_`: labels {labels} are not among {classes.tolist()[:20]}. Name all"
            " classes in the first call to partial_fit."
        )
    return numbers.astype(np.int64)
