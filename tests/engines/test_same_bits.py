"""Promise 2, for every kind of model: engines, pieces and the order of arrival change no bit."""

import sys

import numpy as np
import pytest

import parsgd
from parsgd import LocalSGD, SimuParallel, WeightedAverage
from parsgd.algorithms.common import worker_loop
from parsgd.core import EngineDefaults
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.testing import slow_down
from parsgd.testing.problems import labels, targets, unit_rows

ALGORITHMS = [
    SimuParallel(),
    WeightedAverage(rule="measured"),
    LocalSGD(sync_every=0.3, rule="wp"),
    LocalSGD(sync_every=0.3, rule="coordinate"),
]
QUICK = {"max_iter": 3, "tol": None, "random_state": 3, "alpha": 0.01}


class Squared:
    def loss(self, y, p):
        return 0.5 * (p - y) ** 2

    def gradient(self, y, p):
        return p - y


def fit(kind, layout="dense", dtype=np.float64, **settings):
    X = unit_rows(157, 6, layout=layout, dtype=dtype)
    settings = {**QUICK, **settings}
    if kind == "softmax":
        return parsgd.SGDClassifier("softmax", **settings).fit(X, labels(X, 3))
    if kind == "several classes":
        return parsgd.SGDClassifier("modified_huber", class_weight="balanced", **settings).fit(X, labels(X, 3))
    if kind == "two classes":
        model = parsgd.SGDClassifier("log_loss", penalty="elasticnet", **settings)
        return model.fit(X, labels(X), sample_weight=np.linspace(0.5, 2.0, 157))
    if kind == "one class":
        settings.pop("alpha")
        return parsgd.SGDOneClassSVM(**settings).fit(X)
    loss = Squared() if kind == "own loss" else "squared_error"
    return parsgd.SGDRegressor(loss, average=10, **settings).fit(X, targets(X))


def bits(model):
    intercept = model.offset_ if hasattr(model, "offset_") else model.intercept_
    return model.coef_.tobytes() + intercept.tobytes()


@pytest.mark.cover(1)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize(
    ("kind", "layout", "dtype"),
    [
        ("two classes", "csr", np.float32),
        ("two classes", "dense", np.float32),
        ("several classes", "dense", np.float32),
        ("softmax", "dense", np.float64),
        ("softmax", "csr", np.float32),
        ("numbers", "csr", np.float64),
        ("one class", "dense", np.float64),
        ("own loss", "dense", np.float64),
    ],
)
def test_threads_repeat_the_serial_engine(algorithm, kind, layout, dtype):
    for n_jobs in (1, 2, 3):
        settings = {"algorithm": algorithm, "n_jobs": n_jobs}
        serial, threads = (fit(kind, layout, dtype, engine=engine, **settings) for engine in ("serial", "threads"))
        assert bits(serial) == bits(threads)
        assert serial.n_iter_ == threads.n_iter_
        assert serial.t_ == threads.t_


@pytest.mark.parametrize("kind", ["two classes", "softmax", "numbers"])
def test_repeated_fits_repeat_their_bits(kind):
    first = bits(fit(kind, n_jobs=3, engine="threads"))
    assert all(bits(fit(kind, n_jobs=3, engine="threads")) == first for _ in range(5))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_a_slow_worker_and_hasty_threads_change_nothing(algorithm):
    usual = bits(fit("numbers", algorithm=algorithm, n_jobs=3, engine="serial"))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for slow in ({0: 20.0}, {1: 20.0, 2: 5.0}):
            assert bits(fit("numbers", algorithm=algorithm, n_jobs=3, engine=slow_down(slow))) == usual
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.cover(2)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize("kind", ["two classes", "softmax", "numbers", "one class"])
@pytest.mark.parametrize(
    "settings", [{}, {"batch_size": 5}, {"tol": 1e-3, "max_iter": 200, "learning_rate": "adaptive"}], ids=str
)
def test_the_pieces_a_run_is_cut_into_change_nothing(monkeypatch, algorithm, kind, settings):
    whole = fit(kind, "csr", algorithm=algorithm, n_jobs=2, **settings)
    monkeypatch.setattr(worker_loop, "_FIRST_CHUNK_VALUES", 1)
    monkeypatch.setattr(worker_loop, "_CHUNK_SECONDS", 1e-9)
    pieces = fit(kind, "csr", algorithm=algorithm, n_jobs=2, **settings)
    assert bits(whole) == bits(pieces)
    assert whole.n_iter_ == pieces.n_iter_


@pytest.mark.parametrize("inner", [Serial(), Threads()], ids=lambda e: e.name)
@pytest.mark.parametrize("kind", ["several classes", "softmax", "numbers"])
def test_the_order_in_which_reports_arrive_changes_nothing(inner, kind):
    class Backwards(EngineDefaults):
        name, capabilities = "backwards", inner.capabilities

        def open(self, work, shards, pulse):
            crew = inner.open(work, shards, pulse)
            receive = crew.receive
            crew.receive = lambda at_least: sorted(receive(at_least), key=lambda report: -report.worker)
            return crew

    usual, backwards = (fit(kind, n_jobs=3, algorithm=LocalSGD(), engine=engine) for engine in (inner, Backwards()))
    assert bits(usual) == bits(backwards)
    assert [w["worker"] for w in backwards.history_[0]["workers"]] == [0, 1, 2]


def test_an_unshuffled_fit_does_not_depend_on_the_seed_of_the_shuffle_with_one_worker():
    assert bits(fit("numbers", shuffle=False, random_state=0, n_jobs=1)) == bits(
        fit("numbers", shuffle=False, random_state=1, n_jobs=1)
    )


def test_a_random_state_goes_on_from_fit_to_fit():
    stream = np.random.RandomState(0)
    first, second = (bits(fit("numbers", random_state=stream, n_jobs=2, algorithm="local")) for _ in range(2))
    assert first != second
    stream = np.random.RandomState(0)
    assert [bits(fit("numbers", random_state=stream, n_jobs=2, algorithm="local")) for _ in range(2)] == [first, second]
