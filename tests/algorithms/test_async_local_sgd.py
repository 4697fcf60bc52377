"""Asynchronous local SGD is ``w += a_i (w_i - u_i)``, u_i being the state that worker i set out from."""

from dataclasses import replace

import numpy as np
import pytest
from convex_problems import logistic, ridge

from parsgd import AsyncLocalSGD, LocalSGD, MLPClassifier, SGDClassifier, SimuParallel
from parsgd.algorithms.async_local_sgd import StalenessCounter
from parsgd.core import Budget, FitState, Task
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import InvalidArgumentError, Outcome
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import slow_down
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit, worker_seed
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

N_ROWS, N_FEATURES, SEED = 90, 6, 4
X = unit_rows(N_ROWS, N_FEATURES)
Y = targets(X)
LINEAR = Linear(N_FEATURES, loss="squared_error", alpha=0.05, schedule="constant", eta0=0.1)
LINEAR_ROWS, NETWORK_ROWS = rows_of(X, Y), rows_of(X, labels(X, 3).astype(np.int64))
NETWORK = Network((N_FEATURES, 7, 3), solver="adam", alpha=0.1, eta0=0.02, batch_size=8, activation="tanh")
RULES = ("staleness", "wp", "uniform")


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


def vector(found):
    views = LINEAR.views(found.state)
    return np.append(views["coef"][:, 0], views["intercept"])


# -- one worker, and a first report of each --------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sync_every", [0.1, 0.37, 1.0])
def test_one_worker_is_local_sgd_bit_for_bit(sync_every, rule):
    for model, rows in (
        (LINEAR, LINEAR_ROWS),
        (replace(LINEAR, average=5, penalty="l1"), LINEAR_ROWS),
        (NETWORK, NETWORK_ROWS),
    ):
        ours, theirs = (train(model, rows, a, 1) for a in (AsyncLocalSGD(sync_every, rule=rule), LocalSGD(sync_every)))
        assert ours.state.tobytes() == theirs.state.tobytes()
        assert (ours.schedule_step, ours.examples, ours.n_epochs) == (
            theirs.schedule_step,
            theirs.examples,
            theirs.n_epochs,
        )


def test_one_worker_is_serial_sgd():
    ours, theirs = (train(LINEAR, LINEAR_ROWS, a, 1) for a in (AsyncLocalSGD(), SimuParallel()))
    np.testing.assert_allclose(ours.state, theirs.state, rtol=1e-12)


@pytest.mark.parametrize("n_workers", [2, 3, 5])
def test_when_each_has_reported_once_the_state_is_the_mean_of_their_arrivals(n_workers):
    ours, theirs = (train(LINEAR, LINEAR_ROWS, a(1.0), n_workers, epochs=1) for a in (AsyncLocalSGD, LocalSGD))
    np.testing.assert_allclose(ours.state, theirs.state, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ours.schedule_step, theirs.schedule_step)


# -- the formula -----------------------------------------------------------------------------------------------------


