"""Elastic averaging is ``x_i -= a (x_i - c)``, ``c += a sum_i (x_i - c)``, each from the values before."""

from dataclasses import replace

import numpy as np
import pytest
from convex_problems import logistic, ridge

from parsgd import ElasticAveraging, MLPClassifier, SGDClassifier
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import InvalidArgumentError
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import slow_down
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit, worker_seed
from parsgd.utils.row_arrays import rows_of

N_ROWS, N_FEATURES, SEED = 90, 6, 4
X = unit_rows(N_ROWS, N_FEATURES)
Y = targets(X)
LINEAR = Linear(N_FEATURES, loss="squared_error", alpha=0.05, schedule="constant", eta0=0.1)
LINEAR_ROWS, NETWORK_ROWS = rows_of(X, Y), rows_of(X, labels(X, 3).astype(np.int64))
NETWORK = Network((N_FEATURES, 7, 3), solver="adam", alpha=0.1, eta0=0.02, batch_size=8, activation="tanh")


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


def reference(n_workers, order, parts, a, epochs, together):
    """The formula on least squares; ``together``: all workers' springs pull when all have made their steps."""
    shards = ArraySource(LINEAR_ROWS).split(n_workers, SEED, "shuffled")
    centre, eta = np.zeros(N_FEATURES + 1), LINEAR.eta0
    x, cursor = [centre.copy() for _ in range(n_workers)], [0] * n_workers

    def steps(i):
        epoch, at = divmod(cursor[i], shards[i].n_rows)
        end = min(e for e in (shards[i].n_rows * p // parts for p in range(1, parts + 1)) if e > at)
        (block,) = shards[i].blocks(worker_seed(SEED, i), epoch)
        for row in block.order[at:end]:
            error = X[row] @ x[i][:-1] + x[i][-1] - Y[row]
            x[i][:-1] = (1.0 - eta * LINEAR.alpha) * x[i][:-1] - eta * error * X[row]
            x[i][-1] -= eta * error
        cursor[i] += end - at

    turn = 0
    while sum(cursor) < epochs * N_ROWS:
        movers = list(range(n_workers)) if together else [order[turn % len(order)]]
        turn += 1
        for i in movers:
            steps(i)
        springs = {i: a * (x[i] - centre) for i in movers}
        for i in movers:
            x[i] = x[i] - springs[i]
        centre = centre + sum(springs.values())
    return centre


def vector(found):
    views = LINEAR.views(found.state)
    return np.append(views["coef"][:, 0], views["intercept"])


@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.parametrize("pull", [0.9, 0.3, 1.0])
def test_springs_pull_as_the_formula_says(n_workers, pull):
    found = train(LINEAR, LINEAR_ROWS, ElasticAveraging(0.2, pull), n_workers)
    theirs = reference(n_workers, None, 5, pull / n_workers, 4, together=True)
    np.testing.assert_allclose(vector(found), theirs, rtol=0, atol=1e-10)
    assert found.examples == 4 * N_ROWS


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 0, 0, 1, 2, 2]], ids=str)
def test_springs_of_workers_that_do_not_wait_pull_one_by_one(in_order, order):
    found = train(LINEAR, LINEAR_ROWS, ElasticAveraging(0.2, asynchronous=True), 3, in_order(order))
    np.testing.assert_allclose(vector(found), reference(3, order, 5, 0.3, 4, together=False), rtol=0, atol=1e-10)


def test_the_paper_pulls_by_nine_tenths_and_the_weights_say_so():
    found = train(LINEAR, LINEAR_ROWS, ElasticAveraging(), 3)
    for entry in found.history:
        np.testing.assert_allclose([worker["weight"] for worker in entry["workers"]], 0.3)


def test_workers_keep_states_of_their_own_and_the_fit_hands_out_the_centre():
    seen = []

    class Watched(ElasticAveraging):
        def merge(self, standing, reports):
            merge = super().merge(standing, reports)
            seen.append(
                (merge.state, [self.next_task(replace(standing, memory=merge.memory), w).state for w in range(3)])
            )
            return merge

    found = train(LINEAR, LINEAR_ROWS, Watched(pull=0.5), 3)
    for centre, own in seen:
        for state in own:
            assert np.linalg.norm(state - centre) > 1e-3
            assert min(np.linalg.norm(state - other) for other in own if other is not state) > 1e-3
    assert found.state.tobytes() == seen[-1][0].tobytes()


