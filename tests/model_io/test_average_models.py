"""``parsgd.average_models``: models fitted elsewhere, into one."""

import copy
import math
import warnings

import numpy as np
import pytest
from fitted_parameters import parameters
from scipy import sparse
from sklearn import linear_model
from sklearn.base import clone

import parsgd
from parsgd import MLPClassifier, MLPRegressor, SGDClassifier, SGDOneClassSVM, SGDRegressor, average_models
from parsgd.errors import InvalidArgumentError
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(600, 6)
TWO, THREE, T = labels(X), labels(X, 3), targets(X)
A, B, V = slice(0, 200), slice(200, 350), slice(350, 600)
FEW = {"max_iter": 5, "tol": None, "random_state": 0, "n_jobs": 1}
NET = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "n_jobs": 1}

LINEAR = {
    "binary": (SGDClassifier("log_loss", alpha=0.01, **FEW), TWO),
    "one against all": (SGDClassifier("hinge", alpha=0.01, **FEW), THREE),
    "softmax": (SGDClassifier("softmax", alpha=0.01, **FEW), THREE),
    "averaged": (SGDClassifier("log_loss", alpha=0.01, average=True, **FEW), THREE),
    "elastic net": (SGDClassifier("log_loss", alpha=0.01, penalty="elasticnet", **FEW), TWO),
    "regression": (SGDRegressor(**FEW), T),
    "one class": (SGDOneClassSVM(max_iter=5, tol=None, random_state=0, n_jobs=1), T),
}
NETWORKS = {
    "classes": (MLPClassifier(**NET), THREE),
    "two classes": (MLPClassifier(solver="sgd", momentum=0.0, **NET), TWO),
    "labels": (MLPClassifier(**NET), np.column_stack([TWO, THREE > 0])),
    "numbers": (MLPRegressor(**NET), T),
}
ALL = {**LINEAR, **NETWORKS}


