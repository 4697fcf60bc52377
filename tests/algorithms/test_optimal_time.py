"""Algorithms for unequal workers make the steps of their rules, written out here as a simulation of events."""

import heapq
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd import (
    AsyncSGD,
    DelayedSGD,
    Malenia,
    MiniBatch,
    MLPClassifier,
    MSync,
    Rennala,
    Ringleader,
    Ringmaster,
    SGDClassifier,
    SGDRegressor,
    Simulated,
)
from parsgd.algorithms.common.measured_noise import MeasuredNoise
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError, IncompatiblePartsError, InvalidArgumentError, NoStepsWarning
from parsgd.models.linear.linear_model import Linear
from parsgd.testing import check_algorithm, slow_down
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit, worker_seed
from parsgd.utils.row_arrays import rows_of

N_ROWS, N_FEATURES, SEED, RATE, SIZE = 120, 5, 4, 0.2, 6
X = unit_rows(N_ROWS, N_FEATURES)
Y = targets(X)
ROWS = rows_of(X, Y)
LINEAR = Linear(N_FEATURES, loss="squared_error", alpha=0.0, schedule="invscaling", power_t=0.1, eta0=RATE)
SPEEDS = (1.0, 0.71, 0.37, 0.05)
ALL = [
    Rennala(3, SIZE),
    Rennala(4, SIZE, theta=0.5),
    Rennala(batch_size=SIZE),
    Malenia(5, SIZE),
    Malenia(batch_size=SIZE),
    AsyncSGD(SIZE),
    AsyncSGD(SIZE, rule="constant"),
    Ringmaster(4, SIZE),
    Ringmaster(3, SIZE, stops=True),
    Ringmaster(batch_size=SIZE),
    Ringleader(SIZE),
    MSync(2, SIZE),
    MSync(0.5, SIZE, stops=True),
]


def train(algorithm, speeds=SPEEDS, epochs=6, engine=None, **settings):
    engine = engine or Simulated(speeds=speeds, rate=1000.0)
    return fit(
        LINEAR, algorithm, engine, ArraySource(ROWS), n_workers=len(speeds), seed=SEED, max_epochs=epochs, **settings
    )


def vector(state):
    views = LINEAR.views(state)
    return np.append(views["coef"][:, 0], views["intercept"])


def gradient(w, batch):
    """The mean gradient of half the squared error."""
    error = X[batch] @ w[:-1] + w[-1] - Y[batch]
    return np.append(X[batch].T @ error, error.sum()) / len(batch)


class Workers:
    """Workers of given speeds that compute gradients of their own batches in turn, on a clock of their own.

    ``arrivals`` yields worker, number of the step at which its state was current, and gradient; the receiver sets ``w``
    and ``step`` before it asks for the next one.  A worker with a task that ``cancel`` names starts again.
    """

    def __init__(self, speeds):
        self.speeds, self.w, self.step, self.clock, self.examples = speeds, np.zeros(N_FEATURES + 1), 0, 0.0, 0
        self.shards = ArraySource(ROWS).split(len(speeds), SEED, "shuffled")
        self.cursors, self.under_way, self.n_sent = [0] * len(speeds), [], 0
        for worker in range(len(speeds)):
            self.send(worker)

    def send(self, worker):
        shard = self.shards[worker]
        epoch, skip = divmod(self.cursors[worker], shard.n_rows)
        (block,) = shard.blocks(worker_seed(SEED, worker), epoch)
        batch = block.order[skip : skip + SIZE]
        end = self.clock + len(batch) / (1000.0 * self.speeds[worker])
        self.n_sent += 1
        heapq.heappush(self.under_way, (end, worker, self.n_sent, self.step, batch, self.w))

    def arrivals(self, epochs):
        while self.examples < epochs * N_ROWS:
            self.clock, worker, _, step, batch, w = heapq.heappop(self.under_way)
            self.cursors[worker] += len(batch)
            self.examples += len(batch)
            yield worker, step, gradient(w, batch), len(batch)
            self.send(worker)

    def cancel(self, are_late):
        late = [task for task in self.under_way if are_late(task)]
        self.under_way = [task for task in self.under_way if not are_late(task)]
        heapq.heapify(self.under_way)
        for task in sorted(late, key=lambda task: task[1]):
            self.send(task[1])

    def move(self, g, factor=1.0):
        self.step += 1
        self.w = self.w - RATE / self.step**0.1 * factor * g


