"""Parquet: found, counted, read by row groups, and refused with a sentence that says which file and why."""

import os
import pickle
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.data.columns.column_kinds import Numeric
from parsgd.data.columns.encoder import Encoder
from parsgd.data.contracts import Reading
from parsgd.data.formats.parquet import common_type, open_parquet
from parsgd.data.sources.streaming_source import StreamingSource
from parsgd.engines.threads import Threads
from parsgd.errors import DataFileError, InvalidArgumentError, MissingDependencyError
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.contracts import check_source
from parsgd.training.loop import fit


def table(n=20, seed=0, **columns):
    rng = np.random.default_rng(seed)
    usual = {"a": rng.integers(0, 9, n), "b": rng.random(n).astype(np.float32), "y": rng.choice([-1.0, 1.0], n)}
    return pa.table({**usual, **columns})


@pytest.fixture
def folder(tmp_path):
    """Three files of 20 rows, in row groups of 7."""
    for number in range(3):
        pq.write_table(table(seed=number), tmp_path / f"part-{number}.parquet", row_group_size=7)
    return tmp_path


def parquet_pieces(path, columns, target=None, weight=None, **settings):
    reading = Reading(Encoder((Numeric(columns),)), target, weight)
    return open_parquet(path, **settings).pieces(reading)


def rows(pieces):
    chunks = [chunk for piece in pieces for chunk in piece.chunks()]
    return np.concatenate([chunk.x for chunk in chunks]), np.concatenate([chunk.y for chunk in chunks])


def pose(y, weight):
    return y.astype(np.float32), np.zeros(0, dtype=np.float32) if weight is None else weight.astype(np.float32)


def source(pieces, **settings):
    encoder = pieces[0].reading.encoder
    return StreamingSource(tuple(pieces), encoder.n_features, encoder.dtype, encoder.sparse, pose, **settings)


def test_a_folder_is_read_in_the_order_of_its_names(folder):
    pieces = parquet_pieces(folder, columns=["b", "a"], target="y")
    whole = pq.read_table(folder)
    x, y = rows(pieces)
    np.testing.assert_array_equal(x, np.stack([whole["b"], whole["a"]], axis=1).astype(np.float32))
    np.testing.assert_array_equal(y, whole["y"])
    assert [piece.n_rows for piece in pieces] == [7, 7, 6] * 3
    assert pieces[4].name == f"{folder / 'part-1.parquet'}, row group 1"


def test_a_file_and_lists_of_files_are_read_like_folders(folder):
    paths = sorted(folder.glob("*.parquet"))
    of_folder, of_list = (rows(parquet_pieces(path, columns=["a"], target="y"))[0] for path in (folder, paths))
    one = rows(parquet_pieces(str(paths[0]), columns=["a"], target="y"))[0]
    np.testing.assert_array_equal(of_folder, of_list)
    np.testing.assert_array_equal(of_folder[:20], one)


def test_the_promises_of_a_source_are_kept(folder):
    check_source(source(parquet_pieces(folder, columns=["a", "b"], target="y", weight="b"), shuffle_buffer_rows=16))


def test_pieces_are_small_and_travel(folder):
    pieces = parquet_pieces(folder, columns=["a"], target="y")
    assert len(pickle.dumps(pieces[0])) < 2000
    np.testing.assert_array_equal(rows(pickle.loads(pickle.dumps(pieces)))[0], rows(pieces)[0])


def test_folders_named_like_columns_give_columns(tmp_path):
    for year in (2012, 2013):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(table(), tmp_path / f"year={year}" / "x.parquet", row_group_size=7)
    x, _ = rows(parquet_pieces(tmp_path, columns=["year", "a"], target="y"))
    assert x[:, 0].tolist() == [2012] * 20 + [2013] * 20
    pieces = parquet_pieces(tmp_path, columns=["a"], target="year", filters=[("year", "==", 2013)])
    assert rows(pieces)[1].tolist() == [2013] * 20
    check_source(source(pieces))


@pytest.mark.parametrize("filters", [[("a", ">", 4)], pads.field("a") > 4])
def test_filters_leave_the_rows_that_they_say(folder, filters):
    whole = pq.read_table(folder).to_pandas()
    pieces = parquet_pieces(folder, columns=["b"], target="y", filters=filters)
    np.testing.assert_array_equal(rows(pieces)[0][:, 0], whole["b"][whole["a"] > 4])
    assert sum(piece.n_rows for piece in pieces) == (whole["a"] > 4).sum()
    check_source(source(pieces, shuffle_buffer_rows=8))
    np.testing.assert_array_equal(rows(pickle.loads(pickle.dumps(pieces)))[0], rows(pieces)[0])


