"""Searches on streams: the bits of searches in memory with the same folds, scores of one pass, bad input."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file
from sklearn.model_selection import KFold
from sklearn.utils import check_random_state

import parsgd
from parsgd import SGDClassifierCV, SGDRegressorCV
from parsgd.errors import DataFileError, FitInterruptedWarning, InvalidArgumentError
from parsgd.estimators.search import column_search
from parsgd.estimators.search.column_block import ColumnBlock
from parsgd.estimators.search.folded_stream import FoldedStream
from parsgd.estimators.search.folds import StreamFolds
from parsgd.estimators.search.sgd_search import BaseSGDSearch
from parsgd.estimators.validation.random_states import draw_seed
from parsgd.testing.problems import labels, targets, unit_rows

N_ROWS, N_FOLDS = 240, 3
GRID = {"alphas": [1e-4, 1e-2], "etas": [0.03, 0.3]}
FORMATS = ("csv", "parquet", "svmlight", "blocks")


@pytest.fixture
def models(monkeypatch):
    """Collect the coefficients of every model of a search, by setting and fold."""
    found = {}
    finish = column_search.ColumnSearch._finish

    def collect(self, block, chosen, done):
        for model in chosen:
            key = int(block.settings[model]), int(block.folds[model])
            found[key] = (*block.coefficients(int(model)), done)
        finish(self, block, chosen, done)

    monkeypatch.setattr(column_search.ColumnSearch, "_finish", collect)
    return found


def problem(kind="binary", n_rows=N_ROWS):
    # few digits, which text formats keep
    X = unit_rows(n_rows, 8).astype(np.float64).round(6)
    weight = np.random.default_rng(0).uniform(0.2, 2.0, n_rows)
    y = targets(X).astype(np.float64).round(6) if kind == "regression" else labels(X, {"binary": 2}.get(kind, 3))
    return X, y, weight


def stored(folder, kind, rows, weighted=False, **options):
    """Store rows in a format and open them."""
    X, y, weight = rows
    options = {"dtype": "float64", **options}
    if kind == "blocks":
        third = len(y) // 3
        parts = [slice(0, third), slice(third, third), slice(third, None)]
        blocks = [(X[part], y[part], weight[part]) if weighted else (X[part], y[part]) for part in parts]
        return parsgd.open_dataset(blocks, **options)
    path = folder / f"rows.{'svm' if kind == 'svmlight' else kind}"
    if kind == "svmlight":
        dump_svmlight_file(X, y, str(path), zero_based=True)
        return parsgd.open_dataset(path, n_features=X.shape[1], zero_based=True, **options)
    columns = {**{f"x{i}": column for i, column in enumerate(X.T)}, "y": y, "weight": weight}
    if not weighted:
        del columns["weight"]
    if kind == "csv":
        lines = [",".join(repr(value.item()) for value in row) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table(columns), path, row_group_size=50)
    return parsgd.open_dataset(path, target="y", weight="weight" if weighted else None, **options)


def search_of(kind="binary", **arguments):
    common = {"cv": N_FOLDS, "max_iter": 4, "tol": None, "refit": False, "random_state": 1, "n_jobs": 1, **GRID}
    if kind == "regression":
        return SGDRegressorCV(**{**common, **arguments})
    return SGDClassifierCV(**{**common, "losses": ["softmax" if kind == "softmax" else "log_loss"], **arguments})


def kinds_of(seed, n_rows=N_ROWS, n_folds=N_FOLDS, held_out=0.0):
    return StreamFolds(n_folds, draw_seed(check_random_state(seed)), held_out).kinds(np.arange(n_rows))


def explicit_folds(seed=1, n_rows=N_ROWS, n_folds=N_FOLDS):
    kinds = kinds_of(seed, n_rows, n_folds)
    return [(np.flatnonzero(kinds != fold), np.flatnonzero(kinds == fold)) for fold in range(n_folds)]


def same_models(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, values in ours.items():
        assert all(np.array_equal(one, other) for one, other in zip(values, theirs[key], strict=True))


# -- the same as in memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["binary", "one-vs-all", "softmax", "regression"])
@pytest.mark.parametrize("stopping", ["passes", "tol"])
def test_a_search_on_a_stream_has_the_bits_of_one_in_memory(tmp_path, models, form, kind, stopping):
    rows = problem(kind)
    dataset = stored(tmp_path, form, rows)
    X = sparse.csr_array(rows[0]) if dataset.sparse else rows[0]
    arguments = {"shuffle": False}
    if stopping == "tol":
        arguments |= {"tol": 1e-2, "n_iter_no_change": 2, "max_iter": 12}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        streamed = search_of(kind, **arguments).fit(dataset)
        ours = dict(models)
        models.clear()
        in_memory = search_of(kind, cv=explicit_folds(), **arguments).fit(X, rows[1])
    same_models(ours, models)
    # accuracies are counts; the sums of R^2 have another order
    rtol = 1e-12 if kind == "regression" else 0.0
    assert np.allclose(streamed.scores_, in_memory.scores_, rtol=rtol, atol=0.0)
    assert streamed.best_params_ == in_memory.best_params_
    assert streamed.cv_results_.keys() == in_memory.cv_results_.keys()
    assert np.array_equal(streamed.cv_results_["n_iter"], in_memory.cv_results_["n_iter"])


@pytest.mark.parametrize("form", ["csv", "parquet", "blocks"])
@pytest.mark.parametrize("kind", ["one-vs-all", "regression"])
def test_weights_of_rows_and_classes_act_as_in_memory(tmp_path, models, form, kind):
    X, y, weight = rows = problem(kind)
    arguments = {"shuffle": False} | ({} if kind == "regression" else {"class_weights": [None, "balanced", {0: 3.0}]})
    streamed = search_of(kind, **arguments).fit(stored(tmp_path, form, rows, weighted=True))
    ours = dict(models)
    models.clear()
    in_memory = search_of(kind, cv=explicit_folds(), **arguments).fit(X, y, sample_weight=weight)
    same_models(ours, models)
    assert np.allclose(streamed.scores_, in_memory.scores_, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("kind", ["binary", "one-vs-all", "softmax", "regression"])
def test_early_stopping_holds_out_rows_by_a_second_hash(tmp_path, models, monkeypatch, kind):
    X, y, _ = rows = problem(kind)
    arguments = {"early_stopping": True, "tol": 1e-3, "n_iter_no_change": 2, "max_iter": 12, "shuffle": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        streamed = search_of(kind, **arguments).fit(stored(tmp_path, "csv", rows, shuffle_buffer_rows=50))
        ours = dict(models)
        models.clear()
        held_out = kinds_of(1, held_out=0.1) >= N_FOLDS
        assert 0.05 < held_out.mean() < 0.2

        def by_hash(self, estimator, encoded, generator, train):
            return train[~held_out[train]], train[held_out[train]]

        monkeypatch.setattr(BaseSGDSearch, "_hold_out", by_hash)
        in_memory = search_of(kind, cv=explicit_folds(), **arguments).fit(X, y)
    same_models(ours, models)
    assert np.allclose(streamed.scores_, in_memory.scores_, rtol=1e-12, atol=0.0)
    assert 1 < streamed.cv_results_["n_iter"].min() < 12


def test_halving_drops_the_settings_that_it_drops_in_memory(tmp_path):
    X, y, _ = rows = problem()
    arguments = {
        "alphas": [1e-5, 1e-4, 1e-2],
        "etas": [1e-4, 0.03, 0.3],
        "max_iter": 16,
        "halving": True,
        "shuffle": False,
    }
    streamed = search_of(**arguments).fit(stored(tmp_path, "csv", rows, shuffle_buffer_rows=70))
    in_memory = search_of(cv=explicit_folds(), **arguments).fit(X, y)
    after = streamed.cv_results_["halved_after"]
    assert after.any()
    assert np.array_equal(after, in_memory.cv_results_["halved_after"])
    assert np.array_equal(streamed.scores_, in_memory.scores_)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_size_of_blocks_changes_no_result_in_stored_order(tmp_path, models, kind):
    rows, found = problem(kind), []
    for size in (1, 37, 100, N_ROWS, None):
        models.clear()
        dataset = stored(tmp_path, "parquet", rows, shuffle_buffer_rows=size)
        search = search_of(kind, shuffle=False).fit(dataset)
        found.append((search.scores_, dict(models)))
    for scores, coefs in found[1:]:
        assert np.allclose(scores, found[0][0], rtol=1e-12, atol=0.0)
        same_models(coefs, found[0][1])


@pytest.mark.parametrize("size", [37, None])
def test_threads_change_no_bit(tmp_path, models, size):
    dataset, found = stored(tmp_path, "parquet", problem(), shuffle_buffer_rows=size), []
    for n_jobs in (1, 2, 3):
        models.clear()
        search = search_of(alphas=np.geomspace(1e-6, 1e-1, 12), n_jobs=n_jobs).fit(dataset)
        found.append((search.scores_, dict(models)))
    for scores, coefs in found[1:]:
        assert np.array_equal(scores, found[0][0])
        same_models(coefs, found[0][1])


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_shuffled_windows_train_each_model_without_its_test_rows(tmp_path, models, kind):
    X, y, _ = rows = problem(kind)
    dataset = stored(tmp_path, "parquet", rows, shuffle_buffer_rows=64)
    search_of(kind, losses=["squared_error"]).fit(dataset)
    ours = dict(models)
    models.clear()
    # other test rows of fold 0 change no weight of its models
    tested = kinds_of(1) == 0
    other = np.where(tested, 1 - y, y) if kind == "binary" else np.where(tested, y + 5.0, y)
    dataset = stored(tmp_path, "parquet", (X, other, None), shuffle_buffer_rows=64, weighted=False)
    search_of(kind, losses=["squared_error"]).fit(dataset)
    for (setting, fold), (coef, *_) in ours.items():
        assert np.array_equal(coef, models[setting, fold][0]) == (fold == 0)


# -- folds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_rows_of_a_window_have_their_numbers_in_stored_order(shuffle, size):
    sizes, begin, blocks = [5, 0, 33, 1, 60, 11], 0, []
    for n_rows in sizes:
        numbers = np.arange(begin, begin + n_rows, dtype=float)
        blocks.append((numbers[:, None], numbers))
        begin += n_rows
    dataset = parsgd.open_dataset(blocks, dtype="float64", shuffle_buffer_rows=size)
    shard = dataset.source(shuffle=shuffle).split(1, 3, "contiguous")[0]
    for epoch in range(3):
        seen = []
        for window, (rows, _) in enumerate(shard.blocks(5, epoch)):
            numbers = shard.row_numbers(5, epoch, window)
            assert np.array_equal(rows.y, numbers)
            seen.append(numbers)
        assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(sum(sizes)))
    shard.close()


def test_folds_have_about_the_same_size_and_depend_on_the_seed():
    n_rows, folds = 100_000, StreamFolds(5, seed=3, held_out=0.1)
    kinds = folds.kinds(np.arange(n_rows))
    shares = np.array([folds.is_test(kinds, fold).mean() for fold in range(5)])
    assert np.abs(shares - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / n_rows)
    assert abs((kinds >= 5).mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / n_rows)
    assert np.array_equal(folds.kinds(np.arange(50, 90)), kinds[50:90])
    other = StreamFolds(5, seed=4, held_out=0.1).kinds(np.arange(n_rows))
    assert abs((other % 5 == kinds % 5).mean() - 0.2) < 0.01
    for fold in range(5):
        trained = folds.trains[kinds, fold]
        # each row is trained on, tested, or decides when the fit stops; held-out rows are tested in their fold
        parts = np.stack([trained, folds.is_test(kinds, fold), folds.decides(kinds, fold)])
        assert np.array_equal(parts.sum(axis=0), np.ones(n_rows))


# -- the fitted search -------------------------------------------------------------------------------------------------


def test_the_best_setting_is_fitted_to_the_whole_stream(tmp_path):
    X, y, _ = problem()
    names = np.array(["no", "yes"])[y]
    path = tmp_path / "rows.csv"
    lines = [",".join([*map(str, row), name]) for row, name in zip(X.tolist(), names, strict=True)]
    path.write_text("\n".join([",".join([*"abcdefgh", "answer"]), *lines]) + "\n")
    dataset = parsgd.open_dataset(path, target="answer", dtype="float64")
    search = search_of(refit=True).fit(dataset)
    fit = search._estimator(search._check_parameters()[search.best_index_]).fit(dataset)
    assert np.array_equal(search.coef_, fit.coef_)
    assert search.classes_.tolist() == ["no", "yes"]
    assert search.n_features_in_ == 8
    assert search.columns_ is dataset.columns
    assert search.best_estimator_.columns_ is dataset.columns
    assert search.n_splits_ == N_FOLDS
    assert search.scores_.shape == (4, N_FOLDS)
    assert search.best_score_ > 0.8
    assert search.score(dataset) == fit.score(dataset) == pytest.approx(search.score(X, names))
    assert np.array_equal(search.predict(dataset), fit.predict(X))
    search.fit(X, names)
    assert not hasattr(search, "columns_")


def test_models_that_end_in_different_passes_are_scored_in_one_pass(tmp_path, monkeypatch):
    calls = []
    scores = FoldedStream.test_scores
    monkeypatch.setattr(FoldedStream, "test_scores", lambda self, blocks: calls.append(1) or scores(self, blocks))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = search_of(tol=1e-2, n_iter_no_change=2, max_iter=12).fit(stored(tmp_path, "csv", problem()))
    assert len(np.unique(search.cv_results_["n_iter"])) > 1
    assert len(calls) == 1


def test_a_setting_that_diverges_does_not_harm_the_others(tmp_path):
    dataset = stored(tmp_path, "csv", problem("regression"), shuffle_buffer_rows=50)
    arguments = {"learning_rate": "constant", "alphas": [1e-4], "max_iter": 30}
    both = search_of("regression", **{**arguments, "etas": [0.01, 1e6]}).fit(dataset)
    alone = search_of("regression", **{**arguments, "etas": [0.01]}).fit(dataset)
    assert both.cv_results_["mean_test_score"][1] == -np.inf
    assert np.array_equal(both.scores_[0], alone.scores_[0])


@pytest.mark.parametrize("size", [50, None])
def test_ctrl_c_keeps_the_best_so_far(tmp_path, monkeypatch, size):
    dataset = stored(tmp_path, "csv", problem(), shuffle_buffer_rows=size)
    visits, run = [], ColumnBlock.run

    def press(self, *arguments):
        visits.append(1)
        if len(visits) == 13:
            raise KeyboardInterrupt
        run(self, *arguments)

    monkeypatch.setattr(ColumnBlock, "run", press)
    with pytest.warns(FitInterruptedWarning, match="mean of the best setting's folds"):
        search = search_of(max_iter=50, refit=True).fit(dataset)
    assert np.isfinite(search.scores_).all()
    assert search.score(dataset) > 0.8
    assert search.best_estimator_.columns_ is dataset.columns
    assert 1 < search.cv_results_["n_iter"].max() < 50


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cv": KFold(3)}, r"'cv' parameter of SGDClassifierCV must be None or an int .* Got KFold"),
        ({"cv": explicit_folds()}, "'cv' parameter .* must be None or an int of 2 or more"),
        ({"cv": 1}, "'cv' .* Got 1 instead"),
        ({"cv": True}, "'cv' .* Got True instead"),
        ({"cv": 3.0}, "'cv' .* Got 3.0 instead"),
        ({"scoring": "roc_auc"}, "'scoring' parameter .* must be None for a Dataset.* Got 'roc_auc'"),
        ({"cv": 10**12}, "'cv' is 1,000,000,000,000, and the stream has 240 rows"),
        ({"cv": 200}, r"Fold \d+ of 'cv' has no test rows: the 240 rows of the stream"),
        ({"early_stopping": True, "validation_fraction": 1e-9}, "Fold 0 of 'cv' has no held-out rows"),
        ({"early_stopping": True, "validation_fraction": 1 - 1e-9}, "Fold 0 of 'cv' has no training rows"),
        ({"max_memory": 100.0}, "need .* MB of weights, and max_memory allows"),
        ({"alphas": []}, "'alphas' parameter .* is empty"),
    ],
)
def test_bad_arguments_are_refused_before_work(tmp_path, monkeypatch, arguments, message):
    def worked(*_):
        raise AssertionError("a step was made")

    monkeypatch.setattr(ColumnBlock, "run", worked)
    with pytest.raises(InvalidArgumentError, match=message):
        search_of(**arguments).fit(stored(tmp_path, "csv", problem()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": np.zeros(N_ROWS)}, "a Dataset has its own targets; omit y"),
        ({"sample_weight": np.ones(N_ROWS)}, "a Dataset has its own weights; omit sample_weight"),
        ({"groups": np.zeros(N_ROWS)}, "'groups' must be None for a Dataset.* Got ndarray"),
    ],
)
def test_arrays_beside_a_stream_are_refused(tmp_path, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        search_of().fit(stored(tmp_path, "csv", problem()), **arguments)


def test_a_path_and_a_stream_without_targets_are_refused(tmp_path):
    dataset = stored(tmp_path, "csv", problem())
    with pytest.raises(InvalidArgumentError, match="Open it and name the target"):
        search_of().fit(tmp_path / "rows.csv")
    with pytest.raises(InvalidArgumentError, match="has no targets"):
        search_of().fit(dataset.without_targets())


@pytest.mark.parametrize("part", [False, True])
def test_collections_of_dask_are_refused(part):
    dask = pytest.importorskip("dask")
    X, y, _ = problem()
    dataset = parsgd.open_dataset([dask.delayed((X, y))])
    with pytest.raises(InvalidArgumentError, match="is a collection of Dask or Ray"):
        search_of().fit(dataset.split(0.5)[0] if part else dataset)


def test_a_fold_whose_training_rows_lack_a_class_is_refused(tmp_path):
    X, _, weight = problem()
    place = int(np.flatnonzero(kinds_of(1) == 2)[0])
    y = (np.arange(N_ROWS) == place).astype(int)
    with pytest.raises(InvalidArgumentError, match="training rows of fold 2 have no row of class 1"):
        search_of().fit(stored(tmp_path, "csv", (X, y, weight)))


def test_a_bad_row_is_named(tmp_path):
    X, y, weight = problem()
    X[100, 3] = np.nan
    with pytest.raises(DataFileError, match="row 21"):
        # the third block begins at row 80
        search_of().fit(stored(tmp_path, "blocks", (X, y, weight)))
