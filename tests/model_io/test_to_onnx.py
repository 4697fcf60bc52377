"""ONNX graphs predict what the estimators do, in ONNX Runtime: numbers to 1e-5, labels where they are not a tie."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

import parsgd
from parsgd.errors import InvalidArgumentError, MissingDependencyError
from parsgd.kernels.losses import CLASSIFIER, REGRESSOR, names

onnx = pytest.importorskip("onnx", reason="requires parsgd[onnx]")
ort = pytest.importorskip("onnxruntime", reason="graphs are run by onnxruntime")

# most fits here are of two passes
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHORT = {"max_iter": 2, "tol": None, "random_state": 0, "n_jobs": 1}
ROWS = np.random.default_rng(0).normal(size=(80, 5))
LABELS = {
    "two numbers": np.array([-1, 7]),
    "two truths": np.array([False, True]),
    "three texts": np.array(["z", "é", "日本"]),
    "three objects": np.array(["a", "b", "c"], dtype=object),
    "four numbers": np.array([-1.0, 1.0, 2.0, 4.0]),
    "four bytes": np.arange(4, dtype=np.uint8),
}
DTYPES = st.sampled_from([np.float32, np.float64])
OPSETS = st.sampled_from([13, 17, 20, onnx.defs.onnx_opset_version()])


def classes(kind):
    labels = LABELS[kind]
    return labels[np.argsort(np.argsort(ROWS[:, 0] + 0.3 * ROWS[:, 1])) * len(labels) // len(ROWS)]


def run(graph, X):
    """What ONNX Runtime makes of the rows, by the names of the outputs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, {"X": X}), strict=True))


def check_same(model, X, **settings):
    graph = parsgd.to_onnx(model, **settings)
    theirs = run(graph, X)
    near = {"rtol": 1e-5, "atol": 1e-5} if X.dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}
    if "variable" in theirs:
        assert theirs.keys() == {"variable"}
        np.testing.assert_allclose(theirs["variable"], model.predict(X), **near)
        return graph
    name = "probabilities" if hasattr(model, "predict_proba") else "scores"
    assert theirs.keys() == {"label", name}
    decision = model.predict_proba(X) if name == "probabilities" else model.decision_function(X)
    # decision values grow with the coefficients, and so do their last bits
    scale = max(1.0, np.abs(decision).max())
    np.testing.assert_allclose(theirs[name], decision, rtol=near["rtol"], atol=near["atol"] * scale)
    ours = model.predict(X)
    assert theirs["label"].shape == ours.shape
    clear = certain(decision, name, scale * 1e-4)
    assert theirs["label"][clear].tolist() == ours[clear].tolist()
    assert np.mean(clear) > 0.5
    return graph


def certain(decision, name, margin):
    """The rows (of several labels, the labels) whose prediction does not hang on the last bits."""
    if decision.ndim == 1:
        return np.abs(decision) > margin
    if name == "probabilities" and not np.allclose(decision.sum(axis=1), 1, atol=1e-3):
        return np.abs(decision - 0.5) > margin
    ordered = np.sort(decision, axis=1)
    return ordered[:, -1] - ordered[:, -2] > margin


@given(st.sampled_from(names(CLASSIFIER)), st.sampled_from(sorted(LABELS)), DTYPES, OPSETS, st.booleans())
def test_linear_classifiers(loss, kind, dtype, opset, sparsified):
    X = ROWS.astype(dtype)
    # a penalty that keeps decision values small, where probabilities are not all 0 or 1
    model = parsgd.SGDClassifier(loss, alpha=0.1, **SHORT).fit(X, classes(kind))
    check_same(model.sparsify() if sparsified else model, X, opset=opset)


def test_where_no_class_is_probable_all_are_alike():
    model = parsgd.SGDClassifier("modified_huber", **SHORT).fit(ROWS, classes("three texts"))
    model.intercept_ = np.full(3, -100.0)
    p = run(parsgd.to_onnx(model), ROWS)["probabilities"]
    np.testing.assert_allclose(p, model.predict_proba(ROWS))
    assert (np.abs(p - 1 / 3) < 1e-9).all(axis=1).any()


@given(st.sampled_from(names(REGRESSOR)), DTYPES, OPSETS)
def test_linear_regressors(loss, dtype, opset):
    X = ROWS.astype(dtype)
    check_same(parsgd.SGDRegressor(loss, eta0=1e-3, **SHORT).fit(X, X[:, 0] ** 2), X, opset=opset)


@given(DTYPES, OPSETS)
def test_one_class_models(dtype, opset):
    X = ROWS.astype(dtype)
    check_same(parsgd.SGDOneClassSVM(0.1, **SHORT).fit(X), X, opset=opset)


@given(
    st.sampled_from(["identity", "logistic", "tanh", "relu", "gelu", "leaky_relu"]),
    st.sampled_from([*sorted(LABELS), "labels"]),
    st.sampled_from([(), (7,), (4, 3)]),
    DTYPES,
    OPSETS,
)
def test_networks(activation, kind, layers, dtype, opset):
    X = ROWS.astype(dtype)
    y = (X[:, :3] > 0).astype(int) if kind == "labels" else classes(kind)
    model = parsgd.MLPClassifier(layers, activation, max_iter=20, random_state=0, n_jobs=1)
    check_same(model.fit(X, y), X, opset=opset)


def test_a_network_of_one_class():
    model = parsgd.MLPClassifier((3,), max_iter=2, random_state=0).fit(ROWS, np.full(len(ROWS), "only"))
    theirs = run(parsgd.to_onnx(model), ROWS)
    assert set(theirs["label"]) == {"only"}
    np.testing.assert_allclose(theirs["probabilities"], model.predict_proba(ROWS))


