"""``to_sklearn`` and ``from_sklearn``: the same predictions to the bit, and the same steps from there on."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import linear_model, neural_network, svm
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import scale

import parsgd
from parsgd.errors import IncompatiblePartsError, InvalidArgumentError
from parsgd.kernels.losses import CLASSIFIER, REGRESSOR, names

# most fits here are of two passes, and some losses diverge
pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::parsgd.errors.DivergenceWarning"
)
SHORT = {"max_iter": 2, "tol": None, "random_state": 0, "n_jobs": 1}
METHODS = ("predict", "decision_function", "predict_proba", "predict_log_proba", "score_samples")
DRAWN = np.random.default_rng(0)
ROWS, NOISE = DRAWN.normal(size=(60, 5)), DRAWN.normal(size=60)
LABELS = {2: np.array([False, True]), 3: np.array(["é", "a", "日本"]), 4: np.array([-3, 0, 5, 2**40])}
DTYPES = st.sampled_from([np.float32, np.float64])


class Cubed:
    """A loss from outside."""

    def loss(self, y, p):
        return abs(p - y) ** 3

    def gradient(self, y, p):
        return 3 * (p - y) * abs(p - y)


def classes(n_classes):
    return LABELS[n_classes][np.argsort(np.argsort(ROWS[:, 0] + 0.1 * NOISE)) * n_classes // 60]


def check_same_predictions(ours, theirs, X, exact=True):
    # of a probability that is 0 to rounding the logarithm is anything
    for method in METHODS if exact else METHODS[:3]:
        if hasattr(theirs, method) and hasattr(ours, method):
            with np.errstate(divide="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn's logarithm of probability 0
                a, b = getattr(ours, method)(X), getattr(theirs, method)(X)
            if exact or a.dtype.kind != "f":
                np.testing.assert_array_equal(a, b, err_msg=method)
            else:
                rtol = 1e-3 if a.dtype == np.float32 else 1e-9
                np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6, err_msg=method)


def there_and_back(ours, X, exact=True):
    theirs = ours.to_sklearn()
    assert type(theirs).__module__.startswith("sklearn.")
    assert not {"algorithm", "engine"} & theirs.get_params().keys()
    check_same_predictions(ours, theirs, X, exact)
    again = parsgd.from_sklearn(theirs)
    assert type(again) is type(ours)
    check_same_predictions(again, theirs, X)
    return theirs


@given(st.sampled_from(names(CLASSIFIER)), st.sampled_from([2, 3, 4]), DTYPES, st.booleans(), st.booleans())
def test_linear_classifiers_predict_the_same(loss, n_classes, dtype, average, sparsified):
    X = ROWS.astype(dtype)
    model = parsgd.SGDClassifier(loss, average=average, **SHORT)
    model.fit(X, classes(n_classes))
    # scikit-learn keeps one row of coefficients for two classes, and 1 - p of modified_huber in float64
    exact = n_classes > 2 or loss != "softmax" and (loss != "modified_huber" or dtype == np.float64)
    theirs = there_and_back(model.sparsify() if sparsified else model, X, exact)
    assert type(theirs).__name__ == ("LogisticRegression" if loss == "softmax" else "SGDClassifier")


@given(st.sampled_from(names(REGRESSOR)), DTYPES, st.booleans(), st.booleans())
def test_linear_regressors_predict_the_same(loss, dtype, average, intercept):
    X = ROWS.astype(dtype)
    model = parsgd.SGDRegressor(loss, average=average, fit_intercept=intercept, eta0=1e-3, **SHORT)
    theirs = there_and_back(model.fit(X, X[:, 0] ** 2), X)
    others = {"quantile": "QuantileRegressor", "pinball": "QuantileRegressor", "poisson": "PoissonRegressor"}
    assert type(theirs).__name__ == others.get(loss, "SGDRegressor")


@given(DTYPES, st.booleans())
def test_one_class_models_predict_the_same(dtype, average):
    X = ROWS.astype(dtype)
    there_and_back(parsgd.SGDOneClassSVM(0.1, average=average, **SHORT).fit(X), X)


@given(
    st.sampled_from(["identity", "logistic", "tanh", "relu"]),
    st.sampled_from([2, 3, 4, "labels"]),
    DTYPES,
    st.sampled_from([(), (7,), (4, 3)]),
    st.sampled_from(["adam", "adamw", "sgd", "lbfgs"]),
)
def test_networks_predict_the_same(activation, kind, dtype, layers, solver):
    X = ROWS.astype(dtype)
    y = (X[:, :3] > 0).astype(int) if kind == "labels" else classes(kind)
    model = parsgd.MLPClassifier(layers, activation, solver=solver, max_iter=2, random_state=0, n_jobs=1)
    there_and_back(model.fit(X, y), X)


@given(st.sampled_from(["squared_error", "poisson", "huber", "absolute_error"]), st.sampled_from([1, 2]), DTYPES)
def test_networks_of_numbers_predict_the_same(loss, n_outputs, dtype):
    X = ROWS.astype(dtype)
    model = parsgd.MLPRegressor(loss, (6,), max_iter=2, random_state=0, n_jobs=1)
    there_and_back(model.fit(X, np.abs(X[:, :n_outputs]).squeeze()), X)


@pytest.mark.slow
def test_own_losses_become_what_predicts_the_same():
    X, y = ROWS, ROWS[:, 0]
    model = parsgd.SGDRegressor(Cubed(), eta0=1e-3, **SHORT).fit(X, y)
    theirs = model.to_sklearn()
    assert type(theirs) is linear_model.LinearRegression
    check_same_predictions(model, theirs, X)
    model = parsgd.SGDClassifier(Cubed(), alpha=1, **SHORT).fit(X, classes(3))
    theirs = model.to_sklearn()
    assert type(theirs) is svm.LinearSVC
    check_same_predictions(model, theirs, X)


def test_a_subclass_becomes_what_its_base_does():
    Mine = type("Mine", (parsgd.SGDRegressor,), {})
    model = Mine(**SHORT).fit(ROWS, NOISE)
    assert type(model.to_sklearn()) is linear_model.SGDRegressor
    check_same_predictions(model, model.to_sklearn(), ROWS)


def test_names_of_columns_travel():
    X, y = load_iris(return_X_y=True, as_frame=True)
    theirs = parsgd.SGDClassifier(**SHORT).fit(X, y).to_sklearn()
    assert theirs.feature_names_in_.tolist() == list(X.columns)
    assert parsgd.from_sklearn(theirs).feature_names_in_.tolist() == list(X.columns)


# -- going on ----------------------------------------------------------------------------------------------------------

LINEAR = [
    ("SGDClassifier", {"loss": "log_loss"}),
    ("SGDClassifier", {"loss": "hinge", "average": 20}),
    ("SGDRegressor", {}),
    ("SGDRegressor", {"average": True}),
    ("SGDOneClassSVM", {}),
    ("SGDClassifier", {"loss": "log_loss", "average": 200}),
    ("SGDClassifier", {"average": True, "alpha": 0.01}),
]


@pytest.mark.parametrize(("name", "params"), LINEAR)
def test_linear_models_go_on_with_the_same_steps(name, params):
    X, y = ROWS, classes(3 if "alpha" in params else 2) if name == "SGDClassifier" else ROWS[:, 1] + NOISE
    first = {"classes": np.unique(y)} if name == "SGDClassifier" else {}
    ours = getattr(parsgd, name)(shuffle=False, random_state=0, n_jobs=1, **params).partial_fit(X, y, **first)
    theirs = ours.to_sklearn()
    again = parsgd.from_sklearn(theirs)
    for model in (ours, theirs, again):
        model.partial_fit(X, y)
    for model in (theirs, again):
        np.testing.assert_allclose(model.coef_, ours.coef_, rtol=1e-9)
        assert model.t_ == ours.t_


NETWORKS = [
    {},
    {"solver": "sgd"},
    {"solver": "sgd", "nesterovs_momentum": False},
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "sgd", "learning_rate": "invscaling"},
    {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.1},
]


@pytest.mark.parametrize("params", NETWORKS, ids=lambda p: " ".join(map(str, p.values())) or "adam")
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_networks_go_on_with_the_same_steps(kind, params):
    """The solver's moments travel, too: without them Adam's steps would be others."""
    X, y = ROWS, classes(3) if kind == "MLPClassifier" else ROWS[:, 1]
    first = {"classes": np.unique(y)} if kind == "MLPClassifier" else {}
    common = {"hidden_layer_sizes": (6, 4), "shuffle": False, "batch_size": 20, "random_state": 0, **params}
    ours = getattr(parsgd, kind)(n_jobs=1, **common).partial_fit(X, y, **first).partial_fit(X, y)
    theirs = ours.to_sklearn()
    again = parsgd.from_sklearn(theirs)
    before = pickle.dumps(ours)
    for model in (theirs, again):
        for _ in range(3):
            model.partial_fit(X, y)
    assert pickle.dumps(ours) == before, "what was handed out shares memory"
    for _ in range(3):
        ours.partial_fit(X, y)
    for model in (theirs, again):
        for a, b in zip(model.coefs_ + model.intercepts_, ours.coefs_ + ours.intercepts_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)
        assert model.t_ == ours.t_


def test_a_network_that_scikit_learn_fitted_goes_on_here():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    theirs = neural_network.MLPClassifier((20,), random_state=0, max_iter=3, shuffle=False)
    theirs.fit(X, y)
    ours = parsgd.from_sklearn(theirs)
    check_same_predictions(ours, theirs, X)
    ours.partial_fit(X, y)
    theirs.partial_fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-6, atol=1e-9)


# -- from scikit-learn's other estimators ------------------------------------------------------------------------------

OTHERS = [
    (linear_model.LogisticRegression(), 2, "log_loss"),
    (linear_model.LogisticRegression(), 3, "softmax"),
    (linear_model.LogisticRegression(fit_intercept=False), 3, "softmax"),
    (svm.LinearSVC(random_state=0), 2, "squared_hinge"),
    (svm.LinearSVC(loss="hinge", fit_intercept=False, max_iter=100_000, random_state=0), 3, "hinge"),
    (linear_model.RidgeClassifier(), 2, "squared_error"),
    (linear_model.RidgeClassifier(), 3, "squared_error"),
    (linear_model.LinearRegression(), 0, "squared_error"),
    (linear_model.Ridge(), 0, "squared_error"),
    (linear_model.Lasso(0.1), 0, "squared_error"),
    (linear_model.ElasticNet(0.1), 0, "squared_error"),
    (linear_model.LinearRegression(fit_intercept=False), 0, "squared_error"),
    (linear_model.QuantileRegressor(quantile=0.3), 0, "quantile"),
    (linear_model.PoissonRegressor(), 0, "poisson"),
]


@pytest.mark.parametrize(("theirs", "n_classes", "loss"), OTHERS, ids=lambda value: str(value)[:40])
def test_models_fitted_otherwise_become_linear_ones_and_go_on(theirs, n_classes, loss):
    X, y = ROWS, classes(n_classes) if n_classes else np.abs(ROWS[:, 1])
    theirs = copy.deepcopy(theirs).fit(X, y)
    ours = parsgd.from_sklearn(theirs)
    assert ours.loss == loss
    check_same_predictions(ours, theirs, X)
    before, ours = ours.coef_, copy.deepcopy(ours).partial_fit(X, y)
    # it sets out from there, and does not leap away
    assert 0 < np.abs(ours.coef_ - before).max() < 1


def test_what_cannot_be_translated_is_refused_by_name():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(NotFittedError):
        parsgd.SGDRegressor().to_sklearn()
    network = parsgd.MLPRegressor("huber", (3,), "gelu", max_iter=1, random_state=0)
    with pytest.raises(IncompatiblePartsError, match=r"no activation 'gelu'.*to_onnx"):
        network.fit(scale(X), y).to_sklearn()
    with pytest.raises(InvalidArgumentError, match=r"fitted estimator of scikit-learn: .*LogisticRegression"):
        parsgd.from_sklearn(svm.SVC())
    with pytest.raises(InvalidArgumentError, match="Got <class 'parsgd"):
        parsgd.from_sklearn(network)
    with pytest.raises(InvalidArgumentError, match="<class 'int'>"):
        parsgd.from_sklearn(3)
    for unfitted in (linear_model.SGDClassifier(), neural_network.MLPRegressor(), linear_model.Ridge()):
        with pytest.raises(InvalidArgumentError, match="call its fit"):
            parsgd.from_sklearn(unfitted)
    with pytest.raises(InvalidArgumentError, match="several targets"):
        parsgd.from_sklearn(linear_model.LinearRegression().fit(X, np.column_stack([y, y])))
