"""Kinds of columns: what each makes of a table, what it learns, and that nothing depends on how a table is cut."""

import io
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from parsgd import open_dataset
from parsgd.data.columns import column_stats
from parsgd.data.columns.column_kinds import HashedCategories, Numeric, OneHot, Text
from parsgd.data.columns.encoder import Encoder, PassThroughEncoder, encoder_of
from parsgd.data.contracts import Reading
from parsgd.data.formats.line_spans import RowScanner, blocks_of_rows, spans
from parsgd.data.formats.tables import TablePiece
from parsgd.data.sources.piece_reader import BadRow
from parsgd.errors import DataFileError, InvalidArgumentError
from parsgd.model_io.packing import pack, unpack

texts = st.text(st.sampled_from('abc\nä," '), max_size=4)
numbers = st.floats(-1e6, 1e6, width=32)


@st.composite
def tables(draw):
    n = draw(st.integers(1, 30))
    several = lambda values: draw(st.lists(values, min_size=n, max_size=n))  # noqa: E731
    return pa.table(
        {
            "a": pa.array(several(st.none() | numbers), pa.float64()),
            "b": pa.array(several(st.integers(-9, 9)), pa.int16()),
            "c": pa.array(several(st.none() | texts), pa.string()),
            "d": pa.array(several(texts), pa.string()).dictionary_encode(),
            "e": pa.array(several(st.booleans())),
        }
    )


KINDS = (
    Numeric(["a", "b", "e"], missing=7.0),
    OneHot("c", vocabulary=["a", "b"], other="indicator", missing="indicator"),
    HashedCategories(["d", "c"], n_features=16, missing="ignore"),
    Text("c", n_features=8, missing="ignore"),
)


def dense(x):
    return x.toarray() if sparse.issparse(x) else x


@settings(deadline=None, max_examples=30)
@given(tables(), st.data())
def test_rows_do_not_depend_on_how_the_table_is_cut(table, data):
    at = data.draw(st.integers(0, table.num_rows))
    encoder = encoder_of(KINDS)
    (batch,) = table.to_batches()
    parts = [encoder.encode(batch.slice(0, at)), encoder.encode(batch.slice(at))]
    assert np.array_equal(np.vstack([dense(part) for part in parts]), dense(encoder.encode(batch)))


@settings(deadline=None, max_examples=30)
@given(tables())
def test_sparse_and_dense_rows_are_the_same_rows(table):
    (batch,) = table.to_batches()
    for kinds in (KINDS, KINDS[:2]):
        both = [encoder_of(kinds, sparse=flag) for flag in (True, False)]
        ours, theirs = (encoder.encode(batch) for encoder in both)
        assert sparse.issparse(ours)
        assert isinstance(theirs, np.ndarray)
        assert np.array_equal(ours.toarray(), theirs)
        assert theirs.shape[1] == both[0].n_features == len(both[0].feature_names)
        assert theirs.dtype == ours.dtype == np.float32


def test_an_encoder_can_be_pickled_and_packed():
    encoder = encoder_of(KINDS)
    assert pickle.loads(pickle.dumps(encoder)) == encoder
    arrays = {}
    assert unpack(pack(encoder, "columns", arrays), arrays) == encoder


# -- what is learned ---------------------------------------------------------------------------------------------------


def test_scales_are_those_of_scikit_learn():
    x = np.random.default_rng(0).normal(3, 2, (20_000, 2))
    table = pa.table({"a": x[:, 0], "b": x[:, 1]})
    for scale, theirs in (("standard", StandardScaler()), ("unit", MinMaxScaler())):
        dataset = open_dataset(table.slice(0, 8000), columns=[Numeric(["a", "b"], scale=scale)], dtype="float64")
        ours = np.concatenate([chunk.x for chunk in dataset.blocks()])
        assert np.allclose(ours, theirs.fit_transform(x[:8000]))


def test_the_mean_stands_for_what_is_missing():
    table = pa.table({"a": [1.0, None, 3.0]})
    dataset = open_dataset(table, columns=[Numeric("a", missing="mean")])
    assert next(dataset.blocks()).x.ravel().tolist() == [1, 2, 3]
    # learned from those rows: others are filled with it
    other = open_dataset(pa.table({"a": pa.array([None], pa.float64())}), columns=dataset.columns)
    assert next(other.blocks()).x.tolist() == [[2]]


def test_a_column_that_does_not_vary_is_left_at_0():
    dataset = open_dataset(pa.table({"a": [0.1] * 7, "b": [None] * 7}), columns=[Numeric(["a", "b"], 0.0, "standard")])
    # not exactly: a mean is rounded
    assert np.allclose(next(dataset.blocks()).x, 0.0)


def test_scales_come_from_a_sample_of_pieces_and_vocabularies_from_all(monkeypatch):
    monkeypatch.setattr(column_stats, "_SAMPLE_PIECES", 2)
    monkeypatch.setattr(column_stats, "_SAMPLE_ROWS", 1)
    table = pa.table({"a": [0.0, 5.0, 1.0], "c": ["x", "y", "z"]})
    pieces = [TablePiece(table.slice(i, 1), f"piece {i}", i, Reading(PassThroughEncoder())) for i in range(3)]
    kinds = column_stats.learned([Numeric("a", scale="unit"), OneHot("c")], pieces)
    assert (kinds[0].center, kinds[0].divisor) == ((0.0,), (1.0,))
    assert kinds[1].vocabulary == ("x", "y", "z")
    assert column_stats.learned(kinds, []) == kinds


