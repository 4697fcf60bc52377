"""A quick run of the linear figures: everything runs, and says what it should; nothing here looks at a clock."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import problems, solvers
from benchmarks.figures import equal_work, time_to_loss
from benchmarks.options import Options
from benchmarks.problems import Problem, Unavailable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def options(tmp_path):
    return Options(tmp_path, quick=True, n_turns=1)


@pytest.fixture
def easy():
    """Two classes of rows that a line divides but for some noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1_200, 5), dtype=np.float32)
    y = (X @ [1, -2, 0.5, 0, 3] + 0.5 * rng.standard_normal(1_200) > 0).astype(int)
    return Problem("easy", "easy rows", X[:1_000], y[:1_000], X[1_000:], y[1_000:])


@pytest.mark.slow
def test_a_quick_run_measures_and_leaves_the_docs_alone(tmp_path):
    docs = {path: path.stat().st_mtime_ns for path in (ROOT / "docs").rglob("*") if path.is_file()}
    arguments = ["--quick", "--turns", "1", "--only", "equal_work", "small_things", "--out", str(tmp_path)]
    ran = subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    kept = json.loads((tmp_path / "results" / "benchmarks.json").read_text())
    assert set(kept) == {"equal_work", "small_things"}
    assert all(value > 0 for entry in kept["equal_work"]["readings"] for value in entry["values"])
    text = (tmp_path / "benchmarks.md").read_text()
    assert all(row.title in text for row in equal_work.ROWS)
    assert "needs real data" in text
    assert {path: path.stat().st_mtime_ns for path in docs} == docs


def test_a_partial_run_leaves_the_other_figures_as_they_are(tmp_path, monkeypatch):
    stored = tmp_path / "results" / "benchmarks.json"
    run = ["--quick", "--turns", "1", "--out", str(tmp_path), "--only"]
    assert command.main([*run, "small_things"]) == 0
    before = json.loads(stored.read_text())["small_things"]
    monkeypatch.setattr(equal_work, "measure", lambda options: 1 / 0)
    assert command.main([*run, "equal_work"]) == 1
    after = json.loads(stored.read_text())
    assert after["small_things"] == before
    assert after["equal_work"]["failed"] == "ZeroDivisionError: division by zero"


def test_real_data_are_asked_for(options):
    with pytest.raises(Unavailable, match="--data"):
        problems.load("adult", options)
    assert [reading.note for reading in time_to_loss.measure(options)] == ["needs real data (`--data`)"] * 4


# solvers that run until they converge are stopped before
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["ours", "sklearn_sgd", "sklearn_logistic", "vowpal_wabbit", "cyanure_qning", "snap"])
def test_every_solver_learns_with_each_of_its_ways(name, easy):
    try:
        module = solvers.load(name)
    except Unavailable as why:
        pytest.skip(str(why))
    assert module.grid(easy)
    for setting in module.SPEEDS:
        loss, _ = time_to_loss.losses(easy, module, setting, 10, range(2))
        assert loss < 0.5, setting


def test_the_soonest_arrival_is_at_the_goal_and_no_earlier(easy):
    module, goal = solvers.load("sklearn_sgd"), 0.35
    found = time_to_loss.soonest(easy, module, [{"alpha": 1e-2}], goal, range(2), 60.0)
    assert time_to_loss.losses(easy, module, found.setting, found.n_epochs, range(2))[0] == found.loss <= goal
    for fewer in range(1, found.n_epochs):
        assert time_to_loss.losses(easy, module, found.setting, fewer, range(2))[0] > goal
    assert time_to_loss.soonest(easy, module, [{"alpha": 1e-2}], 1e-9, range(2), 60.0) is None


def test_who_does_not_get_there_misses_the_target(easy):
    reading = time_to_loss._reading(easy, time_to_loss.OURS, None, {}, 0.1)
    assert reading.met is False
    assert reading.note == "no setting found that gets to 0.1000"
