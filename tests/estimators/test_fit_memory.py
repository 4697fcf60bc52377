"""Memory of fits: one state, which is also the result."""

import pickle
import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from parsgd import SGDClassifier, load, save

N_FEATURES = 200_000


def problem(dense: bool):
    rng = np.random.default_rng(0)
    X = sparse.random_array((12, N_FEATURES), density=1e-4, format="csr", rng=rng)
    return (X.toarray() if dense else X), np.arange(12) % 3


def rise(call) -> int:
    """Return the bytes by which the peak of the call exceeds the memory in use before it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def fitted(X, y, **settings):
    settings = {"max_iter": 2, "tol": None, "random_state": 0} | settings
    SGDClassifier(**settings).fit(X[:, :10], y).partial_fit(X[:, :10], y)  # compiles
    return SGDClassifier(**settings).fit(X, y)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("loss", ["hinge", "softmax"])
def test_a_fit_allocates_its_result_alone(loss, dense):
    X, y = problem(dense)
    model = fitted(X, y, loss=loss)
    size = model.coef_.nbytes
    assert size == 8 * 3 * N_FEATURES
    assert rise(lambda: model.fit(X, y)) < 1.1 * size
    # the old coefficients exist until the new ones are complete
    assert rise(lambda: model.partial_fit(X, y)) < 1.1 * size


def test_large_coefficients_have_the_values_of_small_ones(monkeypatch):
    X, y = problem(dense=False)
    large = fitted(X, y)
    monkeypatch.setattr("parsgd.estimators.linear.sgd_base._COPIED_BYTES", 1 << 30)
    small = fitted(X, y)
    assert small.coef_.flags.c_contiguous
    assert large.coef_.flags.f_contiguous
    np.testing.assert_array_equal(large.coef_, small.coef_)
    np.testing.assert_array_equal(large.partial_fit(X, y).coef_, small.partial_fit(X, y).coef_)


def test_large_coefficients_are_saved_and_converted(tmp_path):
    X, y = problem(dense=False)
    model = fitted(X, y)
    expected = model.decision_function(X)
    assert len(pickle.dumps(model)) < 1.01 * model.coef_.nbytes
    save(model, tmp_path / "model.parsgd")
    for other in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model.parsgd"), model.to_sklearn()):
        np.testing.assert_array_equal(other.decision_function(X), expected)
        other.partial_fit(X, y)
    model.sparsify().densify()
    np.testing.assert_array_equal(model.decision_function(X), expected)
    model.partial_fit(X, y)


def test_one_worker_keeps_one_state():
    n = 1_000_000
    rows = sparse.random(50, n, 1e-5, format="csr", random_state=0)
    y = np.arange(50) % 2
    model = SGDClassifier(random_state=0)
    model.partial_fit(rows, y, classes=[0, 1])
    size = model.coef_.nbytes
    # the old coefficients are there before, the new ones come on top
    assert rise(lambda: model.partial_fit(rows, y)) < 1.2 * size
    assert rise(lambda: SGDClassifier(max_iter=2, tol=None).fit(rows, y)) < 1.2 * size
