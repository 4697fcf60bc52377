"""Delayed SGD is ``w_{t+1} = w_t - eta_t g(w_{t - tau})``, with tau workers besides the one whose turn it is."""

from dataclasses import replace

import numpy as np
import pytest
from convex_problems import logistic, ridge

from parsgd import DelayedSGD, MiniBatch, MLPClassifier, SGDClassifier
from parsgd.core import EngineDefaults
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError, InvalidArgumentError, WorkersLostError
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import slow_down
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit, worker_seed
from parsgd.utils.row_arrays import picked, rows_of

N_ROWS, N_FEATURES, SEED = 61, 6, 4
X = unit_rows(N_ROWS, N_FEATURES)
Y = targets(X)
LINEAR = Linear(N_FEATURES, loss="squared_error", alpha=0.05, schedule="constant", eta0=0.3)
NETWORK = Network((N_FEATURES, 7, 3), solver="sgd", alpha=0.1, eta0=0.3, batch_size=8, activation="tanh")
LINEAR_ROWS, NETWORK_ROWS = rows_of(X, Y), rows_of(X, labels(X, 3).astype(np.int64))


def train(model, rows, algorithm, n_workers, engine=None, epochs=4, **settings):
    return fit(
        model,
        algorithm,
        engine or Serial(),
        ArraySource(rows),
        n_workers=n_workers,
        seed=SEED,
        max_epochs=epochs,
        **settings,
    )


def batches_in_turn(rows, n_workers, size):
    """Row numbers of the batches, without end: each worker's next one, in turn."""
    shards = ArraySource(rows).split(n_workers, SEED, "shuffled")

    def of(worker):
        epoch = 0
        while True:
            (block,) = shards[worker].blocks(worker_seed(SEED, worker), epoch)
            yield from (block.order[at : at + size] for at in range(0, len(block.order), size))
            epoch += 1

    workers = [of(worker) for worker in range(n_workers)]
    while True:
        for worker in workers:
            yield next(worker)


def reference(rows, n_workers, size, start, step, epochs=4):
    """The formula, with all states at hand: ``step(t, w_t, w_{t - tau}, batch)`` gives ``w_{t+1}``."""
    tau, states, examples = n_workers - 1, [start], 0
    batches = batches_in_turn(rows, n_workers, size)
    while examples < epochs * N_ROWS:
        t, batch = len(states) - 1, next(batches)
        states.append(step(t, states[t], states[max(0, t - tau)], batch))
        examples += len(batch)
    return states[-1]


def linear_step(rate, compensation=0.0):
    """A step of least squares; the penalty is taken at the present state."""

    def step(t, now, old, batch):
        coef, intercept = old[:N_FEATURES], old[-1]
        error = X[batch] @ coef + intercept - Y[batch]
        g = np.append(X[batch].T @ error, error.sum()) / len(batch)
        g = g + compensation * g * g * (now - old)
        shrunk = now * np.append(np.full(N_FEATURES, 1.0 - rate(t) * LINEAR.alpha), 1.0)
        return shrunk - rate(t) * g

    return step


def vector(found):
    views = LINEAR.views(found.state)
    return np.append(views["coef"][:, 0], views["intercept"])


@pytest.mark.parametrize("n_workers", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [4, 10])
def test_a_linear_model_takes_the_steps_of_the_formula(n_workers, size):
    found = train(LINEAR, LINEAR_ROWS, DelayedSGD(size), n_workers)
    theirs = reference(LINEAR_ROWS, n_workers, size, np.zeros(N_FEATURES + 1), linear_step(lambda t: 0.3))
    np.testing.assert_allclose(vector(found), theirs, rtol=0, atol=1e-10)


def test_the_rate_is_that_of_the_step_not_that_of_the_gradient():
    falling = replace(LINEAR, schedule="invscaling", power_t=0.5)
    found = train(falling, LINEAR_ROWS, DelayedSGD(5), 3)
    theirs = reference(LINEAR_ROWS, 3, 5, np.zeros(N_FEATURES + 1), linear_step(lambda t: 0.3 / np.sqrt(t + 1.0)))
    np.testing.assert_allclose(vector(found), theirs, rtol=0, atol=1e-10)
    # one step for each batch
    assert found.schedule_step == 1.0 + sum(w["steps"] for entry in found.history for w in entry["workers"])


