"""PyTorch's state dictionaries: the names and shapes of ``nn.Sequential``, and the same predictions on either side."""

import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import parsgd
from parsgd.errors import InvalidArgumentError, MissingDependencyError

# most fits here are of five passes
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ROWS = np.random.default_rng(0).normal(size=(60, 5))
DTYPES = st.sampled_from([np.float32, np.float64])
LAYERS = st.sampled_from([(), (7,), (4, 3)])
ACTIVATIONS = st.sampled_from(["identity", "logistic", "tanh", "relu", "gelu", "leaky_relu"])


def targets(kind):
    if kind == "labels":
        return (ROWS[:, :3] > 0).astype(int)
    if kind == "numbers":
        return ROWS[:, :2]
    return np.argsort(np.argsort(ROWS[:, 0])) * kind // len(ROWS)


def network(kind, layers=(7,), activation="relu", dtype=np.float64, **params):
    cls = parsgd.MLPRegressor if kind == "numbers" else parsgd.MLPClassifier
    model = cls(hidden_layer_sizes=layers, activation=activation, max_iter=5, random_state=0, n_jobs=1, **params)
    return model.fit(ROWS.astype(dtype), targets(kind))


KINDS = st.sampled_from([2, 3, "labels", "numbers"])


@given(KINDS, LAYERS, ACTIVATIONS, DTYPES)
def test_there_and_back_is_the_same_network(kind, layers, activation, dtype):
    ours, X = network(kind, layers, activation, dtype), ROWS.astype(dtype)
    state = parsgd.network_state_dict(ours)
    sizes = [5, *layers, ours.n_outputs_]
    assert {name: array.shape for name, array in state.items()} == {
        name: shape
        for layer in range(len(layers) + 1)
        for name, shape in (
            (f"{2 * layer}.weight", (sizes[layer + 1], sizes[layer])),
            (f"{2 * layer}.bias", (sizes[layer + 1],)),
        )
    }
    named = {} if kind == "numbers" else {"classes": ours.classes_, "multilabel": kind == "labels"}
    again = parsgd.from_state_dict(type(ours)(activation=activation, n_jobs=1), state, **named)
    assert again.hidden_layer_sizes == layers
    for method in ("predict", "predict_proba"):
        if hasattr(ours, method):
            np.testing.assert_array_equal(getattr(again, method)(X), getattr(ours, method)(X))
    for array in state.values():
        array[...] = 0
    assert any(coef.any() for coef in ours.coefs_), "the arrays that were handed out are copies"
    assert any(coef.any() for coef in again.coefs_)


@pytest.mark.parametrize("kind", [2, 3, "labels", "numbers"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw"])
def test_a_network_from_weights_goes_on_and_can_be_saved(kind, solver, tmp_path):
    state = parsgd.network_state_dict(network(kind))
    multilabel = {"multilabel": True} if kind == "labels" else {}
    cls = parsgd.MLPRegressor if kind == "numbers" else parsgd.MLPClassifier
    params = {"solver": solver, "batch_size": 20, "random_state": 0, "n_jobs": 1}
    ours = parsgd.from_state_dict(cls(**params), state, **multilabel)
    parsgd.save(ours, tmp_path / "m.parsgd")
    again = parsgd.load(tmp_path / "m.parsgd")
    for model in (ours, again):
        model.partial_fit(ROWS, targets(kind))
    np.testing.assert_array_equal(again.predict(ROWS), ours.predict(ROWS))
    assert (ours.coefs_[0] != state["0.weight"].T).any()


def test_two_outputs_of_a_softmax_become_one_of_a_sigmoid():
    rng = np.random.default_rng(1)
    state = {"body.fc.weight": rng.normal(size=(2, 5)), "body.fc.bias": rng.normal(size=2)}
    ours = parsgd.from_state_dict(parsgd.MLPClassifier(), state, classes=["no", "yes"])
    z = ROWS @ state["body.fc.weight"].T + state["body.fc.bias"]
    softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours.predict_proba(ROWS), softmax)
    assert ours.predict(ROWS).tolist() == np.array(["no", "yes"])[z.argmax(axis=1)].tolist()


def test_layers_without_bias_and_half_precision():
    weight = np.arange(6, dtype=np.float16).reshape(2, 3)
    ours = parsgd.from_state_dict(parsgd.MLPRegressor(), {"weight": weight})
    np.testing.assert_array_equal(ours.predict(np.eye(3, dtype=np.float32)), weight.T)
    assert ours.coefs_[0].dtype == np.float32


GOOD = {"0.weight": np.zeros((4, 5)), "0.bias": np.zeros(4), "2.weight": np.zeros((3, 4)), "2.bias": np.zeros(3)}


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        ({"1.running_mean": np.zeros(4)}, {}, "'1.running_mean', which is not the weight or bias"),
        ({"3.bias": np.zeros(4)}, {}, "'3.bias', which is not the weight"),
        ({"0.weight": np.zeros((4, 5, 3, 3))}, {}, r"'0.weight' and its bias should be .* \(4, 5, 3, 3\)"),
        ({"0.bias": np.zeros(5)}, {}, "'0.weight' and its bias should be"),
        ({"2.weight": np.zeros((3, 9))}, {}, "'2.weight' takes 9 inputs, '0.weight' gives 4"),
        ({"2.bias": np.array([0, np.nan, 0])}, {}, r"state\['2.bias'\] must hold finite"),
        ({"2.bias": np.zeros(3, dtype=int)}, {}, r"state\['2.bias'\] must hold .* floating"),
        ({}, {"classes": [0, 1]}, "classes of 3 outputs"),
        ({}, {"classes": ["b", "a", "c"]}, "ascending"),
        ({}, {"classes": [1, 1, 2]}, "each once"),
    ],
)
def test_what_is_no_network_is_refused_by_name(change, settings, said):
    with pytest.raises(InvalidArgumentError, match=said):
        parsgd.from_state_dict(parsgd.MLPClassifier(), GOOD | change, **settings)


