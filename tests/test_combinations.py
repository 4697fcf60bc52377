"""Any model, any algorithm, any engine, any source: all of them run, and learn.  A new member must be entered here."""

import inspect
import sys
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import cloudpickle
import numpy as np
import pytest
from covers import cover

from parsgd import registry
from parsgd.algorithms.common.round_length import steps_of
from parsgd.core import CsrRows, Rows
from parsgd.data.contracts import BasePiece, Chunk
from parsgd.data.sources.array_source import ArraySource
from parsgd.data.sources.streaming_source import StreamingSource
from parsgd.errors import IncompatiblePartsError, MissingDependencyError
from parsgd.kernels.losses import CLASSIFIER, REGRESSOR, names
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.models.row_matrix import as_matrix
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import picked, rows_of

# other processes cannot import tests
cloudpickle.register_pickle_by_value(sys.modules[__name__])
N_ROWS, N_FEATURES = 120, 6


class OwnLoss:
    def loss(self, y, p):
        return 0.5 * (p - y) ** 2

    def gradient(self, y, p):
        return p - y


def linear(layout, dtype, n_classes=0, **settings):
    X = unit_rows(N_ROWS, N_FEATURES, layout=layout, dtype=dtype)
    if n_classes == 0:
        y = np.abs(targets(X)).astype(dtype)
    else:
        y = labels(X, n_classes)
        y = (2.0 * y - 1.0).astype(dtype) if n_classes == 2 else y.astype(np.int64)
    k = n_classes if n_classes > 2 else 1
    settings = {"alpha": 0.01, "schedule": "constant", "eta0": 0.1, **settings}
    ones = (1.0,) * k
    model = Linear(
        N_FEATURES, k, dtype=np.dtype(dtype).name, sparse=layout == "csr", positive=ones, negative=ones, **settings
    )
    return model, rows_of(X, y)


def network(layout, dtype, loss="softmax", **settings):
    X = unit_rows(N_ROWS, N_FEATURES, layout=layout, dtype=dtype)
    if loss == "softmax":
        y = labels(X, 3).astype(np.int64)
    else:
        y = np.stack([targets(X, seed=seed) for seed in (1, 2)], axis=1).astype(dtype)
        y = (y > 0.0).astype(dtype) if loss == "sigmoid" else y
    settings = {"batch_size": 10, "eta0": 0.05, "alpha": 0.01, **settings}
    n_outputs = 3 if loss == "softmax" else 2
    model = Network(
        (N_FEATURES, 8, n_outputs), dtype=np.dtype(dtype).name, sparse=layout == "csr", loss=loss, **settings
    )
    return model, rows_of(X, y)


MAKERS = {"linear": linear, "network": network}
# name of a model in the registry -> its kinds: what they are made with
MODELS = {
    "linear": {
        "two classes": {"n_classes": 2, "loss": "log_loss"},
        "several classes": {"n_classes": 3, "loss": "modified_huber"},
        "softmax": {"n_classes": 3, "loss": "softmax"},
        "numbers": {"loss": "squared_error"},
        "counts": {"loss": "poisson"},
        "own loss": {"loss": OwnLoss()},
        "l1, batches": {"n_classes": 3, "loss": "squared_hinge", "penalty": "l1", "batch_size": 4},
        "averaged, l1, batches": {
            "n_classes": 2,
            "loss": "hinge",
            "loss_parameter": 1.0,
            "average": 1,
            "penalty": "l1",
            "batch_size": 4,
        },
    },
    "network": {
        "softmax, adam": {"loss": "softmax", "solver": "adam"},
        "softmax, dropout": {"loss": "softmax", "solver": "adamw", "dropout": 0.2, "activation": "gelu"},
        "two numbers, momentum": {"loss": "squared_error", "solver": "momentum", "activation": "tanh"},
        "two labels, sgd": {"loss": "sigmoid", "solver": "sgd", "eta0": 0.5, "activation": "leaky_relu"},
    },
}


@dataclass(frozen=True)
class Part(BasePiece):
    """A piece of rows in memory."""

    rows: Rows
    first: int
    stop: int

    @property
    def name(self):
        return f"rows {self.first} to {self.stop - 1}"

    @property
    def n_rows(self):
        return self.stop - self.first

    def chunks(self):
        x, y, weight = picked(self.rows, np.arange(self.first, self.stop))
        yield Chunk(as_matrix(Rows(x, y, weight), N_FEATURES), y, weight if weight.size else None)


def as_they_are(y, weight):
    return y, np.zeros(0) if weight is None else weight


def blocks(rows):
    """Three pieces, read in windows that end where no piece does."""
    cuts = (0, 50, 70, N_ROWS)
    parts = tuple(Part(rows, first, stop) for first, stop in pairwise(cuts))
    sparse = isinstance(rows.x, CsrRows)
    return StreamingSource(parts, N_FEATURES, "float64", sparse, as_they_are, shuffle_buffer_rows=32)


