"""The study of many workers: its page is that of the stored readings, and its compiled loops repeat the library."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("many_workers", "many_workers_runs", "many_workers_check", "many_workers_clock", "many_workers_kernels")


@pytest.fixture
def study(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("many_workers")
    for name in (*MODULES, "family", "family_runs"):
        sys.modules.pop(name, None)


@pytest.fixture
def runs(study):
    return importlib.import_module("many_workers_runs")


def row(runs, workers, times, name="local"):
    return runs.Row(name, workers, "constant, 1", 14, False, 1.0, times, times, times)


def test_the_page_is_that_of_the_stored_readings(study):
    stored = json.loads(study.STUDY.stored.read_text())
    assert set(stored) <= set(study.PROBLEMS)
    assert study.STUDY.page.read_text() == study.page(stored, study.STUDY.observations())


def test_every_row_has_the_same_number_of_fits(study):
    for entry in json.loads(study.STUDY.stored.read_text()).values():
        assert len({each["fits"] for each in entry["rows"]}) == 1


def test_a_quick_run_measures_every_algorithm(study, runs, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    study.main(["--quick", "--only", "synthetic", "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    assert {each["workers"] for each in entry["rows"]} == {1, 10, 100}
    assert {each["fits"] for each in entry["rows"]} == {4}
    text = page.read_text()
    assert all(f"| {way.name} |" in text for way in runs.WAYS)
    assert text == study.page(json.loads(stored.read_text()))


def test_a_quick_run_keeps_the_readings(study, capsys):
    with pytest.raises(SystemExit):
        study.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


def test_every_algorithm_has_the_loss_and_the_virtual_time_of_the_library(study, runs):
    check = importlib.import_module("many_workers_check")
    for way in runs.WAYS:
        pair = check.compare(check.smaller(runs.synthetic(None), 400), way, 30)
        assert pair.our_time == pytest.approx(pair.their_time, rel=1e-9), way.name
        assert pair.our_loss == pytest.approx(pair.their_loss, rel=1e-4), way.name


def test_pools_are_nested_and_speeds_at_most_1(runs):
    few, many = runs.speeds_of(10), runs.speeds_of(1000)
    assert np.array_equal(few, many[:10])
    assert 0.0 < many.min() <= many.max() <= 1.0


def test_a_fit_ends_at_the_goal_and_without_progress(runs):
    problem, way, speeds = runs.synthetic(None), runs.WAYS[5], runs.speeds_of(10)
    setting = runs.Setting("constant", 0.3)
    whole = runs.loss_curve(problem, way, speeds, setting, 1, most_passes=2)
    assert whole.passes[-1] == pytest.approx(2.0, abs=0.1)
    assert runs.loss_curve(problem, way, speeds, setting, 1, whole.losses[3]).passes == whole.passes[:4]
    assert whole.time_to(0.0) == math.inf
    assert whole.loss_at(whole.times[2]) == whole.losses[2]
    assert whole.loss_at(0.0) == pytest.approx(math.log(2.0))
    assert runs.loss_curve(problem, way, speeds, runs.Setting("constant", 1e4), 1).losses[-1] == math.inf


def test_the_slope_of_an_ideal_algorithm_is_minus_1(study, runs):
    rows = [row(runs, count, [1.0 / count] * 3) for count in (10, 100, 1000)]
    assert study.slope(rows) == pytest.approx(-1.0)
    assert study.fastest_at(rows) == 1000
    missed = [row(runs, 10, [0.1, None, 0.2]), row(runs, 100, [0.3, None, None])]
    assert math.isnan(study.slope(missed))
    assert study.fastest_at(missed) == 10
