"""Estimators that train on a Dataset: what holds for arrays holds for rows that are read meanwhile."""

import numpy as np
import pandas as pd
import pytest
from fitted_parameters import parameters
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import parsgd
from parsgd import MLPClassifier, MLPRegressor, SGDClassifier, SGDOneClassSVM, SGDRegressor, open_dataset
from parsgd.errors import DataFileError, InvalidArgumentError

# few epochs
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(600, 5)).astype(np.float32)
Y = X @ np.array([1.0, -2.0, 0.5, 0.0, 1.0]) + 0.1 * rng.normal(size=600)
LABELS = np.where(Y > 0.5, "high", np.where(Y < -0.5, "low", "middle"))
TWO = (Y > 0).astype(np.int64)
WEIGHT = rng.uniform(0.5, 2.0, 600).astype(np.float32)

FACES = {
    "two classes": (SGDClassifier(loss="log_loss", max_iter=3, tol=None), TWO),
    "three classes": (SGDClassifier(max_iter=3, tol=None), LABELS),
    "softmax": (SGDClassifier(loss="softmax", max_iter=3, tol=None, average=True), LABELS),
    "regression": (SGDRegressor(max_iter=3, tol=None, penalty="l1"), Y),
    "one class": (SGDOneClassSVM(max_iter=3, tol=None), Y),
    "network, two classes": (MLPClassifier(4, max_iter=2, batch_size=32), TWO),
    "network, three classes": (MLPClassifier(4, max_iter=2, batch_size=32), LABELS),
    "network, regression": (MLPRegressor(hidden_layer_sizes=4, max_iter=2, batch_size=32, solver="sgd"), Y),
}


@pytest.fixture(params=FACES)
def face(request):
    model, y = FACES[request.param]
    return clone(model).set_params(random_state=0), y


def blocks(x=X, y=Y, *more, size=150):
    """A Dataset of blocks, one a row group as it were."""
    return open_dataset([tuple(p[i : i + size] for p in (x, y, *more)) for i in range(0, len(y), size)])


def same(ours, theirs):
    return np.array_equal(parameters(ours), parameters(theirs))


# -- laws --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_one_worker_on_stored_rows_has_the_bits_of_arrays(face, form):
    model, y = face
    x = form(X)
    model.set_params(shuffle=False, n_jobs=1)
    ours = clone(model).fit(blocks(x, y))
    assert same(ours, model.fit(x, y))


def test_so_it_does_with_weights(face):
    model, y = face
    model.set_params(shuffle=False, n_jobs=1)
    ours = clone(model).fit(blocks(X, y, WEIGHT))
    assert same(ours, model.fit(X, y, sample_weight=WEIGHT))


def test_predictions_go_block_by_block(face):
    model, y = face
    data = blocks(X, y)
    model.fit(data)
    for method in ("predict", "predict_proba", "decision_function", "score_samples"):
        if hasattr(model, method):
            ours, theirs = getattr(model, method)(data), getattr(model, method)(X)
            # a product of fewer rows may be summed in another order
            alike = np.allclose(ours, theirs, rtol=1e-4, atol=1e-4) if ours.dtype.kind == "f" else ours == theirs
            assert ours.shape == theirs.shape
            assert np.all(alike)
    if hasattr(model, "score"):
        assert model.score(data) == pytest.approx(model.score(X, y))


def test_partial_fit_is_a_pass_over_the_rows(face):
    model, y = face
    model.set_params(shuffle=False, n_jobs=1)
    first = {"classes": np.unique(y)} if hasattr(model, "class_weight") else {}
    theirs = clone(model).partial_fit(X, y, **first).partial_fit(X, y)
    data = blocks(X, y)
    assert same(model.partial_fit(data, **first).partial_fit(data), theirs)


def test_warm_start_goes_on_from_what_was_fitted():
    model = SGDRegressor(warm_start=True, shuffle=False, max_iter=1, tol=None)
    theirs = SGDRegressor(warm_start=True, shuffle=False, max_iter=1, tol=None)
    for _ in range(2):
        assert same(model.fit(blocks()), theirs.fit(X, Y))


@pytest.mark.parametrize("algorithm", ["simuparallel", "weighted", "local", "minibatch"])
@pytest.mark.parametrize("model", [SGDClassifier(), MLPClassifier(4, batch_size=32)], ids=["linear", "network"])
def test_engines_give_the_same_bits(model, algorithm):
    model.set_params(max_iter=2, algorithm=algorithm, n_jobs=2, random_state=1)
    fitted = [clone(model).set_params(engine=e).fit(blocks(X, LABELS)) for e in ("serial", "threads")]
    assert same(*fitted)


def test_row_groups_of_parquet_train_as_arrays_do(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=LABELS)
    frame.to_parquet(tmp_path / "all.parquet", row_group_size=100)
    model = SGDClassifier(shuffle=False, max_iter=2, tol=None, random_state=0)
    ours = clone(model).fit(open_dataset(tmp_path / "all.parquet", target="y"))
    assert same(ours, model.fit(X, LABELS))
    assert ours.columns_.feature_names == list("abcde")


# -- classes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [SGDClassifier, MLPClassifier])
def test_a_class_that_is_in_some_partitions_only_is_a_class(cls):
    order = np.argsort(LABELS, kind="stable")
    data = blocks(X[order], LABELS[order], size=100)
    model = cls(max_iter=3, random_state=0, n_jobs=2, algorithm="local").fit(data)
    assert model.classes_.tolist() == ["high", "low", "middle"]
    assert len(np.unique(model.predict(data))) > 1


