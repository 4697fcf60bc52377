"""What cannot be used is refused with a ValueError that names it, before any work starts."""

import warnings

import numpy as np
import pytest
from scipy import sparse

import parsgd
from parsgd import (
    LocalSGD,
    MLPClassifier,
    MLPRegressor,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
    SimuParallel,
    WeightedAverage,
)
from parsgd.engines.serial import Serial
from parsgd.errors import DivergedError, DivergenceWarning, InvalidArgumentError
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(60, 4)
Y = labels(X)
ESTIMATORS = (SGDClassifier, SGDRegressor, SGDOneClassSVM)
SUPERVISED = (SGDClassifier, SGDRegressor, MLPClassifier, MLPRegressor)


@pytest.fixture(autouse=True)
def no_work_starts(request, monkeypatch):
    """In every test but the marked ones, opening an engine fails the test."""
    if "works" not in request.fixturenames:
        monkeypatch.setattr(Serial, "open", lambda *parts: pytest.fail("a worker was started"))


@pytest.fixture
def works():
    """Marks a test in which fits may run."""


def refused(estimator, *fitted, match, **fit_params):
    with pytest.raises(ValueError, match=match):
        estimator.fit(*(fitted or (X, Y)), **fit_params)
    assert not {"coef_", "coefs_"} & vars(estimator).keys()


def pairs(table):
    """Every key with each of its values."""
    return [(key, value) for key, values in table.items() for value in values]


# -- parameters ----------------------------------------------------------------------------------------------------


WRONG = {
    "max_iter": [0, -5, 2.5, "10", True],
    "tol": [-1e-3, "1e-3", np.nan],
    "learning_rate": ["optimum", None, ["optimal"]],
    "eta0": [0.0, -0.1, None, np.nan],
    "fit_intercept": ["yes", 1],
    "shuffle": [None],
    "warm_start": [0],
    "average": [-1, 0.5],
    "verbose": [-1, "loud"],
    "batch_size": [0, 1.5, None],
    "n_jobs": [0, 1.5, "all", True],
    "algorithm": ["locale", None, LocalSGD],
    "engine": ["thread", Serial],
    "random_state": ["seed", 1.5, -1, 2**32],
}


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize(("name", "value"), pairs(WRONG))
def test_a_parameter_that_cannot_be_used_is_named(kind, name, value):
    refused(kind(**{name: value}), match=name)


WRONG_OF_LOSSES = {
    "loss": ["hinges", None, 3],
    "penalty": ["l3", "none"],
    "alpha": [-1e-4, None],
    "l1_ratio": [1.5, -0.1],
    "epsilon": [-0.1],
    "power_t": ["x"],
    "validation_fraction": [0.0, 1.0],
    "n_iter_no_change": [0],
    "early_stopping": ["yes"],
}


@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
@pytest.mark.parametrize(("name", "value"), pairs(WRONG_OF_LOSSES))
def test_a_parameter_of_losses_and_penalties_that_cannot_be_used_is_named(kind, name, value):
    refused(kind(**{name: value}), match=name)


@pytest.mark.parametrize(
    ("name", "wrong", "meant"),
    [
        ("loss", "log_los", "log_loss"),
        ("penalty", "elastic_net", "elasticnet"),
        ("learning_rate", "invscalling", "invscaling"),
        ("algorithm", "simuparalel", "simuparallel"),
        ("algorithm", "wieghted", "weighted"),
        ("engine", "thread", "threads"),
    ],
)
def test_a_name_nearly_right_is_answered_with_the_right_one(name, wrong, meant):
    refused(SGDClassifier(**{name: wrong}), match=f"Did you mean '{meant}'")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SGDClassifier(alpha=0.0), "alpha must be > 0"),
        (lambda: SGDClassifier("log_loss", learning_rate="pa1"), "only works with loss"),
        (lambda: SGDRegressor("huber", learning_rate="pa2"), "only works with loss"),
        (lambda: SGDClassifier(penalty="elasticnet", l1_ratio=None), "l1_ratio must be set"),
        (lambda: SGDRegressor("quantile", quantile=1.0), "quantile"),
        (lambda: SGDRegressor("hinge"), "loss"),
        (lambda: SGDRegressor("softmax"), "loss"),
        (lambda: SGDClassifier("poisson"), "loss"),
        (lambda: SGDOneClassSVM(nu=0.0), "nu"),
        (lambda: SGDOneClassSVM(nu=1.1), "nu"),
    ],
)
def test_parameters_that_exclude_each_other_are_refused(make, match):
    refused(make(), match=match)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LocalSGD(sync_every=0.0), "sync_every"),
        (lambda: LocalSGD(sync_every=1.5), "sync_every"),
        (lambda: LocalSGD(seconds=-1.0), "seconds"),
        (lambda: LocalSGD(rule="learnt"), "rule"),
        (lambda: WeightedAverage(rule="wpsgd"), "rule"),
        (lambda: WeightedAverage(partition="half"), "partition"),
        (lambda: SimuParallel(partition="hole"), "partition"),
        (lambda: SimuParallel(seconds=0.0), "seconds"),
    ],
)
def test_algorithms_refuse_what_they_cannot_use(make, named):
    with pytest.raises(InvalidArgumentError, match=named):
        make()