# name of a source in the registry -> how it is made of rows
SOURCES = {"arrays": lambda rows: ArraySource(rows), "blocks": blocks}

KINDS = [(model, kind) for model, kinds in MODELS.items() for kind in kinds]
# Where rows are or who works on them has to do with how states and models travel, not with every loss.
FEW = {"two classes", "own loss", "averaged, l1, batches", "softmax, dropout"}
COMBINATIONS = [
    (source, engine, algorithm, model, kind, layout)
    for source in registry.SOURCES
    for engine in registry.ENGINES
    for algorithm in registry.ALGORITHMS
    for model, kind in KINDS
    for layout in ("dense", "csr")
    if kind in FEW or (source == "arrays" and engine in ("serial", "threads", "simulated"))
]


def test_the_matrix_knows_every_member_of_every_registry():
    assert set(MODELS) == set(MAKERS) == set(registry.MODELS)
    assert set(SOURCES) == set(registry.SOURCES)


def test_the_cover_holds_every_pair_of_the_matrix():
    pairs = [set(combinations(enumerate(row), 2)) for row in COMBINATIONS]
    chosen = cover(COMBINATIONS, 2)
    assert set().union(*pairs) == set().union(*(set(combinations(enumerate(row), 2)) for row in chosen))
    # at least the 17 algorithms by the 12 targets
    assert len(chosen) < 215 < len(COMBINATIONS) / 5


@pytest.mark.cover(2)
@pytest.mark.parametrize(("source", "engine", "algorithm", "model", "kind", "layout"), COMBINATIONS)
def test_every_combination_runs_and_learns_or_is_refused_at_once(
    kept_engine, source, engine, algorithm, model, kind, layout
):
    algorithm = registry.load(registry.ALGORITHMS[algorithm])()
    if ".optimal_time." in type(algorithm).__module__:
        # by default the gradient of a worker would be that of a whole epoch
        algorithm = replace(algorithm, batch_size=8)
    engine = kept_engine(engine)
    made, rows = MAKERS[model](layout, np.float64, **MODELS[model][kind])
    assert isinstance(made, registry.load(registry.MODELS[model]))
    settings = {"n_workers": 2, "max_epochs": 3, "seed": 1}
    if not algorithm.traits.requires <= engine.capabilities | made.capabilities:
        with pytest.raises(IncompatiblePartsError):
            fit(made, algorithm, engine, SOURCES[source](rows), **settings)
        return
    found = fit(made, algorithm, engine, SOURCES[source](rows), **settings)
    assert found.examples >= 3 * N_ROWS
    # where no worker waits, each may bring a round more than was missing; a round in steps may be the whole fit
    longest = N_ROWS / 2 * (3 if steps_of(getattr(algorithm, "sync_every", 0.0)) else 1)
    assert found.examples == 3 * N_ROWS or (algorithm.quorum(2) == 1 and found.examples < 3 * N_ROWS + 2 * longest)
    assert made.gradient(found.state, rows)[0] < made.gradient(made.init(0), rows)[0]


@pytest.mark.parametrize("loss", names())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_loss_learns_in_both_precisions(loss, dtype):
    n_classes = {"softmax": 3}.get(loss, 2 if loss in names(CLASSIFIER) and loss not in names(REGRESSOR) else 0)
    parameter = {"hinge": 1.0, "huber": 0.5, "quantile": 0.5}.get(loss, 0.0)
    made, rows = linear("dense", dtype, n_classes, loss=loss, loss_parameter=parameter)
    found = fit(
        made,
        registry.load(registry.ALGORITHMS["local"])(),
        registry.load(registry.ENGINES["serial"])(),
        ArraySource(rows),
        n_workers=2,
        max_epochs=5,
        seed=1,
    )
    assert found.state.dtype == dtype
    state, start = found.state, made.init(0)
    if loss == "perceptron":  # at 0 its loss is 0, and its gradient is not
        assert np.mean(np.sign(made.decision(state, matrix(rows))[:, 0]) == rows.y) > 0.8
    else:
        assert made.gradient(state, rows)[0] < made.gradient(start, rows)[0]


def matrix(rows: Rows):
    return np.asarray(rows.x.data).reshape(-1, N_FEATURES)


@pytest.mark.parametrize("axis", ["ALGORITHMS", "ENGINES", "MODELS", "SOURCES"])
def test_every_name_in_a_registry_is_a_class_that_says_what_it_is(axis):
    for name, path in getattr(registry, axis).items():
        try:
            member = registry.load(path)
        except MissingDependencyError:
            continue
        assert inspect.isclass(member)
        assert inspect.getdoc(member)
        assert getattr(member, "name", name) == name
