"""Predictions and validation scores on several threads: the bits of one thread, and no more threads than allowed."""

from itertools import pairwise

import joblib
import numpy as np
import pytest
from scipy import sparse

import parsgd
from parsgd import MLPClassifier, MLPRegressor, SGDClassifier, SGDOneClassSVM, SGDRegressor
from parsgd.errors import InvalidArgumentError
from parsgd.estimators import auto_select
from parsgd.estimators.auto_select import count_threads
from parsgd.estimators.fitted import prediction_blocks
from parsgd.models import row_blocks
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils import blas_threads

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DENSE = unit_rows(20_000, 6)
CSR = sparse.csr_matrix(np.where(DENSE > 0.2, DENSE, 0.0))
SHORT = {"max_iter": 2, "random_state": 0}
LINEAR = SHORT | {"tol": None}
ESTIMATORS = {
    "two classes": (SGDClassifier("log_loss", **LINEAR), labels(DENSE)),
    "classes": (SGDClassifier("modified_huber", **LINEAR), labels(DENSE, 3).astype(str)),
    "softmax": (SGDClassifier("softmax", **LINEAR), labels(DENSE, 3)),
    "regressor": (SGDRegressor(**LINEAR), targets(DENSE)),
    "poisson": (SGDRegressor("poisson", **LINEAR), np.abs(targets(DENSE))),
    "one class": (SGDOneClassSVM(**LINEAR), None),
    "network": (MLPClassifier((4,), **SHORT), labels(DENSE, 3)),
    "network of two classes": (MLPClassifier((4,), **SHORT), labels(DENSE)),
    "network regressor": (MLPRegressor(hidden_layer_sizes=(4,), **SHORT), np.column_stack([targets(DENSE)] * 2)),
}
METHODS = ("predict", "decision_function", "predict_proba", "predict_log_proba", "score_samples")


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Three cores and small blocks; a list of the numbers of threads used."""
    used = []

    def recorded(self, n_threads, result=row_blocks._Blocks.result):
        used.append(n_threads)
        return result(self, n_threads)

    monkeypatch.setattr(auto_select.joblib, "cpu_count", lambda: 3)
    monkeypatch.setattr(prediction_blocks, "_MIN_VALUES", 1)
    monkeypatch.setattr(row_blocks, "_BLOCK_VALUES", 1 << 12)
    monkeypatch.setattr(row_blocks._Blocks, "result", recorded)
    return used


def fitted(kind, X=DENSE):
    model, y = ESTIMATORS[kind]
    return model.set_params(n_jobs=1).fit(X[:300], None if y is None else y[:300])


def whole(model, name, X, monkeypatch):
    """The method's result on all rows at once."""
    with monkeypatch.context() as patch, blas_threads.one_thread():
        patch.setattr(prediction_blocks, "_MIN_VALUES", np.inf)
        return getattr(model, name)(X)


@pytest.mark.parametrize(
    "form", [DENSE, DENSE.astype(np.float32), np.asfortranarray(DENSE), CSR, sparse.csr_array(CSR)]
)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_number_of_threads_changes_no_bit(kind, form, threads, monkeypatch):
    model = fitted(kind, form)
    threads.clear()
    for name in METHODS:
        if not hasattr(model, name):
            continue
        expected = whole(model, name, form, monkeypatch)
        for n_jobs in (1, 2, 3, None):
            ours = getattr(model.set_params(n_jobs=n_jobs), name)(form)
            assert (ours.dtype, ours.shape) == (expected.dtype, expected.shape)
            assert np.array_equal(ours, expected), (name, n_jobs)
    assert 1 in threads
    assert max(threads) == (2 if "network" in kind else 3)