def test_other_estimators_and_no_dictionary_are_refused():
    for wrong in (parsgd.SGDClassifier(), 3):
        with pytest.raises(InvalidArgumentError, match="takes a parsgd MLPClassifier"):
            parsgd.network_state_dict(wrong)
    for wrong in ({}, None, [1]):
        with pytest.raises(InvalidArgumentError, match="state dictionary"):
            parsgd.from_state_dict(parsgd.MLPRegressor(), wrong)
    with pytest.raises(InvalidArgumentError, match="with an MLPClassifier only"):
        parsgd.from_state_dict(parsgd.MLPRegressor(), GOOD, classes=[0, 1, 2])


def test_tensors_without_pytorch_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="pip install torch"):
        parsgd.network_state_dict(network(3), tensors=True)


# -- with PyTorch ------------------------------------------------------------------------------------------------------


def sequential(torch, layers, activation):
    kinds = {
        "identity": torch.nn.Identity,
        "logistic": torch.nn.Sigmoid,
        "tanh": torch.nn.Tanh,
        "relu": torch.nn.ReLU,
        "gelu": lambda: torch.nn.GELU(approximate="tanh"),
        "leaky_relu": torch.nn.LeakyReLU,
    }
    parts = []
    for n_in, n_out in pairwise(layers):
        parts += [torch.nn.Linear(n_in, n_out), kinds[activation]()]
    return torch.nn.Sequential(*parts[:-1])


@given(KINDS, LAYERS, ACTIVATIONS, DTYPES)
def test_pytorch_predicts_the_same(kind, layers, activation, dtype):
    torch = pytest.importorskip("torch", reason="compared with PyTorch where it is installed")
    ours, X = network(kind, layers, activation, dtype), ROWS.astype(dtype)
    theirs = sequential(torch, [5, *layers, ours.n_outputs_], activation).to(torch.from_numpy(X).dtype)
    theirs.load_state_dict(parsgd.network_state_dict(ours, tensors=True))
    with torch.no_grad():
        z = theirs(torch.from_numpy(X))
    near = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}
    if kind == "numbers":
        np.testing.assert_allclose(z, ours.predict(X), **near)
    elif kind == 3:
        np.testing.assert_allclose(torch.softmax(z, dim=1), ours.predict_proba(X), **near)
    else:
        p = ours.predict_proba(X)
        np.testing.assert_allclose(torch.sigmoid(z), p if kind == "labels" else p[:, 1:], **near)


def test_weights_that_pytorch_trained_predict_the_same():
    torch = pytest.importorskip("torch", reason="compared with PyTorch where it is installed")
    torch.manual_seed(0)
    theirs = sequential(torch, [5, 6, 4, 3], "gelu")
    for dtype in (torch.float32, torch.bfloat16):
        theirs = theirs.to(dtype)
        ours = parsgd.from_state_dict(parsgd.MLPClassifier(activation="gelu"), theirs.state_dict(), classes=list("abc"))
        X = torch.from_numpy(ROWS).to(torch.float32)
        with torch.no_grad():
            p = torch.softmax(theirs.to(torch.float32)(X), dim=1).numpy()
        np.testing.assert_allclose(ours.predict_proba(X.numpy()), p, rtol=1e-4, atol=1e-6)
