"""Promise 1, with stopping and with all that fit takes: one worker makes scikit-learn's steps and ends where it ends.

``tests/laws`` compares fits of a few epochs; here they stop by themselves.
"""

import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model

import parsgd
from parsgd.testing.problems import labels, targets, unit_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
LOSSES = (
    "hinge",
    "squared_hinge",
    "perceptron",
    "log_loss",
    "modified_huber",
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
)
PENALTIES = ("l2", "l1", "elasticnet", None)
SCHEDULES = ("optimal", "constant", "invscaling", "adaptive")
STOPS = {"tol": 1e-3, "n_iter_no_change": 2, "max_iter": 40, "eta0": 0.1}
LAYOUTS = ("dense", "csr")


def rows(layout):
    return unit_rows(60, 6, layout=layout)


def both(name, fit, **settings):
    """The same fit by scikit-learn and by us."""
    fitted = []
    for kind, extra in ((getattr(linear_model, name), {}), (getattr(parsgd, name), {"n_jobs": 1})):
        model = kind(**settings, **extra)
        fit(model)
        fitted.append(model)
    return fitted


def assert_same(theirs, ours, but=()):
    for name in ("coef_", "intercept_", "offset_", "n_iter_", "t_"):
        if hasattr(theirs, name) and name not in but:
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=0, atol=1e-6, err_msg=name)


def combinations(losses, passive):
    """Return every loss, penalty and schedule; the passive-aggressive schedules belong to one loss."""
    rows = itertools.product(losses, PENALTIES, (*SCHEDULES, "pa1", "pa2"))
    return [row for row in rows if row[2] in SCHEDULES or row[0] == passive]


def settings_of(loss, penalty, schedule):
    # at so small an alpha the optimal schedule begins with rates at which rounding errors grow
    alpha = 0.1 if schedule == "optimal" else 0.01
    return {"loss": loss, "penalty": penalty, "learning_rate": schedule, "alpha": alpha, **STOPS}


@pytest.mark.cover(2)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("loss", "penalty", "schedule"), combinations(LOSSES, "hinge"))
def test_classifiers_stop_where_scikit_learns_do(layout, loss, penalty, schedule):
    X, settings = rows(layout), settings_of(loss, penalty, schedule)
    for n_classes, order in ((2, {"shuffle": True, "random_state": 3}), (3, {"shuffle": False})):
        y = labels(X, n_classes)
        assert_same(*both("SGDClassifier", lambda model, y=y: model.fit(X, y), **settings, **order))


@pytest.mark.cover(2)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("loss", "penalty", "schedule"), combinations(LOSSES[5:], "epsilon_insensitive"))
def test_regressors_stop_where_scikit_learns_do(layout, loss, penalty, schedule):
    X, settings = rows(layout), settings_of(loss, penalty, schedule)
    y = targets(X)
    for order in ({"shuffle": True, "random_state": 3}, {"shuffle": False}):
        assert_same(*both("SGDRegressor", lambda model: model.fit(X, y), **settings, **order))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(4))
def test_one_class_svms_of_rows_without_values_round_as_scikit_learns_do(layout, seed):
    X = np.random.default_rng(seed).standard_normal((60, 4))
    X[::7] = 0.0
    X = sparse.csr_matrix(X) if layout == "csr" else X
    settings = {"learning_rate": "constant", "eta0": 0.05, "max_iter": 5, "tol": None, "random_state": seed}
    assert_same(*both("SGDOneClassSVM", lambda model: model.fit(X), **settings))


