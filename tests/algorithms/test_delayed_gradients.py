"""Inside a node: mini-batch SGD, or steps along gradients that come late; between nodes the algorithm's average."""

from dataclasses import replace

import numpy as np
import pytest
from convex_problems import logistic

from parsgd import SGDClassifier, SimuParallel, WeightedAverage
from parsgd.algorithms.common import worker_loop
from parsgd.algorithms.common.delayed_gradients import run_with_delay
from parsgd.core import Budget, EngineDefaults
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import check_algorithm
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit, worker_seed
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

N_ROWS, N_FEATURES, SEED = 61, 6, 4
X = unit_rows(N_ROWS, N_FEATURES)
Y = targets(X)
LINEAR = Linear(N_FEATURES, loss="squared_error", alpha=0.05, schedule="constant", eta0=0.2, batch_size=5)
LINEAR_ROWS, NETWORK_ROWS = rows_of(X, Y), rows_of(X, labels(X, 3).astype(np.int64))
NETWORK = Network((N_FEATURES, 7, 3), solver="momentum", alpha=0.1, eta0=0.1, batch_size=8, activation="tanh")


def train(model, rows, algorithm, n_workers, engine=None, epochs=3, **settings):
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


def node(shard, seed, delay, epochs=3, rate=lambda t: 0.2):
    """``w_{t+1} = w_t - eta_t g_t(w_{t - tau})`` on least squares, batches of 5, with all states at hand."""
    states = [np.zeros(N_FEATURES + 1)]
    for epoch in range(epochs):
        (block,) = shard.blocks(seed, epoch)
        for at in range(0, len(block.order), 5):
            batch, t = block.order[at : at + 5], len(states) - 1
            old = states[max(0, t - delay)]
            error = X[batch] @ old[:-1] + old[-1] - Y[batch]
            g = np.append(X[batch].T @ error, error.sum()) / len(batch)
            shrunk = states[t] * np.append(np.full(N_FEATURES, 1.0 - rate(t) * LINEAR.alpha), 1.0)
            states.append(shrunk - rate(t) * g)
    return states[-1]


def vector(found):
    views = LINEAR.views(found.state)
    return np.append(views["coef"][:, 0], views["intercept"])


