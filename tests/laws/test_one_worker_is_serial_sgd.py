"""Promise 1: with one worker the coefficients are scikit-learn's, to 1e-6, for every loss, penalty and schedule.

Rows have unit length and the rates are such that SGD is stable: where it is chaotic, a last bit moved in the data moves
scikit-learn's own coefficients as much as the two libraries differ.
"""

import copy
import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model

import parsgd

CLASSIFIER_LOSSES = (
    "hinge", "squared_hinge", "perceptron", "log_loss", "modified_huber", "squared_error", "huber",
    "epsilon_insensitive", "squared_epsilon_insensitive",
)  # fmt: skip
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


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("schedule", ["optimal", "constant", "invscaling", "adaptive"])
def test_a_one_class_svm_repeats_scikit_learn(layout, schedule):
    X, _ = problem(layout)
    theirs_class, ours_class = pairs("SGDOneClassSVM")
    settings = dict(nu=0.3, learning_rate=schedule, eta0=0.05, max_iter=5, tol=None, random_state=1)
    assert_same(theirs_class(**settings).fit(X), ours_class(n_jobs=1, **settings).fit(X))


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        dict(loss="log_loss"),
        dict(loss="log_loss", penalty="elasticnet"),
        dict(loss="modified_huber", learning_rate="adaptive", eta0=0.1, max_iter=400),
        dict(loss="log_loss", learning_rate="constant", eta0=0.02),
        dict(loss="hinge", alpha=0.1),
    ],
)
def test_fits_stop_after_the_same_epoch_as_scikit_learns(layout, classes, settings):
    X, y = problem(layout, classes)
    settings = {"alpha": 0.01, "shuffle": False, "tol": 1e-3, "n_iter_no_change": 3, **settings}
    theirs, ours = (make(**settings) for make in pairs("SGDClassifier"))
    ours.set_params(n_jobs=1)
    assert_same(theirs.fit(X, y), ours.fit(X, y))
    assert 1 < ours.n_iter_ < ours.max_iter


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


def test_weights_classes_and_starts_mean_what_they_mean_to_scikit_learn():
    for classes in (2, 3):
        X, y = problem(classes=classes)
        rng = np.random.default_rng(1)
        weight = rng.random(len(y))
        rows = 1 if classes == 2 else classes
        start = dict(coef_init=rng.standard_normal((rows, 11)), intercept_init=rng.standard_normal(rows))
        for extra, fit in [
            (dict(class_weight="balanced"), {}),
            (dict(class_weight={0: 3.0, 1: 0.5}), {}),
            (dict(fit_intercept=False), {}),
            ({}, dict(sample_weight=weight)),
            ({}, start),
            (dict(class_weight="balanced", average=True), dict(sample_weight=weight, **start)),
        ]:
            settings = dict(loss="log_loss", alpha=0.1, max_iter=3, tol=None, shuffle=False, **extra)
            # scikit-learn writes into the starting values it is given
            theirs, ours = (make(**settings).fit(X, y, **copy.deepcopy(fit)) for make in pairs("SGDClassifier"))
            assert_same(theirs, ours)


@pytest.mark.parametrize("average", [False, True, 300])
def test_partial_fit_and_warm_start_go_on_as_scikit_learns(average):
    for classes in (2, 3):
        X, y = problem(classes=classes)
        both = [
            make(
                loss="log_loss", alpha=0.1, shuffle=False, average=average, warm_start=True, max_iter=2, tol=None,
                fit_intercept=not average,  # scikit-learn forgets the intercept under the average between the calls
            )
            for make in pairs("SGDClassifier")
        ]  # fmt: skip
        for model in both:
            for part in np.array_split(np.arange(len(y)), 3):
                model.partial_fit(X[part], y[part], classes=np.arange(classes))
        assert_same(*both)
        for model in both:
            model.fit(X, y)
            model.fit(X, y)
        assert_same(*both)


def test_partial_fit_of_regressors_and_one_class_svms_goes_on_as_scikit_learns():
    X, y = problem(classes=0)
    for name, settings in [("SGDRegressor", {}), ("SGDOneClassSVM", dict(nu=0.4))]:
        both = [make(shuffle=False, average=average, **settings) for average in (False, 100) for make in pairs(name)]
        for model in both:
            for part in np.array_split(np.arange(len(y)), 3):
                model.partial_fit(X[part], y[part]) if name == "SGDRegressor" else model.partial_fit(X[part])
        assert_same(both[0], both[1])
        assert_same(both[2], both[3])


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor"])
def test_early_stopping_holds_back_and_stops_as_scikit_learn(name):
    X, y = problem(classes=0 if name == "SGDRegressor" else 2)
    # without a penalty the stored weights are the weights; scikit-learn scores the stored ones
    settings = dict(penalty=None, learning_rate="constant", eta0=0.01, early_stopping=True, shuffle=False)
    settings |= dict(random_state=0, n_iter_no_change=3)
    theirs, ours = (make(**settings).fit(X, y) for make in pairs(name))
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    assert ours.n_iter_ == theirs.n_iter_


def test_float32_stays_close_to_scikit_learns_float32():
    for layout in ("dense", "csr"):
        X, y = problem(layout, dtype=np.float32)
        settings = dict(loss="log_loss", alpha=0.1, max_iter=4, tol=None, random_state=0)
        theirs, ours = (make(**settings).fit(X, y) for make in pairs("SGDClassifier"))
        assert ours.coef_.dtype == np.float32
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