def fitted(estimator, y, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few epochs are not convergence
        return clone(estimator).fit(X[rows], y[rows])


@pytest.fixture(scope="module", params=ALL)
def pair(request):
    estimator, y = ALL[request.param]
    return fitted(estimator, y, A), fitted(estimator, y, B), y


def test_a_merge_of_one_is_itself(pair):
    one = pair[0]
    merged = average_models([one])
    assert parameters(merged).tobytes() == parameters(one).tobytes()
    np.testing.assert_array_equal(merged.predict(X), one.predict(X))
    assert (merged.t_, merged.n_iter_, merged.merge_weights_.tolist()) == (one.t_, one.n_iter_, [1.0])
    # nothing is shared: what goes on with one leaves the other as it is
    assert all(not np.shares_memory(a, b) for a, b in zip(arrays(merged), arrays(one), strict=True))


def arrays(estimator):
    return [estimator.coef_] if hasattr(estimator, "coef_") else estimator.coefs_


def test_uniform_weights_give_the_mean_and_the_inputs_stay(pair):
    one, other, _ = pair
    before = parameters(one).copy(), parameters(other).copy()
    merged = average_models([one, other], "uniform")
    np.testing.assert_allclose(parameters(merged), np.mean(before, axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(parameters(one), before[0])
    np.testing.assert_array_equal(parameters(other), before[1])


def test_by_steps_is_the_default_and_weighs_by_what_each_one_did(pair):
    one, other, _ = pair
    merged = average_models([one, other])
    np.testing.assert_allclose(merged.merge_weights_, [200 / 350, 150 / 350])
    np.testing.assert_array_equal(parameters(merged), parameters(average_models([one, other], "steps")))


def test_given_weights_are_made_to_sum_to_one(pair):
    one, other, _ = pair
    merged = average_models([one, other], [3, 1])
    np.testing.assert_allclose(merged.merge_weights_, [0.75, 0.25])
    np.testing.assert_allclose(parameters(merged), 0.75 * parameters(one) + 0.25 * parameters(other), atol=1e-15)


def test_a_merged_model_can_be_saved_and_read(pair, tmp_path):
    merged = average_models(pair[:2])
    parsgd.save(merged, tmp_path / "merged")
    again = parsgd.load(tmp_path / "merged")
    np.testing.assert_array_equal(again.predict(X), merged.predict(X))
    np.testing.assert_array_equal(again.merge_weights_, merged.merge_weights_)


def test_a_merged_model_goes_on_as_one_model_would(pair):
    one, _, y = pair
    merged, alone = average_models([one, one]), average_models([one])
    if hasattr(one, "coefs_"):
        # examples of both
        assert merged.t_ == 2 * one.t_
        merged.t_ = alone.t_
    np.testing.assert_allclose(parameters(merged), parameters(one), rtol=1e-12)
    for model in (merged, alone):
        model.partial_fit(X[V], y[V])
    np.testing.assert_allclose(parameters(merged), parameters(alone), rtol=1e-6, atol=1e-9)
    assert not np.allclose(parameters(merged), parameters(one))


@pytest.mark.parametrize("name", [name for name in LINEAR if name != "one class"])
@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
def test_learned_weights_find_the_good_model_among_bad_ones(name, layout):
    estimator, y = LINEAR[name]
    good, bad = fitted(estimator, y, A), fitted(estimator, y, B)
    rng = np.random.default_rng(0)
    bad.coef_ = 10.0 * rng.standard_normal(bad.coef_.shape)
    merged = average_models([bad, good, bad], X_val=layout(X[V]), y_val=y[V])
    assert merged.merge_weights_[1] > 10 * merged.merge_weights_[[0, 2]].max()
    assert merged.score(X[V], y[V]) > good.score(X[V], y[V]) - 0.02
    assert average_models([bad, good, bad], "uniform").score(X[V], y[V]) < good.score(X[V], y[V]) - 0.05


def test_it_says_that_the_merged_model_is_worse_than_a_single_one():
    estimator, y = LINEAR["binary"]
    good, bad = fitted(estimator, y, A), fitted(estimator, y, B)
    bad.coef_ = -100.0 * bad.coef_
    with pytest.warns(UserWarning, match=r"estimators\[1\] alone has .* Use that one"):
        average_models([bad, good], "uniform", X_val=X[V], y_val=y[V])


# -- networks --------------------------------------------------------------------------------------------------------


def test_networks_from_different_starts_are_warned_of():
    estimator, y = NETWORKS["classes"]
    one, other = fitted(estimator, y, A), fitted(clone(estimator).set_params(random_state=1), y, B)
    with pytest.warns(UserWarning, match=r"estimators\[1\] seems to have other initial weights"):
        average_models([one, other])


def test_it_says_that_a_mean_of_networks_is_worse_than_a_single_one():
    estimator, y = NETWORKS["classes"]
    one = fitted(clone(estimator).set_params(max_iter=100), y, A)
    # the same function, its units in another order
    other, order = copy.deepcopy(one), np.roll(np.arange(8), 1)
    other.coefs_ = [one.coefs_[0][:, order], one.coefs_[1][order]]
    other.intercepts_ = [one.intercepts_[0][order], one.intercepts_[1]]
    np.testing.assert_allclose(other.predict_proba(X), one.predict_proba(X))
    with pytest.warns(UserWarning, match=r"alone has .* same random_state"):
        average_models([one, other], X_val=X[V], y_val=y[V])


def test_the_validation_set_takes_the_better_network_most():
    estimator, y = NETWORKS["classes"]
    one = fitted(clone(estimator).set_params(max_iter=100), y, A)
    worse = fitted(clone(estimator).set_params(max_iter=100), y, B)
    rng = np.random.default_rng(0)
    worse.coefs_ = [coef + 3.0 * rng.standard_normal(coef.shape) for coef in worse.coefs_]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may be worse than the good one alone
        merged = average_models([worse, one], X_val=X[V], y_val=y[V])
    assert merged.merge_weights_[1] > 0.7
    assert merged.score(X[V], y[V]) > merge_quietly([worse, one], "uniform").score(X[V], y[V])


def merge_quietly(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return average_models(*arguments)


# -- scikit-learn's ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(("name", "y"), [("SGDClassifier", TWO), ("SGDClassifier", THREE), ("SGDRegressor", T)])
def test_estimators_of_scikit_learn_are_merged_into_ours(name, y, average, tmp_path):
    settings = {"max_iter": 5, "tol": None, "random_state": 0, "average": average}
    theirs = [getattr(linear_model, name)(**settings).fit(X[rows], y[rows]) for rows in (A, B)]
    merged = average_models(theirs)
    assert type(merged) is getattr(parsgd, name)
    expected = (200 * theirs[0].coef_ + 150 * theirs[1].coef_) / 350
    np.testing.assert_allclose(merged.coef_, expected, rtol=1e-12)
    parsgd.save(merged, tmp_path / "merged")
    again = parsgd.load(tmp_path / "merged").partial_fit(X[V], y[V])
    assert again.t_ == math.ceil(1 + 5 * (200**2 + 150**2) / 350) + 250
    if y is not THREE:  # of several classes the libraries shuffle differently
        ours = average_models([getattr(parsgd, name)(n_jobs=1, **settings).fit(X[rows], y[rows]) for rows in (A, B)])
        np.testing.assert_allclose(merged.coef_, ours.coef_, rtol=1e-9)
        if not average:  # the averaged intercept goes on from another one there (docs/architecture.md, difference 5)
            np.testing.assert_allclose(again.coef_, ours.partial_fit(X[V], y[V]).coef_, rtol=1e-9)


# -- what does not go together ---------------------------------------------------------------------------------------


def other(**changes):
    return fitted(clone(LINEAR["binary"][0]).set_params(**changes), TWO, B)


def with_other_classes():
    return fitted(LINEAR["binary"][0], np.where(TWO == 1, "yes", "no"), B)


def with_fewer_columns():
    return clone(LINEAR["binary"][0]).fit(X[B, :4], TWO[B])


def deeper():
    return fitted(clone(NETWORKS["classes"][0]).set_params(hidden_layer_sizes=(8, 4)), THREE, B)


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("binary", lambda: fitted(*LINEAR["regression"], B), r"estimators\[1\] is SGDRegressor"),
        ("binary", with_other_classes, r"estimators\[1\] differs .* in classes_: \['no', 'yes'\], not \[0, 1\]"),
        ("binary", with_fewer_columns, r"estimators\[1\] differs .* in n_features_in_: 4, not 6"),
        ("binary", lambda: other(loss="hinge"), r"estimators\[1\] differs .* in loss: hinge, not log_loss"),
        ("classes", deeper, r"estimators\[1\] differs .* in layers: \[6, 8, 4, 3\], not \[6, 8, 3\]"),
        ("binary", lambda: clone(LINEAR["binary"][0]), r"estimators\[1\] is not fitted"),
        ("binary", object, r"estimators\[1\] is <class 'object'>"),
    ],
)
def test_what_differs_is_named(first, second, says):
    with pytest.raises(InvalidArgumentError, match=says):
        average_models([fitted(*ALL[first], A), second()])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [np.nan, 1.0], "best", [[1, 1]], object()])
