"""Model files: what is saved comes back to the bit, and no file, however damaged, does anything but say so."""

import dataclasses
import json
import math
import os
import pickle
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as serialize
from scipy import sparse
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.preprocessing import scale

import parsgd
from parsgd import registry
from parsgd.errors import MissingDependencyError, ModelFileError, Outcome
from parsgd.model_io import model_files, safetensors_file
from parsgd.model_io.packing import pack, unpack
from parsgd.training.stopping import StoppingRule

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DIGITS, IRIS, CANCER, DIABETES = (
    load(return_X_y=True) for load in (load_digits, load_iris, load_breast_cancer, load_diabetes)
)
SHORT = {"max_iter": 3, "tol": None, "random_state": 0, "n_jobs": 1}


class OwnLoss:
    """A squared loss from outside."""

    def loss(self, y, p):
        return 0.5 * (p - y) ** 2

    def gradient(self, y, p):
        return p - y


def classifier(data=IRIS, classes=None, dtype=np.float64, **params):
    X, y = data
    y = y if classes is None else np.asarray(classes)[y]
    return parsgd.SGDClassifier(**{**SHORT, **params}).fit(X.astype(dtype), y), X.astype(dtype)


def fitted(kind, y=DIABETES[1], **params):
    """A linear model fitted to numbers."""
    X = DIABETES[0]
    return kind(**SHORT, **params).fit(X, y), X


def network(data=IRIS, kind=parsgd.MLPClassifier, dtype=np.float64, **params):
    """Fitted to standardized rows; a target of numbers is standardized too."""
    X, y = data
    X = scale(X).astype(dtype)
    model = kind(**{"hidden_layer_sizes": (7, 5), "max_iter": 3, "random_state": 0, "n_jobs": 1, **params})
    return model.fit(X, y), X


def numbers(y, **params):
    """A network fitted to numbers."""
    return network((DIABETES[0], y), parsgd.MLPRegressor, **params)