def test_too_many_categories_are_refused(monkeypatch):
    monkeypatch.setattr(column_stats, "_MOST_CATEGORIES", 2)
    with pytest.raises(DataFileError, match=r"more than 2 categories.*HashedCategories"):
        open_dataset(pa.table({"c": ["x", "y", "z"]}), columns=[OneHot("c")])


# -- each kind ---------------------------------------------------------------------------------------------------------


def encoded(kind, **columns):
    return dense(kind.encode(pa.record_batch(columns), "float32"))


def test_the_same_category_in_whatever_type_is_the_same():
    kind = OneHot("c", vocabulary=[3, "true"])
    for column in ([3], [3.0], ["3"], pa.array(["3"]).dictionary_encode(), pa.array(["3"], pa.large_string())):
        assert encoded(kind, c=column).tolist() == [[1, 0]]
    assert encoded(kind, c=[True]).tolist() == [[0, 1]]


def test_other_and_missing_categories_are_what_was_declared():
    column = ["a", "x", None]
    assert encoded(OneHot("c", ["a"], "indicator", "indicator"), c=column).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert encoded(OneHot("c", ["a"], "ignore", "ignore"), c=column).tolist() == [[1], [0], [0]]
    with pytest.raises(BadRow, match="column 'c' is missing") as missing:
        encoded(OneHot("c", ["a"]), c=column)
    with pytest.raises(BadRow, match="column 'c' holds 'x', which is not in the vocabulary") as other:
        encoded(OneHot("c", ["a"], "error", "indicator"), c=column)
    assert (missing.value.row, other.value.row) == (2, 1)


def test_hashes_depend_on_column_category_and_seed():
    kind = HashedCategories(["c", "d"], n_features=1 << 20)
    x = encoded(HashedCategories(["c", "d"], n_features=1 << 10), c=["a", "b", "a"], d=["a", "a", "a"])
    assert np.array_equal(x[0], x[2])
    assert not np.array_equal(x[0], x[1])
    assert x.sum(axis=1).tolist() == [2, 2, 2]
    places = [
        k.encode(pa.record_batch({"c": ["a"], "d": ["b"]}), "float32").indices.tolist()
        for k in (kind, HashedCategories(["c", "d"], n_features=1 << 20, seed=1))
    ]
    assert places[0] != places[1]


def test_text_is_what_scikit_learn_makes_of_it():
    said = ["the cheap watch", "THE watch"]
    theirs = HashingVectorizer(n_features=64, ngram_range=(1, 2), dtype=np.float32).transform(said).toarray()
    assert np.array_equal(encoded(Text("t", n_features=64, ngram_range=(1, 2)), t=said), theirs)


def test_moments_are_days():
    column = pa.array([0, 86_400_000 * 3 // 2], pa.timestamp("ms"))
    assert encoded(Numeric("t"), t=column).ravel().tolist() == [0, 1.5]
    assert encoded(Numeric("t"), t=pa.array([2], pa.date32())).tolist() == [[2]]
    assert encoded(Numeric("t"), t=pa.array([1500], pa.duration("ms"))).tolist() == [[1.5]]


def test_wrong_parameters_are_refused():
    for wrong, match in (
        (lambda: Numeric("a", missing="mode"), "must be None, a number, 'mean' or 'median'"),
        (lambda: Numeric("a", scale="robust"), "'scale' parameter"),
        (lambda: Numeric(["a", "a"]), "twice"),
        (lambda: Numeric([1]), "column's name"),
        (lambda: Numeric(["a", "b"], fill=(1.0,)), "1 numbers for 2 columns"),
        (lambda: OneHot("c", ["a", "a"]), "twice"),
        (lambda: OneHot(["c"]), "one column"),
        (lambda: OneHot("c", other="drop"), "'other' parameter"),
        (lambda: HashedCategories("c", n_features=0), "'n_features' parameter"),
        (lambda: HashedCategories("c", missing="drop"), "missing"),
        (lambda: Text("c", missing="indicator"), "missing"),
        (lambda: Encoder((OneHot("c"),)), "have learned what they need"),
        (lambda: Encoder(()), "have learned what they need"),
    ):
        with pytest.raises(InvalidArgumentError, match=match):
            wrong()


# -- lines -------------------------------------------------------------------------------------------------------------

FIELD = st.text(st.sampled_from("ab,;'"), max_size=3) | st.text(st.sampled_from('a\n"'), max_size=4).map(
    lambda text: '"' + text.replace('"', '""') + '"'
)


@settings(deadline=None)
@given(st.lists(FIELD, max_size=12), st.sampled_from(["\n", "\r\n"]), st.integers(1, 40), st.booleans())
def test_spans_hold_whole_lines_wherever_they_are_cut(fields, newline, size, ended):
    content = (newline.join(fields) + newline * ended).encode()
    blocks = list(blocks_of_rows(io.BytesIO(content), RowScanner("file", ","), size))
    assert b"".join(block for block, _ in blocks) == content
    written = sum(field != "" for field in fields)
    assert sum(n_rows for _, n_rows in blocks) == written
    assert all(block.endswith(b"\n") for block, _ in blocks[:-1])
    cut = spans([(len(block), n_rows) for block, n_rows in blocks], 0, packed=False)
    assert [content[span.offset : span.offset + span.length] for span in cut] == [block for block, _ in blocks]
    assert [span.first_row for span in cut] == [sum(n_rows for _, n_rows in blocks[:i]) for i in range(len(blocks))]
