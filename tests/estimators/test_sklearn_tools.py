"""Estimators in the company of scikit-learn's tools, of data frames, and of memory that is not theirs."""

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import SGDClassifier as TheirClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parsgd
from parsgd import LocalSGD, SGDClassifier, SGDOneClassSVM, SGDRegressor
from parsgd.data.sources.array_source import ArraySource
from parsgd.testing import slow_down
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(150, 5)
Y, NUMBERS = labels(X), targets(X)
QUICK = {"max_iter": 3, "tol": None, "random_state": 0}
ESTIMATORS = [SGDClassifier("log_loss", **QUICK), SGDRegressor(**QUICK), SGDOneClassSVM(**QUICK)]


def bits(model):
    return model.coef_.tobytes()


# -- scikit-learn's tools ------------------------------------------------------------------------------------------


def test_pipelines_scale_fit_and_predict():
    ours = make_pipeline(StandardScaler(), SGDClassifier("log_loss", n_jobs=2, algorithm="local", **QUICK)).fit(X, Y)
    assert ours.score(X, Y) > 0.9
    assert ours.predict_proba(X).shape == (150, 2)


def test_a_grid_search_with_two_processes_finds_what_it_finds_with_one():
    grid = {"alpha": [1e-4, 1.0], "penalty": ["l2", "l1"]}
    found = [GridSearchCV(SGDClassifier(**QUICK), grid, cv=2, n_jobs=n).fit(X, Y) for n in (1, 2)]
    assert found[0].best_params_ == found[1].best_params_
    np.testing.assert_array_equal(found[0].cv_results_["mean_test_score"], found[1].cv_results_["mean_test_score"])
    assert found[1].best_estimator_.algorithm_.n_workers == 1


def test_the_search_may_be_over_algorithms_too():
    grid = {"algorithm": ["simuparallel", LocalSGD(sync_every=0.5)], "batch_size": [1, 4]}
    assert (
        GridSearchCV(SGDRegressor(n_jobs=2, algorithm="local", **QUICK), grid, cv=2).fit(X, NUMBERS).best_score_ > 0.0
    )


def test_other_estimators_can_be_made_of_ours():
    both = np.column_stack([NUMBERS, -NUMBERS])
    several = MultiOutputRegressor(SGDRegressor(**QUICK)).fit(X, both)
    np.testing.assert_allclose(several.predict(X)[:, 0], SGDRegressor(**QUICK).fit(X, NUMBERS).predict(X))
    bagged = BaggingRegressor(SGDRegressor(**QUICK), 3, n_jobs=2, random_state=0).fit(X, NUMBERS)
    assert np.isfinite(bagged.predict(X)).all()


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_clones_and_pickles_fit_and_predict_the_same(estimator):
    estimator = clone(estimator).set_params(n_jobs=2, algorithm=LocalSGD(sync_every=0.5), engine="threads")
    y = None if isinstance(estimator, SGDOneClassSVM) else Y
    fitted = estimator.fit(X, y)
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    assert loaded.history_ == fitted.history_
    assert loaded.outcome_ is fitted.outcome_
    assert bits(clone(loaded).fit(X, y)) == bits(fitted)


def test_parameters_are_scikit_learns_and_then_ours():
    ours, theirs = (kind().get_params() for kind in (SGDClassifier, TheirClassifier))
    assert set(theirs) <= set(ours)
    assert {name: ours[name] for name in theirs} == theirs
    assert set(ours) - set(theirs) == {"algorithm", "engine", "batch_size", "checkpoint"}


def test_fitting_changes_no_parameter():
    algorithm, engine = LocalSGD(sync_every=0.5), slow_down({})
    model = SGDClassifier(algorithm=algorithm, engine=engine, n_jobs=2, **QUICK)
    before = dict(model.get_params())
    model.fit(X, Y)
    assert {name: value for name, value in model.get_params().items() if value is not before[name]} == {}


def test_weights_can_be_stored_sparse_and_predict_the_same():
    model = SGDClassifier(penalty="l1", alpha=0.01, n_jobs=1, **QUICK).fit(X, Y)
    before = model.decision_function(X)
    assert sparse.issparse(model.sparsify().coef_)
    np.testing.assert_allclose(model.decision_function(X), before)
    np.testing.assert_allclose(model.densify().decision_function(X), before)


def test_metadata_is_routed_to_fits_that_take_weights():
    from sklearn import config_context

    weight = np.linspace(0.1, 1.0, 150)
    with config_context(enable_metadata_routing=True):
        model = SGDClassifier(n_jobs=1, **QUICK).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        inner_delay = make_pipeline(scaler, model).fit(X, Y, sample_weight=weight)
    outside = SGDClassifier(n_jobs=1, **QUICK).fit(StandardScaler().fit_transform(X), Y, sample_weight=weight)
    assert bits(inner_delay[-1]) == bits(outside)


# -- frames --------------------------------------------------------------------------------------------------------

NAMES = [f"feature {i}" for i in range(5)]


