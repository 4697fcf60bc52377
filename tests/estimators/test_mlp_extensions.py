"""What networks can besides what scikit-learn's can: weights of classes, further losses, workers, and good company."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from fitted_parameters import parameters
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from parsgd import LocalSGD, MiniBatch, MLPClassifier, MLPRegressor, SimuParallel
from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(150, 6)
T = targets(X)
TWO, FOUR = labels(X), labels(X, 4)
MANY = np.column_stack([labels(X, seed=seed) for seed in (1, 2, 3)])
DIGITS, NUMBERS = load_digits(return_X_y=True)
DIGITS = DIGITS / 16.0
SEEN, UNSEEN, SEEN_Y, UNSEEN_Y = train_test_split(DIGITS, NUMBERS, random_state=0, stratify=NUMBERS)
DIABETES, SUGAR = (scale(part) for part in load_diabetes(return_X_y=True))
SMALL = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 6, "batch_size": 32}

# most fits here are as short as what they show allows
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer.*:sklearn.exceptions.ConvergenceWarning")


def digits(**settings):
    """A classifier of digits after 25 passes, and its accuracy on digits it has not seen."""
    given = {"hidden_layer_sizes": (40,), "batch_size": 32, "max_iter": 25, "random_state": 0, "n_jobs": 1, **settings}
    model = MLPClassifier(**given).fit(SEEN, SEEN_Y)
    return model, model.score(UNSEEN, UNSEEN_Y)


def diabetes(**settings):
    """A regressor's R^2 on every fourth row, which it has not seen."""
    given = {"hidden_layer_sizes": (20,), "batch_size": 32, "max_iter": 40, "random_state": 0, "alpha": 1.0, **settings}
    unseen = np.arange(len(SUGAR)) % 4 == 0
    model = MLPRegressor(n_jobs=1, **given).fit(DIABETES[~unseen], SUGAR[~unseen])
    return model.score(DIABETES[unseen], SUGAR[unseen])


# -- weights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_weight", [{0: 3.0, 1: 0.5, 3: 2.0}, "balanced"], ids=["dict", "balanced"])
def test_weights_of_classes_are_weights_of_their_rows(class_weight):
    rows = np.array([3.0, 0.5, 1.0, 2.0])[FOUR]
    if class_weight == "balanced":
        rows = compute_sample_weight("balanced", FOUR)
    by_class = MLPClassifier(class_weight=class_weight, **SMALL).fit(X, FOUR)
    by_row = MLPClassifier(**SMALL).fit(X, FOUR, sample_weight=rows)
    np.testing.assert_array_equal(parameters(by_class), parameters(by_row))
    assert np.abs(parameters(by_class) - parameters(MLPClassifier(**SMALL).fit(X, FOUR))).max() > 1e-4


def test_weights_of_classes_and_of_rows_are_multiplied():
    weight = np.random.default_rng(0).random(150)
    both = MLPClassifier(class_weight={0: 3.0, 1: 0.5}, **SMALL).fit(X, TWO, sample_weight=weight)
    rows = MLPClassifier(**SMALL).fit(X, TWO, sample_weight=weight * np.where(TWO == 0, 3.0, 0.5))
    np.testing.assert_allclose(parameters(both), parameters(rows), rtol=0, atol=1e-14)


def test_weights_of_classes_go_with_partial_fit_and_with_texts():
    names = np.array(["a", "b", "c", "d"])
    model = MLPClassifier(class_weight={"b": 5.0}, **SMALL)
    rows = MLPClassifier(**SMALL)
    for part in range(3):
        some = slice(part, None, 3)
        model.partial_fit(X[some], names[FOUR[some]], classes=names)
        rows.partial_fit(X[some], FOUR[some], classes=range(4), sample_weight=np.where(FOUR[some] == 1, 5.0, 1.0))
    np.testing.assert_array_equal(parameters(model), parameters(rows))


