"""Promise: a synchronous algorithm gives the same bits wherever its workers are, and wherever the rows come from."""

import importlib.util

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parsgd import LocalSGD, MiniBatch, MLPClassifier, SGDClassifier, SimuParallel, WeightedAverage, open_dataset
from parsgd.testing.problems import labels, unit_rows

X = unit_rows(600, 6, dtype=np.float32)
Y = labels(X, 3)
MODELS = {
    "linear": lambda **s: SGDClassifier("log_loss", max_iter=2, tol=None, random_state=3, **s),
    "network": lambda **s: MLPClassifier(
        (8,), learning_rate_init=0.03, max_iter=4, batch_size=16, random_state=3, n_iter_no_change=9, **s
    ),
}
ALGORITHMS = {
    "simuparallel": SimuParallel(),
    "weighted": WeightedAverage(rule="steps"),
    "local": LocalSGD(sync_every=0.25),
    "minibatch": MiniBatch(60),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two files of unequal row groups, one of which has one class only."""
    folder = tmp_path_factory.mktemp("parquet")
    order = np.argsort(Y, kind="stable")
    table = pa.table({**{f"x{j}": X[order, j] for j in range(X.shape[1])}, "y": Y[order]})
    pq.write_table(table.slice(0, 250), folder / "a.parquet", row_group_size=70)
    pq.write_table(table.slice(250), folder / "b.parquet", row_group_size=110)
    return folder


def parameters(model):
    return model.coefs_ + model.intercepts_ if hasattr(model, "coefs_") else [model.coef_, model.intercept_]


@pytest.mark.cover(2)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:Maximum number of iteration")
@pytest.mark.parametrize("source", ["arrays", "parquet"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("model", MODELS)
def test_all_engines_give_the_same_bits_from_arrays_and_from_parquet(model, algorithm, source, folder, kept_engine):
    data = (X, Y) if source == "arrays" else (open_dataset(folder, target="y", shuffle_buffer_rows=64),)
    found = {}
    for name in ("serial", "threads", "processes", "dask", *["ray"] * (importlib.util.find_spec("ray") is not None)):
        made = MODELS[model](n_jobs=2, algorithm=ALGORITHMS[algorithm], engine=kept_engine(name))
        found[name] = made.fit(*data)
    for name, fitted in found.items():
        assert fitted.algorithm_.n_workers == 2
        for one, other in zip(parameters(found["serial"]), parameters(fitted), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
    assert found["serial"].score(X, Y) > 0.5
