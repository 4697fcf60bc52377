"""Rounds inside compiled code against rounds that return to Python: the same bits, ends and errors."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from same_fits import assert_same, count_compiled_calls, fitted, parameters

from parsgd import LocalSGD, MiniBatch, MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor, observe_progress
from parsgd.engines import threads
from parsgd.errors import DivergedError, FitInterruptedWarning
from parsgd.training.compiled import state_rounds
from parsgd.training.rounds import Loop
from parsgd.utils import interrupts

RANDOM = np.random.default_rng(7)
X = RANDOM.standard_normal((203, 9))
Y = RANDOM.integers(0, 3, 203)
SPARSE = sp.csr_matrix(X * (RANDOM.random(X.shape) < 0.3))


@pytest.fixture
def calls(monkeypatch):
    return count_compiled_calls(monkeypatch)


LINEAR = {
    "binary": (SGDClassifier(), X, Y > 0),
    "l1": (SGDClassifier(penalty="l1", alpha=0.01), X, Y > 0),
    "softmax, sparse": (SGDClassifier(loss="softmax"), SPARSE, Y),
    "one-vs-all, float32": (SGDClassifier(), X.astype(np.float32), Y),
    "regression, batches": (SGDRegressor(batch_size=4, learning_rate="constant"), SPARSE, X[:, 0]),
    "AdaGrad": (SGDClassifier(learning_rate="adagrad", eta0=0.1), SPARSE, Y > 0),
    "AdaGrad, elastic net, classes": (SGDClassifier(learning_rate="adagrad", eta0=0.1, penalty="elasticnet"), X, Y),
}
NETWORKS = {
    "SGD": MLPClassifier((5,), solver="sgd", batch_size=8),
    "Adam, two layers": MLPClassifier((6, 5), batch_size=8, alpha=0.1),
    "momentum, sparse": MLPClassifier((5,), solver="sgd", momentum=0.9, batch_size=8),
    "regression, dropout": MLPRegressor(hidden_layer_sizes=(5,), batch_size=8, dropout=0.2),
}


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_models_have_the_bits_of_serial_rounds(kind, calls):
    estimator, rows, y = LINEAR[kind]
    settings = {"algorithm": LocalSGD(sync_every=0.3), "n_jobs": 2, "max_iter": 3, "random_state": 0}
    ours = fitted(estimator.set_params(engine="threads", **settings), rows, y)
    assert calls
    made = len(calls)
    reference = fitted(type(estimator)(**{**estimator.get_params(), "engine": "serial"}), rows, y)
    assert len(calls) == made
    assert_same(ours, reference)


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_have_the_bits_of_serial_rounds(kind, calls):
    estimator = NETWORKS[kind]
    rows = SPARSE if "sparse" in kind else X.astype(np.float32)
    y = X[:, 0] if "regression" in kind else Y
    estimator.set_params(algorithm=LocalSGD(sync_every=0.5), n_jobs=3, max_iter=2, random_state=0, engine="threads")
    ours = fitted(estimator, rows, y)
    assert calls
    assert_same(ours, fitted(type(estimator)(**{**estimator.get_params(), "engine": "serial"}), rows, y))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n_rows=st.integers(2, 60),
    n_workers=st.integers(2, 6),
    sync_every=st.sampled_from([0.01, 0.1, 0.4, 1.0]),
    rule=st.sampled_from(["uniform", "steps", "examples"]),
    batch_size=st.sampled_from([1, 3]),
    seed=st.integers(0, 5),
    partition=st.sampled_from(["shuffled", "contiguous", "replicated"]),
)
def test_shards_of_any_size_give_the_bits_of_serial_rounds(
    n_rows, n_workers, sync_every, rule, batch_size, seed, partition
):
    def fit(engine):
        model = SGDRegressor(
            algorithm=LocalSGD(sync_every=sync_every, rule=rule, partition=partition),
            engine=engine,
            n_jobs=n_workers,
            batch_size=batch_size,
            max_iter=4,
            random_state=seed,
            learning_rate="constant",
        )
        return fitted(model, X[:n_rows], X[:n_rows, 0])

    assert_same(fit("threads"), fit("serial"))


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    n_rows=st.integers(3, 80),
    n_workers=st.integers(2, 5),
    density=st.sampled_from([0.05, 0.3, 0.9]),
    has_stored_zeros=st.booleans(),
    rule=st.sampled_from(["coordinate", "touched"]),
    penalty=st.sampled_from([None, "l2", "l1"]),
    schedule=st.sampled_from(["constant", "adagrad"]),
    number=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 5),
)
def test_merges_of_listed_features_have_the_bits_of_merges_of_all_features(
    n_rows, n_workers, density, has_stored_zeros, rule, penalty, schedule, number, seed
):
    random = np.random.default_rng(seed)
    rows = sp.csr_matrix(random.standard_normal((n_rows, 70)) * (random.random((n_rows, 70)) < density), dtype=number)
    if has_stored_zeros:
        rows.data[random.random(rows.nnz) < 0.2] = 0.0
    y = random.integers(0, 3, n_rows)

    def fit(engine):
        model = SGDClassifier(
            algorithm=LocalSGD(sync_every=0.3, rule=rule),
            engine=engine,
            n_jobs=n_workers,
            penalty=penalty,
            alpha=0.01,
            learning_rate=schedule,
            eta0=0.1,
            max_iter=3,
            tol=None,
            random_state=seed,
        )
        return fitted(model, rows, y)

    assert_same(fit("threads"), fit("serial"))


ADAPTIVE = {
    "dense": (SGDClassifier(), X, Y > 0),
    "softmax, sparse": (SGDClassifier(loss="softmax", alpha=1e-5), SPARSE, Y),
    "rates that diverge": (SGDRegressor(learning_rate="constant", eta0=0.2), X, X[:, 0]),
    "AdaGrad": (SGDClassifier(learning_rate="adagrad", eta0=0.1), SPARSE, Y > 0),
    "network": (MLPClassifier((5,), batch_size=8, solver="sgd", momentum=0.9), X, Y),
}


@pytest.mark.parametrize("rule", ["uniform", "coordinate"])
@pytest.mark.parametrize("kind", ADAPTIVE)
def test_rounds_between_adaptive_steps_have_the_bits_of_serial_rounds(kind, rule, calls):
    estimator, rows, y = ADAPTIVE[kind]
    algorithm = LocalSGD(sync_every=0.1, rule=rule, outer_optimizer="adaptive")
    estimator.set_params(algorithm=algorithm, n_jobs=4, max_iter=4, random_state=0, engine="threads")
    ours = fitted(estimator, rows, y)
    assert 0 < len(calls) < len(ours.history_)
    assert_same(ours, fitted(type(estimator)(**{**estimator.get_params(), "engine": "serial"}), rows, y))


@pytest.mark.parametrize(("rate", "n_workers", "sync_every"), [(0.4, 4, 1.0), (0.8, 2, 0.2)])
def test_diverged_runs_are_repeated_at_smaller_rates_as_in_serial_rounds(rate, n_workers, sync_every, monkeypatch):
    repeated, run_round = [], Loop.run_round
    monkeypatch.setattr(Loop, "run_round", lambda self, pool: (repeated.append(1), run_round(self, pool))[1])

    def fit(engine):
        algorithm = LocalSGD(sync_every, outer_optimizer="adaptive")
        settings = {"solver": "sgd", "momentum": 0.0, "batch_size": 4, "max_iter": 3, "random_state": 0}
        model = MLPRegressor(
            hidden_layer_sizes=(9,),
            learning_rate_init=rate,
            algorithm=algorithm,
            engine=engine,
            n_jobs=n_workers,
            **settings,
        )
        try:
            return fitted(model, X, X[:, 0])
        except DivergedError as error:
            # the driver may receive the error of either worker first
            return re.sub(r"worker \d", "worker", str(error))

    ours = fit("threads")
    assert repeated
    reference = fit("serial")
    if isinstance(ours, str):
        assert ours == reference
    else:
        assert_same(ours, reference)


def test_one_call_makes_all_epochs_up_to_the_next_decision(calls):
    settings = {"algorithm": LocalSGD(sync_every=0.5), "engine": "threads", "n_jobs": 2, "random_state": 0}
    model = fitted(SGDClassifier(tol=None, max_iter=30, **settings), X, Y > 0)
    assert (len(calls), model.n_iter_, len(model.history_)) == (1, 30, 60)
    calls.clear()
    # after an epoch with progress, the stopping rule cannot end the fit before five more
    model = fitted(SGDClassifier(tol=1e-3, max_iter=1000, **settings), X, Y > 0)
    assert 1 < len(calls) < model.n_iter_ < 1000
    calls.clear()
    fitted(SGDClassifier(early_stopping=True, max_iter=4, tol=0.0, **settings), X, Y > 0)
    assert len(calls) == 4


def test_many_rounds_of_many_workers_have_no_data_race():
    reference = None
    for _ in range(20):
        model = SGDClassifier(
            algorithm=LocalSGD(sync_every=0.01), engine="threads", n_jobs=4, max_iter=5, tol=None, random_state=0
        )
        fitted(model, X, Y)
        reference = parameters(model) if reference is None else reference
        np.testing.assert_array_equal(parameters(model), reference)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"algorithm": LocalSGD(deadline=5.0)}, "depend on earlier results"),
        ({"algorithm": LocalSGD(), "average": True}, "no compiled rounds"),
        ({"algorithm": LocalSGD(), "engine": "serial"}, "do not share memory"),
    ],
)
def test_other_fits_return_to_python_and_say_why(options, reason, calls, caplog):
    with caplog.at_level(logging.DEBUG, logger="parsgd"):
        fitted(SGDClassifier(**{"n_jobs": 2, "engine": "threads", "max_iter": 1, "tol": None, **options}), X, Y > 0)
    assert not calls
    assert reason in caplog.text


def test_tol_and_early_stopping_end_at_the_same_epoch():
    for options in ({"tol": 1e-2}, {"early_stopping": True, "n_iter_no_change": 2}):
        models = [
            fitted(
                SGDClassifier(algorithm=LocalSGD(), engine=engine, n_jobs=2, random_state=0, max_iter=50, **options),
                X,
                Y > 0,
            )
            for engine in ("threads", "serial")
        ]
        assert models[0].n_iter_ < 50
        assert_same(*models)


def test_divergence_names_worker_round_and_epoch():
    messages = []
    for engine in ("threads", "serial"):
        model = SGDRegressor(
            algorithm=LocalSGD(), engine=engine, n_jobs=2, learning_rate="constant", eta0=1e6, random_state=0
        )
        with pytest.raises((DivergedError, ValueError)) as error:
            fitted(model, X * 1e3, X[:, 0])
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_observers_receive_rounds_and_the_end():
    received = []
    with observe_progress(received.append):
        fitted(
            SGDClassifier(algorithm=LocalSGD(), engine="threads", n_jobs=2, max_iter=3, tol=None, random_state=0), X, Y
        )
    last = received[-1]
    assert last.done
    assert last.rounds == 30
    assert last.examples == 3 * len(X) == sum(worker.examples for worker in last.workers)
    # before the first round has ended, no loss is known
    assert all(math.isfinite(progress.loss) for progress in received if progress.rounds)


def test_an_error_before_the_first_round_ends_all_workers(monkeypatch):
    prepare = state_rounds.StateRounds.prepare

    def fail(self, group, worker):
        if worker == 1:
            raise OSError("no rows")
        return prepare(self, group, worker)

    monkeypatch.setattr(state_rounds.StateRounds, "prepare", fail)
    model = SGDClassifier(algorithm=LocalSGD(), engine="threads", n_jobs=3, max_iter=3, tol=None)
    with pytest.raises(OSError, match="no rows"):
        model.fit(X, Y)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("parsgd")]


def test_a_thread_that_cannot_start_ends_the_others(monkeypatch):
    run = threads.ThreadGroupPool._run_function

    def run_together(self, functions, poll, brief=False):
        self.threads.run(run, self, 0, functions[0])
        time.sleep(0.2)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads.ThreadGroupPool, "run_together", run_together)
    model = SGDClassifier(algorithm=LocalSGD(), engine="threads", n_jobs=2, max_iter=3, tol=None)
    with pytest.raises(RuntimeError, match="new thread"):
        model.fit(X, Y)


def test_a_fit_resumed_from_a_checkpoint_has_the_bits_of_an_uninterrupted_one(tmp_path):
    def make(**options):
        return SGDClassifier(algorithm=LocalSGD(), engine="threads", n_jobs=2, tol=None, random_state=0, **options)

    fitted(make(max_iter=2, checkpoint=tmp_path / "fit"), X, Y)
    resumed = fitted(make(max_iter=5, checkpoint=tmp_path / "fit"), X, Y)
    np.testing.assert_array_equal(parameters(resumed), parameters(fitted(make(max_iter=5), X, Y)))


@pytest.mark.alone
@pytest.mark.parametrize(
    ("algorithm", "n_rows"),
    [(LocalSGD(sync_every=1.0), 400_000), (LocalSGD(sync_every=0.01), 20_000), (MiniBatch(64), 50_000)],
    ids=repr,
)
def test_ctrl_c_ends_a_fit_in_the_middle_of_its_rounds(algorithm, n_rows):
    rows = np.random.default_rng(0).standard_normal((n_rows, 50))
    model = SGDRegressor(algorithm=algorithm, engine="threads", n_jobs=2, tol=None, random_state=0)
    fitted(model.set_params(max_iter=1), rows[:100], rows[:100, 0])
    model.set_params(max_iter=10_000)
    pressed = []

    def press():
        time.sleep(0.5)
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with interrupts.returning(), pytest.warns(FitInterruptedWarning, match="examples visited"):
        model.fit(rows, rows[:, 0])
    thread.join()
    # workers look for the request every 10 ms, the driver every 50; the margin is for a loaded machine
    assert time.perf_counter() - pressed[0] < 5.0
    assert np.isfinite(model.coef_).all()
    # all passes that were complete before the last round count
    passes = sum(worker["examples"] for entry in model.history_ for worker in entry["workers"]) // n_rows
    assert model.n_iter_ in (max(passes, 1), max(passes - 1, 1))
