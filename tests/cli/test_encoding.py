"""Columns become numbers as scikit-learn would make them, and the same rows become the same numbers ever after."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from parsgd.cli.option_groups import ColumnOptions
from parsgd.cli.tables import modelfile
from parsgd.cli.tables.learn_columns import infer_kind, learn_sparse, learn_table
from parsgd.cli.tables.modelfile import read_all
from parsgd.cli.tables.read_data import _of_table, read
from parsgd.data.columns.column_kinds import Numeric
from parsgd.data.columns.column_stats import learned
from parsgd.data.columns.encoder import encoder_of
from parsgd.errors import DataFileError


def data(frame):
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    return _of_table(table, "table")


def learn(frame, choices=None):
    seen = data(frame)
    return learn_table(seen.dataset.pieces, seen.schema, None, choices or ColumnOptions(), "table", None)


def apply(encoder, frame):
    return read_all(data(frame).encoded(encoder, None))


def numbers_of(frame, choices=None):
    encoder, said = learn(frame, choices)
    return encoder, apply(encoder, frame), said


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def test_numbers_are_filled_and_scaled_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    x = rng.normal(5, [1, 100, 1e-6], (300, 3))
    x[rng.random(x.shape) < 0.1] = np.nan
    theirs = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit_transform(x)
    _, ours, _ = numbers_of(pd.DataFrame(x, columns=list("abc")))
    assert np.allclose(ours, theirs, atol=1e-5)
    assert ours.dtype == np.float32


def test_unscaled_numbers_stay_as_they_are_to_the_bit():
    x = np.random.default_rng(0).normal(1e9, 1, (50, 2))
    _, ours, _ = numbers_of(pd.DataFrame(x, columns=list("ab")), ColumnOptions(standardize=False))
    assert ours.dtype == np.float64
    assert np.array_equal(ours, x)


@pytest.mark.parametrize("most", [2, 3, 4, 6, 1000])
def test_categories_become_columns_as_scikit_learn_makes_them(most):
    rng = np.random.default_rng(1)
    # frequencies all differ, so that which ones are rare is no matter of taste
    seen = pd.DataFrame({"c": rng.permutation(np.repeat(["a", "b", "ç", "d", "e e"], [50, 40, 30, 20, 10]))})
    new = pd.DataFrame({"c": ["a", "zzz", "e e", "d"]})
    encoder, _ = learn(seen, ColumnOptions(max_categories=most))
    unknown = "infrequent_if_exist" if most < 6 else "ignore"
    theirs = OneHotEncoder(max_categories=most, handle_unknown=unknown).fit(seen)
    for frame in (seen, new):
        assert np.array_equal(apply(encoder, frame), theirs.transform(frame).toarray())
    assert encoder.n_features == len(encoder.feature_names) <= most


def test_a_missing_category_is_a_category_if_it_was_seen_and_nothing_if_not():
    seen = pd.DataFrame({"c": ["a", None, "b"]})
    assert numbers_of(seen)[1].tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    encoder, _ = learn(seen.dropna())
    assert apply(encoder, seen).tolist() == [[1, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3], "number"),
        ([1.5, None, 2], "number"),
        ([True, False, True], "number"),
        ([True, None, False], "number"),
        (["1", "2.5", "3e4"], "number"),
        (pd.to_timedelta([1, 2, 3], unit="s"), "number"),
        (["a", "b", "a"], "category"),
        (["1", "2", "x"], "category"),
        (pd.Categorical([1, 2, 1]), "category"),
        ([datetime.time(12, 30), datetime.time(1, 0), None], "category"),
        (["2020-01-01", "2020-02-30", None], "category"),
        (["2020-01-01", "2020-02-28 12:00", None], "date"),
        (pd.to_datetime(["2020-01-01", None, "2021-01-01"]), "date"),
        (pd.to_datetime(["2020-01-01"] * 3).date, "date"),
        (["the first text", "and the second one", "a third text here"], "words"),
        (["the same long text here"] * 3, "category"),
        ([None, None, None], "empty"),
        ([np.nan, np.nan, np.nan], "empty"),
        (["", " ", None], "empty"),
    ],
)
def test_what_a_column_holds_is_seen_from_its_values(values, kind):
    table = pa.Table.from_pandas(pd.DataFrame({"c": values}))
    assert infer_kind(table.column("c"), "c", (), "table") == kind


def test_values_that_cannot_be_learned_from_are_refused_with_a_way_out():
    for values in ([[1], [2]], [{"a": 1}, {"a": 2}], [b"x", b"y"]):
        with pytest.raises(DataFileError, match="--drop c"):
            infer_kind(pa.chunked_array([values]), "c", (), "table")


def test_dates_are_days_from_any_format():
    typed = pd.DataFrame({"d": pd.to_datetime(["1970-01-02 00:00", "2000-01-01 12:00", None])})
    written = pd.DataFrame({"d": ["1970-01-02", "2000-01-01T12:00:00", None]})
    encoder, ours, said = numbers_of(typed, ColumnOptions(standardize=False))
    assert ours[:2, 0].tolist() == [1.0, 10957.5]
    assert np.array_equal(ours, apply(encoder, written))
    assert any("days since 1970" in line for line in said)


def test_words_are_hashed_and_stay_sparse():
    texts = [f"mail number {i} about {w}" for i, w in enumerate(["money", "work", "cheese"] * 4)]
    encoder, ours, said = numbers_of(pd.DataFrame({"n": range(12), "t": texts}))
    theirs = HashingVectorizer(n_features=1 << 18, alternate_sign=False).transform(texts)
    assert sparse.issparse(ours)
    assert np.allclose((ours[:, 1:] - theirs).data, 0, atol=1e-6)
    assert any("words hashed" in line for line in said)
    gap = apply(encoder, pa.table({"n": [1], "t": pa.array([None], pa.string())}))
    assert gap[:, 1:].nnz == 0


def test_wide_categories_are_sparse_and_equal_to_dense():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=500), "c": rng.integers(0, 80, 500).astype(str)})
    choices = ColumnOptions(categorical=("c",))
    encoder, ours, _ = numbers_of(frame, choices)
    assert sparse.issparse(ours)
    assert ours.dtype == np.float32
    assert np.array_equal(ours.toarray(), apply(encoder_of(encoder.kinds, sparse=False), frame))
    assert not sparse.issparse(numbers_of(frame[frame["c"].isin(["1", "2"])], choices)[1])


def test_infinity_and_nonsense_are_refused_with_their_row():
    encoder, _ = learn(pd.DataFrame({"a": [1.0, 2.0, 3.0]}))
    with pytest.raises(DataFileError, match=r"table, row 2: column 'a' is inf, not a finite number"):
        apply(encoder, pd.DataFrame({"a": [1.0, np.inf]}))
    with pytest.raises(DataFileError, match="row 3: column 'a' should hold numbers, and has 'many'"):
        apply(encoder, pd.DataFrame({"a": ["1", None, "many"]}))


def test_columns_go_by_name_whatever_their_order_and_company(table):
    encoder, ours, _ = numbers_of(table.drop(columns=["y", "kind"]))
    shuffled = table[list(table.columns[::-1])].assign(more=1)
    assert np.array_equal(dense(ours), dense(apply(encoder, shuffled)))
    with pytest.raises(DataFileError, match=r"has no columns age, city\. Did you mean 'Age'"):
        apply(encoder, table.rename(columns={"age": "Age"}).drop(columns="city"))


def test_what_was_done_is_said_for_every_column(table):
    table = table.assign(nothing=None, same=1.0, secret=1)
    table["Unnamed: 0"] = range(200)
    _, _, said = numbers_of(table, ColumnOptions(drop=("secret",)))
    said = "\n".join(said)
    for column in table.columns:
        assert column in said, column
    facts = ("median", "1 and 0", "days since 1970", "one-hot encoded", "empty", "by --drop", "index or unnamed")
    for fact in facts:
        assert fact in said


@pytest.mark.parametrize(
    "values",
    [["1,5", "2,25", "3"], ["1.234.567", "12.000.000"], ["12%", "3 %"], ["$ 5", "$ 12"], ["1,234", "22,000,000"]],
)
def test_numbers_as_people_write_them_are_remarked(values):
    _, said = learn(pd.DataFrame({"a": [1.0] * len(values), "price": values}))
    assert any("price: encoded as categories, but looks like numbers" in line for line in said)
    _, said = learn(pd.DataFrame({"a": [1.0, 2.0], "code": ["A 1,5", "x"]}))
    assert not any("looks like" in line for line in said)


def test_a_constant_column_becomes_zero_not_noise():
    assert np.abs(numbers_of(pd.DataFrame({"a": np.full(100, 0.1 + 0.2)}))[1]).max() < 1e-6


@pytest.mark.parametrize("n", [1000, 40_000])
def test_small_and_large_files_become_the_same_rows(n, tmp_path):
    """In memory and streamed, below and above 1 MB."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=n).round(5), "c": rng.choice(["x", "y, z", 'q"'], n)})
    frame["d"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, n), unit="D")
    frame["y"] = rng.integers(0, 2, n)
    frame.loc[::7, "a"] = np.nan
    frame.to_csv(tmp_path / "d.csv", index=False)
    found = []
    for stream in (False, True):
        seen = read(str(tmp_path / "d.csv"), stream=stream)
        encoder, said = learn_table(seen.dataset.pieces, seen.schema, "y", ColumnOptions(), seen.name, "number")
        found.append((encoder, said, dense(read_all(seen.encoded(encoder, None)))))
    assert found[0][1] == found[1][1]
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][2], found[1][2])


