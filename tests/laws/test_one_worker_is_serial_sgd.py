"""Promise 1: with one worker the coefficients are scikit-learn's, to 1e-6, for every loss, penalty and schedule.

Rows have unit length and the rates are such that SGD is stable: where it is chaotic, a last bit moved in the data moves
scikit-learn's own coefficients as much as the two libraries differ.
"""

import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model

import parsgd

CLASSIFIER_LOSSES = (
    "hinge",
    "squared_hinge",
    "perceptron",
    "log_loss",
    "modified_huber",
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
)
REGRESSOR_LOSSES = ("squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive")
PENALTIES = ("l2", "l1", "elasticnet", None)
SCHEDULES = ("optimal", "constant", "invscaling", "adaptive", "pa1", "pa2")


def problem(layout="dense", classes=2, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 11))
    X[rng.random(X.shape) < 0.3] = 0.0
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    score = X @ rng.standard_normal(11) + 0.3 * rng.standard_normal(200)
    y = score if classes == 0 else np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))
    X = X.astype(dtype)
    return (sparse.csr_matrix(X) if layout == "csr" else X), y


def pairs(name):
    return getattr(linear_model, name), getattr(parsgd, name)


def assert_same(theirs, ours, tolerance=1e-6):
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=tolerance)
    for name in ("intercept_", "offset_"):
        if hasattr(theirs, name):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=0, atol=tolerance)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_


def combinations(losses, passive):
    for loss, penalty, schedule in itertools.product(losses, PENALTIES, SCHEDULES):
        if schedule not in ("pa1", "pa2") or loss == passive:
            yield loss, penalty, schedule


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_repeats_scikit_learn_for_every_loss_penalty_and_schedule(layout, classes):
    X, y = problem(layout, classes)
    theirs_class, ours_class = pairs("SGDClassifier")
    for loss, penalty, schedule in combinations(CLASSIFIER_LOSSES, "hinge"):
        settings = dict(loss=loss, penalty=penalty, learning_rate=schedule, eta0=0.05, max_iter=4, tol=None)
        # a strong l1 penalty makes weights and margins exactly 0, where the perceptron's kink lies
        settings |= dict(alpha=0.1 if schedule == "optimal" and loss != "perceptron" else 1e-3)
        # scikit-learn shuffles anew for each of several classes; in stored order there is nothing to differ in
        settings |= dict(shuffle=classes == 2, random_state=7)
        theirs, ours = theirs_class(**settings).fit(X, y), ours_class(n_jobs=1, **settings).fit(X, y)
        assert_same(theirs, ours)
        assert np.abs(ours.coef_).max() > 0 or np.abs(theirs.coef_).max() == 0


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_regressor_repeats_scikit_learn_for_every_loss_penalty_and_schedule(layout, shuffle):
    X, y = problem(layout, 0)
    theirs_class, ours_class = pairs("SGDRegressor")
    for loss, penalty, schedule in combinations(REGRESSOR_LOSSES, "epsilon_insensitive"):
        settings = dict(loss=loss, penalty=penalty, learning_rate=schedule, eta0=0.05, max_iter=4, tol=None)
        # a strong l1 penalty makes weights and margins exactly 0, where the perceptron's kink lies
        settings |= dict(alpha=0.1 if schedule == "optimal" and loss != "perceptron" else 1e-3)
        settings |= dict(shuffle=shuffle, random_state=3)
        assert_same(theirs_class(**settings).fit(X, y), ours_class(n_jobs=1, **settings).fit(X, y))


@pytest.mark.cover(2)
@pytest.mark.parametrize("average", [True, 50, 10_000])
@pytest.mark.parametrize("penalty", ["l2", None])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_averaged_weights_are_scikit_learns(average, penalty, layout):
    X, y = problem(layout)
    settings = dict(loss="log_loss", penalty=penalty, alpha=0.1, average=average, max_iter=4, tol=None, random_state=0)
    theirs, ours = (make(**settings).fit(X, y) for make in pairs("SGDClassifier"))
    assert_same(theirs, ours)
    X, y = problem(layout, 3)
    settings["shuffle"] = False
    theirs, ours = (make(**settings).fit(X, y) for make in pairs("SGDClassifier"))
    assert_same(theirs, ours)


def test_averaged_weights_under_l1_are_the_true_mean_of_the_iterates():
    X, y = problem()
    settings = dict(loss="log_loss", penalty="l1", alpha=0.05, shuffle=False, learning_rate="constant", eta0=0.1)
    total, model = 0.0, parsgd.SGDClassifier(n_jobs=1, max_iter=1, tol=None, **settings)
    # the iterates themselves, step by step: all rows up to i, then again from the start
    for i in range(1, 61):
        step = parsgd.SGDClassifier(n_jobs=1, max_iter=1, tol=None, **settings)
        total = total + step.partial_fit(X[:i], y[:i], classes=[0, 1]).coef_
    # the mean is taken after the step and before the truncation of the same step, as Bottou's and scikit-learn's is,
    # so it differs from this one by at most what one step truncates
    model = model.set_params(average=True).partial_fit(X[:60], y[:60], classes=[0, 1])
    np.testing.assert_allclose(model.coef_, total / 60, atol=1.1 * 0.1 * 0.05)
    theirs = linear_model.SGDClassifier(average=True, **settings).partial_fit(X[:60], y[:60], classes=[0, 1])
    assert np.abs(theirs.coef_ - total / 60).max() > np.abs(model.coef_ - total / 60).max()


def test_float32_stays_close_to_scikit_learns_float32():
    for layout in ("dense", "csr"):
        X, y = problem(layout, dtype=np.float32)
        settings = dict(loss="log_loss", alpha=0.1, max_iter=4, tol=None, random_state=0)
        theirs, ours = (make(**settings).fit(X, y) for make in pairs("SGDClassifier"))
        assert ours.coef_.dtype == np.float32
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
