"""Data files: every format gives the same rows, and every bad file one sentence that says what to do."""

import bz2
import gzip
import lzma
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import dump_svmlight_file, load_iris

from parsgd.cli.option_groups import ColumnOptions
from parsgd.cli.tables.data_arrays import BUILT_IN
from parsgd.cli.tables.learn_columns import learn_table
from parsgd.cli.tables.modelfile import read_all
from parsgd.cli.tables.read_data import _of_table, as_targets, read
from parsgd.cli.tables.target_column import clean, take_target
from parsgd.errors import DataFileError, MissingDependencyError

OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
KINDS = [".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".parquet", ".npz", ".svm", ".svmlight.gz", ".libsvm.bz2", ".svm.xz"]


def write(path, X, y):
    """``X, y`` in the format that the name of ``path`` says."""
    if ".csv" in path.name:
        with OPENERS.get(path.suffix, open)(path, "wt") as file:
            pd.DataFrame(X, columns=list("abcd")).assign(y=y).to_csv(file, index=False)
    elif path.suffix == ".parquet":
        pd.DataFrame(X, columns=list("abcd")).assign(y=y).to_parquet(path)
    elif path.suffix == ".npz":
        np.savez(path, X=X, y=y)
    else:
        with OPENERS.get(path.suffix, open)(path, "wb") as file:
            dump_svmlight_file(X, y, file, zero_based=True)
    return path


def rows_of(data):
    """Dense rows of all columns but the target, not scaled."""
    choices = ColumnOptions(standardize=False)
    if not data.is_table:
        return read_all(data.dataset).toarray()
    encoder, _ = learn_table(data.dataset.pieces, data.schema, data.target, choices, data.name, None)
    return read_all(data.encoded(encoder, None))


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_rows(kind, tmp_path):
    X, y = load_iris(return_X_y=True)
    data = read(str(write(tmp_path / f"iris{kind}", X, y)))
    data = clean(take_target(data, None if data.predefined_target else "y", needed=True), "classes")
    assert np.allclose(rows_of(data), X, atol=1e-6)
    target, said = data.targets("classes")
    assert np.array_equal(target, y)
    assert target.dtype == np.int64
    assert not said


def fault(path) -> str:
    """What is said against a file; nothing if it can be read."""
    try:
        data = read(str(path))
        data = clean(take_target(data, None if data.predefined_target else "y", needed=True), "numbers")
        data.targets("numbers")
        rows_of(data)
    except DataFileError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(kind, tmp_path):
    X, y = load_iris(return_X_y=True)
    path = write(tmp_path / f"iris{kind}", X, y)
    content = path.read_bytes()
    dice = random.Random(0)
    for i in range(60):
        at = dice.randrange(len(content))
        damages = (content[:at], content[:at] + dice.randbytes(4) + content[at + 4 :], dice.randbytes(at))
        path.write_bytes(damages[i % 3])
        said = fault(path)
        assert said == "" or (str(path) in said and "\n" not in said), said


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_data_need_no_file(name):
    data = read(name)
    assert data.n_rows == len(data.targets("numbers" if name == "diabetes" else "classes")[0]) > 100


def test_a_file_is_preferred_to_built_in_data_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris").mkdir()
    with pytest.raises(DataFileError, match="the folder has no file"):
        read("iris")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"a,b\n", "has no rows"),
        ("a.csv", b"a,b\n1,2,3\n", "row 1: expected 2 columns, got 3"),
        ("a.csv", "a,b\nK\xf6ln,2\n".encode("latin-1"), "utf-8"),
        ("a.csv.gz", b"a,b\n1,2\n", "Not a gzip"),
        ("a.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 1000, mtime=0)[:-20], "cannot be unpacked"),
        ("a.csv.xz", b"a,b\n1,2\n", "cannot be unpacked"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.npz", b"PK", "not an .npz file"),
        ("a.svm", b"one 1:2\n", "cannot be read as svmlight"),
        ("a.svm", b"", "empty|rows|cannot be read"),
        ("a.xlsx", b"x", "unsupported file name extension"),
        ("a", b"x", "unsupported file name extension"),
        ("a.parquet.gz", b"x", "unsupported file name extension"),
    ],
)
def test_a_bad_file_is_told_by_name_and_fault(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFileError, match=said) as raised:
        read(str(tmp_path / name))
    assert name in str(raised.value)