def reference(n_workers, order, sync_every, share, epochs):
    """The formula on least squares: ``share(late, delay, steps)`` is what a report counts for."""
    shards = ArraySource(LINEAR_ROWS).split(n_workers, SEED, "shuffled")
    state, eta = np.zeros(N_FEATURES + 1), LINEAR.eta0
    origin, cursor = [state] * n_workers, [0] * n_workers
    reports, steps = [0] * n_workers, [0] * n_workers
    seen = [([0] * n_workers, [0] * n_workers)] * n_workers
    turn = 0
    while sum(cursor) < epochs * N_ROWS:
        i = order[turn % len(order)]
        turn += 1
        x, n = origin[i].copy(), shards[i].n_rows
        epoch, at = divmod(cursor[i], n)
        parts = [round(n * p // (1 / sync_every)) for p in range(1, round(1 / sync_every) + 1)]
        end = min(part for part in parts if part > at)
        (block,) = shards[i].blocks(worker_seed(SEED, i), epoch)
        for row in block.order[at:end]:
            error = X[row] @ x[:-1] + x[-1] - Y[row]
            x[:-1] = (1.0 - eta * LINEAR.alpha) * x[:-1] - eta * error * X[row]
            x[-1] -= eta * error
        others = [j for j in range(n_workers) if j != i]
        late = max(0, sum(reports[j] - seen[i][0][j] for j in others) - len(others))
        delay = max(0.0, np.mean([steps[j] - seen[i][1][j] for j in others]) - (end - at))
        state = state + share(late, delay, end - at) * (x - origin[i])
        reports[i] += 1
        steps[i] += end - at
        cursor[i] += end - at
        origin[i], seen[i] = state, (list(reports), list(steps))
    return state


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 0, 0, 1, 1, 2], [2, 1, 1, 1, 0, 1]], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_moves_are_added_as_the_formula_says_whoever_is_fast(in_order, order, rule):
    rho = 1.0 - LINEAR.eta0 * LINEAR.alpha
    shares = {
        "uniform": lambda late, delay, steps: 1.0 / 3.0,
        "staleness": lambda late, delay, steps: (1.0 + late) ** -0.5 / 3.0,
        "wp": lambda late, delay, steps: rho**delay / 3.0,
    }
    found = train(LINEAR, LINEAR_ROWS, AsyncLocalSGD(0.2, rule=rule), 3, in_order(order))
    theirs = reference(3, order, 0.2, shares[rule], 4)
    np.testing.assert_allclose(vector(found), theirs, rtol=0, atol=1e-10)


def test_rate_and_exponent_are_those_asked_for(in_order):
    order = [0, 0, 0, 0, 1, 0, 2]
    found = train(LINEAR, LINEAR_ROWS, AsyncLocalSGD(0.2, rate=0.6, exponent=1.5), 3, in_order(order))
    theirs = reference(3, order, 0.2, lambda late, delay, steps: 0.6 * (1.0 + late) ** -1.5, 4)
    np.testing.assert_allclose(vector(found), theirs, rtol=0, atol=1e-10)


def standing(n_workers, so_far, start_state, state=None):
    state = np.zeros(LINEAR.size) if state is None else state
    tasks = tuple(Task(worker, 0, state, SEED, Budget(10)) for worker in range(n_workers))
    memory = StalenessCounter(np.array(so_far), np.array(start_state))
    return FitState(LINEAR, state, n_workers, N_ROWS, memory=memory, tasks=tasks)


@pytest.mark.parametrize(("so_far", "late"), [((3, 30), 0), ((2, 20), 0), ((4, 40), 1), ((10, 100), 7)], ids=str)
def test_a_late_move_counts_for_what_the_rules_say(so_far, late):
    # of four equal workers each finds three reports of ten steps
    place = standing(4, so_far, [(0, 0)] * 4)
    report = small_report(1, np.ones(LINEAR.size))
    for rule, expected in (
        ("staleness", (1.0 + late) ** -0.5),
        ("uniform", 1.0),
        # small_report made ten steps that contract by exp(-0.1)
        ("wp", np.exp(-0.01 * max(so_far[1] / 3 - 10, 0.0))),
    ):
        merge = AsyncLocalSGD(rule=rule).merge(place, [report])
        np.testing.assert_allclose(merge.weights, [expected / 4], rtol=1e-12)
        np.testing.assert_allclose(merge.state, expected / 4, rtol=1e-12)


def test_what_counts_is_what_was_merged_since_the_worker_set_out():
    place = standing(2, (10, 100), [(9, 90), (3, 20)])
    reports = [small_report(worker, np.full(LINEAR.size, worker + 1.0)) for worker in (0, 1)]
    merge = AsyncLocalSGD(rate=0.5).merge(place, reports)
    # the first found one report, as usual; the second seven
    np.testing.assert_allclose(merge.weights, [0.5, 0.5 * 7.0**-0.5], rtol=1e-12)
    np.testing.assert_allclose(merge.state, merge.weights @ [1.0, 2.0], rtol=1e-12)
    assert merge.memory.so_far.tolist() == [12, 120]
    assert merge.memory.start_state.tolist() == [[12, 120], [12, 120]]


