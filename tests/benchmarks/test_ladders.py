"""Problems that grow in one direction."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from benchmarks.problems.ladders import LADDERS, Rung, ladder
from benchmarks.work import streamed_bytes


def test_a_ladder_spans_three_decades_in_even_steps():
    sizes = ladder(1_000_000, quick=False)
    assert sizes[0] == 1_000
    assert sizes[-1] == 1_000_000
    np.testing.assert_allclose(np.diff(np.log10(sizes)), 0.5, atol=1e-3)


@pytest.mark.parametrize("name", LADDERS)
def test_what_a_pass_must_do_grows_with_the_size_or_not_at_all(name):
    rungs = list(LADDERS[name](True))
    assert [rung.size for rung in rungs] == sorted({rung.size for rung in rungs})
    for smaller, larger in pairwise(rungs):
        growth = larger.operations / smaller.operations
        # of sparse rows with more columns the values stay, or come a little nearer to what was drawn
        assert 0.99 <= growth <= 1.1 * larger.size / smaller.size
        assert len(larger.y) == larger.X.shape[0]
        assert larger.X.dtype == np.float32


def test_bytes_are_those_of_the_arrays_and_a_float32_target():
    X, y = np.ones((3, 5), dtype=np.float32), np.array([0, 1, 1])
    assert streamed_bytes(X, y) == 3 * 5 * 4 + 3 * 4
    S = sparse.csr_matrix(np.eye(3, 5, dtype=np.float32))
    assert streamed_bytes(S, y) == 3 * 4 + 3 * S.indices.itemsize + 4 * S.indptr.itemsize + 3 * 4


def test_operations_count_outputs_one_for_two_classes():
    X = np.ones((4, 5), dtype=np.float32)
    assert Rung(1, X, np.array([0, 1, 0, 1])).operations == 4 * 20
    assert Rung(1, X, np.array([0, 1, 2, 1])).operations == 4 * 20 * 3