# name -> function that returns a fitted estimator and rows
MODELS = {
    "binary": lambda: classifier(CANCER),
    "many classes": lambda: classifier(DIGITS, loss="log_loss"),
    "softmax": lambda: classifier(IRIS, loss="softmax"),
    "softmax of two classes": lambda: classifier(CANCER, loss="softmax"),
    "text classes": lambda: classifier(IRIS, ["setosa", "versicolour é", "日本"]),
    "object classes": lambda: classifier(IRIS, np.array(["a", "b", "c"], dtype=object)),
    "bool classes": lambda: classifier(CANCER, [False, True]),
    "float32": lambda: classifier(DIGITS, dtype=np.float32),
    "averaged": lambda: classifier(CANCER, average=True),
    "averaging not begun": lambda: classifier(IRIS, average=10**6),
    "class weights": lambda: classifier(IRIS, class_weight={0: 1.0, 1: 2.5, 2: 0.5}),
    "odd floats": lambda: classifier(IRIS, power_t=1 / 3, alpha=1e-300, epsilon=5e-324),
    "local on two workers": lambda: classifier(DIGITS, algorithm=parsgd.LocalSGD(sync_every=0.5), n_jobs=2),
    "weighted, serial engine": lambda: classifier(DIGITS, algorithm="weighted", engine="serial", n_jobs=2),
    "regressor": lambda: fitted(parsgd.SGDRegressor),
    "averaged regressor": lambda: fitted(parsgd.SGDRegressor, average=5),
    "poisson": lambda: fitted(parsgd.SGDRegressor, DIABETES[1] / 100, loss="poisson", eta0=1e-3),
    "one class": lambda: fitted(parsgd.SGDOneClassSVM, nu=0.1),
    "one class, averaged": lambda: fitted(parsgd.SGDOneClassSVM, average=True),
    "sparse coefficients": lambda: (classifier(CANCER, penalty="l1", alpha=0.1)[0].sparsify(), CANCER[0]),
    "network": lambda: network(DIGITS),
    "network of two classes": lambda: network(CANCER),
    "network of text classes": lambda: network((IRIS[0], np.array(["a", "é", "日本"])[IRIS[1]])),
    "network of one class": lambda: network((IRIS[0], np.zeros(150))),
    "network of several labels": lambda: network((IRIS[0], np.eye(3, dtype=int)[IRIS[1]] | (IRIS[0] > 3)[:, :3])),
    "network, float32": lambda: network(DIGITS, dtype=np.float32, activation="gelu", clip_norm=1.0, dropout=0.2),
    "network, no hidden layer": lambda: network(solver="sgd", hidden_layer_sizes=(), learning_rate="invscaling"),
    "network, lbfgs": lambda: network(solver="lbfgs"),
    "network, lbfgs at its goal": lambda: network(solver="lbfgs", tol=1e9),
    "network, early stopping": lambda: network(early_stopping=True, solver="sgd"),
    "network, minibatch": lambda: network(DIGITS, algorithm=parsgd.MiniBatch(64), n_jobs=2),
    "network, local": lambda: network(DIGITS, algorithm=parsgd.LocalSGD(sync_every=0.5), n_jobs=2, engine="serial"),
    "network, numbers": lambda: numbers(scale(DIABETES[1]), loss="huber", delta=0.5),
    "network, counts": lambda: numbers(DIABETES[1] // 50, loss="poisson", dtype=np.float32),
    "network, several numbers": lambda: numbers(
        np.column_stack([scale(DIABETES[1]), DIABETES[0][:, 0]]), solver="adamw"
    ),
}


def same(ours, theirs):
    if isinstance(theirs, np.ndarray):
        return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    if sparse.issparse(theirs):
        return sparse.issparse(ours) and (ours != theirs).nnz == 0
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, StoppingRule):
        return all(same(vars(ours)[key], value) for key, value in vars(theirs).items())
    return ours == theirs


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_comes_back_to_the_bit(name, tmp_path):
    model, X = MODELS[name]()
    model_files.save(model, tmp_path / "m.parsgd")
    again = model_files.load(tmp_path / "m.parsgd")
    assert type(again) is type(model)
    assert again.get_params() == model.get_params()
    methods = ("predict", "decision_function", "predict_proba", "score_samples")
    for method in [m for m in methods if hasattr(model, m)]:
        assert same(getattr(again, method)(X), getattr(model, method)(X)), method
    # everything that fit left is there: the list of saved attributes cannot fall behind the estimators
    assert vars(again).keys() == vars(model).keys()
    for key in vars(model):
        assert same(getattr(again, key), getattr(model, key)), key


def test_a_loaded_model_goes_on_as_the_saved_one_would(tmp_path):
    X, y = DIGITS
    for average in (False, True):
        model = parsgd.SGDClassifier(average=average, random_state=3, n_jobs=1).partial_fit(X, y, np.unique(y))
        model_files.save(model, tmp_path / "m.parsgd")
        again = model_files.load(tmp_path / "m.parsgd").partial_fit(X, y)
        assert same(again.coef_, model.partial_fit(X, y).coef_)
        assert again.t_ == model.t_


GOING_ON = [
    {},
    {"solver": "adamw", "dropout": 0.2},
    {"solver": "sgd"},
    {"solver": "sgd", "nesterovs_momentum": False},
    {"solver": "sgd", "momentum": 0.0, "learning_rate": "invscaling"},
    {"algorithm": "minibatch", "n_jobs": 2},
]


