"""Generators and seeds from ``random_state`` are those of scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import linear_model
from sklearn.utils import check_random_state

import parsgd
from parsgd.estimators.validation.random_states import draw_seed, make_generator, skip_draws

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


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_seeds_are_drawn_after_other_draws(seed, skipped):
    theirs, ours = np.random.RandomState(seed), np.random.RandomState(seed)
    theirs.randint(1, MAX_SEED, size=skipped)
    expected = theirs.randint(MAX_SEED)
    skip_draws(ours, skipped)
    skip_draws(seed, skipped)
    assert draw_seed(seed, skipped) == draw_seed(ours, skipped) == expected
    assert ours.randint(MAX_SEED) == theirs.randint(MAX_SEED)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize(("name", "n_classes"), [("SGDClassifier", 2), ("SGDClassifier", 3), ("SGDRegressor", 3)])
def test_fits_draw_from_a_generator_as_scikit_learns_do(name, n_classes, early_stopping, shuffle):
    X = np.random.default_rng(0).standard_normal((60, 3))
    y = np.arange(60) % n_classes
    states = [np.random.RandomState(0), np.random.RandomState(0)]
    ours, theirs = (
        getattr(library, name)(
            random_state=state, shuffle=shuffle, early_stopping=early_stopping, max_iter=3, tol=None, eta0=0.01
        ).fit(X, y)
        for library, state in zip((parsgd, linear_model), states, strict=True)
    )
    assert states[0].randint(MAX_SEED) == states[1].randint(MAX_SEED)
    # one row order for all classes, and of the training rows only
    same_order = not shuffle or not (early_stopping or (name == "SGDClassifier" and n_classes > 2))
    if same_order:
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-10)
