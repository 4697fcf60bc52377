"""Checks of single fitted attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def problems_of_array(key: str, array: Any, shape: tuple[int, ...]) -> Iterator[str]:
    """Yield the problems of a float array of finite values."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != shape:
        yield f"{key} should be a float array of shape {shape}"
    if not np.isfinite(array).all():
        yield f"{key} holds NaN or infinite values"


def is_number(value: Any, least: int, whole: bool = False) -> bool:
    """Return True for a number of at least ``least`` that fits into 64 bits."""
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and least <= value < 2**63