def test_balanced_classes_find_the_rare_one():
    rare = (NUMBERS == 8).astype(int)
    given = {**SMALL, "max_iter": 3}
    found = [MLPClassifier(class_weight=w, **given).fit(DIGITS, rare).predict(DIGITS) for w in (None, "balanced")]
    recall = [(p == rare)[rare == 1].mean() for p in found]
    assert recall[1] > recall[0] + 0.1


def test_weights_of_classes_are_refused_where_rows_have_several_labels():
    with pytest.raises(
        InvalidArgumentError, match="class_weight does not work with multilabel targets; use sample_weight"
    ):
        MLPClassifier(class_weight={0: 2.0}, **SMALL).fit(X, MANY)


def test_balanced_is_refused_where_not_all_rows_are_seen():
    with pytest.raises(InvalidArgumentError, match=r"'balanced' does not work with partial_fit.*compute_class_weight"):
        MLPClassifier(class_weight="balanced").partial_fit(X, TWO, classes=[0, 1])
    weights = dict(enumerate(compute_class_weight("balanced", classes=np.arange(2), y=TWO)))
    MLPClassifier(class_weight=weights, **SMALL).partial_fit(X, TWO, classes=[0, 1])


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "lbfgs"])
@pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, FOUR), (MLPClassifier, MANY), (MLPRegressor, T)])
def test_a_row_of_weight_two_is_that_row_twice(kind, y, solver):
    given = {**SMALL, "batch_size": 300, "solver": solver, "shuffle": False, "n_jobs": 1, "max_iter": 10}
    weight = 1.0 + (np.arange(150) % 3 == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # batches larger than the data, and 10 steps of L-BFGS
        weighted = kind(**given).fit(X, y, sample_weight=weight)
        again = np.repeat(np.arange(150), weight.astype(int))
        repeated = kind(**given).fit(X[again], y[again])
    np.testing.assert_allclose(parameters(weighted), parameters(repeated), rtol=0, atol=1e-8)
    np.testing.assert_allclose(weighted.loss_, repeated.loss_, rtol=1e-10)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_rows_of_weight_zero_are_not_there(n_jobs):
    weight = (np.arange(150) < 60).astype(float)
    model = MLPClassifier(**{**SMALL, "batch_size": 10}, n_jobs=n_jobs).fit(X, FOUR, sample_weight=weight)
    assert np.isfinite(parameters(model)).all()
    wrong = np.where(weight > 0, FOUR, (FOUR + 1) % 4)
    other = MLPClassifier(**{**SMALL, "batch_size": 10}, n_jobs=n_jobs).fit(X, wrong, sample_weight=weight)
    np.testing.assert_array_equal(parameters(model), parameters(other))


# -- solvers, activations, losses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "adamw", "alpha": 0.01},
        {"activation": "gelu"},
        {"activation": "leaky_relu"},
        {"dropout": 0.3},
        {"clip_norm": 0.5},
        {"weight_init": "he"},
        {"solver": "sgd", "learning_rate_init": 0.1, "weight_init": "he", "activation": "gelu", "dropout": 0.1},
        {"solver": "adamw", "clip_norm": 1.0, "dropout": 0.2, "hidden_layer_sizes": (40, 30)},
    ],
    ids=lambda given: "-".join(f"{name}-{value}" for name, value in given.items()) or "plain",
)
def test_every_setting_learns_digits(settings):
    # guessing is right in 10 of 100
    model, score = digits(**settings)
    assert score > 0.93
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "huber"},
        {"loss": "huber", "delta": 0.1},
        {"loss": "absolute_error"},
        {"loss": "absolute_error", "solver": "adamw", "alpha": 0.1, "activation": "gelu"},
        {"solver": "lbfgs", "alpha": 100.0, "max_iter": 300},
        {"loss": "huber", "solver": "lbfgs", "alpha": 100.0, "max_iter": 300},
        {"solver": "sgd", "learning_rate_init": 0.01, "dropout": 0.2, "clip_norm": 5.0},
    ],
    ids=lambda given: "-".join(f"{name}-{value}" for name, value in given.items()) or "plain",
)
def test_every_loss_and_setting_learns_diabetes(settings):
    # the mean has R^2 of 0, a straight line about 0.5
    assert diabetes(**settings) > 0.3