@pytest.mark.parametrize("class_weight", ["balanced", {"low": 3.0}])
@pytest.mark.parametrize("cls", [SGDClassifier, MLPClassifier])
def test_class_weights_come_from_the_counts(cls, class_weight):
    model = cls(class_weight=class_weight, shuffle=False, max_iter=2, n_jobs=1, random_state=0)
    ours = clone(model).fit(blocks(X, LABELS))
    assert same(ours, model.fit(X, LABELS))


def test_one_class_alone_is_refused():
    with pytest.raises(InvalidArgumentError, match="greater than one"):
        SGDClassifier().fit(blocks(X, np.ones(600, dtype=int)))


def test_a_class_that_was_not_named_is_refused_with_the_place():
    model = SGDClassifier()
    with pytest.raises(DataFileError, match=r"block 0 .*\['middle'\] are not among \['high', 'low'\]"):
        model.partial_fit(blocks(X, LABELS), classes=["high", "low"])


# -- early stopping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("face", ["three classes", "regression", "network, two classes"], indirect=True)
def test_early_stopping_holds_rows_back(face):
    model, y = face
    model.set_params(early_stopping=True, max_iter=20)
    model.fit(blocks(X, y))
    assert model.history_[-1]["score"] is not None
    assert model.history_[-1]["workers"][0]["examples"] % 540 == 0
    again = clone(model).fit(blocks(X, y))
    assert same(again, model)


def test_a_validation_set_of_ones_own_decides():
    model = SGDRegressor(early_stopping=True, max_iter=50, shuffle=False)
    ours = clone(model).fit(blocks(), X_val=X[:50], y_val=Y[:50])
    assert same(ours, model.fit(X, Y, X_val=X[:50], y_val=Y[:50]))


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_targets_besides_a_dataset_are_refused(face):
    model, y = face
    if isinstance(model, SGDOneClassSVM):
        pytest.skip("its y is ignored")
    with pytest.raises(InvalidArgumentError, match="omit y"):
        model.fit(blocks(X, y), y)
    with pytest.raises(InvalidArgumentError, match="omit sample_weight"):
        model.fit(blocks(X, y), sample_weight=WEIGHT)


def test_a_dataset_without_targets_is_refused(face):
    model, _ = face
    data = open_dataset(X)
    if isinstance(model, SGDOneClassSVM):
        model.set_params(shuffle=False)
        assert same(clone(model).fit(data), model.fit(X))
        return
    with pytest.raises(InvalidArgumentError, match="has no targets"):
        model.fit(data)


def test_lbfgs_takes_arrays_only():
    with pytest.raises(InvalidArgumentError, match=r"lbfgs.*needs arrays"):
        MLPRegressor(solver="lbfgs").fit(blocks())


def test_texts_are_no_targets_of_a_regression():
    with pytest.raises(DataFileError, match=r"block 0 .*A regression needs numbers"):
        SGDRegressor().fit(blocks(X, LABELS))


def test_another_number_of_features_is_refused():
    model = SGDRegressor().fit(blocks())
    for method in (model.predict, model.partial_fit):
        with pytest.raises(InvalidArgumentError, match="expecting 5 features"):
            method(blocks(X[:, :3]))


def test_a_missing_value_stops_the_fit_and_says_where(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=Y)
    frame.loc[417, "c"] = np.nan
    frame.to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(DataFileError, match=r"data.csv, row 418: column 'c' is missing"):
        SGDRegressor(n_jobs=2, algorithm="local").fit(open_dataset(tmp_path / "data.csv", target="y"))


# -- columns -----------------------------------------------------------------------------------------------------------


def table():
    city = np.array(["Bath", "Köln", "Lyon"])[rng.integers(0, 3, 600)]
    return pd.DataFrame(X, columns=list("abcde")).assign(city=city, y=LABELS)


def test_a_path_is_opened_with_the_columns_of_the_fit(tmp_path):
    frame = table()
    for name in ("old.csv", "new.csv"):
        frame.to_csv(tmp_path / name, index=False)
    columns = [parsgd.columns.Numeric(scale="standard"), parsgd.columns.OneHot("city")]
    data = open_dataset(tmp_path / "old.csv", target="y", columns=columns)
    model = SGDClassifier(max_iter=3, random_state=0).fit(data)
    assert np.array_equal(model.predict(str(tmp_path / "new.csv")), model.predict(data))
    again = open_dataset(tmp_path / "new.csv", target="y", columns=model.columns_)
    assert model.score(again) == model.score(data)


def test_columns_are_part_of_the_model_file(tmp_path):
    table().to_parquet(tmp_path / "data.parquet", row_group_size=200)
    data = open_dataset(tmp_path / "data.parquet", target="y", columns={"a": "numbers", "city": "onehot"})
    model = SGDClassifier(max_iter=3, random_state=0).fit(data)
    parsgd.save(model, tmp_path / "model.parsgd")
    again = parsgd.load(tmp_path / "model.parsgd")
    assert again.columns_ == model.columns_
    assert np.array_equal(again.predict(tmp_path / "data.parquet"), model.predict(data))


def test_a_fit_to_arrays_forgets_the_columns():
    model = SGDClassifier(max_iter=3, random_state=0).fit(open_dataset(table(), target="y"))
    assert hasattr(model, "columns_")
    assert not hasattr(model.fit(X, LABELS), "columns_")


def test_a_path_is_to_be_opened_first(tmp_path):
    for model in (SGDClassifier(), MLPRegressor()):
        with pytest.raises(InvalidArgumentError, match=r"open_dataset\(path, target=...\)"):
            model.fit(tmp_path / "data.csv")
    with pytest.raises(NotFittedError):
        SGDClassifier().predict("data.csv")


def test_plan_takes_arrays():
    with pytest.raises(InvalidArgumentError, match=r"dataset\.take"):
        parsgd.plan(SGDClassifier("log_loss"), blocks(X, TWO), TWO)
