"""``open_dataset``: every format brings the same rows, and what is wrong with data is said with file and row."""

import bz2
import gzip
import lzma
import os
import pickle

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file

from parsgd import open_dataset
from parsgd.data.columns.column_kinds import HashedCategories, Numeric, OneHot
from parsgd.data.formats import line_spans
from parsgd.errors import DataFileError, InvalidArgumentError, MissingDependencyError
from parsgd.estimators.target_encoders import ValueEncoder
from parsgd.testing.contracts import check_source

PACKERS = {"": lambda data: data, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=500).round(4), "n": rng.integers(0, 9, 500)})
    frame["city"] = rng.choice(["Bath", "Köln", 'Ly,"on"'], 500)
    frame["y"] = rng.choice(["no", "yes"], 500)
    frame["w"] = rng.uniform(0, 2, 500).round(3)
    return frame


@pytest.fixture
def short_spans(monkeypatch):
    monkeypatch.setattr(line_spans, "SPAN_BYTES", 2000)


HOW = {"target": "y", "weight": "w", "columns": [Numeric(), OneHot("city")]}


def rows(dataset):
    """All of it as arrays."""
    x, y, weight = zip(*dataset.blocks(), strict=True)
    x = sparse.vstack(x).toarray() if dataset.sparse else np.concatenate(x)
    return x, *(None if part[0] is None else np.concatenate(part) for part in (y, weight))


def expected(frame):
    dummies = pd.get_dummies(frame["city"]).to_numpy(dtype=np.float32)
    return np.column_stack([frame[["a", "n"]].to_numpy(dtype=np.float32), dummies])


# -- formats -----------------------------------------------------------------------------------------------------------


def check(dataset, frame):
    x, y, weight = rows(dataset)
    assert np.array_equal(x, expected(frame))
    assert y.tolist() == frame["y"].tolist()
    assert np.allclose(weight, frame["w"])
    assert dataset.shape == (500, 5)
    assert len(dataset) == 500
    assert dataset.classes.tolist() == ["no", "yes"]
    assert pickle.loads(pickle.dumps(dataset.pieces[0])).n_rows == dataset.pieces[0].n_rows


@pytest.mark.parametrize("packing", PACKERS)
def test_csv(frame, tmp_path, short_spans, packing):
    path = tmp_path / f"data.csv{packing}"
    path.write_bytes(PACKERS[packing](frame.to_csv(index=False).encode()))
    dataset = open_dataset(path, **HOW)
    check(dataset, frame)
    assert (len(dataset.pieces) > 1) == (packing == "")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n"])
def test_csv_of_other_forms(frame, tmp_path, short_spans, separator, newline):
    (tmp_path / "data.csv").write_text(frame.to_csv(index=False, sep=separator, lineterminator=newline), newline="")
    check(open_dataset(tmp_path / "data.csv", **HOW), frame)


def test_folders_of_csv_with_columns_in_another_order(frame, tmp_path):
    frame[:200].to_csv(tmp_path / "1.csv", index=False)
    frame[200:].iloc[:, ::-1].to_csv(tmp_path / "2.csv.gz", index=False)
    (tmp_path / "_SUCCESS").touch()
    check(open_dataset(tmp_path, **HOW), frame)
    check(open_dataset([tmp_path / "1.csv", str(tmp_path / "2.csv.gz")], **HOW), frame)


def test_addresses_of_fsspec(frame):
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://parsgd-test/data.csv", "w") as file:
        file.write(frame.to_csv(index=False))
    check(open_dataset("memory://parsgd-test/data.csv", **HOW), frame)
    check(open_dataset("memory://parsgd-test", **HOW), frame)


@pytest.mark.parametrize("how", ["file", "folder", "partitioned"])
def test_parquet(frame, tmp_path, how):
    if how == "partitioned":
        frame = frame.sort_values("city", kind="stable")
        frame.to_parquet(tmp_path / "data", partition_cols=["city"], index=False)
    else:
        frame.to_parquet(tmp_path / "data.parquet", row_group_size=90)
    path = {"file": tmp_path / "data.parquet", "folder": tmp_path, "partitioned": tmp_path / "data"}[how]
    check(open_dataset(path, **HOW), frame)