def test_addresses_are_read_through_fsspec(folder):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/data", recursive=True)
    try:
        pieces = parquet_pieces("memory://bucket/data", columns=["a", "b"], target="y")
        assert pieces[0].name == "memory:///bucket/data/part-0.parquet, row group 0"
        here = parquet_pieces(folder, columns=["a", "b"], target="y")
        np.testing.assert_array_equal(rows(pieces)[0], rows(here)[0])
        some = parquet_pieces("memory://bucket/data", columns=["a"], target="y", filters=[("b", "<", 0.5)])
        assert 0 < sum(piece.n_rows for piece in some) < 60
        check_source(source(some))
        memory.pipe("/bucket/data/part-1.parquet", b"other")
        with pytest.raises(DataFileError, match=r"part-1\.parquet has changed since it was opened"):
            rows(pieces)
    finally:
        memory.rm("/bucket", recursive=True)


def test_numbers_of_all_kinds_and_texts_go_together_across_files(tmp_path):
    kinds = [pa.int8(), pa.float64(), pa.bool_(), pa.uint32(), pa.float32(), pa.decimal128(9, 2)]
    for number, kind in enumerate(kinds):
        column = pa.array([0, 1, 1], pa.int8()).cast(kind)
        label = pa.array(["u", "v", "u"], pa.large_string() if number % 2 else pa.string())
        label = label.dictionary_encode() if number == 2 else label
        pq.write_table(pa.table({"a": column, "y": label}), tmp_path / f"{number}.parquet")
    pieces = parquet_pieces(tmp_path, columns=["a"], target="y")
    x, y = rows(pieces)
    assert x[:, 0].tolist() == [0, 1, 1] * len(kinds)
    assert y.tolist() == ["u", "v", "u"] * len(kinds)


def test_a_column_of_another_type_in_the_last_file_is_refused_at_opening(folder):
    pq.write_table(table(a=[f"{n}" for n in range(20)]), folder / "part-9.parquet")
    files = open_parquet(folder)
    assert files.n_rows == 80
    with pytest.raises(DataFileError, match=r"Column 'a' holds string in .*part-9\.parquet and int64 in .*part-0"):
        parquet_pieces(folder, columns=["a"], target="y")
    assert len(parquet_pieces(folder, columns=["b"], target="y")) == 10, "columns that are not needed may be anything"


def test_a_column_that_some_file_lacks_is_refused_at_opening(folder):
    pq.write_table(table().drop_columns(["b"]), folder / "part-9.parquet")
    with pytest.raises(DataFileError, match=r"part-9\.parquet has no column 'b', which .*part-0\.parquet has"):
        parquet_pieces(folder, columns=["a", "b"], target="y")


def test_a_column_that_no_file_has_is_refused_with_the_nearest_name(folder):
    pq.write_table(table(height=range(20)), folder / "one.parquet")
    with pytest.raises(DataFileError, match=r"has no column 'heigth'\. Did you mean 'height'\?"):
        parquet_pieces(folder / "one.parquet", columns=["heigth"])


def test_files_that_vanish_or_change_are_refused_when_they_are_read(folder):
    pieces = parquet_pieces(folder, columns=["a"], target="y")
    os.utime(folder / "part-2.parquet", (1, 1))
    pq.write_table(table(21), folder / "part-1.parquet")
    (folder / "part-0.parquet").unlink()
    for piece, said in ((pieces[0], "is missing"), (pieces[3], "has changed"), (pieces[8], "has changed")):
        with pytest.raises(DataFileError, match=rf"{piece.file.path} {said}"):
            rows([piece])


def test_a_file_that_changes_while_it_is_read_is_noticed(folder):
    (piece, *_) = parquet_pieces(folder, columns=["a"], target="y")
    chunks = piece.chunks()
    next(chunks)
    os.utime(folder / "part-0.parquet", (1, 1))
    with pytest.raises(DataFileError, match="has changed since it was opened"):
        list(chunks)