def rennala(speeds, batch, theta=0.0, epochs=6):
    workers, collected = Workers(speeds), []
    for worker, step, g, m in workers.arrivals(epochs):
        if step != workers.step:
            continue
        collected.append((worker, g, m))
        seen, counts = np.zeros(len(speeds)), np.zeros(len(speeds))
        for i, _, rows in collected:
            seen[i] += rows
            counts[i] += 1
        n = np.array([shard.n_rows for shard in workers.shards])
        c = np.where(seen > 0, (n / np.maximum(seen, 1)) ** theta, 0.0)
        enough = (c @ counts) ** 2 / (c**2 @ counts) >= batch - 1e-9
        if enough and (theta < 1 or counts.all()):
            workers.move(sum(c[i] * rows * g for i, g, rows in collected) / (c @ seen))
            collected = []
    return workers.w


def one_by_one(speeds, factor_of, stops=math.inf, epochs=6):
    workers = Workers(speeds)
    for _, step, g, _ in workers.arrivals(epochs):
        factor = factor_of(workers.step - step)
        if factor:
            workers.move(g, factor)
            workers.cancel(lambda task: workers.step - task[3] >= stops)
    return workers.w


def ringleader(speeds, epochs=6):
    workers, n = Workers(speeds), len(speeds)
    shares = np.array([shard.n_rows for shard in workers.shards]) / N_ROWS
    table, following, stepped = [[] for _ in speeds], [[] for _ in speeds], set()

    def move():
        workers.move(
            sum(
                share * sum(m * g for g, m in entry) / sum(m for _, m in entry)
                for share, entry in zip(shares, table, strict=True)
            )
        )

    for worker, _, g, m in workers.arrivals(epochs):
        if worker in stepped:
            following[worker].append((g, m))
            continue
        table[worker].append((g, m))
        if stepped or all(table):
            move()
            stepped.add(worker)
        if len(stepped) == n:
            table, following, stepped = following, [[] for _ in speeds], set()
    return workers.w


@pytest.mark.parametrize("speeds", [(1.0,), (1.0, 0.3), SPEEDS, (0.11, 1.0, 0.13, 0.17, 0.61)])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("theta", [0.0, 0.5, 1.0])
def test_rennala_and_malenia_collect_gradients_of_the_present_state(speeds, batch, theta):
    algorithm = Malenia(batch, SIZE) if theta == 1.0 else Rennala(batch, SIZE, theta)
    found = vector(train(algorithm, speeds).state)
    np.testing.assert_allclose(found, rennala(speeds, batch, theta), rtol=0, atol=1e-12)
    assert np.abs(found).max() > 0.01


@pytest.mark.parametrize("speeds", [(1.0,), (1.0, 0.3), SPEEDS, (0.11, 1.0, 0.13, 0.17, 0.61)])
@pytest.mark.parametrize("rule", ["adaptive", "constant"])
def test_asynchronous_steps_are_as_much_smaller_as_the_gradient_is_late(speeds, rule):
    n = len(speeds)

    def factor(delay):
        return n / max(n, delay) if rule == "adaptive" else 1.0

    found = vector(train(AsyncSGD(SIZE, rule), speeds).state)
    np.testing.assert_allclose(found, one_by_one(speeds, factor), rtol=0, atol=1e-12)