@given(st.sampled_from(["squared_error", "poisson", "huber"]), st.sampled_from([1, 3]), DTYPES)
def test_networks_of_numbers(loss, n_outputs, dtype):
    X = ROWS.astype(dtype)
    y = np.abs(X[:, :n_outputs]).squeeze()
    check_same(parsgd.MLPRegressor(loss, (6,), "gelu", max_iter=3, random_state=0, n_jobs=1).fit(X, y), X)


def test_the_dtype_is_the_users_to_choose():
    model = parsgd.SGDClassifier("log_loss", alpha=0.1, **SHORT).fit(ROWS, classes("two numbers"))
    for dtype in ("float32", "float64"):
        p = run(parsgd.to_onnx(model, dtype=dtype), ROWS.astype(dtype))["probabilities"]
        assert p.dtype == dtype
        np.testing.assert_allclose(p, model.predict_proba(ROWS), atol=1e-5)


def test_rows_can_be_filled_and_scaled_in_the_graph():
    X = 1000 + 50 * ROWS
    X[::7, 2] = np.nan
    filler, scaler = SimpleImputer(strategy="median").fit(X), StandardScaler()
    Z = scaler.fit_transform(filler.transform(X))
    model = parsgd.SGDRegressor(**SHORT).fit(Z, ROWS[:, 0])
    graph = parsgd.to_onnx(model, fill=filler.statistics_, mean=scaler.mean_, scale=scaler.scale_)
    np.testing.assert_allclose(run(graph, X)["variable"], model.predict(Z), rtol=1e-9)


def test_the_file_holds_the_graph_and_says_what_it_is(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = parsgd.SGDClassifier("softmax", **SHORT).fit(X, np.array(["a", "é", "c"])[y])
    graph = parsgd.to_onnx(model, tmp_path / "iris.onnx")
    assert onnx.load(tmp_path / "iris.onnx") == graph
    notes = {note.key: note.value for note in graph.metadata_props}
    assert notes["parsgd.version"] == graph.producer_version == parsgd.__version__
    assert (notes["parsgd.estimator"], notes["parsgd.loss"]) == ("SGDClassifier", "softmax")
    assert json.loads(notes["parsgd.classes"]) == ["a", "c", "é"]
    assert json.loads(notes["parsgd.feature_names_in"]) == list(X.columns)
    assert [path.name for path in tmp_path.iterdir()] == ["iris.onnx"]


class Own:
    """A loss from outside."""

    def loss(self, y, p):
        return (p - y) ** 2

    def gradient(self, y, p):
        return p - y


def test_own_losses_have_scores():
    model = parsgd.SGDClassifier(alpha=0.1, **SHORT).fit(ROWS, classes("three texts"))
    model.loss = Own()  # as if it had been fitted with it, without the time that compiling takes
    graph = check_same(model, ROWS)
    assert {"parsgd.loss"} <= {note.key for note in graph.metadata_props}


def test_what_cannot_be_used_is_refused_by_name(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    model = parsgd.SGDRegressor(**SHORT).fit(X, y)
    path = tmp_path / "m.onnx"
    with pytest.raises(NotFittedError):
        parsgd.to_onnx(parsgd.SGDRegressor(), path)
    with pytest.raises(InvalidArgumentError, match="to_onnx takes a fitted estimator"):
        parsgd.to_onnx(model.to_sklearn(), path)
    Mine = type("SGDRegressor", (parsgd.SGDRegressor,), {})
    with pytest.raises(InvalidArgumentError, match="to_onnx takes a fitted estimator"):
        parsgd.to_onnx(Mine(**SHORT).fit(X, y), path)
    for opset in (12, 10**6, 17.0, True, None):
        with pytest.raises(InvalidArgumentError, match="opset"):
            parsgd.to_onnx(model, path, opset=opset)
    with pytest.raises(InvalidArgumentError, match="dtype"):
        parsgd.to_onnx(model, path, dtype="float16")
    for name, value in (("fill", [1.0]), ("mean", np.full(10, np.nan)), ("scale", np.zeros(10)), ("mean", "x")):
        with pytest.raises(InvalidArgumentError, match=f"'{name}' parameter .* 10 finite numbers"):
            parsgd.to_onnx(model, path, **{name: value})
    model.coef_ = np.full(10, 1e300)
    with pytest.raises(InvalidArgumentError, match="which overflow float32; pass dtype='float64'"):
        parsgd.to_onnx(model, path, dtype="float32")
    mixed = parsgd.SGDClassifier(**SHORT).fit(X, (y > 100).astype(int))
    mixed.classes_ = np.array(["a", 1], dtype=object)
    with pytest.raises(InvalidArgumentError, match="classes of one type"):
        parsgd.to_onnx(mixed, path)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_beyond_what_a_file_holds_is_refused(monkeypatch):
    monkeypatch.setattr("parsgd.model_io.onnx_graph._MAX_BYTES", 50)
    with pytest.raises(InvalidArgumentError, match="more than 50 bytes of float64"):
        parsgd.to_onnx(parsgd.SGDRegressor(**SHORT).fit(*load_diabetes(return_X_y=True)))


def test_without_onnx_the_message_says_how_to_install_it(monkeypatch):
    model = parsgd.SGDRegressor(**SHORT).fit(*load_diabetes(return_X_y=True))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'parsgd\[onnx\]'"):
        parsgd.to_onnx(model)
