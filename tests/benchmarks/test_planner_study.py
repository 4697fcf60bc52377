"""The study of the planner: its page is that of the stored readings, and a quick run measures every candidate."""

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def planner(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("planner")
    for name in ("planner", "planner_runs", "planner_problems"):
        sys.modules.pop(name, None)


def cell(planner, predicted=1.0, measured=1.0, outcome="known", **others):
    bounds = {"low": predicted, "high": predicted, **others}
    return planner.Cell(
        2, "local", "rehearsed", outcome, 0.2, predicted, **bounds, measured_pass_s=0.2, measured_s=measured
    )


def test_the_page_is_that_of_the_stored_readings(planner):
    stored = json.loads(planner.STUDY.stored.read_text())
    assert set(stored) <= set(planner.PROBLEMS)
    assert planner.STUDY.page.read_text() == planner.page(stored, planner.STUDY.observations())


@pytest.mark.alone
def test_a_quick_run_measures_every_candidate(planner, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    planner.main(["--quick", "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    idle, busy = planner.restore(entry["idle"]), planner.restore(entry["busy"])
    assert {each.workers for each in idle.cells} == set(planner.WORKERS)
    assert {each.workers for each in busy.cells} == {1, 2}
    assert all(each.measured_pass_s is not None for each in idle.cells + busy.cells)
    assert idle.cells[0].measured_s > 0
    text = page.read_text()
    assert all(f"| {each.label} " in text for each in idle.cells)
    assert text == planner.page(json.loads(stored.read_text()))


def test_a_quick_run_keeps_the_readings(planner, capsys):
    with pytest.raises(SystemExit):
        planner.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("others", "hit"),
    [
        (dict(predicted=1.29), True),
        (dict(predicted=1.31), False),
        (dict(predicted=0.69), False),
        (dict(predicted=1.6, low=1.2, high=2.0), True),
        (dict(predicted=0.5, low=0.4, high=0.8), True),
        (dict(predicted=0.5, low=0.4, high=0.6), False),
        (dict(predicted=1.0, measured=None), False),
        (dict(predicted=None, outcome="never"), False),
        (dict(predicted=None, outcome="never", measured=None), True),
        (dict(predicted=None, outcome="unknown"), None),
        (dict(predicted=1.0, low=0.5, high=3.0, outcome="wide"), None),
    ],
)
def test_a_hit_is_near_the_measurement_or_never_in_both(planner, others, hit):
    assert cell(planner, **others).hit is hit


def test_a_recommendation_is_compared_with_the_best_measured_candidate(planner):
    cells = [
        replace(cell(planner, measured=measured), workers=workers, label=str(workers))
        for workers, measured in ((1, 1.0), (2, 1.2), (8, 0.5))
    ]
    planned = planner.Planned(1.0, "", 1.0, (8, "8"), (2, "2"), cells)
    assert planned.times_best() == 1.0
    assert planned.times_best(here=True) == pytest.approx(1.2)
    never = replace(planned, cells=[*cells[:2], replace(cells[2], measured_s=None)])
    assert never.times_best() == math.inf


def test_the_time_of_a_fit_is_that_of_its_history(planner):
    runs = importlib.import_module("planner_runs")
    problem = importlib.import_module("planner_problems").load("generated", None)
    cells = planner_cells(problem)
    for each in cells:
        pass_s, to_goal = runs.time_fit(problem, each, 1, 2.5)
        assert 0 < to_goal < 1.0
        assert pass_s < 1.0
        assert runs.time_fit(problem, each, 1, math.inf)[1] == math.inf


def planner_cells(problem):
    import parsgd

    return parsgd.plan(problem.estimator, problem.X, problem.y, (1, 2), seconds=0.2).cells
