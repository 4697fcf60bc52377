"""Dask arrays, dataframes and lists of blocks, with a cluster of two processes and without one."""

import sys

import cloudpickle
import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import wait
from scipy import sparse

import parsgd
from parsgd import LocalSGD, SGDClassifier
from parsgd.engines.dask.dask_engine import Dask
from parsgd.errors import DataFileError, InvalidArgumentError
from parsgd.testing.contracts import check_source
from parsgd.testing.problems import labels, unit_rows

cloudpickle.register_pickle_by_value(sys.modules[__name__])

X = unit_rows(200, 5, dtype=np.float32)
Y = labels(X)


@pytest.fixture(scope="module")
def engine():
    with Dask(n_processes=2) as engine:
        yield engine


@pytest.fixture(params=["a cluster", "no cluster"])
def client(request, engine):
    """The active client, or None."""
    if request.param == "no cluster":
        yield None
        return
    client = engine._kept[-1].client
    with client.as_current():
        yield client


def forty_rows(i, form=np.asarray):
    some = slice(i * 40, i * 40 + 40)
    return form(X[some]), Y[some]


def zeros(y, weight):
    return np.zeros(len(y), dtype=np.float32), np.zeros(0, dtype=np.float32)


def array():
    return parsgd.open_dataset(da.from_array(X, chunks=(30, 3)), target=da.from_array(Y, chunks=70))


def frame():
    table = pd.DataFrame(X, columns=list("abcde")).assign(y=np.array(["no", "yes"])[Y])
    return parsgd.open_dataset(dd.from_pandas(table, npartitions=5), target="y")


def blocks():
    return parsgd.open_dataset([dask.delayed(forty_rows)(i) for i in range(5)])


def csr_blocks():
    return parsgd.open_dataset([dask.delayed(forty_rows)(i, sparse.csr_matrix) for i in range(5)])


def fitted(data, engine, n_jobs=2):
    model = SGDClassifier(
        "log_loss", algorithm=LocalSGD(0.5), engine=engine, n_jobs=n_jobs, max_iter=3, tol=None, random_state=0
    )
    return model.fit(data)


@pytest.mark.parametrize("opened", [array, frame, blocks, csr_blocks])
def test_collections_keep_the_contract_of_sources_and_have_all_rows(client, opened):
    data = opened()
    assert data.shape == X.shape
    assert len(data.pieces) > 1
    rows = [chunk.x.toarray() if data.sparse else chunk.x for chunk in data.blocks()]
    assert np.array_equal(np.concatenate(rows), X)
    if client is None:
        check_source(data.source(zeros))
    else:
        assert all(piece.home in client.scheduler_info()["workers"] for piece in data.pieces)


@pytest.mark.parametrize(
    "opened", [array, frame, *(pytest.param(opened, marks=pytest.mark.slow) for opened in (blocks, csr_blocks))]
)
def test_fits_on_the_cluster_that_has_them_have_the_bits_of_serial_ones(client, engine, opened):
    data = opened()
    ours, theirs = fitted(data, engine), fitted(data, "serial")
    assert np.array_equal(ours.coef_, theirs.coef_)
    assert ours.score(data) > 0.8


def test_futures_of_blocks(engine):
    client = engine._kept[-1].client
    halves = [client.submit(lambda a, b: (a, b), X[part], Y[part]) for part in (slice(0, 90), slice(90, 200))]
    data = parsgd.open_dataset(halves)
    assert data.n_rows == 200
    assert np.array_equal(fitted(data, engine).coef_, fitted(data, "serial").coef_)


@pytest.mark.parametrize("n_jobs", [2, 4])
def test_partitions_that_lie_on_workers_are_used_where_they_lie(engine, n_jobs):
    client = engine._kept[-1].client
    there = sorted(client.scheduler_info()["workers"])
    # not in turn, and more of them than workers
    parts = [client.submit(forty_rows, i % 5, pure=False, workers=there[i % 8 > 3]) for i in range(16)]
    with client.as_current():
        wait(parts)
    before = client.who_has(parts)
    data = parsgd.open_dataset(parts)
    ours = fitted(data, engine, n_jobs)
    assert client.who_has(parts) == before
    assert all(len(holders) == 1 for holders in before.values())
    assert np.array_equal(ours.coef_, fitted(data, "serial", n_jobs).coef_)


@pytest.mark.parametrize(
    ("open_it", "error", "said"),
    [
        (lambda: parsgd.open_dataset(da.ones(5)), InvalidArgumentError, r"shape \(n_rows, n_features\)"),
        (
            lambda: parsgd.open_dataset(da.ones((5, 2)), target=np.ones(4)),
            InvalidArgumentError,
            "target must have 5 values",
        ),
        (lambda: parsgd.open_dataset(da.ones((5, 2)), filters=[]), InvalidArgumentError, "filters"),
        (lambda: parsgd.open_dataset(dask.delayed(1)), InvalidArgumentError, "arrays, dataframes, and lists.*Delayed"),
        (
            lambda: parsgd.open_dataset([dask.delayed((np.ones((2, width)), np.ones(2))) for width in (2, 3)]),
            DataFileError,
            r"partition 1: has 3 dense features with targets, and the first has 2 dense",
        ),
    ],
)
def test_what_cannot_be_used_is_named(open_it, error, said):
    with pytest.raises(error, match=said):
        open_it()
