"""Rows in Parquet files: what is written is what is read, once each, in every way."""

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from benchmarks.apart import FailedApart, run_code
from benchmarks.figures import files
from benchmarks.problems import parquet_folder
from benchmarks.solvers import files_sklearn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return parquet_folder.write_folder(tmp_path_factory.mktemp("parquet"), 4_000)


def test_the_files_hold_all_rows_and_the_tests_are_others(folder):
    X, y = parquet_folder.read_test(folder)
    assert X.shape == (1_000, parquet_folder.N_COLUMNS)
    assert X.dtype == np.float32
    assert set(y) == {0, 1}
    train, _ = parquet_folder.some_rows(1_000, 1)
    assert not np.array_equal(train.T, X)


def test_a_folder_that_is_whole_is_not_written_again(folder):
    before = (folder / "test.parquet").stat().st_mtime_ns
    parquet_folder.write_folder(folder, 4_000)
    assert (folder / "test.parquet").stat().st_mtime_ns == before


@pytest.mark.parametrize("way", files_sklearn.WAYS)
@pytest.mark.parametrize("n_rows", [64, 333])
def test_every_row_is_read_once(folder, way, n_rows):
    parts = sorted((folder / "train").glob("*.parquet"))
    seen = np.concatenate([batch.column("x0").to_numpy() for batch in files_sklearn.batches(parts, way, n_rows)])
    made = np.concatenate([parquet_folder.some_rows(1_000, number)[0][0] for number in (1, 2, 3, 4)])
    np.testing.assert_array_equal(np.sort(seen), np.sort(made))


def test_the_rule_tells_nine_in_ten():
    columns, y = parquet_folder.some_rows(20_000, 5)
    weights = np.random.default_rng(0).standard_normal(parquet_folder.N_COLUMNS).astype(np.float32)
    assert 0.88 < np.mean((weights @ columns > 0) == y) < 0.92


def test_a_process_that_fails_says_why():
    assert run_code("print('noise'); print('{\"a\": 1}')") == {"a": 1}
    with pytest.raises(FailedApart, match="no such thing"):
        run_code("raise ValueError('no such thing')")


def test_the_peak_of_memory_is_not_the_parents():
    held = np.ones(100_000_000)
    found = run_code("import json; from benchmarks.apart import peak_bytes; print(json.dumps({'peak': peak_bytes()}))")
    assert found["peak"] < held.nbytes


@pytest.mark.slow  # each starts an interpreter; the tests above read the same rows
@pytest.mark.parametrize("solver", ["files_parsgd", "files_sklearn"])
def test_one_pass_learns_what_there_is_to_learn(folder, solver):
    found = files.run_module(f"benchmarks.solvers.{solver}", str(folder))
    assert found["rows"] == 4_000
    assert found["accuracy"] > 0.75
    assert found["seconds"] > 0
    assert found["peak_bytes"] > 1e7
