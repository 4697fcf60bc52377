"""The study of all algorithms: its page is that of the stored readings, and a quick run measures every algorithm."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.time_to_goal import tasks
from parsgd import LocalSGD, Simulated, SimuParallel, WeightedAverage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def family(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("family")
    for name in ("family", "family_runs"):
        sys.modules.pop(name, None)


@pytest.fixture
def runs(family):
    return importlib.import_module("family_runs")


@pytest.fixture
def task(runs):
    return runs.smaller(tasks.load("adult", None), 1000, 1)


def row(family, name, workers, passes, tuned=2.0):
    return family.Row(name, workers, "constant, eta0=1", 14, False, tuned, 0.5, passes)


def test_the_page_is_that_of_the_stored_readings(family):
    stored = json.loads(family.STUDY.stored.read_text())
    assert set(stored) <= set(family.SETS)
    assert family.STUDY.page.read_text() == family.page(stored, family.STUDY.observations())


def test_every_row_of_a_model_has_the_same_number_of_fits(family):
    for entry in json.loads(family.STUDY.stored.read_text()).values():
        assert len({each["fits"] for each in entry["rows"]}) == 1


def test_a_quick_run_measures_every_algorithm(family, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    family.main(["--quick", "--only", "adult", "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    assert {each["workers"] for each in entry["rows"]} == {1, 2}
    assert {each["fits"] for each in entry["rows"]} == {5}
    text = page.read_text()
    assert all(f"| {each['name']} |" in text for each in entry["rows"] if each["name"] != "auto")
    assert text == family.page(json.loads(stored.read_text()))


def test_a_quick_run_keeps_the_readings(family, capsys):
    with pytest.raises(SystemExit):
        family.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", [SimuParallel(), WeightedAverage()])
def test_one_average_is_that_of_a_whole_fit(algorithm, runs, task):
    setting = runs.grid(task)[1][0]
    found = runs.loss_curve(task, runs.Way("one average", 4, runs.OneAverage()), setting, 2, 1)
    model = task.estimator(setting, 2, 1, n_jobs=4, algorithm=algorithm, engine=Simulated()).fit(task.X, task.y)
    assert found.losses[-1] == pytest.approx(task.test_loss(model), rel=1e-5)
    assert found.passes == pytest.approx(np.arange(1, 21) / 10, abs=0.02)


@pytest.mark.parametrize("name", ["local, adaptive", "local, Nesterov (DiLoCo)", "asynchronous", "delayed"])
def test_loss_curves_end_with_the_loss_of_a_whole_fit_and_its_virtual_time(name, runs, task):
    (way,) = [way for way in runs.ways(task, (4,)) if way.name == name]
    setting = runs.grid(task)[0][0]
    found = runs.loss_curve(task, way, setting, 2, 1)
    model = task.estimator(setting, 2, 1, **way.arguments(task)).fit(task.X, task.y)
    assert found.losses[-1] == pytest.approx(task.test_loss(model), rel=1e-5)
    seconds = model.history_[-1]["seconds"]
    assert seconds / runs.PASS_SECONDS == pytest.approx(found.passes[-1] / 4, rel=0.02)


def test_the_mean_of_iterates_is_that_of_the_adaptive_step(runs, task):
    # without probe rows the step is the mean of the workers, so that one worker's mean is its own
    setting, way = runs.grid(task)[0][1], runs.Way("mean", 1, LocalSGD(outer_optimizer=runs.MeanOfIterates()))
    plain = runs.loss_curve(task, runs.Way("plain", 1, LocalSGD()), setting, 2, 1)
    mean = runs.loss_curve(task, way, setting, 2, 1)
    assert mean.losses[0] == pytest.approx(plain.losses[0])
    assert mean.losses[-1] != plain.losses[-1]


def test_a_fit_ends_at_the_goal_and_without_progress(runs, task):
    way = runs.ways(task, (2,))[0]
    setting = runs.grid(task)[0][1]
    whole = runs.loss_curve(task, way, setting, 2, 1)
    assert runs.loss_curve(task, way, setting, 2, 1, whole.losses[3]).passes == whole.passes[:4]
    assert whole.to(whole.losses[3]) == pytest.approx(0.4)
    assert whole.to(0.0) == np.inf
    diverging = runs.loss_curve(task, way, {"learning_rate": "constant", "eta0": 1e6}, 2, 1)
    assert diverging.losses[-1] == np.inf
    assert len(diverging.losses) <= 11


def test_a_miss_is_no_gain(family):
    one, two, missed = (
        row(family, family.ONE, 1, [3.0, 2.0, 4.0]),
        row(family, "elastic", 2, [2.0, None, 4.0]),
        row(family, "elastic", 2, [None, None, 4.0]),
    )
    assert family.times_as_fast(one, two) == pytest.approx(1.5)
    assert family.times_as_fast(one, missed) == 0.0
    assert "missed" in family.figures(family.Readings("a", "binary", 1, 1, 0.5, "", {}, [one, two, missed]), missed)