def test_a_corrupt_row_group_is_named(folder):
    pieces = parquet_pieces(folder, columns=["a"], target="y")
    path = folder / "part-1.parquet"
    place = pq.ParquetFile(path).metadata.row_group(1).column(0)
    begin = place.dictionary_page_offset or place.data_page_offset
    content, times = bytearray(path.read_bytes()), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    content[begin : begin + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(content)
    os.utime(path, ns=times)
    rows(pieces[:4])
    with pytest.raises(DataFileError, match=r"part-1\.parquet, row group 1 \(from row 1 on\) cannot be read.*damaged"):
        rows(pieces[4:5])
    with pytest.raises(DataFileError, match=r"part-1\.parquet, row group 1"):
        fit(Linear(1, dtype="float32"), LocalSGD(), Threads(), source(pieces, shuffle_buffer_rows=8), n_workers=2)


def test_what_is_no_parquet_is_refused_at_opening(folder, tmp_path):
    (folder / "part-7.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataFileError, match=r"part-7\.parquet cannot be read as Parquet"):
        open_parquet(folder)
    with pytest.raises(DataFileError, match="there is no such file or folder"):
        open_parquet(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFileError, match="the folder has no file"):
        open_parquet(tmp_path / "empty")
    with pytest.raises(DataFileError, match="Protocol not known: nope"):
        open_parquet("nope://bucket/data")


@pytest.mark.parametrize("filters", [3, [("a", "about", 3)]])
def test_filters_of_another_form_are_refused(folder, filters):
    with pytest.raises(InvalidArgumentError, match="filters= must be a pyarrow Expression or a list of"):
        open_parquet(folder, filters=filters)


def test_filters_on_columns_that_are_not_there_are_refused(folder):
    with pytest.raises(DataFileError, match=r"filters=.* cannot be applied"):
        parquet_pieces(folder, columns=["a"], filters=[("colour", "==", 1)])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([1.0, None, 2.0], r"row group 0 \(row 2\): column 'c' is missing"),
        ([1.0, 2.0, float("nan")], r"row group 0 \(row 3\): column 'c' is missing"),
        ([float("inf"), 1.0, 2.0], r"row group 0 \(row 1\): column 'c' is inf"),
    ],
)
def test_values_that_are_no_numbers_are_refused_with_column_file_and_row(tmp_path, column, said):
    pq.write_table(pa.table({"b": [1.0, 2.0, 3.0], "c": column, "y": [1, 2, 3]}), tmp_path / "one.parquet")
    with pytest.raises(DataFileError, match=said):
        rows(parquet_pieces(tmp_path, columns=["b", "c"], target="y"))
    with pytest.raises(DataFileError, match=said.split(":")[0] + ": column 'c' is the target, and is (missing|inf)"):
        rows(parquet_pieces(tmp_path, columns=["b"], target="c"))


def test_rows_are_counted_on_through_a_row_group(tmp_path):
    column = np.ones(30_000)
    column[23_456] = np.nan
    pq.write_table(pa.table({"a": column, "y": column * 0 + np.arange(30_000) * 0}), tmp_path / "one.parquet")
    with pytest.raises(DataFileError, match=r"\(row 23,457\): column 'a' is missing"):
        rows(parquet_pieces(tmp_path, columns=["a"]))


def test_pyarrow_is_asked_for_by_name_of_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'parsgd\[files\]'"):
        open_parquet(folder)


KINDS = st.sampled_from(["int8", "int32", "int64", "uint8", "float32", "float64", "bool"])


@given(kinds=st.lists(KINDS, min_size=1, max_size=9), n=st.integers(0, 20), data=st.data())
def test_numbers_become_rows_whatever_their_types_and_neighbours(kinds, n, data):
    rng = np.random.default_rng(0)
    columns = {f"c{place}": rng.integers(0, 2, n).astype(kind) for place, kind in enumerate(kinds)}
    batch = pa.record_batch({name: pa.array(column) for name, column in columns.items()})
    names = data.draw(st.permutations(list(columns)))
    moved = np.array(data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names))))
    mean, scale = np.where(moved, 0.5, 0.0), np.where(moved, 2.0, 1.0)
    wanted = (np.stack([columns[name].astype(float) for name in names], axis=1) - mean) / scale
    for dtype in ("float32", "float64"):
        found = Numeric(names, center=tuple(mean), divisor=tuple(scale)).encode(batch, dtype)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, wanted.astype(dtype))


def test_missing_values_are_filled_where_that_was_said():
    batch = pa.record_batch({"a": pa.array([1, None, 3]), "b": pa.array([None, 0.5, 1.5], pa.float32())})
    found = Numeric(["a", "b"], missing="mean", fill=(2.5, -1.0)).encode(batch, "float32")
    assert found.tolist() == [[1.0, -1.0], [2.5, 0.5], [3.0, 1.5]]


def test_types_that_hold_both_are_found_or_there_are_none():
    assert common_type(pa.int32(), pa.int64()) == pa.int64()
    assert common_type(pa.null(), pa.string()) == pa.string()
    assert common_type(pa.dictionary(pa.int8(), pa.string()), pa.string()) == pa.large_string()
    assert common_type(pa.date32(), pa.int32()) is None
    assert common_type(pa.string(), pa.date32()) is None