@pytest.mark.parametrize(
    "table", [lambda f: f, pa.Table.from_pandas, polars.from_pandas], ids=["pandas", "arrow", "polars"]
)
def test_tables_in_memory(frame, table):
    check(open_dataset(table(frame), **HOW), frame)


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("zero_based", [True, False])
def test_svmlight(tmp_path, short_spans, packing, zero_based):
    x = sparse.random(300, 40, 0.1, format="csr", random_state=0, dtype=np.float32)
    y = np.arange(300) % 3
    dump_svmlight_file(x, y, str(tmp_path / "plain"), zero_based=zero_based)
    path = tmp_path / f"data.svm{packing}"
    path.write_bytes(PACKERS[packing](b"# a comment\n" + (tmp_path / "plain").read_bytes()))
    dataset = open_dataset(path, zero_based=zero_based)
    ours, labels, _ = rows(dataset)
    assert np.allclose(ours, x.toarray())
    assert np.array_equal(labels, y)
    assert dataset.classes.tolist() == [0, 1, 2]
    assert dataset.classes.dtype == np.int64
    assert (len(dataset.pieces) > 1) == (packing == "")


def test_svmlight_of_a_given_width(tmp_path):
    (tmp_path / "data.svm").write_text("1 1:2 3:4\n0 2:1\n")
    assert open_dataset(tmp_path / "data.svm").shape == (2, 3)
    assert open_dataset(tmp_path / "data.svm", zero_based=True).shape == (2, 4)
    assert open_dataset(tmp_path / "data.svm", n_features=10).shape == (2, 10)
    with pytest.raises(DataFileError, match="n_features=2 was given, and the files have 3"):
        open_dataset(tmp_path / "data.svm", n_features=2)


def test_mapped_arrays_travel_by_name(tmp_path):
    x = np.arange(400_000, dtype=np.float32).reshape(-1, 2)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(200_000) % 2)
    for data in (tmp_path / "x.npy", np.load(tmp_path / "x.npy", mmap_mode="r")):
        dataset = open_dataset(data, target=tmp_path / "y.npy")
        assert np.array_equal(rows(dataset)[0], x)
        assert len(pickle.dumps(dataset.pieces)) < 2000
        assert dataset.classes.tolist() == [0, 1]
    part = open_dataset(np.load(tmp_path / "x.npy", mmap_mode="r")[1000:3000])
    assert np.array_equal(rows(part)[0], x[1000:3000])


def test_arrays_in_memory_travel_in_parts():
    x = np.ones((200_000, 2), dtype=np.float32)
    first = open_dataset(x, target=np.zeros(200_000)).pieces[1]
    again = pickle.loads(pickle.dumps(first))
    assert len(pickle.dumps(first)) < 1.2 * 65_536 * (2 * 4 + 8)
    assert sum(len(chunk.y) for chunk in again.chunks()) == 65_536


