"""Mini-batch SGD in compiled code against rounds that return to Python: the same bits, histories and errors."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from same_fits import assert_same, count_compiled_calls, fitted, parameters

from parsgd import LocalSGD, MiniBatch, MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor
from parsgd.core.round_group import PAUSE
from parsgd.errors import DivergedError
from parsgd.training.compiled import compiled_rounds, round_plans

RANDOM = np.random.default_rng(7)
X = RANDOM.standard_normal((203, 9))
Y = RANDOM.integers(0, 3, 203)
WEIGHT = RANDOM.uniform(0.0, 2.0, 203) * (RANDOM.random(203) < 0.8)
SPARSE = sp.csr_matrix(X * (RANDOM.random(X.shape) < 0.3))
NARROW = X.astype(np.float32)
WIDE = sp.csr_matrix(RANDOM.standard_normal((203, 700)) * (RANDOM.random((203, 700)) < 0.02))


@pytest.fixture
def calls(monkeypatch):
    return count_compiled_calls(monkeypatch)


def both(estimator, rows, y, **options):
    """Fit on threads and one after the other."""
    parameters_of = estimator.get_params()
    return [
        fitted(type(estimator)(**{**parameters_of, "engine": engine}), rows, y, **options)
        for engine in ("threads", "serial")
    ]


FITS = {
    "binary": (SGDClassifier(), X, Y > 0),
    "binary, averaged": (SGDClassifier(average=5, penalty=None), SPARSE, Y > 0),
    "elastic net, float32": (SGDClassifier(penalty="elasticnet", alpha=0.01), NARROW, Y > 0),
    "softmax, sparse": (SGDClassifier(loss="softmax", class_weight={1: 2.0}), SPARSE, Y),
    "softmax, early stopping": (SGDClassifier(loss="softmax", early_stopping=True), X, Y),
    "one-vs-all, float32": (SGDClassifier(loss="log_loss", class_weight="balanced"), NARROW, Y),
    "passive-aggressive": (SGDClassifier(learning_rate="pa1", eta0=0.5, penalty=None), SPARSE, Y > 0),
    "regression": (SGDRegressor(learning_rate="adaptive", fit_intercept=False), X, X[:, 0]),
    "AdaGrad": (SGDClassifier(learning_rate="adagrad", eta0=0.1, penalty="l1"), WIDE, Y > 0),
    "AdaGrad, classes": (SGDClassifier(learning_rate="adagrad", eta0=0.1, penalty="elasticnet"), NARROW, Y),
    "regression, few rows": (SGDRegressor(loss="huber", epsilon=0.2), X[:3], X[:3, 0]),
    "network": (MLPClassifier((5,), solver="sgd", batch_size=8), X, Y),
    "network, Adam": (MLPClassifier((33, 21), batch_size=10, alpha=0.1, learning_rate_init=0.02), NARROW, Y),
    "network, momentum, sparse": (MLPClassifier((40,), solver="sgd", momentum=0.9, batch_size=8), WIDE, Y),
    "network, dropout": (MLPRegressor(hidden_layer_sizes=(15,), batch_size=8, dropout=0.2), X, X[:, 0]),
    "network, clipped": (MLPClassifier((15,), batch_size=8, clip_norm=0.1), X, Y),
}


@pytest.mark.parametrize("n_jobs", [2, 3])
@pytest.mark.parametrize("kind", FITS)
def test_fits_have_the_bits_of_serial_rounds(kind, n_jobs, calls):
    estimator, rows, y = FITS[kind]
    size = None if "network" in kind else 16
    estimator.set_params(algorithm=MiniBatch(size), n_jobs=n_jobs, max_iter=3, random_state=0)
    weight = {} if "network" in kind else {"sample_weight": WEIGHT[: rows.shape[0]]}
    ours, theirs = both(estimator, rows, y, **weight)
    assert calls
    assert_same(ours, theirs)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n_rows=st.integers(2, 203),
    n_workers=st.integers(2, 7),
    batch_size=st.integers(1, 250),
    max_iter=st.integers(1, 4),
    is_network=st.booleans(),
    seed=st.integers(0, 5),
)
def test_batches_of_any_size_have_the_bits_of_serial_rounds(n_rows, n_workers, batch_size, max_iter, is_network, seed):
    options = {"n_jobs": n_workers, "max_iter": max_iter, "random_state": seed, "tol": 0.0}
    rows, y = WIDE[:n_rows], X[:n_rows, 0]
    if is_network:
        model = MLPRegressor(hidden_layer_sizes=(7,), batch_size=min(batch_size, n_rows), algorithm="minibatch")
    else:
        model = SGDRegressor(algorithm=MiniBatch(batch_size))
    assert_same(*both(model.set_params(**options), rows, y))


def test_one_call_makes_all_epochs_up_to_the_next_decision(calls):
    options = {"algorithm": MiniBatch(16), "n_jobs": 2, "random_state": 0, "engine": "threads"}
    fitted(SGDClassifier(tol=None, max_iter=30, **options), X, Y > 0)
    assert len(calls) == 1
    calls.clear()
    fitted(MLPClassifier((3,), early_stopping=True, max_iter=4, tol=0.0, **options), X, Y)
    assert len(calls) == 4


@pytest.mark.parametrize("estimator", [SGDClassifier(learning_rate="constant", eta0=0.5), MLPClassifier((4,))])
def test_a_converged_output_keeps_its_weights(estimator):
    estimator.set_params(algorithm=MiniBatch(8), n_jobs=2, random_state=0, max_iter=200, tol=0.05)
    ours, theirs = both(estimator, X, Y)
    assert ours.n_iter_ < 200
    assert_same(ours, theirs)


def test_the_classes_of_softmax_stop_together():
    model = SGDClassifier(loss="softmax", algorithm="minibatch", n_jobs=2, penalty=None, random_state=0)
    model.set_params(learning_rate="constant", eta0=0.01, tol=0.0, n_iter_no_change=2)
    before = parameters(fitted(model.set_params(max_iter=8), X, Y)).reshape(-1, 3)
    after = parameters(fitted(model.set_params(max_iter=9), X, Y)).reshape(-1, 3)
    assert (before != after).all()


def test_divergence_is_the_same_error():
    messages = []
    for engine in ("threads", "serial"):
        model = SGDRegressor(algorithm=MiniBatch(8), engine=engine, n_jobs=2, learning_rate="constant", eta0=1e300)
        with pytest.raises(DivergedError) as error:
            fitted(model.set_params(random_state=0), X * 1e3, X[:, 0])
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "the objective of worker 0 became NaN or infinite in round" in messages[0]


class Quadratic:
    """A loss that parsgd compiles separately."""

    def loss(self, y, p):
        return (y - p) ** 2

    def gradient(self, y, p):
        return 2.0 * (p - y)


def test_code_of_users_returns_to_python_and_says_why(calls, caplog):
    model = SGDRegressor(loss=Quadratic(), algorithm=MiniBatch(8), n_jobs=2, max_iter=2, random_state=0)
    with caplog.at_level(logging.DEBUG, logger="parsgd"):
        ours, theirs = both(model, X, X[:, 0])
    assert not calls
    assert "no compiled rounds" in caplog.text
    assert_same(ours, theirs)
    reference = SGDRegressor(algorithm=MiniBatch(8), n_jobs=2, max_iter=2, random_state=0, eta0=0.02, alpha=2e-4)
    np.testing.assert_allclose(
        parameters(fitted(model.set_params(alpha=1e-4), X, X[:, 0])),
        parameters(fitted(reference.set_params(eta0=0.02, alpha=0.5e-4), X, X[:, 0])),
        rtol=1e-9,
    )


def make(**options):
    model = MLPClassifier((5,), algorithm="minibatch", n_jobs=2, batch_size=8, random_state=0, tol=0.0, max_iter=5)
    return model.set_params(**{"engine": "threads", **options})


def test_a_fit_resumed_from_a_checkpoint_has_the_bits_of_an_uninterrupted_one(tmp_path):
    fitted(make(max_iter=2, checkpoint=tmp_path / "fit"), X, Y)
    assert_same(fitted(make(checkpoint=tmp_path / "fit"), X, Y), fitted(make(engine="serial"), X, Y))


@pytest.mark.parametrize("n_rows", [19, 12])
def test_a_later_batch_may_give_a_worker_more_rows(n_rows, tmp_path):
    # with 7 workers, worker 3 has one row of a batch of 10, and two of a batch of 9; a checkpoint ends every call
    options = {"n_jobs": 7, "batch_size": 10, "max_iter": 3}
    ours = fitted(make(checkpoint=tmp_path / "fit", **options), X[:n_rows], Y[:n_rows])
    theirs = fitted(make(engine="serial", **options), X[:n_rows], Y[:n_rows])
    np.testing.assert_array_equal(parameters(ours), parameters(theirs))
    assert ours.loss_curve_ == theirs.loss_curve_


@pytest.mark.parametrize("algorithm", ["minibatch", "local"])
def test_calls_that_end_after_any_round_plan_no_round_twice(algorithm, monkeypatch):
    planned, plans = [], []
    real, run = round_plans.Planner._plan_epoch, compiled_rounds.CompiledRounds.run_together

    def plan_epoch(self):
        found = real(self)
        planned.append(len(found))
        return found

    def run_together(self, group):
        plans.append(len(self.planner.plans))
        # as if an observer waited
        group.control[PAUSE] = 1
        return run(self, group)

    monkeypatch.setattr(round_plans.Planner, "_plan_epoch", plan_epoch)
    monkeypatch.setattr(compiled_rounds.CompiledRounds, "run_together", run_together)
    monkeypatch.setattr(round_plans, "_MAX_PLANS", 4)
    options = {"algorithm": "minibatch" if algorithm == "minibatch" else LocalSGD(sync_every=0.1)}
    ours = fitted(make(**options), X, Y)
    assert len(plans) > 40
    assert max(plans) <= 4
    n_rounds = {"minibatch": 26, "local": 10}[algorithm]
    assert sum(planned) <= 5 * n_rounds
    monkeypatch.undo()
    reference = fitted(make(engine="serial", **options), X, Y)
    np.testing.assert_array_equal(parameters(ours), parameters(reference))


def test_many_batches_of_many_workers_have_no_data_race():
    reference = None
    for _ in range(20):
        model = MLPClassifier((30,), algorithm="minibatch", engine="threads", n_jobs=4, max_iter=4, batch_size=12)
        fitted(model.set_params(random_state=0, tol=0.0), X, Y)
        reference = parameters(model) if reference is None else reference
        np.testing.assert_array_equal(parameters(model), reference)
