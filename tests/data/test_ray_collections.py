"""Datasets of Ray Data and references to blocks, on a local cluster of two actors."""

import os
import sys

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import parsgd
from parsgd import LocalSGD, SGDClassifier
from parsgd.engines.dask.dask_engine import Dask
from parsgd.errors import DataFileError, IncompatiblePartsError, InvalidArgumentError
from parsgd.testing.problems import labels, unit_rows

ray = pytest.importorskip("ray", reason="needs parsgd[ray]")
pytest.importorskip("ray.data")

from parsgd.engines.ray.ray_engine import Ray  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])
# Ray Data warns of settings of its own
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

X = unit_rows(200, 5, dtype=np.float32)
Y = labels(X)


@pytest.fixture(scope="module", autouse=True)
def engine():
    with Ray(n_processes=2) as engine:
        yield engine


def forty_rows(i, form=np.asarray):
    some = slice(i * 40, i * 40 + 40)
    return form(X[some]), Y[some]


def frame():
    table = pd.DataFrame(X, columns=list("abcde")).assign(y=np.array(["no", "yes"])[Y])
    return parsgd.open_dataset(ray.data.from_pandas([table[i : i + 40] for i in range(0, 200, 40)]), target="y")


def mapped():
    """A lazy data set, which Ray computes."""
    table = pd.DataFrame(X / 2, columns=list("abcde")).assign(y=np.array(["no", "yes"])[Y])
    data = ray.data.from_pandas([table[i : i + 40] for i in range(0, 200, 40)])
    data = data.map_batches(lambda part: part.assign(**{c: part[c] * 2 for c in "abcde"}), batch_format="pandas")
    return parsgd.open_dataset(data, target="y")


def blocks():
    return parsgd.open_dataset([ray.put(forty_rows(i)) for i in range(5)])


def csr_blocks():
    return parsgd.open_dataset([ray.put(forty_rows(i, sparse.csr_matrix)) for i in range(5)])


def fitted(data, engine, n_jobs=2):
    settings = {"n_jobs": n_jobs, "max_iter": 3, "tol": None, "random_state": 0}
    return SGDClassifier("log_loss", algorithm=LocalSGD(0.5), engine=engine, **settings).fit(data)


@pytest.mark.parametrize("opened", [frame, mapped, blocks, csr_blocks])
def test_they_have_all_rows_and_give_the_bits_of_serial_fits(engine, opened):
    data = opened()
    assert data.shape == X.shape
    assert len(data.pieces) > 1
    rows = [chunk.x.toarray() if data.sparse else chunk.x for chunk in data.blocks()]
    if opened is not mapped:  # Ray does not keep the order of computed blocks
        assert np.array_equal(np.concatenate(rows), X)
    ours, theirs = fitted(data, engine), fitted(data, "serial")
    assert np.array_equal(ours.coef_, theirs.coef_)
    assert ours.score(data) > 0.8


def test_large_blocks_are_read_where_they_are(engine):
    rng = np.random.default_rng(0)
    parts = [(rng.random((5000, 20), dtype=np.float32), rng.integers(0, 2, 5000)) for _ in range(4)]
    data = parsgd.open_dataset([ray.put(part) for part in parts])
    node = ray.get_runtime_context().get_node_id()
    assert [piece.home for piece in data.pieces] == [node] * 4
    assert np.array_equal(fitted(data, engine).coef_, fitted(data, "serial").coef_)


def test_paths_are_read_by_the_actors(engine, tmp_path):
    pd.DataFrame(X, columns=list("abcde")).assign(y=Y).to_parquet(tmp_path / "rows.parquet", row_group_size=50)
    data = parsgd.open_dataset(tmp_path / "rows.parquet", target="y")
    assert np.array_equal(fitted(data, engine).coef_, fitted(data, "serial").coef_)


def test_rows_that_cannot_be_read_are_named_with_the_shard_and_the_actor(engine):
    driver = os.getpid()

    def parts():
        yield X[:100], Y[:100]
        if os.getpid() != driver:
            raise OSError("the disk is gone")
        yield X[100:], Y[100:]

    with pytest.raises(DataFileError, match=r"rows 101 to 200.*the disk is gone") as caught:
        fitted(parsgd.open_dataset(parts), engine)
    notes = "\n".join(caught.value.__notes__)
    assert "Shard" in notes
    assert "the Ray worker with pid" in notes


def test_data_of_one_cluster_are_refused_on_the_other(engine):
    with pytest.raises(IncompatiblePartsError, match="in the memory of a cluster of ray"):
        fitted(blocks(), Dask())


@pytest.mark.parametrize(
    ("make", "settings", "error", "said"),
    [
        (lambda: [ray.put(forty_rows(0))], {"target": "y"}, InvalidArgumentError, "target"),
        (lambda: ray.data.range(5), {"filters": []}, InvalidArgumentError, "filters"),
        (lambda: ray.data, {}, InvalidArgumentError, "module"),
        (
            lambda: [ray.put((np.ones((2, width)), np.ones(2))) for width in (2, 3)],
            {},
            DataFileError,
            r"block 1: has 3 dense features with targets, and the first has 2 dense",
        ),
    ],
)
def test_data_that_cannot_be_used_are_named(make, settings, error, said):
    with pytest.raises(error, match=said):
        parsgd.open_dataset(make(), **settings)
