"""Dask dataframes of odd types are read, or refused in one sentence that names the fix."""

import numpy as np
import pandas as pd
import pytest

import parsgd
from parsgd.errors import DataFileError, InvalidArgumentError, ParsgdError

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")

N = 60


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=N), "b": rng.normal(size=N), "y": rng.integers(0, 2, N)})


def of_parts(*parts):
    return dd.from_delayed([dask.delayed(part) for part in parts], meta=parts[0].iloc[:0], verify_meta=False)


def fitted(data, **settings):
    dataset = parsgd.open_dataset(data, target="y", **settings)
    return parsgd.SGDClassifier(max_iter=2, tol=None, random_state=0).fit(dataset)


@pytest.mark.parametrize("blank", [None, np.nan, pd.NA], ids=str)
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_partition_without_a_value_of_a_column_has_the_type_of_the_others(blank, first, frame):
    numbers = parsgd.columns.Numeric(["a", "b"], missing=0.0)
    parts = [frame.iloc[:20], frame.iloc[20:40], frame.iloc[40:]]
    whole = list(parts)
    whole[first] = parts[first].assign(a=0.0)
    parts[first] = parts[first].assign(a=pd.Series([blank] * 20, index=parts[first].index, dtype=object))
    found, expected = (fitted(of_parts(*some), columns=[numbers]) for some in (parts, whole))
    assert np.array_equal(found.coef_, expected.coef_)


ODD = {
    "empty partitions": lambda f: of_parts(f.iloc[:0], f.iloc[:30], f.iloc[30:30], f.iloc[30:]),
    "unknown categories": lambda f: dd.from_pandas(f.assign(a=np.arange(N) % 3), 2).astype({"a": "category"}),
    "extension types": lambda f: dd.from_pandas(f.convert_dtypes(), npartitions=2),
    "Arrow's types": lambda f: dd.from_pandas(f.convert_dtypes(dtype_backend="pyarrow"), npartitions=2),
    "sparse columns": lambda f: of_parts(f.assign(a=pd.arrays.SparseArray(f["a"]))),
    "whole numbers, then others": lambda f: of_parts(f.iloc[:30].assign(a=1), f.iloc[30:]),
    "numbers as names": lambda f: dd.from_pandas(f.rename(columns={"a": 0, "b": 1}), npartitions=2),
    "an index with a column's name": lambda f: dd.from_pandas(f.set_index("a", drop=False), npartitions=2),
    "categories as target": lambda f: dd.from_pandas(f.assign(y=f["y"].map({0: "u", 1: "v"}).astype("category")), 2),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_types_are_read(name, frame):
    assert fitted(ODD[name](frame)).n_iter_ == 2


REFUSED = {
    "names twice": (lambda f: of_parts(f.set_axis(["a", "a", "y"], axis=1)), "more than one column 'a'"),
    "complex numbers": (lambda f: dd.from_pandas(f.assign(a=f["a"] * 1j), npartitions=2), "Convert the column"),
    "a column that is lacking": (lambda f: of_parts(f.iloc[:30], f.iloc[30:].drop(columns="b")), "same columns"),
    "another type": (
        lambda f: of_parts(f.iloc[:30], f.iloc[30:].assign(a="text")),
        "should hold numbers, and has 'text'",
    ),
    "no rows": (lambda f: dd.from_pandas(f.iloc[:0], npartitions=1), "has no rows"),
    "a series": (lambda f: dd.from_pandas(f, npartitions=2)["a"], "Got Series instead"),
    "times": (lambda f: dd.from_pandas(f.assign(a=pd.date_range("2020", periods=N)), 2), "Declare in columns="),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_sentence(name, frame):
    make, said = REFUSED[name]
    with pytest.raises(ParsgdError, match=said) as refused:
        fitted(make(frame))
    assert isinstance(refused.value, (DataFileError, InvalidArgumentError))


def test_an_array_of_things_that_are_no_numbers_is_refused():
    array = pytest.importorskip("dask.array").from_array(np.array([["a", "b"]] * 4), chunks=2)
    with pytest.raises(InvalidArgumentError, match="convert it"):
        parsgd.open_dataset(array, target=np.zeros(4))
