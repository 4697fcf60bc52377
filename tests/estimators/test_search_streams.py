"""A search on a data set in files is the search on the same rows in memory."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

import parsgd
from parsgd import SGDClassifier, SGDClassifierCV, SGDRegressorCV
from parsgd.data.sources.array_source import ArraySource
from parsgd.errors import InvalidArgumentError
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils.row_arrays import rows_of

N_ROWS, N_FEATURES = 330, 6
X = np.round(unit_rows(N_ROWS, N_FEATURES), 3)
WEIGHT = np.round(np.random.default_rng(3).uniform(0.5, 2.0, N_ROWS), 2)
GRID = {"alphas": [1e-4, 1e-2], "etas": [0.1, 1.0], "cv": KFold(3), "random_state": 0, "max_iter": 4, "tol": None}


def targets_of(kind):
    if kind == "numbers":
        return np.round(targets(X), 3)
    y = labels(X, 2 if kind == "two classes" else 3)
    return np.array(["ham", "spam", "eggs"])[y] if kind == "texts" else y


def written(folder, kind, form="csv", weight=False):
    y = targets_of(kind)
    if form == "svm":
        path = folder / "rows.svm"
        dump_svmlight_file(sparse.csr_matrix(X), y, str(path))
        return path
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(N_FEATURES)]).assign(y=y)
    if weight:
        frame["w"] = WEIGHT
    path = folder / f"rows.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False, row_group_size=47)
    return path


def opened(path, target="y", **settings):
    """A data set in the precision of the rows in memory."""
    return parsgd.open_dataset(path, target=target, dtype="float64", **settings)


def same(one, other):
    np.testing.assert_allclose(one.scores_, other.scores_, rtol=0, atol=1e-12)
    assert one.best_params_ == other.best_params_
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["two classes", "texts", "three classes", "numbers"])
@pytest.mark.parametrize("form", ["csv", "parquet", "svm"])
@pytest.mark.parametrize("window", [32, 1000])
def test_stored_order_gives_the_scores_of_rows_in_memory(tmp_path, kind, form, window):
    if form == "svm" and kind == "texts":
        return
    path = written(tmp_path, kind, form)
    dataset = opened(path, target=None if form == "svm" else "y", shuffle_buffer_rows=window)
    search = SGDRegressorCV if kind == "numbers" else SGDClassifierCV
    rows = sparse.csr_matrix(X) if form == "svm" else X
    here = search(**GRID, shuffle=False).fit(rows, targets_of(kind))
    there = search(**GRID, shuffle=False).fit(dataset)
    same(here, there)
    assert there.n_features_in_ == N_FEATURES


@pytest.mark.parametrize(
    "settings", [{"early_stopping": True, "tol": 1e-3, "max_iter": 12}, {"halving": True}], ids=str
)
def test_stopping_and_halving_are_those_of_rows_in_memory(tmp_path, settings):
    path = written(tmp_path, "three classes")
    given = {**GRID, "shuffle": False, "refit": False, **settings}
    here = SGDClassifierCV(**given).fit(X, targets_of("three classes"))
    there = SGDClassifierCV(**given).fit(opened(path, shuffle_buffer_rows=50))
    np.testing.assert_allclose(here.scores_, there.scores_, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(here.cv_results_["n_iter"], there.cv_results_["n_iter"])


def test_weights_and_balanced_classes_are_those_of_rows_in_memory(tmp_path):
    path = written(tmp_path, "three classes", weight=True)
    given = {**GRID, "shuffle": False, "class_weights": [None, "balanced"]}
    here = SGDClassifierCV(**given).fit(X, targets_of("three classes"), sample_weight=WEIGHT)
    same(here, SGDClassifierCV(**given).fit(opened(path, weight="w", shuffle_buffer_rows=64)))


@pytest.mark.parametrize("cv", [ShuffleSplit(3, test_size=0.4, random_state=1), GroupKFold(3), 4])
def test_any_splitter_serves(tmp_path, cv):
    path = written(tmp_path, "two classes")
    groups = np.arange(N_ROWS) % 7 if isinstance(cv, GroupKFold) else None
    given = {**GRID, "cv": cv, "shuffle": False}
    here = SGDClassifierCV(**given).fit(X, targets_of("two classes"), groups=groups)
    same(here, SGDClassifierCV(**given).fit(opened(path), groups=groups))


@pytest.mark.parametrize("window", [16, 60, 1000])
def test_shuffled_windows_never_train_on_the_test_rows(tmp_path, window):
    """In a random order of pieces and rows each model is a fit to the training rows of its fold alone."""
    path = written(tmp_path, "two classes", "parquet")
    dataset = opened(path, shuffle_buffer_rows=window)
    shard = dataset.source().split(1, 5)[0]
    y, visited = targets_of("two classes"), 0
    for epoch in (0, 1, 2):
        visited, seen = 0, []
        for rows, order in shard.blocks(5, epoch):
            numbers = shard.row_numbers(5, epoch, visited)
            visited += len(order)
            np.testing.assert_array_equal(rows.y[order], y[numbers][order])
            np.testing.assert_allclose(rows.x.data.reshape(-1, N_FEATURES)[order], X[numbers][order])
            seen.append(numbers)
        np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(N_ROWS))
    shard.close()
    found = SGDClassifierCV(**{**GRID, "max_iter": 30}).fit(dataset)
    alone = SGDClassifierCV(**{**GRID, "max_iter": 30}).fit(X, y)
    assert np.abs(found.scores_ - alone.scores_).max() < 0.1


def test_the_best_estimator_is_a_fit_to_the_data_set(tmp_path):
    dataset = opened(written(tmp_path, "texts"))
    search = SGDClassifierCV(**GRID).fit(dataset)
    setting = {"alpha": search.best_params_["alpha"], "eta0": search.best_params_["eta0"]}
    alone = SGDClassifier(
        search.losses[0], learning_rate=search.learning_rate, random_state=0, max_iter=4, tol=None, **setting
    ).fit(dataset)
    np.testing.assert_array_equal(search.coef_, alone.coef_)
    assert set(search.predict(X)) <= {"ham", "spam", "eggs"}


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"scoring": "f1"}, {}, "'scoring' parameter .* must be None"),
        ({}, {"y": targets_of("two classes")}, "has its own targets"),
        ({}, {"sample_weight": WEIGHT}, "has its own weights"),
        ({"cv": [(np.arange(5), np.arange(400, 405))]}, {}, "beyond the 330 rows"),
    ],
)
def test_bad_input_is_refused(tmp_path, settings, arguments, message):
    dataset = opened(written(tmp_path, "two classes"))
    with pytest.raises(InvalidArgumentError, match=message):
        SGDClassifierCV(**{**GRID, **settings}).fit(dataset, **arguments)


def test_targets_are_needed_with_rows_in_memory():
    with pytest.raises(ValueError, match="y"):
        SGDClassifierCV(**GRID).fit(X)


def test_array_shards_have_absolute_row_numbers():
    """The kinds of a search index all rows of an array, whatever the order."""
    (shard,) = ArraySource(rows_of(X, targets_of("numbers"))).split(1, 0)
    assert shard.in_one_block