FORMS = {
    "a list": lambda make: list(make()),
    "a function": lambda make: make,
    "a generator": lambda make: make(),
    "an object": lambda make: type("Blocks", (), {"__iter__": lambda self: make()})(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("matrix", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_blocks(form, matrix):
    x, y, w = np.arange(60.0).reshape(20, 3), np.array(["a", "b"] * 10), np.ones(20)

    def make():
        return ((matrix(x[i : i + 6]), y[i : i + 6], w[i : i + 6]) for i in range(0, 20, 6))

    dataset = open_dataset(FORMS[form](make))
    for _ in range(2):
        ours = rows(dataset)
        assert all(np.array_equal(a, b) for a, b in zip(ours, (x.astype(np.float32), y, w), strict=True))


def test_a_generators_folder_goes_with_the_dataset():
    dataset = open_dataset((np.ones((2, 2)), np.zeros(2)) for _ in range(3))
    folder = dataset.keeps.path
    assert folder.is_dir()
    del dataset
    assert not folder.exists()


def test_a_generator_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def failing():
        yield np.ones((2, 2)), np.zeros(2)
        raise OSError("the wire is cut")

    with pytest.raises(OSError, match="the wire is cut"):
        open_dataset(failing())
    assert not list(tmp_path.iterdir())


# -- what a Dataset can do ---------------------------------------------------------------------------------------------


def test_blocks_of_so_many_rows(frame):
    dataset = open_dataset(frame, **HOW)
    sizes = [chunk.x.shape[0] for chunk in dataset.blocks(64)]
    assert sizes == [64] * 7 + [52]
    assert np.array_equal(np.concatenate([chunk.x for chunk in dataset.blocks(64)]), expected(frame))


def test_rows_taken_at_random_are_rows(frame):
    dataset = open_dataset(frame, **HOW)
    x, y, _ = dataset.take(50, seed=1)
    known = {(*row.tolist(), label) for row, label in zip(expected(frame), frame["y"], strict=True)}
    assert {(*row.tolist(), label) for row, label in zip(x, y, strict=True)} <= known
    assert len(y) == 50
    assert len(dataset.take(10_000).y) == 500


def test_it_says_what_it_is(frame):
    said = repr(open_dataset(frame, **HOW))
    assert "500 rows of 5 features in 1 piece, dense float32, with targets and weights" in said


# -- refusals ----------------------------------------------------------------------------------------------------------


def refused(match, *args, error=DataFileError, **how):
    with pytest.raises(error, match=match):
        for _ in open_dataset(*args, **how).blocks():
            pass


def test_names_that_are_not_there(frame, tmp_path):
    refused("has no column 'yes'", frame, target="yes")
    refused("Did you mean 'city'", frame, columns=[OneHot("cit")])
    make(tmp_path / "data.csv")
    refused("there is no such file or folder. Did you mean 'data.csv'", tmp_path / "dat.csv")
    refused("does not end in a format", make(tmp_path / "data.txt"))
    (tmp_path / "empty").mkdir()
    refused("the folder has no file", tmp_path / "empty")
    refused("files of several formats", [make(tmp_path / "b.csv"), make(tmp_path / "c.svm")])


def make(path, text="a,y\n1,2\n"):
    path.write_text(text)
    return path


def test_an_empty_file_and_one_without_rows(tmp_path):
    refused("the file is empty", make(tmp_path / "empty.csv", ""))
    refused("has no rows", make(tmp_path / "header.csv", "a,b\n"), columns=[Numeric(["a", "b"], missing=0)])


def test_a_missing_value_is_named_by_file_and_row(frame, tmp_path, short_spans):
    frame.loc[321, "a"] = np.nan
    frame.to_csv(tmp_path / "data.csv", index=False)
    refused(r"data.csv, row 322: column 'a' is missing", tmp_path / "data.csv", **HOW)
    frame.to_parquet(tmp_path / "data.parquet", row_group_size=300)
    refused(r"row group 1 \(row 22\): column 'a' is missing", tmp_path / "data.parquet", **HOW)
    filled = open_dataset(tmp_path / "data.csv", target="y", columns=[Numeric(["a"], missing=-1)])
    assert rows(filled)[0][321, 0] == -1


def test_a_missing_target_or_weight_is_named_by_row(frame):
    others = frame.index != 5
    refused("row 6: column 'y' is the target, and is missing", frame.assign(y=frame["y"].where(others)), **HOW)
    refused("row 6: column 'w' is the weight, and is -1", frame.assign(w=frame["w"].where(others, -1)), **HOW)


def test_another_type_in_the_last_file(frame, tmp_path):
    frame.to_csv(tmp_path / "1.csv", index=False)
    frame.assign(a="high").to_csv(tmp_path / "2.csv", index=False)
    refused("2.csv: column 'a' holds string, and double in .*1.csv", tmp_path, **HOW)
    assert open_dataset(tmp_path, target="y", columns=[OneHot("a"), "n"]).n_rows == 1000


def test_a_column_that_is_absent_in_the_last_file(frame, tmp_path):
    frame.to_csv(tmp_path / "1.csv", index=False)
    frame.drop(columns="n").to_csv(tmp_path / "2.csv", index=False)
    refused("2.csv: lacks the column 'n' that .*1.csv has", tmp_path, **HOW)


def test_a_file_that_is_not_complete(frame, tmp_path):
    packed = gzip.compress(frame.to_csv(index=False).encode())
    (tmp_path / "data.csv.gz").write_bytes(packed[: len(packed) // 2])
    refused("data.csv.gz: cannot be unpacked.*Is the file complete", tmp_path / "data.csv.gz", **HOW)


@pytest.mark.parametrize("kind", ["csv", "svm", "npy"])
def test_a_file_that_changes_or_vanishes(kind, tmp_path):
    path = tmp_path / f"data.{kind}"
    if kind == "npy":
        np.save(path, np.ones((5, 2)))
    else:
        path.write_text("a,b\n1,2\n3,4\n" if kind == "csv" else "1 1:2\n0 2:1\n")
    dataset = open_dataset(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataFileError, match="has changed since"):
        list(dataset.blocks())
    path.unlink()
    with pytest.raises(DataFileError, match="can no longer be read"):
        list(dataset.blocks())


def test_columns_that_can_be_read_in_several_ways(frame):
    frame["since"] = pd.Timestamp("2020-01-02")
    refused(r"column 'since' holds timestamp.*Numeric\(\['since'\]\)", frame, target="y")
    dated = open_dataset(frame, columns=[Numeric(["since"])])
    assert rows(dated)[0][0, 0] == 18263
    refused("'empty' holds null", frame.assign(empty=None).drop(columns="since"))


def test_columns_that_are_declared_wrongly(frame):
    refused("names 'a' twice", frame, columns=["a", Numeric(["a"])], error=InvalidArgumentError)
    refused("which is the target", frame, columns=["y"], target="y", error=InvalidArgumentError)
    refused("'city' holds .*string, and numbers were declared", frame, columns=[Numeric(["city"])])
    refused("must be a list of", frame, columns=3, error=InvalidArgumentError)
    refused("call it", frame, columns=[Numeric], error=InvalidArgumentError)
    refused("Did you mean 'onehot'", frame, columns={"city": "one-hot"}, error=InvalidArgumentError)
    refused("no column is left", frame[["y"]], target="y")


def test_arguments_that_do_not_belong_to_the_data(frame, tmp_path):
    refused("is not for blocks", [(np.ones((2, 2)), np.zeros(2))], target="y", error=InvalidArgumentError)
    refused("is not for a table", frame, n_features=3, error=InvalidArgumentError)
    refused("is not for csv files", make(tmp_path / "data.csv"), filters=[("a", ">", 1)], error=InvalidArgumentError)
    refused("'dtype' parameter", frame, dtype="float16", error=InvalidArgumentError)
    refused("takes paths, tables, arrays, or blocks", 3, error=InvalidArgumentError)


def test_blocks_that_do_not_fit_together():
    x, y = np.ones((4, 2)), np.zeros(4)
    refused("Block 1 has 3 dense features", [(x, y), (np.ones((4, 3)), y)])
    refused("y of block 1 must have 4 values", [(x, y), (x, y[:2])], error=InvalidArgumentError)
    refused("must be .X, y. or", [x], error=InvalidArgumentError)
    refused("block 1, row 3: a feature is missing", [(x, y), (np.where(np.arange(4)[:, None] == 2, np.nan, x), y)])


def test_a_function_that_gives_other_rows_the_next_time():
    sizes = iter([4, 4, 3, 5])

    def make():
        n = next(sizes)
        yield np.ones((n, 2)), np.zeros(n)

    dataset = open_dataset(make)
    for match in ("yielded 3 rows in this pass, and 4", "yielded 5 rows or more"):
        with pytest.raises(DataFileError, match=match):
            list(dataset.blocks())


def test_pyarrow_is_asked_for_where_it_is_missing(frame, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"parsgd\[files\]"):
        open_dataset(frame, target="y")


def test_hashed_texts_can_come_in_any_file(tmp_path):
    make(tmp_path / "1.csv", "k,y\n1,0\n2,1\n")
    make(tmp_path / "2.csv", "k,y\nnew,0\n")
    dataset = open_dataset(tmp_path, target="y", columns=[HashedCategories("k", n_features=32)])
    assert rows(dataset)[0].sum() == 3


# -- as a source of a fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["csv", "packed csv", "svmlight", "npy", "table", "function"])
def test_its_source_keeps_the_contract(frame, tmp_path, short_spans, how):
    frame = frame[:60]
    x = frame[["a", "n"]].to_numpy()
    frame.to_csv(tmp_path / "data.csv", index=False)
    frame.to_csv(tmp_path / "data.csv.gz", index=False)
    dump_svmlight_file(sparse.csr_matrix(x), np.arange(60), str(tmp_path / "data.svm"))
    np.save(tmp_path / "x.npy", x)
    data, more = {
        "csv": (tmp_path / "data.csv", {"target": "w", "columns": ["a", "n"]}),
        "packed csv": (tmp_path / "data.csv.gz", {"target": "w", "columns": ["a", "n"]}),
        "svmlight": (tmp_path / "data.svm", {}),
        "npy": (tmp_path / "x.npy", {"target": np.arange(60)}),
        "table": (frame, {"target": "w", "columns": ["a", "n"]}),
        "function": (lambda: ((x[i : i + 25], np.arange(60)[i : i + 25]) for i in range(0, 60, 25)), {}),
    }[how]
    pose = ValueEncoder("float32")
    source = open_dataset(data, shuffle_buffer_rows=16, **more).source(pose)
    if how == "function":
        # a function within a test cannot be pickled
        assert source.draw(10, 0)[1].n_rows == 50
        return
    check_source(source)


def test_split_parts_are_all_rows_each_once(frame):
    dataset = open_dataset(frame, **HOW)
    rest, drawn = dataset.split(0.3, seed=1)
    assert 100 < drawn.n_rows < 200
    both = np.vstack([rows(rest)[0], rows(drawn)[0]])
    assert sorted(map(tuple, both)) == sorted(map(tuple, expected(frame)))
    again = dataset.split(0.3, seed=1)[1]
    assert np.array_equal(rows(again)[0], rows(drawn)[0])
    assert rest.targets().counts.sum() + drawn.targets().counts.sum() == 500
    assert next(rest.without_targets().blocks()).y is None
    with pytest.raises(InvalidArgumentError, match="'fraction' parameter"):
        dataset.split(0)