@pytest.mark.parametrize("params", GOING_ON, ids=lambda p: " ".join(map(str, p.values())) or "adam")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loaded_network_goes_on_as_the_saved_one_would(params, dtype, tmp_path):
    X, y = scale(DIGITS[0]).astype(dtype), DIGITS[1]
    for kind, first in ((parsgd.MLPClassifier, {"classes": range(10)}), (parsgd.MLPRegressor, {})):
        model = kind(hidden_layer_sizes=(9,), random_state=3, **params).partial_fit(X, y, **first)
        model_files.save(model, tmp_path / "m.parsgd")
        again = model_files.load(tmp_path / "m.parsgd")
        for _ in range(2):
            again.partial_fit(X, y)
            model.partial_fit(X, y)
        for key in ("coefs_", "intercepts_", "_slots", "_clock", "t_", "loss_curve_"):
            assert same(getattr(again, key), getattr(model, key)), key


def test_a_loaded_network_stops_when_the_saved_one_would(tmp_path):
    X, y = scale(IRIS[0]), IRIS[1]
    held = {"X_val": X[::5], "y_val": y[::5]}
    params = {"early_stopping": True, "n_iter_no_change": 2, "solver": "sgd", "learning_rate_init": 0.1}
    model = parsgd.MLPClassifier((4,), random_state=0, **params).partial_fit(X, y, classes=[0, 1, 2], **held)
    for _ in range(50):
        model_files.save(model, tmp_path / "m.parsgd")
        again = model_files.load(tmp_path / "m.parsgd").partial_fit(X, y, **held)
        model.partial_fit(X, y, **held)
        assert vars(again).keys() == vars(model).keys()
        for key in ("coefs_", "_rule", "_gains", "validation_scores_", "outcome_"):
            assert same(getattr(again, key), getattr(model, key)), key
        if model.outcome_ is Outcome.CONVERGED:
            break
    assert model.outcome_ is Outcome.CONVERGED


def test_a_network_is_written_once_though_its_arrays_share_memory(tmp_path):
    model, _ = network(DIGITS)
    _, _, arrays = parts(model, tmp_path / "m.parsgd")
    weights = [*model.coefs_, *model.intercepts_, model._slots, model.classes_]
    assert sum(array.nbytes for array in arrays.values()) == sum(array.nbytes for array in weights)