@pytest.mark.cover(2)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("nu", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("average", [False, True, 100])
def test_one_class_svms_stop_where_scikit_learns_do(layout, nu, schedule, average):
    X = rows(layout)
    settings = {"nu": nu, "learning_rate": schedule, "eta0": 0.1, "max_iter": 40, "average": average}
    for order in ({"shuffle": True, "random_state": 3}, {"shuffle": False}):
        theirs, ours = both("SGDOneClassSVM", lambda model: model.fit(X), **settings, **order)
        assert_same(theirs, ours)
        np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), atol=1e-6)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"fit_intercept": False},
        {"penalty": "l1"},
        {"loss": "squared_hinge"},
        {"average": True},
        {"average": 100},
        {"average": True, "penalty": None},
        {"learning_rate": "adaptive", "eta0": 0.1, "tol": 1e-3, "max_iter": 40},
    ],
    ids=str,
)
def test_weights_classes_and_starts_are_taken_as_scikit_learn_takes_them(layout, settings):
    X = rows(layout)
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.0, 2.0, 60) * (rng.random(60) < 0.8)
    settings = {"loss": "log_loss", "alpha": 0.1, "max_iter": 5, "tol": None, "shuffle": False, **settings}
    for n_classes in (2, 3):
        y, shape = labels(X, n_classes), (1 if n_classes == 2 else 3, 6)
        start = {"coef_init": rng.standard_normal(shape), "intercept_init": rng.standard_normal(shape[0])}
        for class_weight in (None, "balanced", {0: 0.3, 1: 2.0}):

            def fit(model, y=y, start=start):
                # scikit-learn writes into the start that it is given
                model.fit(X, y, sample_weight=weight, **{name: value.copy() for name, value in start.items()})

            assert_same(*both("SGDClassifier", fit, class_weight=class_weight, **settings))


@pytest.mark.parametrize("name", ["SGDRegressor", "SGDOneClassSVM"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_and_starts_of_regressors_and_one_class_svms_are_taken_likewise(name, layout):
    X = rows(layout)
    weight = np.random.default_rng(0).uniform(0.0, 2.0, 60)
    intercept = "intercept_init" if name == "SGDRegressor" else "offset_init"

    def fit(model):
        start = {"coef_init": np.linspace(-1.0, 1.0, 6), intercept: np.array([0.7])}
        model.fit(X, targets(X), sample_weight=weight, **start)

    for settings in ({}, {"fit_intercept": False}, {"average": 10}, {"learning_rate": "constant", "eta0": 0.05}):
        assert_same(*both(name, fit, max_iter=5, tol=None, shuffle=False, **settings))


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor", "SGDOneClassSVM"])
@pytest.mark.parametrize("average", [False, 30])
def test_warm_starts_and_partial_fits_go_on_likewise(name, average):
    X = rows("dense")
    y = labels(X) if name == "SGDClassifier" else targets(X)
    settings = {"learning_rate": "constant", "eta0": 0.05, "random_state": 5, "average": average}

    def partial(model):
        for part in np.array_split(np.arange(60), 4):
            model.partial_fit(X[part], y[part], **({"classes": [0, 1]} if name == "SGDClassifier" else {}))
        return model

    def warm(model):
        for _ in range(3):
            model.fit(X, y)

    def mixed(model):
        model.fit(X, y)
        partial(model)

    if average:
        # scikit-learn goes on from the averaged intercept, and forgets the one under it
        settings["fit_intercept"] = False
    fits = [partial, warm, mixed]
    if average and name == "SGDRegressor":
        fits.remove(warm)  # scikit-learn mixes the last fit's average into the next one's
    for fit in fits:
        assert_same(*both(name, fit, warm_start=True, max_iter=3, tol=None, **settings))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "n_classes"), [("SGDClassifier", 2), ("SGDClassifier", 3), ("SGDRegressor", 0)])
def test_early_stopping_holds_back_the_same_rows_and_stops_likewise(layout, name, n_classes):
    # without a penalty the stored weights, which scikit-learn scores, are the weights
    X = rows(layout)
    y = labels(X, n_classes) if n_classes else targets(X)
    settings = {"penalty": None, "learning_rate": "constant", "eta0": 0.02, "early_stopping": True, "shuffle": False}
    settings |= {"random_state": 0, "validation_fraction": 0.2, "max_iter": 60}
    # scikit-learn counts held-back rows among the steps
    assert_same(*both(name, lambda model: model.fit(X, y), **settings), but=("t_",))