@pytest.mark.parametrize("compensation", [0.04, 3.0])
def test_compensated_gradients_are_those_of_the_formula(compensation):
    found = train(LINEAR, LINEAR_ROWS, DelayedSGD(5, compensation), 4)
    step = linear_step(lambda t: 0.3, compensation)
    theirs = reference(LINEAR_ROWS, 4, 5, np.zeros(N_FEATURES + 1), step)
    np.testing.assert_allclose(vector(found), theirs, rtol=0, atol=1e-10)
    plain = train(LINEAR, LINEAR_ROWS, DelayedSGD(5), 4)
    assert np.abs(vector(found) - vector(plain)).max() > 1e-4


def network_slope(now, old, batch, compensation):
    """The loss's gradient at the old state, compensated, and the penalty's at the present one."""
    rows = picked(NETWORK_ROWS, batch)
    bare = replace(NETWORK, alpha=0.0)
    g = bare.gradient(old, rows)[1]
    penalty = NETWORK.gradient(now, rows)[1] - bare.gradient(now, rows)[1]
    return g + compensation * g * g * (now - old) + penalty


@pytest.mark.parametrize("compensation", [None, 2.0])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_network_takes_the_steps_of_the_formula(n_workers, compensation):
    def step(t, now, old, batch):
        return now - 0.3 * network_slope(now, old, batch, compensation or 0.0)

    found = train(NETWORK, NETWORK_ROWS, DelayedSGD(None, compensation), n_workers)
    theirs = reference(NETWORK_ROWS, n_workers, 8, NETWORK.init(SEED), step)
    np.testing.assert_allclose(found.state, theirs, rtol=0, atol=1e-10)


