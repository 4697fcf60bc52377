"""Columns at any memory address are copied to rows, cast and scaled as by NumPy, for every type."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd.kernels.columns_to_rows import copy_columns

KINDS = (np.int8, np.uint8, np.int32, np.int64, np.float32, np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(n_rows=st.integers(1, 200), n_columns=st.integers(1, 5), seed=st.integers(0, 9))
def test_rows_equal_the_columns_as_numpy_casts_and_scales_them(kind, dtype, n_rows, n_columns, seed):
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, 100, n_rows).astype(kind) for _ in range(n_columns)]
    centers, divisors = rng.integers(0, 2, n_columns) * 0.25, rng.integers(1, 3, n_columns).astype(float)
    out = np.full((n_rows, n_columns + 1), -1.0, dtype=dtype)
    places = rng.permutation(n_columns + 1)[:n_columns]
    addresses = np.array([column.ctypes.data for column in columns])
    copy_columns(addresses, np.empty(0, dtype=kind), out, places, centers, divisors)
    for column, place, center, divisor in zip(columns, places, centers, divisors, strict=True):
        np.testing.assert_array_equal(out[:, place], ((column - center) / divisor).astype(dtype))
    (untouched,) = set(range(n_columns + 1)) - set(places.tolist())
    assert (out[:, untouched] == -1.0).all()
