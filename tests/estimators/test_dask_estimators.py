"""``parsgd.dask``: collections in, lazy collections out."""

import sys

import cloudpickle
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import parsgd
import parsgd.dask
from parsgd import LocalSGD
from parsgd.engines.dask.dask_engine import Dask
from parsgd.testing.problems import labels, targets, unit_rows

cloudpickle.register_pickle_by_value(sys.modules[__name__])

X = unit_rows(120, 4)
Y = np.array(["no", "yes"])[labels(X)]
ARRAY = da.from_array(X, chunks=(40, 2))
QUICK = {"algorithm": LocalSGD(0.5), "max_iter": 3, "tol": None, "random_state": 0}


@pytest.fixture(scope="module")
def client():
    with Dask(n_processes=2) as engine:
        yield engine._kept[-1].client


def test_arrays_are_fitted_where_they_are_and_predicted_when_asked(client):
    model = parsgd.dask.DaskSGDClassifier(**QUICK)
    model.client = client
    model.fit(ARRAY, da.from_array(Y, chunks=30), sample_weight=da.ones(120, chunks=40))
    assert model.client is client
    assert clone(model).client is client
    lazy = model.predict(ARRAY)
    assert isinstance(lazy, da.Array)
    assert np.array_equal(lazy.compute(scheduler="synchronous"), model.predict(X))
    assert np.mean(model.predict(X) == Y) > 0.8


def test_the_active_client_is_taken(client):
    with client.as_current():
        model = parsgd.dask.DaskSGDRegressor(**QUICK).fit(ARRAY, da.from_array(targets(X), chunks=40))
        assert model.client is client
    assert model.engine == "auto"
    assert model.predict(ARRAY).shape == (120,)


@pytest.mark.slow
def test_dataframes_keep_their_index(client):
    frame = pd.DataFrame(X, columns=list("abcd"), index=range(1000, 1120))
    model = parsgd.dask.DaskSGDClassifier(**QUICK)
    model.client = client
    model.fit(dd.from_pandas(frame, npartitions=3), dd.from_pandas(pd.Series(Y, index=frame.index), npartitions=3))
    found = model.predict(dd.from_pandas(frame, npartitions=3)).compute(scheduler="synchronous")
    assert found.index.equals(frame.index)
    assert np.mean(found == Y) > 0.8


def test_what_is_no_collection_is_fitted_as_ever(client):
    with client.as_current():
        ours = parsgd.dask.DaskSGDClassifier(n_jobs=2, **QUICK).fit(X, Y)
    theirs = parsgd.SGDClassifier(n_jobs=2, **QUICK).fit(X, Y)
    assert np.array_equal(ours.coef_, theirs.coef_)