# -- losses from outside -------------------------------------------------------------------------------------------


class Own:
    def __init__(self, scale=1.0):
        self.scale = scale

    def loss(self, y, p):
        return self.scale * (p - y) ** 2

    def gradient(self, y, p):
        return 2.0 * self.scale * (p - y)


def test_a_loss_given_as_a_class_is_to_be_called():
    refused(SGDClassifier(Own), match="instance, not the class Own; call it")


@pytest.mark.parametrize("value", ["wide", None, [1.0], np.ones(2), np.nan])
def test_a_loss_holds_numbers_only(value):
    refused(SGDRegressor(Own(value)), match="numeric attributes only.*Own has .*scale")


def test_a_loss_without_a_gradient_is_no_loss():
    refused(SGDRegressor(type("Half", (), {"loss": Own.loss})()), match="loss")


# -- data ----------------------------------------------------------------------------------------------------------


@pytest.mark.cover(2)
@pytest.mark.parametrize("kind", [*SUPERVISED, SGDOneClassSVM])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_rows_that_are_not_finite_are_refused(kind, bad, layout):
    broken = X.copy()
    broken[7, 1] = bad
    refused(kind(), sparse.csr_matrix(broken) if layout == "csr" else broken, Y, match="(?i)nan|infinity")


@pytest.mark.parametrize("kind", SUPERVISED)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_that_are_not_finite_are_refused(kind, bad):
    refused(kind(), X, np.where(np.arange(60) == 3, bad, Y), match="(?i)nan|infinity|continuous")


@pytest.mark.parametrize("kind", SUPERVISED)
@pytest.mark.parametrize(
    ("rows", "y", "match"),
    [
        (X[:, 0], Y, "2D array"),
        (X[None], Y, "dim 3|<= 2"),
        (X, Y[:-1], "inconsistent"),
        (X[:0], Y[:0], "0 sample"),
        (X[:, :0], Y, "0 feature"),
        (X, None, "y"),
        (np.full(X.shape, "a"), Y, "convert"),
    ],
)
def test_data_of_the_wrong_shape_are_refused(kind, rows, y, match):
    refused(kind(), rows, y, match=match)


@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
def test_linear_models_have_one_target_a_row(kind):
    refused(kind(), X, np.tile(Y, (2, 1)).T, match="1d|y should be")


@pytest.mark.parametrize("loss", ["hinge", "softmax"])
def test_one_class_is_none(loss):
    refused(SGDClassifier(loss), X, np.zeros(60), match="greater than one; got 1 class")


@pytest.mark.parametrize("kind", [SGDClassifier, MLPClassifier])
def test_numbers_are_no_classes(kind):
    refused(kind(), X, targets(X), match="Unknown label type")


def test_counts_are_not_negative():
    refused(SGDRegressor("poisson"), X, targets(X) - 10.0, match="y >= 0; the smallest one is -1")


@pytest.mark.parametrize("kind", [*SUPERVISED, SGDOneClassSVM])
@pytest.mark.parametrize(
    ("weight", "match"),
    [(np.ones(59), "shape"), (np.ones((60, 2)), "1D|shape"), (np.full(60, np.nan), "(?i)nan"), (np.zeros(60), "zero")],
)
def test_sample_weights_that_cannot_be_used_are_refused(kind, weight, match):
    refused(kind(), match=match, sample_weight=weight)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
def test_a_start_that_is_not_finite_is_refused(kind, bad):
    refused(kind(), match="coef_init", coef_init=np.full(4, bad))
    refused(kind(), match="intercept_init", intercept_init=np.array([bad]))


@pytest.mark.parametrize("kind", [SGDClassifier, MLPClassifier])
def test_class_weights_that_are_not_finite_are_refused(kind):
    refused(kind(class_weight={0: np.nan, 1: 1.0}), match="class_weight")


@pytest.mark.parametrize("kind", [SGDRegressor, MLPRegressor])
def test_missing_targets_among_objects_are_refused(kind):
    refused(kind(), X, np.array([None, 1.0] * 30, dtype=object), match="y contains NaN")


@pytest.mark.parametrize("kind", [SGDClassifier, MLPClassifier])
def test_partial_fit_refuses_no_classes(kind):
    with pytest.raises(InvalidArgumentError, match="classes must contain"):
        kind().partial_fit(X, Y, classes=[])


