"""The study of unequal workers: its page is that of the stored readings, and a quick run measures every algorithm."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.time_to_goal import tasks
from parsgd import LocalSGD, SimuParallel, WeightedAverage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def unequal(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("unequal")
    for name in ("unequal", "unequal_runs", "family", "family_runs"):
        sys.modules.pop(name, None)


@pytest.fixture
def runs(unequal):
    return importlib.import_module("unequal_runs")


@pytest.fixture
def task(unequal):
    return unequal.smaller(tasks.load("adult", None), 1000, 1)


def row(unequal, name, pool, times, tuned=2.0):
    return unequal.Row(name, pool, "constant, eta0=1", 14, False, tuned, 0.5, times, times)


def readings(unequal, rows):
    one = row(unequal, unequal.ONE, "", [3.0, 2.0, 4.0])
    batches = row(unequal, f"{unequal.ONE}, mini-batches", "", [2.0, 2.0, 2.0])
    return unequal.Readings("a", "binary", 1, 1, 0.5, "", {}, [one, batches, *rows])


def test_the_page_is_that_of_the_stored_readings(unequal):
    stored = json.loads(unequal.STUDY.stored.read_text())
    assert set(stored) <= set(unequal.SETS)
    assert unequal.STUDY.page.read_text() == unequal.page(stored, unequal.STUDY.observations())


def test_every_row_has_the_same_number_of_fits(unequal):
    stored = json.loads(unequal.STUDY.stored.read_text())
    assert len({each["fits"] for entry in stored.values() for each in entry["rows"]}) == 1


def test_a_quick_run_measures_every_algorithm(unequal, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PASSES", 1)
    monkeypatch.setattr(runs, "MOST_PASSES", 1)
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    unequal.main(["--quick", "--only", "adult", "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    by_pool = {pool: [each["name"] for each in entry["rows"] if each["pool"] == pool] for pool in ("", *runs.POOLS)}
    assert by_pool == {"": [*runs.ALONE], runs.MIXED: [*runs.ALGORITHMS], runs.ONE_SLOW: [*runs.SECOND]}
    assert {each["fits"] for each in entry["rows"]} == {5}
    text = page.read_text()
    assert all(f"| {name} |" in text for names in by_pool.values() for name in names)
    assert text == unequal.page(json.loads(stored.read_text()))
    assert page.with_suffix(".png").exists()


def test_a_quick_run_keeps_the_readings(unequal, capsys):
    with pytest.raises(SystemExit):
        unequal.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["wait, adaptive", "balance=speed", "deadline=auto, steps", "seconds, uniform", "asynchronous"]
)
def test_loss_curves_end_at_the_loss_and_the_virtual_time_of_a_whole_fit(name, runs, task):
    (way,) = [way for pool, way in runs.ways(task) if (pool, way.name) == (runs.MIXED, name)]
    setting = runs.grid(task)[0][0]
    found = runs.loss_curve(task, way, setting, 2, 1)
    model = task.estimator(setting, 2, 1, **way.arguments(task)).fit(task.X, task.y)
    assert found.losses[-1] == pytest.approx(task.test_loss(model), rel=1e-5)
    assert found.times[-1] == pytest.approx(model.history_[-1]["seconds"] / runs.PASS_SECONDS)


def test_the_time_of_rounds_in_seconds_is_that_of_the_summed_speed(runs, task):
    speeds = runs.POOLS[runs.MIXED]
    way = runs.Way("rounds", len(speeds), LocalSGD(seconds=4 * runs.ROUND), speeds)
    found = runs.loss_curve(task, way, runs.grid(task)[0][0], 3, 1)
    # whole examples of all workers
    assert found.times[-1] == pytest.approx(found.passes[-1] / sum(speeds))
    waiting = runs.loss_curve(task, runs.Way("waiting", len(speeds), LocalSGD(), speeds), runs.grid(task)[0][0], 3, 1)
    assert waiting.times[-1] == pytest.approx(waiting.passes[-1] / (len(speeds) * min(speeds)), rel=0.05)


@pytest.mark.parametrize("rule", ["uniform", "steps"])
def test_one_average_in_time_is_that_of_a_whole_fit(rule, runs, task):
    speeds, setting, seconds = runs.POOLS[runs.MIXED], runs.grid(task)[0][0], 0.16 * runs.PASS_SECONDS
    way = runs.Way("one average", len(speeds), runs.OneAverageInTime(rule=rule, seconds=seconds / 2), speeds)
    found = runs.loss_curve(task, way, setting, 20, 1)
    algorithm = SimuParallel(seconds=seconds) if rule == "uniform" else WeightedAverage(rule, seconds)
    arguments = {**way.arguments(task), "algorithm": algorithm}
    model = task.estimator(setting, 20, 1, **arguments).fit(task.X, task.y)
    assert found.losses[1] == pytest.approx(task.test_loss(model), rel=1e-5)


def test_wp_has_uniform_weights_without_a_penalty(runs, task):
    speeds, setting = runs.POOLS[runs.MIXED], runs.grid(task)[1][0]
    uniform, wp = (
        runs.loss_curve(task, runs.Way(rule, 10, LocalSGD(seconds=runs.ROUND, rule=rule), speeds), setting, 2, 1)
        for rule in ("uniform", "wp")
    )
    assert wp == uniform


def test_the_ideal_time_is_that_of_the_best_worker_at_the_summed_speed(unequal):
    found = readings(unequal, [row(unequal, "seconds, uniform", unequal.MIXED, [1.0, None, 1.5])])
    (seconds, batches) = unequal.of_pool(found, unequal.MIXED)
    assert unequal.best_alone(found).name == f"{unequal.ONE}, mini-batches"
    assert unequal.over_ideal(found, seconds) == pytest.approx(1.5 / (2.0 / 6.6))
    assert unequal.time_of(batches) == 2.0
    assert unequal.figures(found, seconds) == ["1.5", "1.5", "2", "1.3", "4.9"]


def test_a_miss_is_no_gain(unequal):
    missed = row(unequal, "seconds, uniform", unequal.MIXED, [None, None, 1.0], tuned=None)
    found = readings(unequal, [missed])
    assert unequal.figures(found, missed)[0] == "missed"
    assert unequal.chosen([missed, found.rows[1]]) is found.rows[1]
    assert np.isinf(unequal.over_ideal(found, missed))