def test_a_solver_with_slots_steps_along_old_gradients_with_its_present_moments():
    momentum = replace(NETWORK, solver="momentum", momentum=0.8, eta0=0.1)
    n = momentum.n_parameters

    def step(t, now, old, batch):
        velocity = 0.8 * now[n:] - 0.1 * network_slope(now[:n], old[:n], batch, 0.5)
        return np.append(now[:n] + velocity, velocity)

    found = train(momentum, NETWORK_ROWS, DelayedSGD(compensation=0.5), 3)
    theirs = reference(NETWORK_ROWS, 3, 8, momentum.init(SEED), step)
    np.testing.assert_allclose(found.state, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("compensation", [None, 1.0])
def test_gradients_of_one_worker_are_fresh(compensation):
    for model, rows in ((LINEAR, LINEAR_ROWS), (replace(NETWORK, solver="adam", dropout=0.2), NETWORK_ROWS)):
        ours = train(model, rows, DelayedSGD(8, compensation), 1)
        theirs = train(model, rows, MiniBatch(8), 1)
        assert ours.state.tobytes() == theirs.state.tobytes()
        assert ours.schedule_step == theirs.schedule_step


@pytest.mark.parametrize("n_workers", [2, 3])
def test_whoever_is_fast_the_bits_are_the_same(n_workers):
    for model, rows in ((LINEAR, LINEAR_ROWS), (replace(NETWORK, solver="adam"), NETWORK_ROWS)):
        usual = train(model, rows, DelayedSGD(5, 0.5), n_workers)
        for engine in (Threads(), slow_down({0: 5.0}), slow_down({1: 5.0})):
            found = train(model, rows, DelayedSGD(5, 0.5), n_workers, engine)
            assert found.state.tobytes() == usual.state.tobytes()
            assert [entry["loss"] for entry in found.history] == [entry["loss"] for entry in usual.history]


@pytest.mark.parametrize("problem", [ridge(400), logistic(400, alpha=0.05)], ids=["ridge", "logistic"])
@pytest.mark.parametrize("n_workers", [2, 4])
def test_fits_arrive_at_the_known_optimum(problem, n_workers):
    loss = "log_loss" if set(problem.y) == {-1.0, 1.0} else "squared_error"
    model = Linear(8, loss=loss, alpha=problem.alpha, schedule="constant", eta0=0.2)
    found = train(model, rows_of(problem.X, problem.y), DelayedSGD(10), n_workers, epochs=60)
    views = model.views(found.state)
    start = problem.gap(np.zeros(8), 0.0)
    assert 0.0 <= problem.gap(views["coef"], views["intercept"]) < 0.005 * start


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_learn_with_it():
    wide = unit_rows(300, 8)
    y = labels(wide, 3)
    given = {"n_jobs": 3, "random_state": 0}
    linear = SGDClassifier("log_loss", alpha=1e-3, algorithm=DelayedSGD(4), max_iter=20, tol=None, **given)
    network = MLPClassifier((16,), algorithm="delayed", batch_size=10, max_iter=40, learning_rate_init=0.01, **given)
    for model in (linear, network):
        assert model.fit(wide, y).score(wide, y) > 0.85
        assert model.algorithm_.name == "delayed"


def test_the_schedule_of_a_network_counts_the_steps_of_all_workers(monkeypatch):
    # scikit-learn lowers this rate at the end of an epoch; a batch of more rows than a worker has ends with these
    given = {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.2, "momentum": 0.0, "max_iter": 3}
    model = MLPClassifier((5,), algorithm=DelayedSGD(40), n_jobs=4, random_state=0, alpha=0.0, **given)
    seen = []
    whole = MLPClassifier._network

    def kept(*arguments):
        seen.append(whole(*arguments))
        return seen[-1]

    monkeypatch.setattr(MLPClassifier, "_network", kept)
    with pytest.warns(match="Maximum iterations"):
        model.fit(X[:60], labels(X, 3)[:60])
    assert model._clock == 1.0 + 3 * 4
    assert (seen[-1].steps_per_epoch, seen[-1].rows_per_epoch) == (4.0, 60.0)


def test_a_fit_goes_on_without_a_worker_that_is_lost(losing):
    found = train(LINEAR, LINEAR_ROWS, DelayedSGD(5), 3, losing(1, at=2), epochs=30)
    lost = [gone for entry in found.history for gone in entry["lost"]]
    assert lost == [{"worker": 1, "why": "pulled the plug", "replaced": False}]
    after = [w["worker"] for entry in found.history[-5:] for w in entry["workers"]]
    assert set(after) == {0, 2}
    assert LINEAR.gradient(found.state, LINEAR_ROWS)[0] < LINEAR.gradient(LINEAR.init(0), LINEAR_ROWS)[0]


def test_an_engine_that_falls_silent_is_found_out():
    class Silent(EngineDefaults):
        name, capabilities = "silent", frozenset()

        def open(self, work, shards, pulse):
            crew = Serial().open(work, shards, pulse)
            crew.receive = lambda at_least: []
            return crew

    with pytest.raises(WorkersLostError, match="returned no reports"):
        train(LINEAR, LINEAR_ROWS, DelayedSGD(5), 2, Silent())


def test_more_workers_than_rows_is_no_error():
    few = rows_of(X[:3], Y[:3])
    found = train(LINEAR, few, DelayedSGD(), 5)
    assert found.examples == 4 * 3
    assert np.isfinite(found.state).all()


def test_rates_that_are_too_large_are_an_error_that_names_the_round():
    with pytest.raises(DivergedError, match=r"the objective of worker \d became NaN or infinite in round \d+"):
        train(replace(LINEAR, eta0=1e300), LINEAR_ROWS, DelayedSGD(5, 1.0), 3)


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"batch_size": 2.5}, {"batch_size": True}], ids=str)
def test_a_batch_size_that_is_no_count_is_refused(settings):
    with pytest.raises(InvalidArgumentError, match="'batch_size' parameter of DelayedSGD must be an int of at least 1"):
        DelayedSGD(**settings)


@pytest.mark.parametrize("compensation", [0.0, -1.0, "much", float("nan")])
def test_a_compensation_that_is_none_is_refused(compensation):
    with pytest.raises(InvalidArgumentError, match="'compensation' parameter of DelayedSGD must be a number"):
        DelayedSGD(compensation=compensation)