def test_robust_losses_are_not_moved_by_targets_far_off():
    rng = np.random.default_rng(0)
    far = np.where(rng.random(150) < 0.1, 50.0, T)
    scores = {}
    for loss in ("squared_error", "huber", "absolute_error"):
        model = MLPRegressor(loss, (), max_iter=150, learning_rate_init=0.05, delta=0.2, random_state=0, tol=0.0)
        scores[loss] = model.fit(X, far).score(X, T)
    assert scores["huber"] > 0.8
    assert scores["absolute_error"] > 0.8
    assert scores["squared_error"] < 0.0


def test_huber_of_a_large_delta_is_the_squared_error():
    squared, huber = (MLPRegressor(loss, delta=1e6, **SMALL).fit(X, T) for loss in ("squared_error", "huber"))
    np.testing.assert_allclose(parameters(huber), parameters(squared), rtol=0, atol=1e-14)


def test_dropout_is_for_training_only_and_comes_from_the_seed():
    one, same, other = (MLPClassifier(dropout=0.5, **{**SMALL, "random_state": s}).fit(X, FOUR) for s in (0, 0, 1))
    np.testing.assert_array_equal(parameters(one), parameters(same))
    assert np.abs(parameters(one) - parameters(other)).max() > 1e-3
    np.testing.assert_array_equal(one.predict_proba(X), one.predict_proba(X))


def test_no_step_is_longer_than_the_rate_times_the_longest_gradient():
    given = {**SMALL, "batch_size": 150, "max_iter": 1, "alpha": 0.0}
    given |= {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 10.0}
    first = parameters(MLPRegressor(**{**given, "learning_rate_init": 1e-300}).fit(X, T))
    for longest in (0.1, 1e-3):
        moved = parameters(MLPRegressor(clip_norm=longest, **given).fit(X, T)) - first
        np.testing.assert_allclose(np.linalg.norm(moved), 10.0 * longest, rtol=1e-9)
    far = parameters(MLPRegressor(**given).fit(X, T)) - first
    near = parameters(MLPRegressor(clip_norm=1e6, **given).fit(X, T)) - first
    np.testing.assert_allclose(far, near, rtol=1e-13)


def test_adamw_shrinks_weights_and_adam_penalises_them():
    strong = {**SMALL, "alpha": 50.0, "max_iter": 60, "learning_rate_init": 0.01}
    sizes = {s: np.abs(MLPRegressor(solver=s, **strong).fit(X, T).coefs_[0]).mean() for s in ("adam", "adamw")}
    without = np.abs(MLPRegressor(**{**strong, "alpha": 0.0}).fit(X, T).coefs_[0]).mean()
    assert sizes["adamw"] < 0.5 * without
    given = {**SMALL, "alpha": 0.0}
    adam, adamw = (parameters(MLPRegressor(solver=s, **given).fit(X, T)) for s in ("adam", "adamw"))
    np.testing.assert_array_equal(adam, adamw)


# -- validation sets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["auto", "local", "minibatch", "simuparallel"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scores_of_a_validation_set_are_in_the_history(n_jobs, algorithm):
    model = MLPClassifier(n_jobs=n_jobs, algorithm=algorithm, **SMALL).fit(X, FOUR, X_val=X[::2], y_val=FOUR[::2])
    without = MLPClassifier(n_jobs=n_jobs, algorithm=algorithm, **SMALL).fit(X, FOUR)
    np.testing.assert_array_equal(parameters(model), parameters(without))
    scores = [entry["score"] for entry in model.history_ if entry["score"] is not None]
    assert scores[-1] == model.score(X[::2], FOUR[::2])
    assert len(scores) == (6 if len(model.history_) > 1 else 1)
    assert all(entry["score"] is None for entry in without.history_)
    assert model.validation_scores_ is None


