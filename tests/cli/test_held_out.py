"""Held-out rows: equal fractions of all classes, and the same rows however a file is read."""

import numpy as np
import pandas as pd
import pytest

from parsgd.cli.option_groups import ColumnOptions
from parsgd.cli.tables.held_out import divide, draw
from parsgd.cli.tables.read_data import read
from parsgd.cli.tables.target_column import clean, take_target
from parsgd.errors import DataFileError


def drawn(names, task, target, seed=0, fraction=0.2, stream=None):
    data = take_target(read(names, ColumnOptions(), stream), target, needed=True)
    rest, held, mask = divide(clean(data, task), task, fraction, seed)
    assert (rest.n_rows, held.n_rows) == ((~mask).sum(), mask.sum())
    return mask


def test_every_class_has_its_fraction_in_any_chunks():
    labels = np.random.default_rng(0).choice(4, 3000, p=[0.7, 0.2, 0.09, 0.01])
    counts = np.bincount(labels)
    whole = draw([labels], counts, 600, seed=1)
    assert whole.sum() == 600
    assert np.abs(np.bincount(labels[whole]) - counts / 5).max() < 1
    pieces = np.split(labels, [1, 2, 50, 50, 2999])
    assert np.array_equal(whole, draw(pieces, counts, 600, seed=1))
    assert not np.array_equal(whole, draw([labels], counts, 600, seed=2))


def test_every_row_is_drawn_as_often():
    label, count = [np.zeros(20, dtype=int)], np.array([20])
    times = sum(draw(label, count, 7, seed).astype(int) for seed in range(3000))
    # five standard deviations of a binomial count
    assert np.abs(times - 3000 * 7 / 20).max() < 5 * np.sqrt(3000 * 0.35 * 0.65)


@pytest.mark.parametrize(("task", "target"), [("classes", "kind"), ("numbers", "y")])
def test_the_same_rows_are_held_out_however_they_are_read(table, tmp_path, task, target):
    table.loc[::13, ["kind", "y"]] = None
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet", row_group_size=30)
    (tmp_path / "parts").mkdir()
    for i in range(4):
        table[i * 50 : (i + 1) * 50].to_parquet(tmp_path / "parts" / f"{i}.parquet")
    ours = drawn(str(tmp_path / "a.csv"), task, target)
    assert ours.sum() == round(0.2 * table[target].notna().sum())
    for name, stream in (("a.csv", True), ("a.parquet", False), ("a.parquet", True), ("parts", None)):
        assert np.array_equal(ours, drawn(str(tmp_path / name), task, target, stream=stream)), (name, stream)


def test_loaded_and_streamed_fits_have_the_same_test_rows(cli, table_csv, tmp_path):
    for target, model in (("kind", "sgd-classifier"), ("y", "sgd-regressor")):
        settings = ("--target", target, "--model", model, "--seed", "3")
        loaded = cli.report("fit", table_csv, "--out", tmp_path / "a", *settings)
        streamed = cli.report("fit", table_csv, "--stream", "--out", tmp_path / "b", *settings)
        assert loaded["rows"] == streamed["rows"] == {"training": 160, "test": 40}


def test_rare_classes_and_few_rows(tmp_path):
    frame = pd.DataFrame({"x": np.arange(12.0), "kind": ["a"] * 11 + ["b"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    # one row of b: rows are drawn regardless of their classes
    assert drawn(str(tmp_path / "a.csv"), "classes", "kind", fraction=0.25).sum() == 3
    frame[:2].to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DataFileError, match="2 rows are too few for a test set of 20%"):
        drawn(str(tmp_path / "b.csv"), "classes", "kind")
