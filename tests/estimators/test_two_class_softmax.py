"""Softmax of two classes has one row of coefficients, as scikit-learn's classifiers have, and goes on from it."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse

import parsgd
from parsgd.testing.problems import labels, unit_rows

X = unit_rows(200, 5)
Y = labels(X)
SHORT = {"max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 1}
SETTINGS = [{}, {"average": True}, {"learning_rate": "adagrad"}, {"penalty": "l1", "class_weight": "balanced"}]


def fitted(**settings):
    return parsgd.SGDClassifier("softmax", **SHORT | settings).fit(X, Y)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_shapes_and_probabilities(settings):
    model = fitted(**settings)
    assert (model.coef_.shape, model.intercept_.shape) == ((1, 5), (1,))
    logistic = 1.0 / (1.0 + np.exp(-model.decision_function(X)))
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], logistic, rtol=1e-12)
    np.testing.assert_array_equal(model.predict_proba(X).argmax(axis=1), model.predict(X))


@pytest.mark.parametrize("settings", [{}, {"average": True}, {"learning_rate": "adagrad"}], ids=str)
def test_a_second_pass_by_partial_fit_is_that_of_one_fit(settings):
    settings = {"shuffle": False, **settings}
    whole = fitted(max_iter=2, **settings)
    parts = fitted(max_iter=1, **settings).partial_fit(X, Y)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-9)


def test_coefficients_to_start_from_may_have_one_row_or_two():
    before = fitted()
    half = before.coef_ / 2
    again = [
        parsgd.SGDClassifier("softmax", **SHORT).fit(X, Y, coef_init=rows, intercept_init=before.intercept_)
        for rows in (before.coef_, before.coef_.ravel(), np.concatenate([-half, half]))
    ]
    warm = copy.deepcopy(before).set_params(warm_start=True).fit(X, Y)
    for one in again:
        np.testing.assert_array_equal(one.coef_, warm.coef_)


def of_before(model):
    """The state of a version whose softmax kept a row of coefficients for each of two classes."""
    half, intercept = model.coef_ / 2, model.intercept_ / 2
    rows = {"coef_": np.concatenate([-half, half]), "intercept_": np.concatenate([-intercept, intercept])}
    return {**vars(model), **rows}


def test_models_of_before_are_read(tmp_path):
    model = fitted()
    pickled = parsgd.SGDClassifier.__new__(parsgd.SGDClassifier)
    pickled.__setstate__(of_before(model))
    old = copy.copy(model)
    old.__dict__ = of_before(model)
    parsgd.save(old, tmp_path / "old.parsgd")
    for again in (pickled, parsgd.load(tmp_path / "old.parsgd"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.coef_, model.coef_)
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_they_are_merged_and_handed_to_scikit_learn():
    parts = [parsgd.SGDClassifier("softmax", **SHORT).fit(X[i::2], Y[i::2]) for i in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mean, learned = parsgd.average_models(parts), parsgd.average_models(parts, X_val=X, y_val=Y)
    np.testing.assert_allclose(mean.coef_, (parts[0].coef_ + parts[1].coef_) / 2, rtol=1e-12)
    assert learned.score(X, Y) > 0.8
    np.testing.assert_array_equal(parts[0].to_sklearn().coef_, parts[0].coef_)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_many_features_that_are_zero_change_nothing(settings):
    few = sparse.csr_matrix(X)
    many = sparse.csr_matrix((few.data, few.indices, few.indptr), shape=(len(X), 200_000))  # a state of over 1 MiB
    models = [parsgd.SGDClassifier("softmax", **SHORT | settings).fit(rows, Y) for rows in (few, many)]
    for _ in range(2):
        assert models[1].coef_.shape == (1, 200_000)
        np.testing.assert_allclose(models[1].coef_[:, :5], models[0].coef_, rtol=1e-9)
        np.testing.assert_allclose(models[1].intercept_, models[0].intercept_, rtol=1e-9)
        assert not models[1].coef_[:, 5:].any()
        if "class_weight" not in settings:
            models = [model.partial_fit(rows, Y) for model, rows in zip(models, (few, many), strict=True)]