@pytest.mark.parametrize(
    ("n_jobs", "algorithm"), [(1, "auto"), (1, "local"), (1, "minibatch"), (2, "local"), (2, "minibatch")]
)
@pytest.mark.parametrize("max_iter", [1, 40])
def test_a_validation_set_decides_with_early_stopping_and_the_best_weights_are_kept(n_jobs, algorithm, max_iter):
    given = {**SMALL, "max_iter": max_iter, "n_iter_no_change": 2, "learning_rate_init": 0.1, "early_stopping": True}
    for kind, y, score in ((MLPClassifier, FOUR, accuracy_score), (MLPRegressor, T, r2_score)):
        model = kind(n_jobs=n_jobs, algorithm=algorithm, **given).fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
        assert len(model.validation_scores_) == model.n_iter_ == len(model.loss_curve_)
        assert model.best_validation_score_ == max(model.validation_scores_)
        np.testing.assert_allclose(score(y[100:], model.predict(X[100:])), model.best_validation_score_, rtol=1e-12)
        # no row is held back where a validation set is given
        assert model.t_ == 100 * model.n_iter_
        if max_iter > 1:
            assert model.outcome_ is Outcome.CONVERGED
            assert model.n_iter_ < max_iter
            assert model.validation_scores_[-1] <= model.best_validation_score_


def test_the_validation_score_of_a_warm_start_is_that_of_its_own_weights():
    given = {**SMALL, "max_iter": 20, "early_stopping": True, "warm_start": True, "n_iter_no_change": 2}
    model = MLPRegressor(**given).fit(X[:100], T[:100], X_val=X[100:], y_val=T[100:])
    model.set_params(learning_rate_init=3.0, max_iter=2).fit(X[:100], T[:100], X_val=X[100:], y_val=T[100:])
    np.testing.assert_allclose(model.score(X[100:], T[100:]), model.best_validation_score_, rtol=1e-12)
    assert max(model.validation_scores_) > model.best_validation_score_


# -- partial_fit that stops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, FOUR), (MLPRegressor, T)])
def test_partial_fit_stops_and_puts_the_best_weights_back(kind, y, n_jobs):
    given = {**SMALL, "learning_rate_init": 0.1, "early_stopping": True, "n_iter_no_change": 2}
    model = kind(n_jobs=n_jobs, **given)
    first = {"classes": range(4)} if kind is MLPClassifier else {}
    scores = []
    for _ in range(200):
        model.partial_fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:], **first)
        if model.outcome_ is Outcome.CONVERGED:
            break
        scores.append(model.score(X[100:], y[100:]))
    assert model.outcome_ is Outcome.CONVERGED
    np.testing.assert_allclose(model.validation_scores_[:-1], scores, rtol=1e-12)
    assert model.best_validation_score_ == max(model.validation_scores_)
    np.testing.assert_allclose(model.score(X[100:], y[100:]), model.best_validation_score_, rtol=1e-12)
    assert len(model.validation_scores_) == len(model.loss_curve_)


def test_partial_fit_that_stopped_stays_where_it_is():
    given = {**SMALL, "learning_rate_init": 0.1, "early_stopping": True, "n_iter_no_change": 1, "tol": 10.0}
    model = MLPRegressor(**given)
    while getattr(model, "outcome_", None) is not Outcome.CONVERGED:
        model.partial_fit(X, T, X_val=X, y_val=T)
    kept = parameters(model)
    model.partial_fit(X, T, X_val=X, y_val=T)
    assert model.outcome_ is Outcome.CONVERGED
    np.testing.assert_array_equal(parameters(model), kept)
    # a fit begins with a rate of its own, also from these weights
    model.set_params(warm_start=True, early_stopping=False, max_iter=2).fit(X, T)
    assert np.abs(parameters(model) - kept).max() > 1e-3


