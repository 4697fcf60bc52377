"""Arrays of different workers are so far apart that no processor fetches one with the other."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parsgd.core.padded import GAP_BYTES, PAIR_BYTES, padded_empty, padded_rows, padded_zeros, private_copy

DTYPES = st.sampled_from([np.float32, np.float64, np.int64])


def span(array):
    """Return the first address of an array, and that after its end."""
    return array.ctypes.data, array.ctypes.data + array.nbytes


def assert_apart(arrays):
    spans = sorted(span(array) for array in arrays if array.size)
    for (_, end), (begin, _) in pairwise(spans):
        assert begin - end >= GAP_BYTES
    for begin, _ in spans:
        assert begin % PAIR_BYTES == 0


@given(n_workers=st.integers(1, 9), size=st.integers(1, 3000), dtype=DTYPES)
def test_the_states_of_all_workers_are_apart(n_workers, size, dtype):
    rows = padded_rows(n_workers, size, dtype)
    assert rows.flags.c_contiguous
    assert_apart([row[:size] for row in rows])


@given(sizes=st.lists(st.integers(0, 3000), min_size=2, max_size=30), dtype=DTYPES)
def test_arrays_that_are_made_one_after_the_other_are_apart(sizes, dtype):
    arrays = [padded_zeros(size, dtype) for size in sizes]
    assert_apart(arrays)
    for array in arrays:
        assert not array.any()
        array += 1
    assert all((array == 1).all() for array in arrays)


def test_a_copy_has_the_values_and_shape_of_its_array():
    array = np.arange(6.0).reshape(2, 3)[:, ::2]
    copy = private_copy(array)
    np.testing.assert_array_equal(copy, array)
    assert copy.flags.c_contiguous
    assert not np.shares_memory(copy, array)
    assert padded_empty(()).shape == ()
