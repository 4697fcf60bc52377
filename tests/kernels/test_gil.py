"""Short calls keep the GIL, long ones release it for other Python threads."""

import sys
import threading
import time

import numpy as np
import pytest

from parsgd import SGDClassifier, SGDRegressor
from parsgd.kernels.lowlevel.gil_threshold import set_has_other_workers
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing.problems import labels, unit_rows
from parsgd.utils.row_arrays import rows_of

pytestmark = pytest.mark.alone


@pytest.fixture
def loops():
    """Count the loops of another Python thread, which runs only while the GIL is released."""
    count, done = [0], threading.Event()

    def compute():
        while not done.is_set():
            count[0] += 1
            time.sleep(0)

    before = sys.getswitchinterval()
    thread = threading.Thread(target=compute)
    thread.start()
    sys.setswitchinterval(60.0)
    time.sleep(0.05)  # a waiting thread requests the GIL once more after the old interval
    yield lambda: count[0]
    sys.setswitchinterval(before)
    done.set()
    thread.join()


MODELS = {
    "one output": Linear(10),
    "softmax": Linear(10, n_outputs=3, loss="softmax", positive=(1.0,) * 3, negative=(1.0,) * 3),
    "adagrad": Linear(10, schedule="adagrad"),
    "network": Network((10, 4, 3), batch_size=5),
}


def run(model, n_rows):
    """Return a call of the model's kernel that visits ``n_rows`` rows."""
    X = unit_rows(50, 10)
    is_softmax = model.loss == "softmax"
    rows = rows_of(X, labels(X, 3) if is_softmax else 2.0 * labels(X) - 1.0)
    sgd_run = model.sgd_run(model.init(0), 1.0, np.ones(model.n_outputs), 0)
    order = np.resize(np.arange(50, dtype=np.int32), n_rows)
    sgd_run.run(rows, order, 0, 0)  # compile
    return lambda: sgd_run.run(rows, order, 0, n_rows)


@pytest.mark.parametrize("kind", MODELS)
def test_short_calls_keep_the_gil_and_long_ones_release_it(kind, loops):
    set_has_other_workers(False)
    call = run(MODELS[kind], 50)
    before = loops()
    for _ in range(20):
        call()
    assert loops() == before
    call = run(MODELS[kind], 500_000)
    before = loops()
    call()
    assert loops() > before


def test_with_other_workers_even_short_calls_release_the_gil(loops):
    set_has_other_workers(True)
    try:
        call = run(MODELS["one output"], 50)
        before = loops()
        for _ in range(1000):
            call()
        assert loops() > before
    finally:
        set_has_other_workers(False)


@pytest.mark.parametrize("kind", [SGDClassifier, SGDRegressor])
@pytest.mark.parametrize("call", ["partial_fit", "predict"])
def test_small_calls_of_estimators_keep_the_gil(kind, call, loops):
    X = unit_rows(10, 20)
    model = kind(random_state=0).fit(X, labels(X))
    arguments = (X,) if call == "predict" else (X, labels(X))
    getattr(model, call)(*arguments)  # compile
    before = loops()
    for _ in range(50):
        getattr(model, call)(*arguments)
    assert loops() == before