def test_partial_fit_that_is_to_stop_needs_a_validation_set():
    for model, first in (
        (MLPClassifier(early_stopping=True), {"classes": range(4)}),
        (MLPRegressor(early_stopping=True), {}),
    ):
        with pytest.raises(InvalidArgumentError, match="pass X_val and y_val"):
            model.partial_fit(X, FOUR, **first)
        assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("before", [{"early_stopping": True}, {"solver": "lbfgs"}, {}], ids=str)
@pytest.mark.parametrize("after", [{"early_stopping": True}, {"early_stopping": False}], ids=str)
def test_partial_fit_goes_on_whatever_the_fit_before_it_kept(before, after):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPRegressor(**{**SMALL, **before}).fit(X, T)
    model.set_params(solver="adam", **after)
    for _ in range(2):
        model.partial_fit(X, T, X_val=X, y_val=T)
    assert np.isfinite(model.loss_curve_[-2:]).all()
    assert (model.best_loss_ is None) == after["early_stopping"]
    if after["early_stopping"]:
        assert model.best_validation_score_ == max(model.validation_scores_[-2:])


# -- workers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm",
    ["local", "minibatch", "simuparallel", "weighted", "delayed", "elastic", LocalSGD(sync_every=0.3)],
    ids=str,
)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_threads_give_the_bits_of_one_thread(algorithm, solver):
    given = {**SMALL, "n_jobs": 2, "algorithm": algorithm, "solver": solver, "batch_size": 16, "dropout": 0.2}
    for kind, y in ((MLPClassifier, FOUR), (MLPRegressor, T)):
        serial, threads = (kind(engine=engine, **given).fit(X, y) for engine in ("serial", "threads"))
        np.testing.assert_array_equal(parameters(threads), parameters(serial))
        assert threads.loss_curve_ == serial.loss_curve_


@pytest.mark.parametrize("algorithm", ["local", "minibatch", LocalSGD(sync_every=0.5)], ids=str)
@pytest.mark.parametrize(
    "solver", [{"solver": "sgd", "learning_rate_init": 0.1}, {"learning_rate_init": 0.005}], ids=["sgd", "adam"]
)
def test_two_workers_learn_digits_about_as_well_as_one(algorithm, solver):
    alone, together = (digits(n_jobs=n, algorithm=algorithm, **solver)[1] for n in (1, 2))
    assert together > alone - 0.03
    assert together > 0.93


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "adamw"},
        {"solver": "sgd", "momentum": 0.0},
        {"solver": "sgd"},
        {"dropout": 0.3},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.2},
        {"clip_norm": 0.1},
        {"activation": "gelu", "alpha": 0.1},
    ],
    ids=str,
)
def test_batches_shared_by_two_workers_give_one_workers_steps(settings):
    given = {**SMALL, "algorithm": "minibatch", **settings}
    weight = np.random.default_rng(0).random(150)
    for kind, y in ((MLPClassifier, FOUR), (MLPClassifier, MANY), (MLPRegressor, T)):
        one, two, three = (kind(n_jobs=n, **given).fit(X, y, sample_weight=weight) for n in (1, 2, 3))
        for several in (two, three):
            np.testing.assert_allclose(parameters(several), parameters(one), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "settings",
    [{}, {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.2}],
    ids=["adam", "falling"],
)
def test_batches_shared_by_workers_are_those_of_serial_sgd(settings):
    given = {**SMALL, "shuffle": False, **settings}
    serial = MLPClassifier(n_jobs=1, **given).fit(X, FOUR)
    shared = MLPClassifier(n_jobs=2, algorithm="minibatch", **given).fit(X, FOUR)
    # the algorithm's own batch size counts, where it has one
    own = MLPClassifier(n_jobs=2, algorithm=MiniBatch(32), **{**given, "batch_size": 100}).fit(X, FOUR)
    np.testing.assert_allclose(parameters(shared), parameters(serial), rtol=0, atol=1e-10)
    np.testing.assert_allclose(shared.loss_curve_, serial.loss_curve_, rtol=1e-10)
    np.testing.assert_array_equal(parameters(own), parameters(shared))