@pytest.mark.parametrize(
    "frame", [lambda: pd.DataFrame(X, columns=NAMES), lambda: pl.DataFrame(X, schema=NAMES)], ids=["pandas", "polars"]
)
def test_frames_give_the_bits_of_their_arrays_and_their_names(frame):
    for estimator, y in ((SGDClassifier(n_jobs=1, **QUICK), Y), (SGDRegressor(n_jobs=1, **QUICK), NUMBERS)):
        plain, framed = (clone(estimator).fit(rows, y) for rows in (X, frame()))
        assert bits(framed) == bits(plain)
        assert list(framed.feature_names_in_) == NAMES
        # a frame's columns lie apart, and BLAS sums them in another order
        np.testing.assert_allclose(framed.predict(frame()), plain.predict(X), rtol=1e-12)


def test_columns_in_another_order_are_refused():
    frame = pd.DataFrame(X, columns=NAMES)
    model = SGDClassifier(n_jobs=1, **QUICK).fit(frame, pd.Series(Y))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[NAMES[::-1]])


def test_a_pipeline_may_pass_frames_on():
    pipeline = make_pipeline(StandardScaler(), SGDRegressor(n_jobs=1, **QUICK)).set_output(transform="pandas")
    pipeline.fit(pd.DataFrame(X, columns=NAMES), NUMBERS)
    assert list(pipeline[-1].feature_names_in_) == NAMES


def test_classes_may_be_texts():
    names = np.array(["no", "yes"])
    texts, objects = (SGDClassifier(n_jobs=1, **QUICK).fit(X, kind[Y]) for kind in (names, names.astype(object)))
    numbers = SGDClassifier(n_jobs=1, **QUICK).fit(X, Y)
    assert bits(texts) == bits(objects) == bits(numbers)
    assert list(texts.predict(X)) == list(names[numbers.predict(X)])


# -- memory that is not ours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_rows_are_seen_where_they_are_and_left_alone(monkeypatch, dtype, layout):
    seen = []
    split = ArraySource.split
    monkeypatch.setattr(ArraySource, "split", lambda self, *args: seen.append(self.rows) or split(self, *args))
    rows = unit_rows(80, 5, dtype=dtype, layout=layout)
    before = rows.copy()
    model = SGDRegressor(n_jobs=2, algorithm="local", **QUICK).fit(rows, targets(rows))
    mine = rows.data if layout == "csr" else rows
    assert np.shares_memory(seen[0].x.data, mine)
    assert (rows != before).sum() == 0
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    assert model.predict(rows).dtype == dtype


def test_a_read_only_file_mapped_into_memory_is_fitted_as_it_lies(tmp_path):
    for name, array in (("X", X), ("y", NUMBERS)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("X", "y")]
    assert bits(SGDRegressor(n_jobs=2, algorithm="local", **QUICK).fit(*mapped)) == bits(
        SGDRegressor(n_jobs=2, algorithm="local", **QUICK).fit(X, NUMBERS)
    )


@pytest.mark.slow  # starts two interpreters; the test above has mapped memory
def test_memory_that_joblib_maps_for_its_workers_is_fitted_too():
    found = joblib.Parallel(n_jobs=2, max_nbytes=10)(joblib.delayed(fitted_bits)(X, NUMBERS) for _ in range(2))
    assert found == [fitted_bits(X, NUMBERS)] * 2


def fitted_bits(rows, y):
    return bits(SGDRegressor(n_jobs=2, algorithm="local", **QUICK).fit(rows, y))


@pytest.mark.slow
def test_wide_indices_give_what_narrow_ones_give():
    narrow = unit_rows(150, 5, layout="csr")
    wide = narrow.copy()
    wide.indices, wide.indptr = narrow.indices.astype(np.int64), narrow.indptr.astype(np.int64)
    for y, kind in ((Y, SGDClassifier), (labels(X, 3), SGDClassifier), (NUMBERS, SGDRegressor)):
        assert bits(kind(n_jobs=2, algorithm="local", **QUICK).fit(wide, y)) == bits(
            kind(n_jobs=2, algorithm="local", **QUICK).fit(narrow, y)
        )


@pytest.mark.parametrize(
    "make",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x.tolist(),
        sparse.csc_matrix,
        sparse.csr_array,
        sparse.coo_array,
    ],
)
def test_other_layouts_give_what_plain_rows_give(make):
    made = make(X)
    plain = sparse.csr_matrix(X) if sparse.issparse(made) else X
    assert bits(SGDClassifier(n_jobs=1, **QUICK).fit(made, Y)) == bits(SGDClassifier(n_jobs=1, **QUICK).fit(plain, Y))


def test_empty_rows_and_empty_features_are_no_error():
    rows = sparse.csr_matrix((10, 4))
    for kind in (SGDClassifier, SGDRegressor):
        model = kind(n_jobs=2, algorithm="local", **QUICK).fit(rows, np.arange(10) % 2)
        np.testing.assert_array_equal(model.coef_, 0.0)


def test_integers_are_taken_as_numbers():
    rows = np.arange(300).reshape(60, 5) % 7
    y = np.arange(60) % 2
    assert bits(SGDClassifier(n_jobs=1, **QUICK).fit(rows, y)) == bits(
        SGDClassifier(n_jobs=1, **QUICK).fit(rows.astype(float), y)
    )


def test_scores_across_folds_are_those_of_separate_fits():
    assert cross_val_score(SGDClassifier(**QUICK), X, Y, cv=3).mean() > 0.85


def test_public_names_are_complete_and_sorted():
    assert parsgd.__all__ == sorted(parsgd.__all__)
    for name in parsgd.__all__:
        assert getattr(parsgd, name).__doc__