def test_a_worker_without_rows_makes_nobody_late():
    place = standing(3, (4, 40), [(4, 40)] * 3)
    idle = replace(small_report(2, np.ones(LINEAR.size)), steps=0, examples=0)
    merge = AsyncLocalSGD().merge(place, [idle])
    assert merge.state is place.state
    assert merge.memory.so_far.tolist() == [4, 40]


# -- where fits arrive -----------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("problem", [ridge(400), logistic(400, alpha=0.05)], ids=["ridge", "logistic"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 1, 2, 0, 1, 2, 0, 1, 2, 3]], ids=["equal", "one is slow"])
def test_fits_arrive_at_the_known_optimum(in_order, problem, rule, order):
    loss = "log_loss" if set(problem.y) == {-1.0, 1.0} else "squared_error"
    model = Linear(8, loss=loss, alpha=problem.alpha, schedule="optimal")
    rows = rows_of(problem.X, problem.y)
    found = train(model, rows, AsyncLocalSGD(rule=rule), 4, in_order(order), epochs=60)
    views = model.views(found.state)
    start = problem.gap(np.zeros(8), 0.0)
    assert 0.0 <= problem.gap(views["coef"], views["intercept"]) < 0.02 * start


def test_equal_workers_come_as_far_as_with_averages():
    problem = logistic(2000, alpha=0.001)
    model = Linear(8, loss="log_loss", alpha=problem.alpha, schedule="constant", eta0=0.05)
    rows = rows_of(problem.X, problem.y)
    gaps = []
    for algorithm in (AsyncLocalSGD(0.1), LocalSGD(0.1)):
        views = model.views(train(model, rows, algorithm, 4, epochs=2).state)
        gaps.append(problem.gap(views["coef"], views["intercept"]))
    start = problem.gap(np.zeros(8), 0.0)
    assert max(gaps) < 0.5 * start
    # the last moves of three of four workers are still under way
    np.testing.assert_allclose(gaps[0], gaps[1], rtol=0.1)


@pytest.mark.parametrize("engine", [Serial(), Threads(), slow_down({1: 6.0})], ids=lambda e: e.name)
def test_linear_models_and_networks_learn_on_every_engine(engine):
    for model, rows in ((LINEAR, LINEAR_ROWS), (NETWORK, NETWORK_ROWS)):
        found = train(model, rows, AsyncLocalSGD(), 3, engine, epochs=20)
        start = model.gradient(model.init(SEED), rows)[0]
        assert model.gradient(found.state, rows)[0] < 0.7 * start
        assert found.outcome is Outcome.MAX_EPOCHS
        assert 20 * N_ROWS <= found.examples < 21 * N_ROWS


def test_serial_fits_repeat_their_bits():
    one, again = (train(NETWORK, NETWORK_ROWS, AsyncLocalSGD(), 3) for _ in range(2))
    assert one.state.tobytes() == again.state.tobytes()


@pytest.mark.parametrize("rate", [None, 1.0])
def test_second_moments_of_a_network_never_fall_below_zero(in_order, rate):
    least = []

    class Watched(AsyncLocalSGD):
        def merge(self, standing, reports):
            merge = super().merge(standing, reports)
            least.append(merge.state[NETWORK.nonnegative].min())
            return merge

    # while the second worker is on its way the first one's moments have long decayed
    found = train(
        replace(NETWORK, beta_2=0.9),
        NETWORK_ROWS,
        Watched(0.3, rate=rate, rule="uniform"),
        2,
        in_order([0] * 12 + [1]),
        epochs=20,
    )
    assert min(least) >= 0.0
    assert np.isfinite(found.state).all()
    start = NETWORK.gradient(NETWORK.init(SEED), NETWORK_ROWS)[0]
    assert NETWORK.gradient(found.state, NETWORK_ROWS)[0] < start


