"""``save`` and ``load`` over losses, classes, dtypes and shapes: the same predictions to the bit, the same steps on."""

import warnings

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import parsgd
from parsgd.kernels.losses import CLASSIFIER, REGRESSOR, names

SHORT = {"max_iter": 2, "tol": None, "random_state": 0, "n_jobs": 1}
ROWS = np.random.default_rng(0).normal(size=(60, 6))
DTYPES = st.sampled_from([np.float32, np.float64])
N_FEATURES = st.integers(1, 6)
METHODS = ("predict", "decision_function", "predict_proba", "score_samples")
CLASSES = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=5, unique=True),
    st.lists(st.text(min_size=1, max_size=4).filter(lambda t: "\0" not in t), min_size=2, max_size=5, unique=True),
    st.just([False, True]),
    st.lists(st.integers(-1000, 1000).map(float), min_size=2, max_size=5, unique=True),
)


def dealt(classes):
    """A class for each row; the first feature says which."""
    return np.array(sorted(classes))[np.argsort(np.argsort(ROWS[:, 0])) * len(classes) // len(ROWS)]


def check_round_trip(model, X, y, folder):
    """Fit, save, load; compare predictions, and what one more pass makes of both."""
    path = folder / "m.parsgd"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two passes are not convergence, and some losses diverge
        model.fit(X, y)
        parsgd.save(model, path)
        again = parsgd.load(path)
        assert type(again) is type(model)
        assert again.get_params() == model.get_params()
        for method in METHODS:
            if hasattr(model, method):
                ours, theirs = getattr(again, method)(X), getattr(model, method)(X)
                np.testing.assert_array_equal(ours, theirs)
                assert ours.dtype == theirs.dtype
        if getattr(model, "solver", None) != "lbfgs":
            np.testing.assert_array_equal(again.partial_fit(X, y).predict(X), model.partial_fit(X, y).predict(X))


@given(st.sampled_from(names(CLASSIFIER)), CLASSES, DTYPES, N_FEATURES, st.sampled_from([False, True, 7]))
def test_linear_classifiers(tmp_path_factory, loss, classes, dtype, n_features, average):
    X = ROWS[:, :n_features].astype(dtype)
    model = parsgd.SGDClassifier(loss, average=average, alpha=0.01, **SHORT)
    check_round_trip(model, X, dealt(classes), tmp_path_factory.getbasetemp())


@given(st.sampled_from(names(REGRESSOR)), DTYPES, N_FEATURES, st.sampled_from(["l2", "l1", None]))
def test_linear_regressors(tmp_path_factory, loss, dtype, n_features, penalty):
    X = ROWS[:, :n_features].astype(dtype)
    model = parsgd.SGDRegressor(loss, eta0=1e-3, penalty=penalty, **SHORT)
    check_round_trip(model, X, X[:, 0] ** 2, tmp_path_factory.getbasetemp())


@given(DTYPES, N_FEATURES, st.floats(0.01, 1.0))
def test_one_class_models(tmp_path_factory, dtype, n_features, nu):
    model = parsgd.SGDOneClassSVM(nu, **SHORT)
    check_round_trip(model, ROWS[:, :n_features].astype(dtype), None, tmp_path_factory.getbasetemp())


@given(
    CLASSES,
    DTYPES,
    st.lists(st.integers(1, 6), max_size=3).map(tuple),
    st.sampled_from(["adam", "sgd", "lbfgs"]),
    st.sampled_from(["identity", "logistic", "tanh", "relu", "gelu", "leaky_relu"]),
)
def test_networks(tmp_path_factory, classes, dtype, layers, solver, activation):
    model = parsgd.MLPClassifier(layers, activation, solver=solver, max_iter=2, random_state=0, n_jobs=1)
    check_round_trip(model, ROWS.astype(dtype), dealt(classes), tmp_path_factory.getbasetemp())


@given(st.sampled_from(["squared_error", "poisson", "huber", "absolute_error"]), DTYPES, st.integers(1, 3))
def test_networks_of_numbers(tmp_path_factory, loss, dtype, n_outputs):
    X = ROWS.astype(dtype)
    model = parsgd.MLPRegressor(loss, (4,), max_iter=2, random_state=0, n_jobs=1)
    y = np.abs(X[:, :n_outputs])
    check_round_trip(model, X, y[:, 0] if n_outputs == 1 else y, tmp_path_factory.getbasetemp())