# -- sparse rows -------------------------------------------------------------------------------------------------------


def svmlight(path, x, first=0):
    dump_svmlight_file(x, np.arange(x.shape[0]) % 2, str(path), zero_based=first == 0)
    return read(str(path))


def test_sparse_rows_are_left_alone_unless_asked(tmp_path):
    x = sparse.random(100, 30, 0.2, format="csr", random_state=0, dtype=np.float32)
    seen = svmlight(tmp_path / "a.svm", x)
    columns, _ = learn_sparse(seen.dataset, seen.dataset, ColumnOptions())
    assert np.allclose(read_all(seen.encoded(columns, None)).toarray(), x.toarray(), rtol=1e-5)
    scaled, said = learn_sparse(seen.dataset, seen.dataset, ColumnOptions(standardize=True))
    theirs = StandardScaler(with_mean=False).fit_transform(x.astype(np.float64))
    assert np.allclose(read_all(seen.encoded(scaled, None)).toarray(), theirs.toarray(), rtol=1e-5)
    assert "divided by their standard deviations" in said[0]
    svmlight(tmp_path / "b.svm", sparse.hstack([x, x], format="csr"))
    wider = read(str(tmp_path / "b.svm"), columns=columns)
    assert np.allclose(read_all(wider.encoded(columns, None)).toarray(), x.toarray(), rtol=1e-5)
    assert "30 columns" in wider.notes[0]
    svmlight(tmp_path / "c.svm", x[:, :10])
    assert read_all(read(str(tmp_path / "c.svm"), columns=columns).encoded(columns, None)).shape == (100, 30)