def test_reports_that_come_together_are_added_together_and_moments_are_mixed():
    n, model = NETWORK.n_parameters, NETWORK
    rng = np.random.default_rng(0)
    state, origin, *arrivals = np.abs(rng.standard_normal((5, 3 * n)))
    tasks = tuple(Task(worker, 0, sent, SEED, Budget(1)) for worker, sent in enumerate((origin, state, state)))
    memory = StalenessCounter(np.zeros(2, dtype=int), np.zeros((3, 2), dtype=int))
    place = FitState(model, state, 3, N_ROWS, round=3, tasks=tasks, memory=memory)
    reports = [small_report(worker, arrival) for worker, arrival in enumerate(arrivals)]
    merge = AsyncLocalSGD(rate=0.5).merge(place, reports)
    theirs = state + 0.5 * sum(a - t.state for a, t in zip(arrivals, tasks, strict=True))
    np.testing.assert_allclose(merge.state[: 2 * n], theirs[: 2 * n], rtol=1e-12)
    # three halves are more than the whole
    np.testing.assert_allclose(merge.state[2 * n :], np.mean(arrivals, axis=0)[2 * n :], rtol=1e-12)


# -- the fit ---------------------------------------------------------------------------------------------------------


def test_a_fit_goes_on_without_a_worker_that_is_lost(losing):
    found = train(LINEAR, LINEAR_ROWS, AsyncLocalSGD(), 3, losing(2, at=4), epochs=30)
    lost = [gone for entry in found.history for gone in entry["lost"]]
    assert lost == [{"worker": 2, "why": "pulled the plug", "replaced": False}]
    assert {w["worker"] for entry in found.history[-9:] for w in entry["workers"]} == {0, 1}
    assert LINEAR.gradient(found.state, LINEAR_ROWS)[0] < LINEAR.gradient(LINEAR.init(0), LINEAR_ROWS)[0]


def test_an_epoch_that_ends_within_a_report_is_scored_once_and_its_score_is_kept(in_order):
    rule = StoppingRule(tol=None, monitor=lambda state: np.array([-LINEAR.gradient(state, LINEAR_ROWS)[0]]))
    found = train(LINEAR, LINEAR_ROWS, AsyncLocalSGD(0.17), 4, in_order([0, 1, 1, 2, 3]), epochs=6, stopping=rule)
    assert any(entry["epoch"] % 1.0 for entry in found.history if entry["score"] is not None)
    assert len([entry for entry in found.history if entry["score"] is not None]) == found.n_epochs == 6


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("engine", ["serial", "threads"])
def test_estimators_learn_with_it(engine):
    wide = unit_rows(301, 8)
    y = labels(wide, 3)
    given = {"n_jobs": 3, "random_state": 0, "engine": engine}
    linear = SGDClassifier("log_loss", alpha=1e-3, algorithm="asynchronous", max_iter=20, tol=None, **given)
    network = MLPClassifier(
        (16,), algorithm=AsyncLocalSGD(0.3), batch_size=10, max_iter=40, learning_rate_init=0.02, **given
    )
    for model in (linear, network):
        assert model.fit(wide, y).score(wide, y) > 0.85
    assert len(network.loss_curve_) == network.n_iter_
    assert network.loss_curve_[-1] < 0.5 * network.loss_curve_[0]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"sync_every": 0.0}, "sync_every"),
        ({"sync_every": 2.0}, "sync_every"),
        ({"rate": 0.0}, "rate"),
        ({"rate": 1.5}, "rate"),
        ({"exponent": 0.0}, "exponent"),
        ({"exponent": "half"}, "exponent"),
        ({"rule": "stale"}, "rule"),
        ({"rule": None}, "rule"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused(settings, word):
    with pytest.raises(InvalidArgumentError, match=f"'{word}' parameter of AsyncLocalSGD"):
        AsyncLocalSGD(**settings)
