"""No two workers write to one pair of cache lines."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parsgd.core.padded import PAIR_BYTES, padded_empty, padded_rows, padded_zeros, private_copy

DTYPES = st.sampled_from([np.float32, np.float64, np.int64])


def pairs(array):
    """Return the numbers of the pairs of cache lines that an array is in."""
    begin = array.ctypes.data
    return set(range(begin // PAIR_BYTES, (begin + array.nbytes - 1) // PAIR_BYTES + 1)) if array.size else set()


@given(n_workers=st.integers(1, 9), size=st.integers(1, 700), dtype=DTYPES)
def test_the_states_of_two_workers_are_two_pairs_of_lines_apart(n_workers, size, dtype):
    rows = padded_rows(n_workers, size, dtype)
    assert rows.flags.c_contiguous
    used = [pairs(row[:size]) for row in rows]
    for one, other in itertools.pairwise(used):
        assert min(other) - max(one) > 2
    assert rows[0].ctypes.data % PAIR_BYTES == 0


@given(sizes=st.lists(st.integers(0, 300), min_size=2, max_size=30), dtype=DTYPES)
def test_arrays_that_are_made_one_after_the_other_share_no_pair(sizes, dtype):
    arrays = [padded_zeros(size, dtype) for size in sizes]
    used = [number for array in arrays for number in sorted(pairs(array))]
    assert len(used) == len(set(used))
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
