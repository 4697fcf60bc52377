"""What networks cannot use is refused with a ValueError that names it, before any work starts."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network

from parsgd import LocalSGD, MiniBatch, MLPClassifier, MLPRegressor
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError, InvalidArgumentError
from parsgd.estimators.network import lbfgs
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(60, 4)
Y, THREE, T = labels(X), labels(X, 3), targets(X)
MANY = np.column_stack([labels(X, seed=seed) for seed in (1, 2, 3)])
ESTIMATORS = (MLPClassifier, MLPRegressor)
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0, "n_jobs": 1}

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer.*:sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def no_work_starts(request, monkeypatch):
    """In every test but the marked ones, opening an engine or L-BFGS fails the test."""
    if "works" not in request.fixturenames:
        monkeypatch.setattr(Serial, "open", lambda *parts: pytest.fail("a worker was started"))
        monkeypatch.setattr(Threads, "open", lambda *parts: pytest.fail("workers were started"))
        monkeypatch.setattr(lbfgs, "minimize", lambda *parts, **settings: pytest.fail("L-BFGS was started"))


@pytest.fixture
def works():
    """Marks a test in which fits may run."""


def refused(estimator, *fitted, match, **fit_params):
    with pytest.raises(ValueError, match=match):
        estimator.fit(*(fitted or (X, Y)), **fit_params)
    assert not hasattr(estimator, "coefs_")


# -- parameters ----------------------------------------------------------------------------------------------------


WRONG = {
    "hidden_layer_sizes": [5.0, (5, 2.5), "5", ("5",), None, True, [[5]], np.array([5.0])],
    "activation": ["rlu", None, np.tanh, "softmax"],
    "solver": ["adamax", None, "nesterov"],
    "alpha": [-1e-4, None, "1", np.nan, True],
    "batch_size": [0, -3, "big", 2.5, None],
    "learning_rate": ["optimal", 0.1, None],
    "learning_rate_init": [0.0, -1.0, None],
    "power_t": [-0.5, "x", None],
    "max_iter": [0, 2.5, "10", True, None],
    "shuffle": [None, 1],
    "warm_start": ["yes"],
    "nesterovs_momentum": [0],
    "early_stopping": ["x"],
    "tol": [-1e-3, None, np.nan],
    "verbose": [-1, "loud"],
    "momentum": [-0.1, 1.1, None],
    "validation_fraction": [-0.1, 1.0, None],
    "beta_1": [1.0, -0.1],
    "beta_2": [1.0, None],
    "epsilon": [0.0, None],
    "n_iter_no_change": [0, 1.5, -np.inf, None],
    "max_fun": [0, 1.5, None],
    "dropout": [1.0, -0.1, None, "half"],
    "clip_norm": [0, -1.0, "no", np.nan],
    "weight_init": ["heh", None, np.zeros(3)],
    "n_jobs": [0, 1.5, "all", True],
    "algorithm": ["locale", None, LocalSGD],
    "engine": ["thread", Serial],
}


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_parameter_that_cannot_be_used_is_named_and_so_is_the_class(kind, name, value):
    refused(kind(**{name: value}), match=f"'{name}' parameter of {kind.__name__} must")


@pytest.mark.parametrize("value", ["seed", 1.5])
def test_a_random_state_that_is_none_is_refused(value):
    refused(MLPClassifier(random_state=value), match=f"'random_state' parameter .* Got '?{value}'? instead")


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("sizes", [0, -1, (5, 0), [-3, 5], np.array([0])], ids=str)
def test_layers_without_units_are_refused_in_scikit_learns_words(kind, sizes):
    match = r"hidden_layer_sizes must be > 0, got \["
    refused(kind(hidden_layer_sizes=sizes), match=match)
    if not isinstance(sizes, int):
        with pytest.raises(ValueError, match=match):
            neural_network.MLPRegressor(hidden_layer_sizes=sizes).fit(X, T)


@pytest.mark.parametrize(
    ("name", "value"),
    [("loss", "log_loss"), ("loss", None), ("loss", "squared"), ("delta", 0.0), ("delta", -1.0), ("delta", None)],
)
def test_a_loss_that_cannot_be_used_is_named(name, value):
    refused(MLPRegressor(**{name: value}), X, T, match=f"'{name}' parameter of MLPRegressor must")


@pytest.mark.parametrize("value", ["balance", 3, [1.0, 2.0], np.ones(2), True])
def test_weights_of_classes_that_cannot_be_used_are_named(value):
    refused(MLPClassifier(class_weight=value), match="'class_weight' parameter of MLPClassifier must be a dict")


def test_weights_of_unknown_classes_are_refused():
    refused(MLPClassifier(class_weight={7: 2.0}), match=r"classes, \[0, 1\], are not in class_weight")


@pytest.mark.parametrize(
    ("kind", "name", "wrong", "meant"),
    [
        (MLPClassifier, "activation", "leaky-relu", "leaky_relu"),
        (MLPRegressor, "activation", "relu6", "relu"),
        (MLPClassifier, "activation", "tanhh", "tanh"),
        (MLPClassifier, "solver", "adam-w", "adamw"),
        (MLPClassifier, "solver", "l-bfgs", "lbfgs"),
        (MLPRegressor, "loss", "squared_eror", "squared_error"),
        (MLPRegressor, "loss", "possion", "poisson"),
        (MLPClassifier, "weight_init", "glorrot", "glorot"),
        (MLPClassifier, "learning_rate", "invscalling", "invscaling"),
        (MLPClassifier, "algorithm", "mini-batch", "minibatch"),
        (MLPClassifier, "engine", "thread", "threads"),
    ],
)
def test_a_name_nearly_right_is_answered_with_the_right_one(kind, name, wrong, meant):
    refused(kind(**{name: wrong}), match=f"Did you mean '{meant}'")


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("given", [{"dropout": 0.5}, {"clip_norm": 1.0}], ids=str)
def test_lbfgs_refuses_what_belongs_to_single_steps(kind, given):
    refused(kind(solver="lbfgs", **given), match="dropout and clip_norm work with the stochastic solvers")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_lbfgs_has_no_partial_fit(kind):
    assert not hasattr(kind(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        kind(solver="lbfgs").partial_fit(X, Y)


def test_a_batch_of_an_algorithm_is_checked_by_it():
    with pytest.raises(InvalidArgumentError, match="'batch_size' parameter of MiniBatch"):
        MiniBatch(batch_size=0)


# -- data ----------------------------------------------------------------------------------------------------------


def test_several_classes_a_row_are_no_labels():
    refused(MLPClassifier(), X, np.column_stack([THREE, Y]), match="(?i)multioutput target data is not supported")
    refused(MLPClassifier(), X, MANY + 1, match=r"0 and 1 only. Got \[1 2\]")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_weights_that_leave_a_set_without_any_are_refused(kind):
    weight = (np.arange(60) == 5).astype(float)
    for random_state in range(4):
        refused(
            kind(early_stopping=True, random_state=random_state),
            match="(train|validation) set are all zero",
            sample_weight=weight,
        )


def test_counts_are_not_negative():
    counts = np.floor(np.exp(T))
    refused(MLPRegressor("poisson"), X, counts - 10.0, match="y >= 0; the smallest one is -")
    refused(MLPRegressor("poisson"), X, counts, match="y >= 0", X_val=X, y_val=-counts - 1.0)


# -- validation sets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_lbfgs_looks_at_no_validation_set(kind):
    refused(kind(solver="lbfgs"), match="solver='lbfgs' computes no score", X_val=X, y_val=Y)


def test_validation_targets_are_of_the_kind_of_the_others():
    refused(MLPClassifier(), match=r"\[7\] are not among", X_val=X, y_val=np.full(60, 7))
    refused(MLPClassifier(), X, MANY, match="3 labels per row", X_val=X, y_val=MANY[:, :2])
    refused(MLPClassifier(), X, MANY, match="3 labels per row", X_val=X, y_val=Y)
    refused(MLPClassifier(), match="y must have shape .n_rows", X_val=X, y_val=MANY)
    refused(MLPRegressor(), X, T, match="y_val has 3 targets per row, y has 1", X_val=X, y_val=MANY)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize(
    ("fraction", "match"),
    [(0.0, "validation_fraction > 0"), (0.01, "validation set is too small"), (0.999, "train set will be empty")],
)
def test_a_validation_fraction_that_leaves_nobody_is_refused(kind, fraction, match):
    y = Y if kind is MLPRegressor else THREE
    refused(kind(early_stopping=True, validation_fraction=fraction), X, y, match=match)


# -- partial_fit ---------------------------------------------------------------------------------------------------


def test_partial_fit_needs_the_classes_first(works):
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        MLPClassifier(**QUICK).partial_fit(X, Y)
    model = MLPClassifier(**QUICK).partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, Y, classes=[0, 2])


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_a_label_that_was_never_named_is_refused_and_named(works, label):
    model = MLPClassifier(**QUICK).partial_fit(X, Y, classes=[0, 1])
    before = model.coefs_[0].copy()
    with pytest.raises(InvalidArgumentError, match=rf"\[{label}.*are not among \[0, 1\].*first call to partial_fit"):
        model.partial_fit(X, np.where(Y == 0, label, Y))
    np.testing.assert_array_equal(model.coefs_[0], before)
    assert model.t_ == 60


@pytest.mark.parametrize("texts", [Y.astype(str), Y.astype(str).astype(object)], ids=["str", "object"])
def test_texts_are_no_labels_where_numbers_were(works, texts):
    model = MLPClassifier(**QUICK).partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(InvalidArgumentError, match=r"classes not in `self.classes_`.*'[01]'"):
        model.partial_fit(X, texts)


def test_rows_have_as_many_labels_in_every_call(works):
    with pytest.raises(InvalidArgumentError, match="y must have 2 labels per row"):
        MLPClassifier(**QUICK).partial_fit(X, MANY, classes=range(2))
    model = MLPClassifier(**QUICK).partial_fit(X, MANY, classes=range(3))
    for wrong in (MANY[:, :2], np.column_stack([MANY, Y]), Y):
        with pytest.raises(InvalidArgumentError, match="y must have 3 labels per row; its shape is"):
            model.partial_fit(X, wrong)
    with pytest.raises(InvalidArgumentError, match=r"0 and 1 only. Got .0 2."):
        model.partial_fit(X, 2 * MANY)
    with pytest.raises(InvalidArgumentError, match=r"y must have shape .n_rows,., as before"):
        MLPClassifier(**QUICK).partial_fit(X, Y, classes=[0, 1]).partial_fit(X, MANY)


def test_rows_have_as_many_targets_in_every_call(works):
    model = MLPRegressor(**QUICK).partial_fit(X, T)
    with pytest.raises(InvalidArgumentError, match=r"has layers \[4, 4, 1\]; parameters and data now need \[4, 4, 3\]"):
        model.partial_fit(X, MANY)


def test_a_first_call_that_was_refused_can_be_made_again(works):
    model = MLPClassifier(**QUICK)
    with pytest.raises(ValueError, match=r"(?i)nan"):
        model.partial_fit(X * np.nan, Y, classes=[0, 1])
    assert model.partial_fit(X, Y, classes=[0, 1]).t_ == 60


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_rows_of_another_width_are_refused(works, kind):
    model = kind(**QUICK).fit(X, Y)
    for call in (model.predict, lambda rows: model.partial_fit(rows, Y)):
        with pytest.raises(ValueError, match="4 features"):
            call(X[:, :3])


def test_an_estimator_that_was_not_fitted_predicts_nothing():
    for call in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(ValueError, match="not fitted"):
            getattr(MLPClassifier(), call)(X)


# -- going on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MLPClassifier, neural_network.MLPClassifier])
def test_a_warm_start_with_other_classes_is_refused_in_scikit_learns_words(works, kind):
    model = kind((4,), max_iter=2, warm_start=True).fit(X, THREE)
    for other in (Y, THREE + 1):
        with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
            model.fit(X, other)
    model.fit(X, THREE)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_warm_start_with_other_layers_is_refused(works, kind):
    model = kind(warm_start=True, **QUICK).fit(X, Y)
    before = model.coefs_[0].copy()
    for sizes in ((5,), (4, 4), ()):
        with pytest.raises(InvalidArgumentError, match=r"has layers \[4, 4, 1\].*call fit with warm_start=False"):
            model.set_params(hidden_layer_sizes=sizes).fit(X, Y)
    np.testing.assert_array_equal(model.coefs_[0], before)
    assert model.set_params(warm_start=False).fit(X, Y).n_layers_ == 2


@pytest.mark.parametrize(
    "given",
    [
        {"algorithm": "locale"},
        {"engine": "thread"},
        {"alpha": -1.0},
        {"n_jobs": 0},
        {"early_stopping": True, "validation_fraction": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_fit_that_is_refused_leaves_the_model_as_it_was(works, kind, given):
    model = kind(**QUICK).fit(X, THREE)
    before = model.predict(X)
    with pytest.raises(ValueError, match=next(reversed(given))):
        model.set_params(**given).fit(X, THREE)
    np.testing.assert_array_equal(model.predict(X), before)
    assert len(model.loss_curve_) == 2
    assert model.t_ == 120


# -- rates that are too large --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_jobs", "algorithm", "named"),
    [
        (1, "auto", r"epoch #\d+.*worker 0.*round 0"),
        (1, "local", r"epoch #\d+.*round \d+"),
        (2, "local", r"epoch #\d+.*worker \d.*round \d+"),
        (2, "simuparallel", r"epoch #\d+.*worker \d"),
        (1, "minibatch", r"round \d+"),
        (2, "minibatch", r"round \d+"),
    ],
)
@pytest.mark.parametrize("rate", [1e3, 1e100, 1e300])
def test_a_huge_rate_is_an_error_that_says_when_not_a_model_of_nan(works, n_jobs, algorithm, named, rate):
    wild = MLPRegressor(
        "squared_error",
        (8,),
        "identity",
        solver="sgd",
        learning_rate_init=rate,
        batch_size=10,
        random_state=0,
        n_jobs=n_jobs,
        algorithm=algorithm,
        max_iter=50,
    )
    with pytest.raises(DivergedError, match=named):
        wild.fit(100.0 * X, 100.0 * T)
    assert not hasattr(wild, "coefs_")


def test_a_huge_rate_in_partial_fit_is_an_error_too(works):
    wild = MLPRegressor(solver="sgd", learning_rate_init=1e300, batch_size=10, random_state=0, n_jobs=1)
    with pytest.raises(DivergedError, match="epoch #1"):
        wild.partial_fit(X, T)


def test_a_loss_that_explodes_within_the_finite_numbers_is_an_error(works):
    with pytest.raises(DivergedError, match=r"the mean loss is .* learning_rate_init"):
        MLPRegressor(hidden_layer_sizes=(3,), solver="sgd", random_state=0, max_iter=3).fit(1e6 * X, T)


def test_large_targets_are_an_error_for_lbfgs(works):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's overflow
        with pytest.raises(DivergedError, match=r"non-finite parameter weights.*StandardScaler"):
            MLPRegressor(activation="identity", solver="lbfgs", random_state=0).fit(X, 1e200 * T)


# -- what looks bad and is not -------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["local", "minibatch", "simuparallel"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_batch_larger_than_a_workers_share_works(works, kind, algorithm):
    model = kind(**{**QUICK, "n_jobs": 2, "batch_size": 60, "algorithm": algorithm}).fit(X, Y)
    assert np.isfinite(model.coefs_[0]).all()
    assert model.t_ == 120


@pytest.mark.parametrize("algorithm", ["local", "minibatch", "simuparallel", "weighted"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_more_workers_than_rows_work(works, kind, algorithm):
    model = kind(**{**QUICK, "n_jobs": 8, "algorithm": algorithm}).fit(X[:5], THREE[:5])
    assert np.isfinite(model.coefs_[0]).all()
    assert len(model.loss_curve_) == model.n_iter_ == 2
    assert model.t_ == 10


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_one_row_is_enough(works, kind):
    assert kind(**QUICK).fit(X[:1], Y[:1]).t_ == 2


@pytest.mark.parametrize("kind", [MLPClassifier, neural_network.MLPClassifier])
def test_one_class_is_always_predicted(works, kind):
    model = kind((4,), max_iter=2, random_state=0).fit(X, np.full(60, "only"))
    assert set(model.predict(X)) == {"only"}
    assert model.predict_proba(X).shape == (60, 2)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_empty_rows_and_whole_numbers_are_no_error(works, kind):
    assert np.isfinite(kind(**QUICK).fit(sparse.csr_matrix((12, 4)), np.arange(12) % 2).coefs_[0]).all()
    rows = np.arange(240).reshape(60, 4) % 7
    np.testing.assert_array_equal(
        kind(**QUICK).fit(rows, Y).coefs_[0], kind(**QUICK).fit(rows.astype(float), Y).coefs_[0]
    )


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_users_rows_are_left_alone(works, kind):
    rows, y, weight = X.copy(), Y.copy(), np.ones(60)
    for array in (rows, y, weight):
        array.setflags(write=False)
    kind(**QUICK).fit(rows, y, sample_weight=weight).partial_fit(rows, y)
    np.testing.assert_array_equal(rows, X)
