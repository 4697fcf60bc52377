"""Weighted sums of arrays of fitted estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parsgd.algorithms.common import merge_weights


def sum_arrays(arrays: Sequence[np.ndarray], a: np.ndarray) -> np.ndarray:
    """Compute ``sum_i a_i arrays_i`` in the widest dtype among the arrays."""
    dtype = np.result_type(*arrays)
    flat = [np.ascontiguousarray(array, dtype=dtype).reshape(-1) for array in arrays]
    return merge_weights.weighted_sum(flat, a).reshape(arrays[0].shape)


def dense(array: Any) -> np.ndarray:
    """Return an array, also of a sparse one."""
    return array.toarray() if hasattr(array, "toarray") else np.asarray(array)
