"""Rows are visited in scikit-learn's order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import linear_model

import parsgd
from parsgd.data.sources.array_source import ArraySource
from parsgd.kernels.shuffling import gather, permute
from parsgd.utils.row_arrays import rows_of


def permute_in_python(n, seed):
    """Return the permutation by Fisher-Yates with Marsaglia's xorshift, in Python's integers."""
    order, state = list(range(n)), seed & 0xFFFFFFFF or 1
    for i in range(n - 1):
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        j = i + (state & 0x7FFFFFFF) % (n - i)
        order[i], order[j] = order[j], order[i]
    return order


@given(n=st.integers(0, 200), seed=st.integers(0, 2**31 - 1))
def test_a_permutation_is_fisher_and_yates_with_xorshift(n, seed):
    ours = np.empty(n, dtype=np.int32)
    permute(ours, seed)
    assert ours.tolist() == permute_in_python(n, seed)


@given(n=st.integers(1, 50), seed=st.integers(0, 2**31 - 1))
def test_every_epoch_permutes_the_order_of_the_last_once_more(n, seed):
    source = ArraySource(rows_of(np.ones((n, 1)), np.ones(n)))
    (shard,) = source.split(1, 0)
    permutation, order = np.array(permute_in_python(n, seed)), np.arange(n)
    for epoch in range(4):
        order = order[permutation]
        (block,) = shard.blocks(seed, epoch)
        assert block.order.tolist() == order.tolist()


def test_gathering_is_indexing():
    values, positions = np.arange(10, 20, dtype=np.int32), np.array([3, 3, 0], dtype=np.int32)
    out = np.empty(3, dtype=np.int32)
    gather(values, positions, out)
    assert out.tolist() == [13, 13, 10]


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_scikit_learn_visits_rows_in_the_same_order(seed):
    # Each row has a separate feature.  With decreasing learning rates, the size of its weight shows when it was
    # visited.
    X, y = np.eye(23), np.ones(23)
    settings = {"learning_rate": "invscaling", "eta0": 0.5, "penalty": None, "fit_intercept": False, "tol": None}
    settings |= {"loss": "epsilon_insensitive", "epsilon": 0.0, "max_iter": 3, "random_state": seed}
    theirs, ours = (package.SGDRegressor(**settings).fit(X, y) for package in (linear_model, parsgd))
    assert len(np.unique(ours.coef_)) > 20
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-12)