@pytest.mark.parametrize("speeds", [(1.0, 0.3), SPEEDS, (0.11, 1.0, 0.13, 0.17, 0.61)])
@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_ringmaster_ignores_or_stops_late_gradients(speeds, stops, most):
    found = vector(train(Ringmaster(most, SIZE, stops), speeds).state)
    theirs = one_by_one(speeds, lambda delay: float(delay < most), most if stops else math.inf)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("speeds", [(1.0,), (1.0, 0.3), SPEEDS, (0.11, 1.0, 0.13, 0.17, 0.61)])
def test_ringleader_steps_along_its_table(speeds):
    found = vector(train(Ringleader(SIZE), speeds).state)
    np.testing.assert_allclose(found, ringleader(speeds), rtol=0, atol=1e-12)


@pytest.mark.parametrize("m", [1, 3, 4])
def test_with_stops_the_m_fastest_workers_alone_make_the_steps(m):
    """Workers that are always slower are stopped at every step, so their rows are never used."""
    result = train(MSync(m, SIZE, stops=True), speeds=(1.0, 0.9, 0.8, 0.2))
    totals = [worker["examples"] for worker in result.history[-1]["workers"]]
    assert {worker["worker"] for entry in result.history for worker in entry["workers"]} == set(range(m))
    assert all(worker["weight"] > 0 for entry in result.history for worker in entry["workers"])
    assert totals


def test_without_stops_the_gradients_of_slow_workers_are_ignored():
    result = train(MSync(2, SIZE), speeds=(1.0, 0.9, 0.05))
    weights = {0: 0.0, 1: 0.0, 2: 0.0}
    for entry in result.history:
        for worker in entry["workers"]:
            weights[worker["worker"]] += worker["weight"]
    assert weights[0] > 0
    assert weights[1] > 0
    assert weights[2] == 0.0


def test_with_all_workers_every_step_is_along_the_mean_of_one_gradient_from_each():
    shards = ArraySource(ROWS).split(4, SEED, "shuffled")
    w = np.zeros(N_FEATURES + 1)
    for step in range(6 * N_ROWS // (4 * SIZE)):
        epoch, skip = divmod(step * SIZE, shards[0].n_rows)
        batches = [
            next(iter(shard.blocks(worker_seed(SEED, worker), epoch))).order[skip : skip + SIZE]
            for worker, shard in enumerate(shards)
        ]
        w = w - RATE / (step + 1) ** 0.1 * np.mean([gradient(w, batch) for batch in batches], axis=0)
    found = train(MSync(1.0, SIZE), speeds=(1.0, 0.5, 0.2, 0.1))
    np.testing.assert_allclose(vector(found.state), w, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "algorithm", [Rennala(1, SIZE), Ringmaster(1, SIZE), Malenia(1, SIZE), MSync(1, SIZE)], ids=repr
)
@pytest.mark.parametrize("other", [MiniBatch(SIZE), DelayedSGD(SIZE)], ids=repr)
def test_one_worker_makes_the_steps_of_mini_batch_sgd(algorithm, other):
    found = train(algorithm, (1.0,), engine=Serial())
    assert found.state.tobytes() == train(other, (1.0,), engine=Serial()).state.tobytes()
    assert found.schedule_step == 1.0 + 6 * N_ROWS / SIZE


def test_one_worker_of_ringleader_makes_the_steps_of_mini_batch_sgd():
    found = vector(train(Ringleader(SIZE), (1.0,), engine=Serial()).state)
    theirs = vector(train(MiniBatch(SIZE), (1.0,), engine=Serial()).state)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [2, 5])
def test_one_worker_of_rennala_has_the_batches_of_all_its_gradients(batch):
    found = vector(train(Rennala(batch, SIZE), (1.0,), engine=Serial()).state)
    theirs = vector(train(MiniBatch(batch * SIZE), (1.0,), engine=Serial()).state)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "algorithm", [AsyncSGD(SIZE), AsyncSGD(SIZE, "constant"), Ringmaster(math.inf, SIZE)], ids=repr
)
def test_workers_in_turns_make_the_steps_of_delayed_sgd(algorithm):
    for n_workers in (1, 3):
        found = train(algorithm, (1.0,) * n_workers, engine=Serial())
        assert found.state.tobytes() == train(DelayedSGD(SIZE), (1.0,) * n_workers, engine=Serial()).state.tobytes()