@pytest.mark.cover(1)
@pytest.mark.parametrize("kind", [SimuParallel, WeightedAverage])
@pytest.mark.parametrize("delay", [None, 1, 3, 100])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_nodes_descend_by_the_formula_and_are_averaged(n_workers, delay, kind):
    found = train(LINEAR, LINEAR_ROWS, kind(inner_delay=delay), n_workers)
    shards = ArraySource(LINEAR_ROWS).split(n_workers, SEED, "shuffled")
    nodes = [node(shard, worker_seed(SEED, w), delay or 0) for w, shard in enumerate(shards)]
    weights = [worker["weight"] for worker in found.history[0]["workers"]]
    np.testing.assert_allclose(vector(found), weights @ np.array(nodes), rtol=0, atol=1e-10)
    steps = [sum(-(-shard.n_rows // 5) for _ in range(3)) for shard in shards]
    assert [worker["steps"] for worker in found.history[0]["workers"]] == steps


def test_rates_fall_with_the_steps():
    falling = replace(LINEAR, schedule="invscaling", power_t=0.5)
    found = train(falling, LINEAR_ROWS, SimuParallel(inner_delay=2), 1)
    (shard,) = ArraySource(LINEAR_ROWS).split(1, SEED, "shuffled")
    theirs = node(shard, SEED, 2, rate=lambda t: 0.2 / np.sqrt(t + 1.0))
    np.testing.assert_allclose(vector(found), theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("solver", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_without_a_delay_it_is_the_compiled_run(solver, dropout):
    class ByGradients(SimuParallel):
        def run(self, model, shard, task, progress):
            return worker_loop.run(model, shard, task, progress, start_run=run_with_delay(model, 0))

    model = replace(NETWORK, solver=solver, dropout=dropout)
    means = replace(LINEAR, average=4, schedule="optimal")
    for bare, rows in ((model, NETWORK_ROWS), (means, LINEAR_ROWS), (replace(means, average=1000), LINEAR_ROWS)):
        ours, theirs = (train(bare, rows, algorithm, 1) for algorithm in (ByGradients(), SimuParallel()))
        np.testing.assert_allclose(ours.state, theirs.state, rtol=1e-9, atol=1e-12)
        assert ours.schedule_step == theirs.schedule_step
        np.testing.assert_allclose(ours.history[0]["loss"], theirs.history[0]["loss"], rtol=1e-9)


def test_networks_learn_with_late_gradients_which_are_others():
    found, fresh = (
        train(NETWORK, NETWORK_ROWS, WeightedAverage(inner_delay=inner_delay), 2, epochs=20)
        for inner_delay in (3, None)
    )
    start = NETWORK.gradient(NETWORK.init(SEED), NETWORK_ROWS)[0]
    assert NETWORK.gradient(found.state, NETWORK_ROWS)[0] < 0.7 * start
    assert np.abs(found.state - fresh.state).max() > 1e-3


@pytest.mark.parametrize("rule", ["wp", "measured"])
def test_weights_follow_the_work_of_nodes_that_descend_late(rule):
    class DoesAQuarter(EngineDefaults):
        name, capabilities = "quarter", frozenset()

        def open(self, work, shards, pulse):
            def less(shard, task, pulse):
                share = 4 if task.worker == 0 else 1
                return work(shard, replace(task, budget=Budget(task.budget.examples // share)), pulse)

            return Serial().open(less, shards, pulse)

    found = train(LINEAR, LINEAR_ROWS, WeightedAverage(rule=rule, inner_delay=2), 2, DoesAQuarter(), epochs=8)
    light, heavy = (worker["weight"] for worker in found.history[0]["workers"])
    assert 0.0 < light < heavy < 1.0
    assert light + heavy == pytest.approx(1.0)


def test_a_fit_arrives_at_the_known_optimum():
    problem = logistic(400, alpha=0.05)
    model = SGDClassifier(
        "log_loss",
        alpha=0.05,
        learning_rate="constant",
        eta0=0.2,
        batch_size=8,
        max_iter=30,
        tol=None,
        algorithm=WeightedAverage(inner_delay=3),
        n_jobs=2,
        random_state=0,
    ).fit(problem.X, problem.y)
    start = problem.gap(np.zeros(8), 0.0)
    assert 0.0 <= problem.gap(model.coef_, model.intercept_) < 0.005 * start


def test_engines_and_pieces_change_nothing(monkeypatch):
    for model, rows in ((LINEAR, LINEAR_ROWS), (NETWORK, NETWORK_ROWS)):
        rule = StoppingRule(tol=1e-2, patience=2, adaptive_from=0.2)
        usual = train(model, rows, WeightedAverage(inner_delay=3), 2, epochs=40, stopping=rule)
        assert usual.outcome is Outcome.CONVERGED
        found = train(model, rows, WeightedAverage(inner_delay=3), 2, Threads(), epochs=40, stopping=rule)
        assert found.state.tobytes() == usual.state.tobytes()
        with monkeypatch.context() as patch:
            patch.setattr(worker_loop, "_FIRST_CHUNK_VALUES", 1)
            patch.setattr(worker_loop, "_CHUNK_SECONDS", 1e-9)
            pieces = train(model, rows, WeightedAverage(inner_delay=3), 2, epochs=40, stopping=rule)
        assert pieces.state.tobytes() == usual.state.tobytes()


def test_a_deadline_that_is_far_away_changes_nothing():
    for model, rows in ((LINEAR, LINEAR_ROWS), (NETWORK, NETWORK_ROWS)):
        timed, free = (
            train(model, rows, WeightedAverage(inner_delay=2, seconds=seconds), 2) for seconds in (60.0, None)
        )
        assert timed.state.tobytes() == free.state.tobytes()


def test_a_node_without_rows_counts_for_nothing():
    few = rows_of(X[:2], Y[:2])
    found = train(LINEAR, few, WeightedAverage(inner_delay=2, seconds=30.0), 3)
    assert [worker["weight"] for worker in found.history[0]["workers"]][2] == 0.0


def test_they_keep_the_promises_of_an_algorithm():
    check_algorithm(WeightedAverage(inner_delay=2))
    check_algorithm(SimuParallel(inner_delay=1))


def test_without_a_delay_the_run_is_the_model_s_own():
    assert run_with_delay(LINEAR, None) == LINEAR.sgd_run


@pytest.mark.parametrize("kind", [SimuParallel, WeightedAverage])
@pytest.mark.parametrize("inner_delay", [0, -1, 1.5, "delayed"])
def test_a_delay_that_is_none_is_refused(kind, inner_delay):
    with pytest.raises(
        InvalidArgumentError, match=f"'inner_delay' parameter of {kind.__name__} must be an int of at least 1"
    ):
        kind(inner_delay=inner_delay)