@pytest.mark.parametrize("shape", [(4,), (1, 4), (4, 1)])
@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
def test_a_start_of_one_row_may_have_any_shape(kind, shape):
    start = np.arange(4.0)
    expected = kind(random_state=0).fit(X, Y, coef_init=start)
    assert np.array_equal(kind(random_state=0).fit(X, Y, coef_init=start.reshape(shape)).coef_, expected.coef_)


@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
@pytest.mark.parametrize(
    "given", [{"coef_init": np.zeros(5)}, {"coef_init": np.zeros((3, 4))}, {"intercept_init": [0, 0]}]
)
def test_a_start_of_the_wrong_shape_is_refused(kind, given):
    refused(kind(), match="does not match dataset", **given)


@pytest.mark.parametrize("kind", SUPERVISED)
def test_validation_rows_and_targets_belong_together(kind):
    refused(kind(), match="must be given together", X_val=X)
    refused(kind(), match="must be given together", y_val=Y)
    refused(kind(), match="4 features", X_val=X[:, :2], y_val=Y)
    refused(kind(), match="inconsistent", X_val=X, y_val=Y[:9])
    refused(kind(), match="(?i)nan", X_val=X * np.nan, y_val=Y)


def test_validation_labels_are_among_the_classes():
    refused(SGDClassifier(), match=r"labels \[7\]", X_val=X, y_val=np.full(60, 7))


@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
def test_a_validation_fraction_that_leaves_nobody_is_refused(kind):
    refused(kind(early_stopping=True, validation_fraction=0.999), X[:10], Y[:10], match="train set will be empty")


# -- partial_fit ---------------------------------------------------------------------------------------------------


def test_partial_fit_needs_the_classes_first(works):
    with pytest.raises(ValueError, match="classes"):
        SGDClassifier().partial_fit(X, Y)
    model = SGDClassifier(n_jobs=1).partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, Y, classes=[0, 2])


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_a_label_that_was_never_named_is_refused(works, label):
    model = SGDClassifier(n_jobs=1).partial_fit(X, Y, classes=[0, 1])
    before = model.coef_.copy()
    with pytest.raises(ValueError, match=rf"labels \[{label}.*not among"):
        model.partial_fit(X, np.where(Y == 0, label, Y))
    np.testing.assert_array_equal(model.coef_, before)


def test_partial_fit_refuses_what_needs_all_rows():
    with pytest.raises(ValueError, match="early_stopping should be False"):
        SGDClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match="'balanced' is not supported"):
        SGDClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1])


def test_rows_of_another_width_are_refused(works):
    for model in (SGDClassifier(n_jobs=1), SGDRegressor(n_jobs=1), SGDOneClassSVM(n_jobs=1)):
        model.partial_fit(X, Y, **({"classes": [0, 1]} if isinstance(model, SGDClassifier) else {}))
        for call in (model.predict, lambda rows, model=model: model.partial_fit(rows, Y)):
            with pytest.raises(ValueError, match="4 features"):
                call(X[:, :3])


# -- rates that are too large --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_huge_rate_is_an_error_that_names_round_and_epoch_not_a_model_of_nan(works, n_jobs):
    wild = SGDRegressor(learning_rate="constant", eta0=1e8, n_jobs=n_jobs, random_state=0)
    with pytest.raises(DivergedError, match=r"round \d+.*epoch #\d+|epoch #\d+.*round \d+"):
        wild.fit(1e3 * X, targets(X))
    assert not hasattr(wild, "coef_")


def test_parameters_that_leave_the_finite_numbers_name_the_worker_too(works):
    wild = SGDRegressor(learning_rate="constant", eta0=1e300, n_jobs=1, random_state=0)
    with pytest.raises(DivergedError, match=r"epoch #1\..*worker 0.*round 0"):
        wild.fit(X, targets(X))


def test_a_loss_that_explodes_within_the_finite_numbers_is_a_warning(works):
    model = SGDRegressor(n_jobs=1, random_state=0, max_iter=5, tol=None)
    with pytest.warns(DivergenceWarning, match="Scaling input data") as caught:
        model.fit(100.0 * X, targets(X))
    assert caught[0].filename == __file__
    assert np.isfinite(model.coef_).all()


def test_ordinary_fits_warn_of_nothing(works):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SGDClassifier(n_jobs=1).fit(X, Y)
        SGDRegressor(n_jobs=1).fit(X, targets(X))


def test_all_errors_are_parsgds_own_and_value_errors_too():
    for name in ("InvalidArgumentError", "IncompatiblePartsError", "DivergedError"):
        assert issubclass(getattr(parsgd.errors, name), (parsgd.errors.ParsgdError))
        assert issubclass(getattr(parsgd.errors, name), ValueError)