@pytest.mark.parametrize("kind", ["softmax", "network"])
def test_a_sparsified_or_unsorted_model_and_rows(kind, threads, monkeypatch):
    model = fitted(kind)
    unsorted = CSR.copy()
    order = np.concatenate([np.arange(begin, end)[::-1] for begin, end in pairwise(CSR.indptr)])
    unsorted.indices, unsorted.data = CSR.indices[order], CSR.data[order]
    assert np.array_equal(model.set_params(n_jobs=2).predict_proba(unsorted), model.predict_proba(CSR))
    if kind == "softmax":
        model.sparsify()
        for X in (DENSE, CSR):
            assert np.array_equal(model.predict_proba(X), whole(model, "predict_proba", X, monkeypatch))
    assert set(threads) == {2}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_one_row_and_no_row(kind, threads):
    model = fitted(kind).set_params(n_jobs=2)
    threads.clear()
    for X in (DENSE, CSR):
        one, first = model.predict(X[:1]), model.predict(X[:2])[:1]
        assert one.shape == first.shape
        assert np.array_equal(one, first) if one.dtype.kind == "U" else np.allclose(one, first)
        with pytest.raises(ValueError, match="0 sample"):
            model.predict(X[:0])
    assert not threads


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused_as_in_one_block(bad, threads):
    model = fitted("softmax").set_params(n_jobs=2)
    broken, csr = DENSE.copy(), CSR.copy()
    broken[15_000, 2] = csr.data[-5] = bad
    for X in (broken, csr):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            model.predict(X)


def test_a_broken_csr_matrix_is_refused_as_in_one_block(threads):
    model = fitted("softmax").set_params(n_jobs=2)
    outside, falling = CSR.copy(), CSR.copy()
    outside.indices[-1] = 100
    falling.indptr[3], falling.indptr[4] = falling.indptr[4] + 1, falling.indptr[3]
    for X in (outside, falling):
        with pytest.raises(InvalidArgumentError, match="CSR matrix"):
            model.predict(X)


def test_scores_of_arrays(threads):
    model, y = ESTIMATORS["classes"]
    fitted("classes")
    scores = {model.set_params(n_jobs=n_jobs).score(DENSE, y) for n_jobs in (1, 2, 3)}
    assert len(scores) == 1
    assert threads == [1, 2, 3]


def test_a_dataset_gives_the_predictions_of_its_rows(threads, tmp_path):
    model = fitted("softmax").set_params(n_jobs=2)
    np.save(tmp_path / "rows.npy", DENSE)
    dataset = parsgd.open_dataset(tmp_path / "rows.npy")
    assert np.array_equal(model.predict(dataset), model.predict(DENSE))


def test_predictions_inside_a_parallel_loop_use_one_thread(threads):
    model = fitted("softmax").set_params(n_jobs=3)
    expected = model.predict(DENSE)
    threads.clear()
    found = joblib.Parallel(n_jobs=2, backend="threading")(joblib.delayed(model.predict)(DENSE) for _ in range(2))
    assert all(np.array_equal(one, expected) for one in found)
    assert set(threads) == {1}


def test_limits_of_the_number_of_threads():
    assert count_threads(None, "auto", "SGDClassifier") == 3
    assert count_threads(-2, "auto", "SGDClassifier") == 2
    assert count_threads(1000, parsgd.Simulated(), "SGDClassifier") == 3
    assert count_threads(2, "serial", "SGDClassifier") == 1
    with joblib.parallel_config(n_jobs=2):
        assert count_threads(None, "auto", "SGDClassifier") == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["softmax", "regressor", "network", "network regressor"])
@pytest.mark.parametrize("form", [DENSE, CSR])
def test_validation_scores_during_a_fit(kind, form, threads):
    model, y = ESTIMATORS[kind]
    found = []
    for engine in ("serial", "threads"):
        threads.clear()
        model.set_params(n_jobs=2, engine=engine, algorithm="local")
        try:
            model.fit(form[:2000], y[:2000], X_val=form, y_val=y)
        finally:
            model.set_params(engine="auto", algorithm="auto")
        found.append([entry["score"] for entry in model.history_])
        assert set(threads) == {1 if engine == "serial" else 2}
    assert found[0] == found[1]


def test_workers_of_a_one_shot_algorithm_score_in_one_thread(threads):
    model, y = ESTIMATORS["softmax"]
    model.set_params(n_jobs=2, algorithm="simuparallel")
    try:
        model.fit(DENSE[:2000], y[:2000], X_val=DENSE, y_val=y)
    finally:
        model.set_params(algorithm="auto")
    assert set(threads) == {1}