@pytest.mark.cover(1)
@pytest.mark.parametrize(
    "algorithm",
    [
        "auto",
        "local",
        "minibatch",
        "simuparallel",
        "weighted",
        "delayed",
        "elastic",
        "asynchronous",
        LocalSGD(sync_every=0.3),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_jobs", [1, 2, 3])
@pytest.mark.parametrize("max_iter", [1, 6])
def test_the_curve_has_one_loss_an_epoch(algorithm, n_jobs, max_iter):
    model = MLPClassifier(n_jobs=n_jobs, algorithm=algorithm, **{**SMALL, "max_iter": max_iter}).fit(X, FOUR)
    assert len(model.loss_curve_) == model.n_iter_ == max_iter
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)
    # a worker that does not wait may bring more than was missing
    assert 150 * max_iter <= model.t_ < 150 * (max_iter + (algorithm == "asynchronous")) + 1
    assert model.outcome_ is Outcome.MAX_EPOCHS


def test_small_data_are_one_workers_and_it_says_why():
    choice = MLPClassifier(**SMALL).fit(X, FOUR).algorithm_
    assert (choice.name, choice.n_workers) == ("serial", 1)
    assert "too short to divide among workers" in choice.why
    asked = MLPClassifier(n_jobs=2, algorithm=SimuParallel(), **SMALL).fit(X, FOUR).algorithm_
    assert (asked.name, asked.n_workers, asked.why) == ("simuparallel", 2, "asked for")
    assert MLPClassifier(n_jobs=2, **SMALL).fit(X, FOUR).algorithm_.n_workers == 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_history_tells_who_did_what(n_jobs):
    model = MLPRegressor(n_jobs=n_jobs, algorithm="local", **SMALL).fit(X, T)
    assert model.history_[-1]["epoch"] == 6
    for entry in model.history_:
        assert set(entry) == {
            "round",
            "epoch",
            "seconds",
            "merge_seconds",
            "check_seconds",
            "loss",
            "score",
            "workers",
            "lost",
        }
        assert [worker["worker"] for worker in entry["workers"]] == list(range(n_jobs))
        assert sum(worker["weight"] for worker in entry["workers"]) == pytest.approx(1.0)
    done = sum(worker["examples"] for entry in model.history_ for worker in entry["workers"])
    assert done == model.t_ == 6 * 150


# -- saying how it went --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_passes_that_did_not_suffice_are_warned_of_where_fit_was_called(n_jobs):
    for kind, y in ((MLPClassifier, FOUR), (MLPRegressor, T)):
        with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(6\) reached") as caught:
            kind(n_jobs=n_jobs, **SMALL).fit(X, y)
        assert [warning.filename for warning in caught] == [__file__]


def test_fits_that_converged_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MLPClassifier(**{**SMALL, "max_iter": 200, "tol": 0.1}).fit(X, FOUR)
    assert model.outcome_ is Outcome.CONVERGED


@pytest.mark.parametrize(
    "settings", [{"n_jobs": 1}, {"n_jobs": 2}, {"solver": "lbfgs", "alpha": 10.0, "max_iter": 500}], ids=str
)
def test_verbose_fits_print_how_they_get_on(capsys, settings):
    MLPRegressor(**{**SMALL, "verbose": True, **settings}).fit(X, T)
    lines = capsys.readouterr().out.splitlines()
    shown = r"epoch [\d.]+ of at most \d+, loss .*, [\d,]+ examples/s|Iteration \d+, loss = [\d.]+"
    assert all(re.match(shown, line) for line in lines)
    assert lines
    MLPRegressor(**{**SMALL, **settings}).fit(X, T)
    assert capsys.readouterr().out == ""


# -- in company ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_over_sizes_and_solvers_finds_the_same_in_two_processes():
    grid = {"mlpclassifier__hidden_layer_sizes": [(4,), (16, 8)], "mlpclassifier__solver": ["adam", "adamw"]}
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(learning_rate_init=0.01, **{**SMALL, "max_iter": 15}))
    found = [GridSearchCV(pipeline, grid, cv=2, n_jobs=n).fit(DIGITS[:300], NUMBERS[:300]) for n in (1, 2)]
    assert found[0].best_params_ == found[1].best_params_
    np.testing.assert_allclose(found[0].cv_results_["mean_test_score"], found[1].cv_results_["mean_test_score"])
    assert found[0].best_score_ > 0.6
    assert found[1].best_estimator_[-1].algorithm_.n_workers == 1


