"""Networks, too: the same bits on every engine, in whatever pieces; one worker is serial SGD."""

import numpy as np
import pytest

from parsgd import DelayedSGD, ElasticAveraging, LocalSGD, MiniBatch, SimuParallel, WeightedAverage
from parsgd.algorithms.common import worker_loop
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.simulated import Simulated
from parsgd.engines.threads import Threads
from parsgd.models.network.network_model import Network
from parsgd.testing.problems import labels, unit_rows
from parsgd.training.loop import fit
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

ALGORITHMS = [
    SimuParallel(),
    SimuParallel(partition="replicated"),
    WeightedAverage(),
    WeightedAverage(rule="measured"),
    LocalSGD(),
    LocalSGD(sync_every=0.3, rule="wp"),
    MiniBatch(),
    MiniBatch(25),
    DelayedSGD(compensation=0.1),
    ElasticAveraging(),
]
KINDS = {
    "adam": {"solver": "adam", "dropout": 0.3},
    "sparse sgd": {"solver": "sgd", "layout": "csr", "alpha": 2.0, "eta0": 0.3},
    "single precision": {"solver": "sgd", "dtype": np.float32, "weighted": True},
    "nesterov": {"solver": "nesterov", "clip_norm": 0.1, "activation": "gelu"},
    # products large enough that a BLAS with several threads would use them
    "wide": {"solver": "momentum", "hidden": (300, 200), "batch_size": 100, "epochs": 2},
}


def train(kind, algorithm, n_workers, engine=None, stopping=None, seed=5, **changes):
    settings = {"batch_size": 8, "alpha": 0.01, "eta0": 0.05, **KINDS[kind], **changes}
    layout, dtype = settings.pop("layout", "dense"), settings.pop("dtype", np.float64)
    hidden, epochs = settings.pop("hidden", (9, 5)), settings.pop("epochs", 3)
    X = unit_rows(301, 7, layout=layout, dtype=dtype)
    weight = np.linspace(0.5, 2.0, 301, dtype=dtype) if settings.pop("weighted", False) else None
    model = Network((7, *hidden, 3), dtype=np.dtype(dtype).name, sparse=layout == "csr", **settings)
    source = ArraySource(rows_of(X, labels(X, 3).astype(np.int64), weight))
    return fit(
        model,
        algorithm,
        engine or Serial(),
        source,
        n_workers=n_workers,
        seed=seed,
        max_epochs=epochs,
        stopping=stopping,
    )


@pytest.mark.cover(1)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_repeats_the_bits_of_the_serial_engine(kind, algorithm):
    for n_workers in (1, 2, 3):
        serial, *others = (train(kind, algorithm, n_workers, engine) for engine in (Serial(), Threads(), Simulated()))
        for other in others:
            assert serial.state.tobytes() == other.state.tobytes()
            assert [entry["loss"] for entry in serial.history] == [entry["loss"] for entry in other.history]


@pytest.mark.cover(1)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize("kind", ["adam", "sparse sgd", "single precision"])
def test_what_a_fit_finds_does_not_depend_on_the_pieces_it_is_cut_into(kind, algorithm, monkeypatch):
    rule = StoppingRule(tol=0.1, patience=1, adaptive_from=0.05)
    whole = train(kind, algorithm, 2, stopping=rule, epochs=30)
    monkeypatch.setattr(worker_loop, "_FIRST_CHUNK_VALUES", 1)
    monkeypatch.setattr(worker_loop, "_CHUNK_SECONDS", 1e-9)
    pieces = train(kind, algorithm, 2, stopping=rule, epochs=30)
    assert whole.state.tobytes() == pieces.state.tobytes()
    assert (whole.n_epochs, whole.schedule_step) == (pieces.n_epochs, pieces.schedule_step)
    assert whole.lr_scale[0] < 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_one_worker_is_serial_sgd_whatever_the_algorithm(kind):
    alone = train(kind, SimuParallel(), 1)
    np.testing.assert_array_equal(train(kind, WeightedAverage(), 1).state, alone.state)
    # rounds and messages round otherwise: sums of squares, products in other shapes
    for algorithm in (LocalSGD(), LocalSGD(sync_every=0.3), MiniBatch()):
        tolerance = 1e-4 if kind == "single precision" else 1e-9
        np.testing.assert_allclose(train(kind, algorithm, 1).state, alone.state, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(algorithm):
    one, again, other = (train("adam", algorithm, 2, seed=seed) for seed in (0, 0, 1))
    assert one.state.tobytes() == again.state.tobytes() != other.state.tobytes()
