"""Settings of NumPy's floating-point errors are for the caller's own numbers: no fit and no prediction changes."""

import warnings

import numpy as np
import pytest

import parsgd
from parsgd import (
    ElasticAveraging,
    LocalSGD,
    MLPClassifier,
    MLPRegressor,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
    WeightedAverage,
)
from parsgd.kernels.losses import CLASSIFIER, REGRESSOR, names
from parsgd.testing.problems import labels, unit_rows

# Products of such rows under- and overflow, and so do exponentials of their decision values.
CHANCE = np.random.default_rng(0)
X = unit_rows(120, 4) * 10.0 ** CHANCE.integers(-160, 3, size=(120, 4))
Y, SEVERAL = labels(unit_rows(120, 4)), labels(unit_rows(120, 4), 3)
NUMBERS = np.abs(CHANCE.normal(size=120)) * 1e-200
SHORT = {"max_iter": 3, "random_state": 0, "n_jobs": 2, "engine": "threads"}
LINEAR = SHORT | {"tol": None}
NETWORK = SHORT | {"n_jobs": 1, "hidden_layer_sizes": (3,)}
METHODS = ("predict", "decision_function", "predict_proba", "predict_log_proba", "score_samples")

CASES = [
    *[(SGDClassifier(loss, **LINEAR), SEVERAL) for loss in names(CLASSIFIER)],
    *[(SGDRegressor(loss, eta0=1e-6, **LINEAR), NUMBERS) for loss in names(REGRESSOR)],
    (SGDClassifier("softmax", **LINEAR), Y),
    (SGDOneClassSVM(**LINEAR), None),
    (SGDClassifier("log_loss", average=True, penalty="elasticnet", **LINEAR), Y),
    (SGDRegressor(learning_rate="adagrad", early_stopping=True, **LINEAR), NUMBERS),
    *[
        (SGDClassifier("log_loss", algorithm=algorithm, **LINEAR), Y)
        for algorithm in (
            LocalSGD(outer_optimizer="adaptive"),
            LocalSGD(rule="learned"),
            LocalSGD(outer_optimizer="nesterov"),
            WeightedAverage(rule="wp"),
            ElasticAveraging(),
            "minibatch",
            "delayed",
            "asynchronous",
            "hogwild",
        )
    ],
    *[
        (MLPClassifier(activation=activation, **NETWORK), SEVERAL)
        for activation in ("identity", "logistic", "tanh", "relu", "gelu", "leaky_relu")
    ],
    *[(MLPRegressor(solver=solver, **NETWORK), NUMBERS) for solver in ("lbfgs", "sgd", "adam", "adamw")],
    *[(MLPRegressor(loss, **NETWORK), NUMBERS) for loss in ("poisson", "huber", "absolute_error")],
    (MLPClassifier(solver="lbfgs", **NETWORK), Y),
    (MLPClassifier(early_stopping=True, **NETWORK), Y),
]


def results(model, y):
    """The predictions after a fit, and after one more pass; or the error that ended it."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such data converge nowhere
        try:
            model.fit(X, y)
            found = [getattr(model, method)(X) for method in METHODS if hasattr(model, method)]
            if getattr(model, "solver", None) != "lbfgs" and not model.early_stopping:
                found.append(model.partial_fit(X, y).predict(X))
        except parsgd.errors.DivergedError as error:
            return [str(error)]
    return found


@pytest.mark.parametrize(("model", "y"), CASES, ids=lambda value: str(value)[:60])
def test_a_caller_who_asks_for_errors_gets_the_same_model(model, y):
    expected = results(model, y)
    with np.errstate(all="raise"):
        found = results(model, y)
        assert np.geterr() == dict.fromkeys(("divide", "over", "under", "invalid"), "raise")
    if getattr(model, "algorithm", None) in ("asynchronous", "hogwild"):
        return
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_caller_who_sets_it_for_good_too():
    before = np.seterr(all="raise")
    try:
        assert np.isfinite(MLPClassifier(solver="lbfgs", **NETWORK | {"max_iter": 50}).fit(unit_rows(120, 4), Y).loss_)
    finally:
        np.seterr(**before)


def test_models_are_merged_and_plans_are_made_all_the_same():
    parts = [SGDClassifier("log_loss", **LINEAR | {"n_jobs": 1}).fit(X[i::2], Y[i::2]) for i in range(2)]
    expected = parsgd.average_models(parts, X_val=X, y_val=Y).coef_
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(parsgd.average_models(parts, X_val=X, y_val=Y).coef_, expected)