@pytest.mark.parametrize(("kind", "y"), [(MLPClassifier, FOUR), (MLPClassifier, MANY), (MLPRegressor, T)])
def test_clones_and_pickles_fit_predict_and_go_on_the_same(kind, y):
    model = clone(kind(**SMALL)).set_params(n_jobs=2, algorithm=LocalSGD(sync_every=0.5), dropout=0.1).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.history_ == model.history_
    assert loaded.outcome_ is model.outcome_
    np.testing.assert_array_equal(parameters(clone(loaded).fit(X, y)), parameters(model))
    # the moments travel too
    np.testing.assert_array_equal(parameters(loaded.partial_fit(X, y)), parameters(model.partial_fit(X, y)))


def test_pickles_of_partial_fits_that_are_to_stop_remember_the_best_weights():
    given = {**SMALL, "learning_rate_init": 0.1, "early_stopping": True, "n_iter_no_change": 2}
    model = MLPRegressor(**given)
    for _ in range(60):
        model.partial_fit(X[:100], T[:100], X_val=X[100:], y_val=T[100:])
        model = pickle.loads(pickle.dumps(model))
    assert model.outcome_ is Outcome.CONVERGED
    np.testing.assert_allclose(model.score(X[100:], T[100:]), model.best_validation_score_, rtol=1e-12)


def test_fitting_changes_no_parameter():
    model = MLPClassifier(
        hidden_layer_sizes=[4, 3], algorithm=LocalSGD(sync_every=0.5), max_iter=2, class_weight={0: 2.0}
    )
    before = dict(model.get_params())
    model.fit(X, FOUR)
    assert {name: value for name, value in model.get_params().items() if value is not before[name]} == {}


def test_frames_give_the_bits_of_their_arrays_and_their_names():
    names = [f"feature {i}" for i in range(6)]
    frame = pd.DataFrame(X, columns=names)
    plain, framed = (MLPRegressor(**SMALL).fit(rows, y) for rows, y in ((X, T), (frame, pd.Series(T))))
    np.testing.assert_array_equal(parameters(framed), parameters(plain))
    assert list(framed.feature_names_in_) == names
    np.testing.assert_allclose(framed.predict(frame), plain.predict(X), rtol=1e-10)
    with pytest.raises(ValueError, match="feature names"):
        framed.predict(frame[names[::-1]])
    texts = pd.Series(np.array(["a", "b", "c", "d"])[FOUR])
    assert set(MLPClassifier(**SMALL).fit(frame, texts).predict(frame)) <= set("abcd")


def test_single_precision_learns_as_well_as_double():
    single = MLPClassifier((40,), batch_size=32, max_iter=15, random_state=0, n_jobs=2, algorithm="minibatch")
    single.fit(SEEN.astype(np.float32), SEEN_Y)
    assert single.score(UNSEEN.astype(np.float32), UNSEEN_Y) > 0.93
    assert {part.dtype for part in (*single.coefs_, *single.intercepts_)} == {np.dtype(np.float32)}