def test_columns_counted_from_one_lose_their_empty_first(tmp_path):
    seen = svmlight(tmp_path / "a.svm", sparse.csr_matrix([[1, 2.0], [0, 3]]), first=1)
    columns, said = learn_sparse(seen.dataset, seen.dataset, ColumnOptions())
    assert read_all(seen.encoded(columns, None)).toarray().tolist() == [[1, 2], [0, 3]]
    assert "counted from 1" in said[0]


def test_kinds_of_data_are_not_mixed_up(tmp_path):
    seen = svmlight(tmp_path / "a.svm", sparse.csr_matrix(np.ones((4, 3))))
    table = data(pd.DataFrame(np.ones((4, 3)), columns=list("abc")))
    encoder, _ = learn(pd.DataFrame(np.ones((4, 3)), columns=list("abc")))
    with pytest.raises(DataFileError, match="named columns"):
        seen.encoded(encoder, None)
    with pytest.raises(DataFileError, match=r"\.svm"):
        table.encoded(seen.dataset.columns, None)
    for choices in (ColumnOptions(categorical=("a",)), ColumnOptions(drop=("a",))):
        with pytest.raises(DataFileError, match="no names"):
            learn_sparse(seen.dataset, seen.dataset, choices)
    with pytest.raises(DataFileError, match="Did you mean 'abc'"):
        learn(pd.DataFrame({"abc": [1, 2]}), ColumnOptions(drop=("abd",)))


# -- model files of version 0.1 ----------------------------------------------------------------------------------------


def test_an_encoding_of_version_0_1_is_read_with_its_bits(table):
    """Its notes hold what the kinds of columns hold now."""
    rng = np.random.default_rng(0)
    numbers = {
        "names": ["age", "since", "rooms"],
        "dates": ["since"],
        "fill": rng.normal(size=3),
        "mean": rng.normal(size=3),
        "scale": rng.uniform(1, 2, 3),
    }
    city = {"name": "city", "categories": ["Bath", "Köln"], "other": True, "missing": False}
    notes = {"kind": "TableEncoding", "numbers": numbers, "categories": [city], "words": [], "wide": False}
    encoder = modelfile._version_0_1_encoding(notes | {"single": True}, None)
    x = np.column_stack(
        [
            table["age"].fillna(numbers["fill"][0]),
            table["since"].to_numpy().astype("datetime64[D]").astype(float),
            table["rooms"],
        ]
    )
    known = [table["city"] == "Bath", table["city"] == "Köln", table["city"] == "Lyon"]
    ours = apply(encoder, table)
    assert np.array_equal(ours[:, :3], ((x - numbers["mean"]) / numbers["scale"]).astype(np.float32))
    assert np.array_equal(ours[:, 3:], np.column_stack(known))
    matrix = {"kind": "MatrixEncoding", "numbers": numbers | {"names": [], "dates": []}, "single": False}
    assert modelfile._version_0_1_encoding(matrix, None).columns == ("x0", "x1", "x2")
    sparse_notes = {"kind": "SparseEncoding", "width": 3, "first": 1, "scale": numbers["scale"]}
    scaled = modelfile._version_0_1_encoding(sparse_notes, None)
    assert (scaled.zero_based, scaled.n_features, scaled.scale) == (False, 3, tuple(numbers["scale"]))


def test_medians_have_their_part_in_means(tmp_path):
    pieces = data(pa.table({"a": [1.0, None, 3.0, 100.0]})).dataset.pieces
    (kind,) = learned((Numeric("a", missing="median", scale="standard"),), pieces)
    filled = np.array([1.0, 3.0, 3.0, 100.0])
    assert kind.fill == (3.0,)
    assert np.allclose([kind.center[0], kind.divisor[0]], [filled.mean(), filled.std()])