def test_feature_names_come_back(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = parsgd.SGDClassifier(**SHORT).fit(X, y)
    model_files.save(model, tmp_path / "m.parsgd")
    assert model_files.load(tmp_path / "m.parsgd").feature_names_in_.tolist() == list(X.columns)


def test_the_same_model_makes_the_same_file(tmp_path):
    model, _ = classifier(DIGITS)
    for name in ("a", "b"):
        model_files.save(model, tmp_path / name, note={"b": 1, "a": [1.5, None]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_notes_come_back_with_the_model(tmp_path):
    notes = {"columns": ["é", "b"], "scale": np.arange(3.0), "deep": {"x": [1, None, math.inf]}, "numbers": {1: "one"}}
    model_files.save(classifier()[0], tmp_path / "m.parsgd", **notes)
    saved = model_files.open_file(tmp_path / "m.parsgd")
    assert np.array_equal(saved.notes.pop("scale"), notes.pop("scale"))
    assert saved.notes == notes
    assert saved.version == parsgd.__version__


# -- refusals when saving --------------------------------------------------------------------------------------------


def test_what_a_file_of_numbers_cannot_hold_is_refused_by_name(tmp_path):
    path = tmp_path / "m.parsgd"
    X, y = DIABETES
    own = parsgd.SGDRegressor(**SHORT).fit(X, y)
    own.loss = OwnLoss()
    with pytest.raises(ModelFileError, match=r"loss=.*OwnLoss.*set_params\(loss"):
        model_files.save(own, path)
    dice = parsgd.SGDRegressor(**{**SHORT, "random_state": np.random.RandomState(0)}).fit(X, y)
    with pytest.raises(ModelFileError, match="random_state"):
        model_files.save(dice, path)
    with pytest.raises(ModelFileError, match=r"notes\.when"):
        model_files.save(parsgd.SGDRegressor(**SHORT).fit(X, y), path, when=object())
    with pytest.raises(ModelFileError, match="call fit"):
        model_files.save(parsgd.SGDRegressor(), path)
    with pytest.raises(ModelFileError, match="sklearn"):
        model_files.save(linear_model.SGDRegressor(tol=None, max_iter=2).fit(X, y), path)
    assert list(tmp_path.iterdir()) == []


def test_an_algorithm_from_elsewhere_is_refused_until_it_is_replaced(tmp_path):
    path = tmp_path / "m.parsgd"
    # of one name with parsgd's own, or not: neither could be made again from the file
    for name in ("LocalSGD", "Mine"):
        Foreign = dataclasses.make_dataclass(name, [], bases=(parsgd.LocalSGD,), frozen=True)
        model = parsgd.SGDRegressor(algorithm=Foreign(), **{**SHORT, "n_jobs": 2}).fit(*DIABETES)
        with pytest.raises(ModelFileError, match="algorithm="):
            model_files.save(model, path)
        model_files.save(model.set_params(algorithm="auto"), path)
        again = model_files.load(path)
        assert again.algorithm_.name == "local"
        assert again.algorithm_.algorithm is None


def test_a_subclass_is_refused_because_loading_would_forget_it(tmp_path):
    Mine = type("SGDRegressor", (parsgd.SGDRegressor,), {})
    with pytest.raises(ModelFileError):
        model_files.save(Mine(**SHORT).fit(*DIABETES), tmp_path / "m.parsgd")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.parsgd"
    model_files.save(classifier()[0], path)
    before = path.read_bytes()

    def fail(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        model_files.save(classifier(DIGITS)[0], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_beside_a_writer_never_sees_half_a_file(tmp_path):
    path = tmp_path / "m.parsgd"
    small, large = classifier()[0], classifier(DIGITS)[0]
    model_files.save(small, path)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            model_files.save(large, path)
            model_files.save(small, path)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {model_files.load(path).n_features_in_ for _ in range(200)} <= {4, 64}
    finally:
        stop.set()
        writer.join()


def test_without_safetensors_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    model = classifier()[0]
    model_files.save(model, tmp_path / "m.parsgd")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'parsgd\[cli\]'"):
        model_files.load(tmp_path / "m.parsgd")
    with pytest.raises(MissingDependencyError, match="safetensors"):
        model_files.save(model, tmp_path / "m.parsgd")


# -- foreign and damaged files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"abc", "not a model file"),
        (pickle.dumps([1, 2, 3]), "pickle"),
        (b"PK\x03\x04" + bytes(100), "not a model file"),
        (b"a,b\n1,2\n" * 100, "not a model file"),
        (serialize({"weight": np.zeros(3)}), "not one that parsgd wrote"),
        (serialize({"weight": np.zeros(3)}, {"parsgd": "no JSON"}), "damaged"),
        (serialize({"weight": np.zeros(3)}, {"parsgd": "[" * 100_000}), "damaged"),
        (serialize({"weight": np.zeros(3)}, {"parsgd": "{}"}), "format"),
        (serialize({"weight": np.zeros(3)}, {"parsgd": '{"format": 1}'}), "checksum"),
        (serialize({}, {"parsgd": '{"format": 99, "version": "7.0"}'}), "format 99, written by parsgd 7.0.*upgrade"),
    ],
)
def test_foreign_files_are_told_for_what_they_are(content, said, tmp_path):
    path = tmp_path / "m.parsgd"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=said) as raised:
        model_files.load(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_and_a_folder_are_told_as_such(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        model_files.load(tmp_path / "none.parsgd")
    with pytest.raises(ModelFileError, match="directory"):
        model_files.load(tmp_path)


def parts(model, path):
    """The header entry, the document and the arrays of a saved model."""
    model_files.save(model, path)
    head, arrays = safetensors_file.deserialize(model_files.KIND, path.read_bytes())
    return head, json.loads(arrays.pop("document").tobytes()), arrays


def seal(head, document, arrays) -> bytes:
    """A file whose checksum is right, whatever is in it: as someone would make it who means harm."""
    arrays = {**arrays, "document": np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)}
    return b"".join(safetensors_file.serialize(model_files.KIND, head, arrays))


def check_refused(model, change, said, path):
    """Change the content of a saved model, and load it."""
    content = parts(model, path)
    change(*content)
    path.write_bytes(seal(*content))
    with pytest.raises(ModelFileError, match=said):
        model_files.load(path)


def test_of_a_cluster_a_file_keeps_that_there_was_one_and_not_which(tmp_path):
    model = classifier()[0]
    for where in ({"address": "tcp://203.0.113.7:8786"}, {"scheduler_file": "/scratch/me/scheduler.json"}):
        model.set_params(engine=registry.load(registry.ENGINES["dask"])(**where))
        model_files.save(model, tmp_path / "m.parsgd")
        assert model_files.load(tmp_path / "m.parsgd").engine == "dask"
        assert not any(value.encode() in (tmp_path / "m.parsgd").read_bytes() for value in where.values())


def test_so_it_is_on_ray(tmp_path):
    pytest.importorskip("ray", reason="needs parsgd[ray]")
    model = classifier()[0].set_params(engine=registry.load(registry.ENGINES["ray"])(address="203.0.113.7:6379"))
    model_files.save(model, tmp_path / "m.parsgd")
    assert model_files.load(tmp_path / "m.parsgd").engine == "ray"
    assert b"203.0.113.7" not in (tmp_path / "m.parsgd").read_bytes()


def test_an_engine_of_processes_comes_back_without_its_processes(tmp_path):
    with parsgd.Processes(n_processes=2, heartbeat_timeout_s=5.0) as engine:
        model = classifier()[0].set_params(engine=engine)
        model_files.save(model, tmp_path / "m.parsgd")
        again = model_files.load(tmp_path / "m.parsgd").engine
    assert again == engine
    assert again._pools == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h, d, a: h.update({"class": "Popen"}), "knows SGDClassifier"),
        (lambda h, d, a: h["params"].update(shell="rm"), "does not have: 'shell'"),
        (lambda h, d, a: d["fitted"].update(__class__=1), "does not have: '__class__'"),
        (lambda h, d, a: h["params"].update(alpha=-1), "alpha"),
        (lambda h, d, a: h["params"].update(algorithm={"$part": "subprocess:Popen", "fields": {}}), "damaged"),
        (
            lambda h, d, a: h["params"].update(engine={"$part": "Dask", "fields": {"address": "tcp://203.0.113.7:1"}}),
            "contains the address of a Dask cluster",
        ),
        (
            lambda h, d, a: h["params"].update(algorithm={"$tuple": [{"$part": "Dask", "fields": {}}]}),
            "contains the address of a Dask cluster",
        ),
        (lambda h, d, a: a.update(coef_=np.zeros((3, 5))), r"coef_ should be .* \(3, 4\)"),
        (lambda h, d, a: a.update(coef_=np.full((3, 4), np.nan)), "coef_ holds NaN or infinite values"),
        (lambda h, d, a: a.update(intercept_=np.zeros(2)), "intercept_"),
        (lambda h, d, a: a.update(classes_=np.zeros((3, 1))), "classes_"),
        (lambda h, d, a: d["fitted"].update(t_=-1.0), "t_"),
        (lambda h, d, a: d["fitted"].pop("n_features_in_"), "n_features_in_"),
        (lambda h, d, a: h.update(format=2), "format 2"),
    ],
)
def test_inconsistent_content_is_refused_by_name(change, said, tmp_path):
    check_refused(classifier()[0], change, said, tmp_path / "m.parsgd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h, d, a: h["params"].update(shell="rm"), "does not have: 'shell'"),
        (lambda h, d, a: h["params"].update(penalty="l1"), "MLPClassifier does not have: 'penalty'"),
        (lambda h, d, a: d["fitted"].update(coef_=1), "does not have: 'coef_'"),
        (lambda h, d, a: d["fitted"].update(sparsified=True), "does not have: 'sparsified'"),
        (lambda h, d, a: h["params"].update(hidden_layer_sizes=[0]), "hidden_layer_sizes"),
        (lambda h, d, a: h["params"].update(activation="exec"), "activation"),
        (lambda h, d, a: a.update({"coefs_[0]": np.zeros((4, 6))}), r"coefs_\[0\] should be .* \(4, 7\)"),
        (lambda h, d, a: a.update({"coefs_[1]": np.zeros((7, 6))}), r"coefs_\[1\] should be .* \(7, 5\)"),
        (lambda h, d, a: a.update({"coefs_[2]": np.zeros((5, 4))}), r"coefs_\[2\] should be .* \(5, 3\)"),
        (lambda h, d, a: a.update({"coefs_[2]": np.full((5, 3), np.nan)}), r"coefs_\[2\] holds NaN or infinite"),
        (lambda h, d, a: a.update({"intercepts_[2]": np.zeros(1)}), r"intercepts_\[2\] should be .* \(3,\)"),
        (lambda h, d, a: a.update({"intercepts_[0]": np.full(7, np.inf)}), r"intercepts_\[0\] holds NaN or infinite"),
        (lambda h, d, a: d["fitted"]["coefs_"].pop(), "coefs_ and intercepts_ should be lists"),
        (lambda h, d, a: d["fitted"].pop("intercepts_"), "coefs_ and intercepts_ should be lists"),
        (lambda h, d, a: a.update(_slots=a["_slots"][1:]), "_slots has"),
        (lambda h, d, a: a.update(_slots=a["_slots"][None]), "_slots should be"),
        (lambda h, d, a: a.update(_slots=a["_slots"] * np.nan), "_slots holds"),
        (lambda h, d, a: d["fitted"].update(_clock=-1.0), "_clock"),
        (lambda h, d, a: d["fitted"].update(_rule=3), "_gains"),
        (lambda h, d, a: d["fitted"].update(_multilabel="no"), "_multilabel"),
        (lambda h, d, a: d["fitted"].update(_multilabel=None), "_multilabel"),
        (lambda h, d, a: d["fitted"].update(n_outputs_=0), "n_outputs_"),
        (lambda h, d, a: d["fitted"].update(t_=-1), "t_"),
        (lambda h, d, a: a.update(classes_=np.arange(4)), r"coefs_\[2\] should be .* \(5, 4\)"),
    ],
)
def test_inconsistent_networks_are_refused_by_name(change, said, tmp_path):
    check_refused(network()[0], change, said, tmp_path / "m.parsgd")