@pytest.mark.parametrize("n_workers", [2, 3])
def test_whoever_is_fast_the_bits_are_the_same(n_workers):
    for model, rows in ((LINEAR, LINEAR_ROWS), (NETWORK, NETWORK_ROWS)):
        usual = train(model, rows, ElasticAveraging(), n_workers)
        for engine in (Threads(), slow_down({0: 3.0})):
            assert train(model, rows, ElasticAveraging(), n_workers, engine).state.tobytes() == usual.state.tobytes()


@pytest.mark.parametrize("problem", [ridge(400), logistic(400, alpha=0.05)], ids=["ridge", "logistic"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_fits_arrive_at_the_known_optimum(problem, asynchronous):
    loss = "log_loss" if set(problem.y) == {-1.0, 1.0} else "squared_error"
    model = Linear(8, loss=loss, alpha=problem.alpha, schedule="optimal")
    rows = rows_of(problem.X, problem.y)
    found = train(model, rows, ElasticAveraging(asynchronous=asynchronous), 4, epochs=60)
    views = model.views(found.state)
    start = problem.gap(np.zeros(8), 0.0)
    assert 0.0 <= problem.gap(views["coef"], views["intercept"]) < 0.02 * start


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "nesterov", "adam"])
def test_networks_learn(solver, asynchronous):
    model = replace(NETWORK, solver=solver, eta0=0.02 if solver == "adam" else 0.2)
    found = train(model, NETWORK_ROWS, ElasticAveraging(0.3, asynchronous=asynchronous), 3, Threads(), epochs=20)
    start = model.gradient(model.init(SEED), NETWORK_ROWS)[0]
    assert model.gradient(found.state, NETWORK_ROWS)[0] < 0.7 * start
    part = found.state[model.nonnegative]
    assert part.size == 0 or part.min() >= 0.0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_fit_goes_on_without_a_worker_that_is_lost(losing, asynchronous):
    found = train(LINEAR, LINEAR_ROWS, ElasticAveraging(asynchronous=asynchronous), 3, losing(0, at=4), epochs=30)
    lost = [gone for entry in found.history for gone in entry["lost"]]
    assert lost == [{"worker": 0, "why": "pulled the plug", "replaced": False}]
    assert {w["worker"] for entry in found.history[-9:] for w in entry["workers"]} == {1, 2}
    assert LINEAR.gradient(found.state, LINEAR_ROWS)[0] < LINEAR.gradient(LINEAR.init(0), LINEAR_ROWS)[0]


def test_a_worker_without_rows_pulls_at_nothing():
    few = rows_of(X[:2], Y[:2])
    found = train(LINEAR, few, ElasticAveraging(1.0), 3)
    assert [worker["weight"] for worker in found.history[-1]["workers"]] == [0.3, 0.3, 0.0]
    assert found.examples == 4 * 2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("algorithm", ["elastic", ElasticAveraging(0.3, asynchronous=True)], ids=str)
def test_estimators_learn_with_it(algorithm):
    wide = unit_rows(301, 8)
    y = labels(wide, 3)
    given = {"n_jobs": 3, "random_state": 0, "algorithm": algorithm}
    linear = SGDClassifier("log_loss", alpha=1e-3, max_iter=20, tol=None, **given)
    network = MLPClassifier((16,), batch_size=10, max_iter=40, learning_rate_init=0.02, **given)
    for model in (linear, network):
        assert model.fit(wide, y).score(wide, y) > 0.85
    assert len(network.loss_curve_) == network.n_iter_


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"sync_every": 0.0}, "sync_every"),
        ({"sync_every": 2.0}, "sync_every"),
        ({"pull": 0.0}, "pull"),
        ({"pull": 1.5}, "pull"),
        ({"pull": None}, "pull"),
        ({"asynchronous": 1}, "asynchronous"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused(settings, word):
    with pytest.raises(InvalidArgumentError, match=f"'{word}' parameter of ElasticAveraging"):
        ElasticAveraging(**settings)