@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_serial_and_simulated_workers_of_equal_speed_give_the_same_bits(algorithm):
    # batches of four workers are all of one size, so that all gradients take the same time
    serial = train(algorithm, (1.0,) * 4, engine=Serial())
    assert serial.state.tobytes() == train(algorithm, (1.0,) * 4).state.tobytes()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_fits_of_networks_and_threads_lower_the_loss(algorithm):
    y = labels(X, 3)
    engine = "serial" if getattr(algorithm, "stops", False) else "threads"
    settings = {"algorithm": algorithm, "engine": engine, "n_jobs": 3, "random_state": 0, "max_iter": 20}
    network = MLPClassifier((8,), solver="sgd", learning_rate_init=0.3, batch_size=8, n_iter_no_change=99, **settings)
    losses = network.fit(X, y).loss_curve_
    assert losses[-1] < losses[0]
    assert SGDClassifier(tol=None, **settings).fit(X, y).score(X, y) > 0.7


@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_workers_without_rows_do_no_harm(algorithm):
    settings = {"algorithm": algorithm, "n_jobs": 8, "max_iter": 3, "tol": None, "random_state": 0}
    for engine in ("serial", "simulated"):
        model = SGDRegressor(engine=engine, **settings).fit(X[:5], Y[:5])
        assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_a_lost_worker_costs_no_more_than_its_work(algorithm):
    engine = Simulated(speeds=SPEEDS, rate=1000.0, failures={0: 0.04, 2: 0.1}, latency_s=0.001)
    result = train(algorithm, engine=engine)
    assert result.examples >= 6 * N_ROWS
    assert sum(len(entry["lost"]) for entry in result.history) >= 1
    start = np.square(Y).mean()
    w = vector(result.state)
    assert np.square(X @ w[:-1] + w[-1] - Y).mean() < 0.8 * start


@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_steps_count_in_the_schedule_and_rows_that_are_used_in_the_weights(algorithm):
    result = train(algorithm)
    used = sum(worker["weight"] * worker["examples"] for entry in result.history for worker in entry["workers"])
    assert 0 < result.schedule_step - 1 <= result.examples / SIZE + 1
    assert 0 < used <= result.examples


@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_the_contract_of_algorithms_is_kept(algorithm):
    # where all workers are waited for, batches of unequal shards would end in different rounds
    check_algorithm(replace(algorithm, batch_size=3 if algorithm.quorum(2) == 1 else None))


@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_memories_can_be_pickled_and_are_not_modified(algorithm):
    class Watched(type(algorithm)):
        def merge(self, fit_state, reports):
            before = pickle.dumps((fit_state.memory, fit_state.state))
            result = super().merge(fit_state, reports)
            assert pickle.dumps((fit_state.memory, fit_state.state)) == before
            return result

    values = {name: getattr(algorithm, name) for name in algorithm.__dataclass_fields__}
    train(Watched(**values))