def test_weights_that_are_none_are_refused(weights):
    one = fitted(*LINEAR["binary"], A)
    with pytest.raises(InvalidArgumentError, match="weights"):
        average_models([one, one], weights)


def test_nothing_half_a_validation_set_and_one_class_models_are_refused():
    one, one_class = fitted(*LINEAR["binary"], A), fitted(*LINEAR["one class"], A)
    with pytest.raises(InvalidArgumentError, match="at least one estimator"):
        average_models([])
    with pytest.raises(InvalidArgumentError, match="must be given together"):
        average_models([one, one], X_val=X)
    with pytest.raises(InvalidArgumentError, match="One-class"):
        average_models([one_class, one_class], X_val=X, y_val=T)


def test_a_new_fit_forgets_the_merge():
    merged = average_models([fitted(*LINEAR["binary"], rows) for rows in (A, B)])
    assert not hasattr(merged.fit(X, TWO), "merge_weights_")


def test_two_names_of_one_loss_are_one_loss():
    pinball, quantile = (fitted(SGDRegressor(loss, **FEW), T, rows) for loss, rows in (("pinball", A), ("quantile", B)))
    merged = average_models([pinball, quantile], "uniform")
    np.testing.assert_allclose(parameters(merged), (parameters(pinball) + parameters(quantile)) / 2, atol=1e-15)
    with pytest.raises(InvalidArgumentError, match="in loss: squared_error, not quantile"):
        average_models([pinball, fitted(SGDRegressor(**FEW), T, B)])
