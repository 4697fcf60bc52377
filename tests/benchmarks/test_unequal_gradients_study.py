"""The study of gradients and averages: its page is that of the stored readings, and shards have different classes."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.time_to_goal import tasks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("unequal_gradients")
    for name in ("unequal_gradients", "unequal", "unequal_runs", "family", "family_runs"):
        sys.modules.pop(name, None)


def test_the_page_is_that_of_the_stored_readings(study):
    stored = json.loads(study.STUDY.stored.read_text())
    assert set(stored) == set(study.SETS)
    assert study.STUDY.page.read_text() == study.page(stored, study.STUDY.observations())


def test_every_row_has_the_same_number_of_fits(study):
    stored = json.loads(study.STUDY.stored.read_text())
    for entry in stored.values():
        assert len({row["fits"] for row in entry["rows"]}) == 1


@pytest.mark.slow
def test_a_quick_run_measures_every_algorithm(study, tmp_path, monkeypatch):
    runs = importlib.import_module("unequal_runs")
    monkeypatch.setattr(runs, "PASSES", 1)
    monkeypatch.setattr(runs, "MOST_PASSES", 1)
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    study.main(["--quick", "--only", "enron_spam", "--stored", str(stored), "--out", str(page)])
    entry = json.loads(stored.read_text())["enron_spam"]
    names = {(row["name"], row["pool"]) for row in entry["rows"]}
    assert {(name, shards) for name in study.ALGORITHMS for shards in (study.ALIKE, study.DIRICHLET)} < names


def test_grouped_rows_are_a_permutation_with_different_classes(study):
    task = study.smaller(tasks.load("fashion_mnist", None), 1000, 1)
    found = study.grouped(task, 10)
    assert sorted(found.X[:, 0].tolist()) == sorted(task.X[:, 0].tolist())
    assert np.array_equal(np.bincount(found.y), np.bincount(task.y))
    largest = [np.bincount(part).max() / len(part) for part in np.array_split(found.y, 10)]
    assert np.median(largest) > 0.5
