"""A fit changes its estimator all at once or not at all, whatever other threads do with it."""

import threading

import numpy as np
import pytest

import parsgd
from parsgd.estimators.fitted.transaction import lock_of
from parsgd.testing.problems import labels, unit_rows

X = unit_rows(200, 6)
Y = labels(X)


def fitted(**settings):
    return parsgd.SGDClassifier(max_iter=3, tol=None, random_state=0, **settings).fit(X, Y)


@pytest.mark.parametrize("bad", [X[:, :3], X * np.nan, "rows"])
def test_a_fit_that_fails_leaves_the_model_as_it_was(bad):
    model = fitted()
    before = {**vars(model)}
    for method in (model.fit, model.partial_fit):
        with pytest.raises((ValueError, TypeError)):
            method(bad, Y if method == model.partial_fit else Y[:5])
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [parsgd.SGDClassifier, parsgd.MLPClassifier])
def test_who_predicts_during_a_fit_sees_the_model_of_before(kind):
    model = kind(max_iter=3, random_state=0, n_jobs=2, algorithm="local").fit(X, Y)
    before, seen = model.predict(X), []
    with parsgd.observe_progress(lambda progress: seen.append(model.predict(X))):
        model.fit(-X, Y)
    assert seen
    assert all(np.array_equal(one, before) for one in seen)
    assert not np.array_equal(model.predict(X), before)


def test_partial_fits_in_two_threads_run_one_after_the_other():
    model = parsgd.SGDClassifier(random_state=0).partial_fit(X, Y, classes=[0, 1])
    threads = [threading.Thread(target=lambda: [model.partial_fit(X, Y) for _ in range(20)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.t_ == 41 * len(X) + 1


def test_a_fit_waits_for_another_one_of_the_same_estimator_only():
    model, other = fitted(), fitted()
    with lock_of(model):
        thread = threading.Thread(target=lambda: model.partial_fit(X, Y))
        thread.start()
        other.partial_fit(X, Y)
        assert model.t_ < other.t_
    thread.join()
    assert model.t_ == other.t_


def test_fit_returns_the_estimator_itself():
    model = parsgd.SGDRegressor(max_iter=2, tol=None)
    assert model.fit(X, X[:, 0]) is model
    assert model.partial_fit(X, X[:, 0]) is model