def test_a_missing_file_is_told_with_the_nearest_name(tmp_path):
    (tmp_path / "flights.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataFileError, match=r"the file does not exist\. Did you mean 'flights\.csv'"):
        read(str(tmp_path / "flight.csv"))
    with pytest.raises(DataFileError, match="Did you mean 'breast-cancer'"):
        read("breast_cancer")
    with pytest.raises(DataFileError, match="the file does not exist"):
        read(str(tmp_path / "nowhere" / "a.csv"))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"data": np.ones(3)}, "arrays X and y .* were expected; the file holds data"),
        ({"X": np.ones(3), "y": np.ones(3)}, "rows and columns"),
        ({"X": np.ones((3, 2)), "y": np.ones(4)}, "y must have 3 values"),
        ({"X": np.array([["a"], ["b"]]), "y": np.ones(2)}, "must contain numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_told(arrays, said, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataFileError, match=said):
        read(str(tmp_path / "a.npz"))


def test_pickled_objects_in_an_npz_are_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    np.savez(tmp_path / "a.npz", X=np.array([[Trap()]], dtype=object), y=np.ones(1))
    with pytest.raises(DataFileError, match="cannot be read"):
        read(str(tmp_path / "a.npz"))


def test_an_npz_with_test_rows_and_images_is_taken_as_it_is(tmp_path):
    images = np.arange(48).reshape(4, 3, 4)
    np.savez(tmp_path / "a.npz", X_train=images, y_train=np.arange(4), X_test=images[:2], y_test=np.arange(2)[:, None])
    data = read(str(tmp_path / "a.npz"))
    assert np.array_equal(rows_of(data), images.reshape(4, 12))
    assert data.test.targets("numbers")[0].tolist() == [0, 1]
    assert "12 columns" in data.notes[0]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_seen_from_the_header(separator, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"\ufeffa{separator} b\n1{separator} 2.5\n?{separator} 3\n", encoding="utf-8")
    data = read(str(path))
    assert data.names == ["a", "b"]
    assert rows_of(data).tolist() == [[1, 2.5], [1, 3]]
    assert (separator != ",") == any("separated" in line for line in data.notes)


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,a \n1,2\n")
    with pytest.raises(DataFileError, match="two columns are called 'a'"):
        read(str(path))


# -- targets ---------------------------------------------------------------------------------------------------------


def table_data(target, **columns):
    """Data with a column of targets."""
    table = pa.table({"a": np.arange(float(len(target))), **columns, "y": target})
    data = _of_table(table, "t")
    return take_target(replace(data, predefined_target=False), "y", needed=True)


def test_the_target_is_looked_for_by_name(table_csv, tmp_path):
    data = read(str(table_csv))
    ours = take_target(data, "y", needed=True)
    assert "y" not in ours.names
    assert len(ours.targets("numbers")[0]) == 200
    with pytest.raises(DataFileError, match=r"no column 'Kind'\. Did you mean 'kind'\? Its columns are age, rooms"):
        take_target(data, "Kind", needed=True)
    with pytest.raises(DataFileError, match=r"--target COLUMN\. Its columns are age, rooms"):
        take_target(data, None, needed=True)
    assert take_target(data, None, needed=False).target is None
    np.savez(tmp_path / "d.npz", X=np.ones((2, 2)), y=np.ones(2))
    with pytest.raises(DataFileError, match="remove --target y"):
        take_target(read(str(tmp_path / "d.npz")), "y", needed=True)
    np.savez(tmp_path / "d.npz", X=np.ones((2, 2)))
    with pytest.raises(DataFileError, match="X but no y"):
        take_target(read(str(tmp_path / "d.npz")), None, needed=True)


@pytest.mark.parametrize(
    ("target", "cleaned"),
    [
        ([1, 2, None, 1], [1, 2, 1]),
        (["b", None, "a", "b"], ["b", "a", "b"]),
        (["b", " ", "NA", "None"], ["b", "NA", "None"]),
        ([True, False, True, True], [True, False, True, True]),
        ([True, None, True, True], [True, True, True]),
        ([0.0, 1.0, 2.0, np.nan], [0, 1, 2]),
        (pa.array(["3", "1", "3", "1"]).dictionary_encode(), ["3", "1", "3", "1"]),
    ],
)
def test_classes_are_kept_and_rows_without_one_are_not(target, cleaned):
    data = clean(table_data(target), "classes")
    assert data.targets("classes")[0].tolist() == cleaned
    assert data.n_rows == len(cleaned) == len(rows_of(data))
    assert any("no target" in line for line in data.notes) == (len(cleaned) < 4)


def test_numbers_are_no_classes_and_texts_no_numbers():
    with pytest.raises(DataFileError, match=r"numbers such as 0\.5.*sgd-regressor"):
        table_data([0.5, 1.0]).targets("classes")
    with pytest.raises(DataFileError, match=r"2,000 distinct numbers.*sgd-regressor"):
        table_data(np.arange(2000)).targets("classes")
    with pytest.raises(DataFileError, match=r"row 2 has 'high'.*sgd-classifier"):
        clean(table_data(["1", "high"]), "numbers")
    with pytest.raises(DataFileError, match="row 1 has inf"):
        clean(table_data([np.inf, 1.0]), "numbers")
    with pytest.raises(DataFileError, match="all targets are missing"):
        clean(table_data([np.nan, np.nan]), "classes")
    assert table_data([True, False]).targets("numbers")[0].tolist() == [1.0, 0.0]
    assert table_data(["1", "2.5"]).targets("numbers")[0].tolist() == [1.0, 2.5]


@pytest.mark.parametrize(("n_classes", "told"), [(10, False), (200, True)])
def test_many_numbers_as_classes_are_worth_a_word(n_classes, told):
    _, said = as_targets(np.arange(400) % n_classes, "classes", "t")
    assert any("--model sgd-regressor" in line for line in said) == told


def test_outlier_targets_only_count_if_they_are_signs():
    data = table_data([1, -1, 1])
    assert clean(data, "outliers").targets("outliers")[0].tolist() == [1, -1, 1]
    odd = clean(table_data(["a", "b", "c"]), "outliers")
    assert odd.target is None
    assert odd.n_rows == 3
    assert odd.names == ["a"]


def test_without_pyarrow_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'parsgd\[files\]'"):
        read(str(tmp_path / "a.parquet"))