# -- packing ---------------------------------------------------------------------------------------------------------

texts = st.text(max_size=5) | st.sampled_from(["$array", "$float", "$dict", "$"])
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.sampled_from(list(Outcome))
values = st.recursive(
    leaves | st.lists(st.floats(allow_nan=False), max_size=4).map(tuple),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=8 * settings.default.max_examples)
@given(values)
def test_packing_is_undone_by_unpacking_through_json(value):
    arrays = {}
    packed = json.loads(json.dumps(pack(value, "", arrays), allow_nan=False))
    assert unpack(packed, arrays) == value
    assert repr(unpack(packed, arrays)) == repr(value)  # 1 is not True, and 0.0 not -0.0


def test_unwritable_arrays_are_refused():
    for array in (np.zeros(2, dtype=complex), np.array(["2020"], dtype="datetime64[D]"), np.array([object()])):
        with pytest.raises(ModelFileError):
            pack(array, "x", {})


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_order_in_memory_and_their_values(order):
    array = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    arrays = {}
    packed = pack(array, "x", arrays)
    again = unpack(packed, arrays)
    assert np.array_equal(again, array)
    assert again.flags.f_contiguous == array.flags.f_contiguous


def test_loading_warns_of_nothing(tmp_path):
    model_files.save(classifier()[0], tmp_path / "m.parsgd")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model_files.load(tmp_path / "m.parsgd")
