"""Losses that scikit-learn's SGD does not have: quantile, poisson, softmax."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax as exact_softmax
from sklearn import linear_model
from sklearn.metrics import log_loss

import parsgd
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(400, 5)
NUMBERS = targets(X)
LONG = {"learning_rate": "optimal", "max_iter": 300, "tol": None, "random_state": 0, "average": 400, "n_jobs": 1}


def same(ours, theirs):
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-12)


# -- quantile ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_median_loss_is_half_the_absolute_one(n_jobs):
    settings = {"max_iter": 5, "tol": None, "random_state": 0, "penalty": None, "n_jobs": n_jobs}
    median = parsgd.SGDRegressor("quantile", quantile=0.5, eta0=0.02, **settings).fit(X, NUMBERS)
    absolute = parsgd.SGDRegressor("epsilon_insensitive", epsilon=0.0, eta0=0.01, **settings).fit(X, NUMBERS)
    same(median, absolute)
    assert median.history_[-1]["loss"] == pytest.approx(0.5 * absolute.history_[-1]["loss"])


def test_pinball_is_another_name_of_quantile():
    settings = {"quantile": 0.3, "max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 1}
    same(*(parsgd.SGDRegressor(name, **settings).fit(X, NUMBERS) for name in ("pinball", "quantile")))


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_so_large_a_share_of_the_targets_lies_below_the_quantile(quantile):
    noise = np.random.default_rng(0).standard_normal(len(X))
    model = parsgd.SGDRegressor("quantile", quantile=quantile, alpha=1e-3, **LONG).fit(X, NUMBERS + noise)
    assert np.mean(NUMBERS + noise < model.predict(X)) == pytest.approx(quantile, abs=0.02)


# -- poisson -------------------------------------------------------------------------------------------------------


def test_poisson_arrives_where_poisson_regression_does():
    counts = np.random.default_rng(0).poisson(np.exp(1.0 + NUMBERS)).astype(float)
    theirs = linear_model.PoissonRegressor(alpha=0.05, tol=1e-9, max_iter=1000).fit(X, counts)
    settings = {**LONG, "learning_rate": "invscaling", "eta0": 0.05}
    ours = parsgd.SGDRegressor("poisson", alpha=0.05, **settings).fit(X, counts)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=0.03)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=0.03)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=0.06)
    assert np.all(ours.predict(X) > 0.0)


def test_counts_of_zero_are_counts():
    model = parsgd.SGDRegressor("poisson", n_jobs=1, random_state=0).fit(X, np.zeros(len(X)))
    assert np.all(model.predict(X) < 0.3)


# -- softmax -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_softmax_arrives_where_multinomial_logistic_regression_does(n_classes):
    alpha, y = 0.01, labels(X, n_classes)
    theirs = linear_model.LogisticRegression(C=1.0 / (alpha * len(y)), tol=1e-9, max_iter=1000).fit(X, y)
    ours = parsgd.SGDClassifier("softmax", alpha=alpha, **LONG).fit(X, y)
    if n_classes == 2:
        # scikit-learn penalizes the difference of the two rows, which both keep, and not the rows
        assert ours.coef_.shape == (1, 5)
        assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=0.02)
        return
    np.testing.assert_allclose(ours.coef_ - ours.coef_.mean(0), theirs.coef_ - theirs.coef_.mean(0), atol=0.1)
    ours_loss, theirs_loss = (log_loss(y, model.predict_proba(X)) for model in (ours, theirs))
    assert ours_loss == pytest.approx(theirs_loss, rel=0.01)


def test_softmax_probabilities_are_those_of_its_scores():
    y = labels(X, 4)
    model = parsgd.SGDClassifier("softmax", max_iter=3, tol=None, n_jobs=1, random_state=0).fit(X, y)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities, exact_softmax(model.decision_function(X), axis=1), rtol=1e-12)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X))
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(probabilities), rtol=1e-12)


def test_softmax_of_two_classes_scores_by_the_difference():
    y = labels(X, 2)
    model = parsgd.SGDClassifier("softmax", max_iter=3, tol=None, n_jobs=1, random_state=0).fit(X, y)
    assert (model.coef_.shape, model.intercept_.shape) == ((1, X.shape[1]), (1,))
    scores = X @ model.coef_[0] + model.intercept_[0]
    np.testing.assert_allclose(model.decision_function(X), scores, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1.0 / (1.0 + np.exp(-scores)), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X), (scores > 0).astype(int))


@pytest.mark.slow
@given(n_classes=st.integers(3, 20), seed=st.integers(0, 3))
def test_the_softmax_gradients_sum_to_zero_over_the_classes_and_so_do_the_weights(n_classes, seed):
    rows = unit_rows(60, 4, seed=seed)
    y = np.arange(60) % n_classes
    model = parsgd.SGDClassifier("softmax", max_iter=2, tol=None, n_jobs=1, random_state=seed).fit(rows, y)
    np.testing.assert_allclose(model.coef_.sum(axis=0), 0.0, atol=1e-10 * np.abs(model.coef_).max())


def test_the_weight_of_a_class_is_the_weight_of_its_examples():
    y = labels(X, 3)
    settings = {"max_iter": 3, "tol": None, "n_jobs": 1, "random_state": 0}
    by_class = parsgd.SGDClassifier("softmax", class_weight={0: 2.0, 1: 0.5, 2: 1.0}, **settings).fit(X, y)
    by_example = parsgd.SGDClassifier("softmax", **settings).fit(X, y, sample_weight=np.array([2.0, 0.5, 1.0])[y])
    same(by_class, by_example)


@pytest.mark.parametrize("loss", ["log_loss", "modified_huber"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_other_probabilities_are_scikit_learns(loss, n_classes):
    y = labels(X, n_classes)
    settings = {"alpha": 0.1, "max_iter": 4, "tol": None, "shuffle": False}
    ours = parsgd.SGDClassifier(loss, n_jobs=1, **settings).fit(X, y)
    theirs = linear_model.SGDClassifier(loss, **settings).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)


def test_probabilities_are_not_made_up_for_losses_that_have_none():
    assert not hasattr(parsgd.SGDClassifier("hinge"), "predict_proba")
    assert not hasattr(parsgd.SGDClassifier("squared_hinge"), "predict_log_proba")
