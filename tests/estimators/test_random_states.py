"""Generators and seeds from ``random_state`` are those of scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils import check_random_state

from parsgd.estimators.validation.random_states import draw_seed, make_generator

MAX_SEED = np.iinfo(np.int32).max


@given(st.integers(0, 2**32 - 1))
def test_generators_of_integers_are_scikit_learns(seed):
    assert np.array_equal(make_generator(seed).standard_normal(5), check_random_state(seed).standard_normal(5))


def test_other_states_are_returned_as_they_are():
    generator = np.random.RandomState(3)
    assert make_generator(generator) is generator
    assert make_generator(None) is np.random.mtrand._rand


@pytest.mark.parametrize("bad", [-1, 2**32])
def test_integers_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="between 0 and"):
        make_generator(bad)
    with pytest.raises(ValueError, match="between 0 and"):
        draw_seed(bad)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.integers(0, 2))
def test_seeds_are_drawn_between_other_draws(seed, before, after):
    theirs = check_random_state(seed)
    theirs.randint(1, MAX_SEED, size=before)
    expected = theirs.randint(MAX_SEED)
    theirs.randint(1, MAX_SEED, size=after)
    ours = np.random.RandomState(seed)
    assert draw_seed(seed, before, after) == draw_seed(ours, before, after) == expected
    assert ours.randint(MAX_SEED) == theirs.randint(MAX_SEED)


def test_fits_advance_a_generator_as_scikit_learns_do():
    from sklearn import linear_model

    import parsgd

    X = np.random.default_rng(0).standard_normal((20, 3))
    for name in ("SGDClassifier", "SGDRegressor"):
        for shuffle in (True, False):
            states = [np.random.RandomState(0), np.random.RandomState(0)]
            for library, state in zip((parsgd, linear_model), states, strict=True):
                getattr(library, name)(random_state=state, shuffle=shuffle, max_iter=3, tol=None).fit(X, X[:, 0] > 0)
            assert states[0].randint(1 << 30) == states[1].randint(1 << 30), (name, shuffle)
