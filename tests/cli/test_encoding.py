"""Columns become numbers as scikit-learn would make them, and the same rows become the same numbers ever after."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from parsgd.cli.tables.encoding import EncodingOptions, MatrixEncoding, SparseEncoding, TableEncoding, kind_of, learn
from parsgd.cli.tables.file_readers import Data
from parsgd.cli.tables.table_columns import CategoryColumn, as_texts
from parsgd.errors import DataFileError


def data(features, target=None):
    return Data("table", features, target)


def numbers_of(frame, choices=None):
    encoding, said = learn(data(frame), choices or EncodingOptions())
    return encoding, encoding.apply(data(frame)), said


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def test_numbers_are_filled_and_scaled_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    x = rng.normal(5, [1, 100, 1e-6], (300, 3))
    x[rng.random(x.shape) < 0.1] = np.nan
    theirs = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit_transform(x)
    for features in (x, pd.DataFrame(x, columns=list("abc"))):
        _, ours, _ = numbers_of(features)
        assert np.allclose(ours, theirs, atol=1e-5)
        assert ours.dtype == np.float32


def test_unscaled_numbers_stay_as_they_are_to_the_bit():
    x = np.random.default_rng(0).normal(1e9, 1, (50, 2))
    for features in (x, pd.DataFrame(x, columns=list("ab"))):
        _, ours, _ = numbers_of(features, EncodingOptions(standardize=False))
        assert ours.dtype == np.float64
        assert np.array_equal(ours, x)


@pytest.mark.parametrize("most", [2, 3, 4, 6, 1000])
def test_categories_become_columns_as_scikit_learn_makes_them(most):
    rng = np.random.default_rng(1)
    # frequencies all differ, so that which ones are rare is no matter of taste
    seen = pd.DataFrame({"c": rng.permutation(np.repeat(["a", "b", "ç", "d", "e e"], [50, 40, 30, 20, 10]))})
    new = pd.DataFrame({"c": ["a", "zzz", "e e", "d"]})
    block = CategoryColumn.learn(seen["c"], "c", most)
    unknown = "infrequent_if_exist" if most < 6 else "ignore"
    theirs = OneHotEncoder(max_categories=most, handle_unknown=unknown).fit(seen)
    for frame in (seen, new):
        assert np.array_equal(block.apply(frame).toarray(), theirs.transform(frame).toarray())
    assert block.width == len(block.outputs) <= most


def test_a_missing_category_is_a_category_if_it_was_seen_and_nothing_if_not():
    seen = pd.DataFrame({"c": ["a", None, "b"]})
    assert CategoryColumn.learn(seen["c"], "c", 10).apply(seen).toarray().tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    whole = CategoryColumn.learn(seen["c"].dropna(), "c", 10)
    assert whole.apply(seen).toarray().tolist() == [[1, 0], [0, 0], [0, 1]]


def test_a_category_is_the_same_whichever_type_a_file_gave_it():
    plain = ([1, 2, 2], [1.0, 2.0, 2.0], ["1", "2", "2"])
    for values in (*plain, pd.Categorical([1, 2, 2]), pd.array([1, 2, 2], "Int64")):
        assert as_texts(pd.Series(values)).tolist() == ["1", "2", "2"]
    assert as_texts(pd.Series([1.0, np.nan, 2.5])).tolist() == ["1", None, "2.5"]


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
        (["2020-01-01", "2020-02-30", None], "category"),
        (["2020-01-01", "2020-02-28 12:00", None], "date"),
        (pd.to_datetime(["2020-01-01", None, "2021-01-01"]), "date"),
        (pd.to_datetime(["2020-01-01"] * 3).date, "date"),
        (["the first text", "and the second one", "a third text here"], "words"),
        (["the same long text here"] * 3, "category"),
        ([None, None, None], "empty"),
    ],
)
def test_what_a_column_holds_is_seen_from_its_values(values, kind):
    assert kind_of(pd.Series(values), "c", EncodingOptions(), "table") == kind


def test_values_that_cannot_be_learned_from_are_refused_with_a_way_out():
    for values in ([[1], [2]], [{"a": 1}, {}], [b"x", b"y"], [1j, 2j]):
        with pytest.raises(DataFileError, match="--drop c"):
            kind_of(pd.Series(values), "c", EncodingOptions(), "table")


def test_dates_are_days_from_any_format():
    typed = pd.DataFrame({"d": pd.to_datetime(["1970-01-02 00:00", "2000-01-01 12:00", None])})
    written = pd.DataFrame({"d": ["1970-01-02", "2000-01-01T12:00:00", None]})
    encoding, ours, said = numbers_of(typed, EncodingOptions(standardize=False))
    assert ours[:2, 0].tolist() == [1.0, 10957.5]
    assert np.array_equal(ours, encoding.apply(data(written)))
    assert any("days since 1970" in line for line in said)


def test_words_are_hashed_and_stay_sparse():
    texts = [f"mail number {i} about {w}" for i, w in enumerate(["money", "work", "cheese"] * 4)]
    encoding, ours, said = numbers_of(pd.DataFrame({"n": range(12), "t": texts}))
    theirs = HashingVectorizer(n_features=1 << 18, alternate_sign=False).transform(texts)
    assert sparse.issparse(ours)
    assert np.allclose((ours[:, 1:] - theirs).data, 0, atol=1e-6)
    assert any("words hashed" in line for line in said)
    gap = encoding.apply(data(pd.DataFrame({"n": [1], "t": [None]})))
    assert gap[:, 1:].nnz == 0


def test_wide_categories_are_sparse_and_equal_to_dense():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=500), "c": rng.integers(0, 80, 500).astype(str)})
    choices = EncodingOptions(categorical=("c",))
    encoding, ours, _ = numbers_of(frame, choices)
    assert sparse.issparse(ours)
    assert ours.dtype == np.float32
    encoding.wide = False
    assert np.array_equal(ours.toarray(), encoding.apply(data(frame)))
    assert not sparse.issparse(numbers_of(frame[frame["c"].isin(["1", "2"])], choices)[1])


def test_infinity_and_nonsense_are_refused_with_their_row():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    encoding, _ = learn(data(frame), EncodingOptions())
    with pytest.raises(DataFileError, match=r"'a' should hold finite numbers, and row 2 has .*inf"):
        encoding.apply(data(pd.DataFrame({"a": [1.0, np.inf]})))
    with pytest.raises(DataFileError, match="row 3 has 'many'"):
        encoding.apply(data(pd.DataFrame({"a": ["1", None, "many"]})))
    with pytest.raises(DataFileError, match="infinite"):
        learn(data(np.array([[np.inf], [1.0]])), EncodingOptions())


def test_columns_go_by_name_whatever_their_order_and_company(table):
    encoding, ours, _ = numbers_of(table.drop(columns=["y", "kind"]))
    shuffled = table[list(table.columns[::-1])].assign(more=1)
    assert np.array_equal(dense(ours), dense(encoding.apply(data(shuffled))))
    with pytest.raises(DataFileError, match=r"lacks the columns age, city\. Did you mean 'Age'"):
        encoding.apply(data(table.rename(columns={"age": "Age"}).drop(columns="city")))
    with pytest.raises(DataFileError, match="by name"):
        encoding.apply(data(np.zeros((3, 5))))


def test_what_was_done_is_said_for_every_column(table):
    table = table.assign(nothing=None, same=1.0, secret=1)
    _, _, said = numbers_of(table, EncodingOptions(drop=("secret",)))
    said = "\n".join(said)
    for column in table.columns:
        assert column in said, column
    for fact in ("median", "1 and 0", "days since 1970", "a column of 0 and 1", "empty", "left out as asked"):
        assert fact in said


def test_a_constant_column_becomes_zero_not_noise():
    x = np.full((100, 1), 0.1 + 0.2)
    assert np.abs(numbers_of(x)[1]).max() < 1e-6
    assert np.abs(numbers_of(pd.DataFrame({"a": x[:, 0]}))[1]).max() < 1e-6


def test_sparse_rows_are_left_alone_unless_asked():
    x = sparse.random(100, 30, 0.2, format="csr", random_state=0, dtype=np.float32)
    encoding, ours, _ = numbers_of(x)
    assert (ours != x).nnz == 0
    _, scaled, _ = numbers_of(x, EncodingOptions(standardize=True))
    theirs = StandardScaler(with_mean=False).fit_transform(x.astype(np.float64))
    assert np.allclose(scaled.toarray(), theirs.toarray(), rtol=1e-5)
    wider = sparse.hstack([x, x], format="csr")
    seen = data(wider)
    assert (encoding.apply(seen) != x).nnz == 0
    assert "30 columns" in seen.said[0]
    assert encoding.apply(data(x[:, :10])).shape == (100, 30)


def test_columns_counted_from_one_lose_their_empty_first():
    x = sparse.csr_matrix(np.array([[0, 1, 2.0], [0, 0, 3]]))
    encoding, ours, said = numbers_of(x)
    assert ours.toarray().tolist() == [[1, 2], [0, 3]]
    assert "counted from 1" in said[0]
    # a test file without the last column is read alike
    assert encoding.apply(data(x[:, :2])).toarray().tolist() == [[1, 0], [0, 0]]


def test_kinds_of_data_are_not_mixed_up():
    matrix, sparse_rows = np.ones((4, 3)), sparse.csr_matrix(np.ones((4, 3)))
    ours, _ = learn(data(matrix), EncodingOptions())
    assert isinstance(ours, MatrixEncoding)
    with pytest.raises(DataFileError, match="takes 3 columns of numbers, it has 2"):
        ours.apply(data(matrix[:, :2]))
    with pytest.raises(DataFileError, match="sparse"):
        ours.apply(data(sparse_rows))
    theirs, _ = learn(data(sparse_rows), EncodingOptions())
    assert isinstance(theirs, SparseEncoding)
    with pytest.raises(DataFileError, match=r"\.svm"):
        theirs.apply(data(matrix))
    assert isinstance(learn(data(pd.DataFrame(matrix, columns=list("abc"))), EncodingOptions())[0], TableEncoding)
    for choices in (EncodingOptions(categorical=("a",)), EncodingOptions(drop=("a",))):
        with pytest.raises(DataFileError, match="no names"):
            learn(data(matrix), choices)
    with pytest.raises(DataFileError, match="Did you mean 'abc'"):
        learn(data(pd.DataFrame({"abc": [1, 2]})), EncodingOptions(drop=("abd",)))
