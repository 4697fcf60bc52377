"""The optimum that a problem names is its optimum."""

import numpy as np
import pytest
from convex_problems import logistic, ridge
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from parsgd.testing.problems import labels, targets, unit_rows


@pytest.mark.parametrize("make", [ridge, logistic])
@given(seed=st.integers(0, 5), data=st.data())
def test_moving_away_from_the_optimum_raises_the_objective(make, seed, data):
    problem = make(60, 4, seed=seed)
    move = np.array(data.draw(st.lists(st.floats(-1, 1), min_size=5, max_size=5)))
    assert problem.gap(problem.coef, problem.intercept) == 0.0
    assert problem.gap(problem.coef + move[:-1], problem.intercept + move[-1]) >= -1e-15


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_have_length_one_and_the_dtype_and_layout_asked_for(layout, dtype):
    X = unit_rows(30, 5, density=0.1, layout=layout, dtype=dtype)
    assert X.dtype == dtype
    assert sparse.issparse(X) == (layout == "csr")
    dense = X.toarray() if layout == "csr" else X
    np.testing.assert_allclose((dense**2).sum(axis=1), 1.0, rtol=1e-6)


def test_the_same_seed_makes_the_same_problem():
    X = unit_rows(seed=3)
    np.testing.assert_array_equal(X, unit_rows(seed=3))
    np.testing.assert_array_equal(labels(X, 3), labels(X, 3))
    np.testing.assert_array_equal(targets(X), targets(X))
    assert set(labels(X, 3)) == {0, 1, 2}