@pytest.mark.parametrize(
    "algorithm", [Rennala(batch_size=4), Malenia(batch_size=4), Ringmaster(batch_size=4)], ids=repr
)
def test_the_measured_number_grows_as_the_gradient_shrinks(algorithm):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 4))
    y = X @ np.ones(4) + rng.standard_normal(4000)
    chosen = []

    class Watched(type(algorithm)):
        def merge(self, fit_state, reports):
            result = super().merge(fit_state, reports)
            chosen.append(result.memory.noise.batches)
            return result

    values = {name: getattr(algorithm, name) for name in algorithm.__dataclass_fields__}
    model = SGDRegressor(
        alpha=0.0, learning_rate="constant", eta0=0.02, max_iter=4, tol=None, engine="serial", n_jobs=2, random_state=0
    )
    model.set_params(algorithm=Watched(**values)).fit(X, y)
    assert max(chosen[:30]) <= 10
    assert np.median(chosen[-100:]) >= 3 * np.median(chosen[:30])
    assert max(chosen) <= 100


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(-1e9, 1e9)), max_size=20), st.integers(1, 50))
def test_the_measured_number_is_between_one_and_the_limit(measured, most):
    noise = MeasuredNoise()
    for square, product in measured:
        noise = noise.updated(square, product, most)
        assert 1 <= noise.batches <= most


def test_measured_noise_is_that_of_gradients_with_known_moments():
    """Gradients with mean G and variance sigma^2 give the ratio sigma^2 / |G|^2."""
    rng = np.random.default_rng(1)
    noise, before = MeasuredNoise(), None
    for _ in range(5000):
        g = np.append(1.0, np.zeros(19)) + rng.standard_normal(20)
        if before is not None:
            noise = noise.updated(float(g @ g), float(g @ before), 10**6)
        before = g
    assert 10 <= noise.batches <= 60


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Rennala(0), "batch"),
        (lambda: Rennala(2.5), "batch"),
        (lambda: Rennala("large"), "batch"),
        (lambda: Rennala(True), "batch"),
        (lambda: Rennala(2, theta=1.0), "Malenia"),
        (lambda: Rennala(2, theta=-0.5), "theta"),
        (lambda: Malenia(-1), "batch"),
        (lambda: Malenia(2, 0), "batch_size"),
        (lambda: AsyncSGD(rule="slow"), "rule"),
        (lambda: Ringmaster(0), "max_delay"),
        (lambda: Ringmaster(1.5), "max_delay"),
        (lambda: Ringmaster(math.nan), "max_delay"),
        (lambda: Ringmaster(stops=1), "stops"),
        (lambda: Ringleader(0), "batch_size"),
        (lambda: MSync(0), "m"),
        (lambda: MSync(1.5), "m"),
        (lambda: MSync("half"), "m"),
        (lambda: MSync(2, stops="yes"), "stops"),
    ],
)
def test_invalid_arguments_are_refused(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()


@pytest.mark.parametrize("algorithm", [Ringmaster(2, SIZE, stops=True), MSync(2, SIZE, stops=True)], ids=repr)
def test_stops_need_an_engine_that_cancels_tasks(algorithm):
    with pytest.raises(IncompatiblePartsError, match="cancel"):
        train(algorithm, engine=Threads())


@pytest.mark.parametrize("algorithm", [Rennala(99, SIZE), Malenia(99, SIZE)], ids=repr)
def test_a_fit_without_a_step_is_said(algorithm):
    with pytest.warns(NoStepsWarning, match="smaller batch_size"):
        result = train(algorithm, epochs=1)
    assert not result.state.any()


@pytest.mark.parametrize("algorithm", [Ringmaster(2, SIZE, stops=True), MSync(2, SIZE, stops=True)], ids=repr)
def test_tasks_of_slowed_workers_can_be_canceled(algorithm):
    slowed = slow_down({1: 2.0, 2: 20.0}, Simulated(rate=1000.0))
    found = train(algorithm, (1.0,) * 3, engine=slowed)
    assert found.state.tobytes() == train(algorithm, (1.0, 0.5, 0.05)).state.tobytes()


@pytest.mark.parametrize("algorithm", ALL, ids=repr)
def test_divergence_is_an_error(algorithm):
    with pytest.raises(DivergedError), np.errstate(all="ignore"):
        fit(
            replace(LINEAR, eta0=1e300, schedule="constant"),
            algorithm,
            Simulated(speeds=SPEEDS),
            ArraySource(ROWS),
            n_workers=4,
            max_epochs=100,
        )
