"""Time to the loss of one tuned worker: curves are those of whole fits, and a quick run measures what it should."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import readings, second_core
from benchmarks.time_to_goal import comparison, tasks
from benchmarks.time_to_goal.curves import Curve, Workers, curve, interleaved
from benchmarks.time_to_goal.tuning import SEEDS, TUNING_PASSES, tune

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = Workers(1), Workers(2, rule="uniform")


@pytest.fixture(scope="module")
def load():
    """Tasks on a few generated rows."""
    return lambda name: tasks.load(name, None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["enron_spam", "covtype", "nycflights", "news20_softmax", "fashion_mnist"])
@pytest.mark.parametrize("workers", [ONE, TWO], ids=["one", "two"])
def test_a_curve_has_the_losses_of_whole_fits(name, workers, load):
    task = load(name)
    setting = task.grid(quick=True)[0]
    ours = curve(task, workers, setting, 2, seed=1).losses
    fits = [task.estimator(setting, n, 1, **workers.arguments(task)).fit(task.X, task.y) for n in (1, 2)]
    theirs = [task.initial_loss, *map(task.test_loss, fits)]
    # a callback has the weights at full scale, which rounds them
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert ours[-1] < ours[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", tasks.NAMES)
def test_the_initial_loss_is_that_of_the_prediction_zero(name, load):
    task = load(name)
    setting = dict.fromkeys([tasks.rate_of(task.grid()[0])], 1e-9)
    schedule = {"solver": "sgd"} if task.kind == tasks.NETWORK else {"learning_rate": "constant"}
    model = task.estimator({**schedule, **setting}, 1, 0, n_jobs=1).fit(task.X, task.y)
    assert task.test_loss(model) == pytest.approx(task.initial_loss, rel=0.2 if task.kind == tasks.NETWORK else 1e-3)


@pytest.mark.parametrize(
    ("losses", "goal", "passes"),
    [
        ((1.0, 0.6, 0.4), 0.5, 1.5),
        ((1.0, 0.6, 0.4), 0.6, 1.0),
        ((1.0, 0.5), 0.75, 0.5),
        ((1.0, 0.6, 0.4), 0.3, np.inf),
        ((1.0, np.inf, np.inf), 0.5, np.inf),
        ((1.0, 0.9, 0.2, 0.9), 0.55, 1.5),
        # a goal that the start has already is reached after a whole pass
        ((1.0, 0.9), 1.2, 1.0),
    ],
)
def test_passes_to_the_goal_are_interpolated(losses, goal, passes):
    assert Curve(losses, tuple(range(len(losses)))).passes(goal) == pytest.approx(passes)


def test_a_fit_ends_at_the_goal(load):
    task = load("enron_spam")
    setting = task.grid(quick=True)[1]
    whole = curve(task, ONE, setting, 3, seed=1)
    assert curve(task, ONE, setting, 3, seed=1, goal=whole.losses[1]).losses == whole.losses[:2]


def test_a_fit_that_diverges_is_at_no_goal(load):
    task = load("nycflights")
    found = curve(task, ONE, {"learning_rate": "constant", "eta0": 1e6}, 3, seed=1)
    assert len(found.losses) == len(found.seconds) == 4
    assert found.passes(0.1) == np.inf


def test_a_schedule_that_an_algorithm_refuses_is_at_no_goal(load):
    found = curve(load("adult"), Workers(2, algorithm="hogwild"), {"learning_rate": "adagrad", "eta0": 0.1}, 2, seed=1)
    assert found.losses[1:] == (np.inf, np.inf)


@pytest.mark.slow
def test_every_number_of_workers_has_the_same_grid(load, monkeypatch):
    task, seen = load("adult"), {ONE: [], TWO: []}

    def record(task, workers, setting, n_epochs, seed):
        seen[workers].append((setting, n_epochs, seed))
        return curve(task, workers, setting, n_epochs, seed)

    monkeypatch.setattr("benchmarks.time_to_goal.tuning.curve", record)
    chosen, n_fits = tune(task, (ONE, TWO), 2, quick=True)
    n_grid = len(task.grid(quick=True))
    assert seen[ONE][: 2 * n_grid] == seen[TWO][: 2 * n_grid]
    assert len(seen[ONE]) == len(seen[TWO]) == n_fits == 2 * (n_grid + 2)
    assert {call[1:] for calls in seen.values() for call in calls} == {(TUNING_PASSES, seed) for seed in SEEDS[:2]}
    assert all(found.setting in [call[0] for call in seen[workers]] for workers, found in chosen.items())


def test_a_grid_has_six_rates_of_each_schedule(load):
    for name in tasks.NAMES:
        grid = load(name).grid()
        kinds = [setting.get("learning_rate", setting.get("solver")) for setting in grid]
        expected = {"adam": 5, "sgd": 5, "optimal": 3, "constant": 6, "invscaling": 6, "adagrad": 6}
        assert {kind: kinds.count(kind) for kind in kinds} == {kind: expected[kind] for kind in kinds}
        assert len({tasks.words(setting) for setting in grid}) == len(grid)


def test_runs_alternate():
    calls = []
    runs = [lambda name=name: calls.append(name) or 1.0 for name in "ab"]
    assert interleaved(runs, 3).shape == (2, 3)
    assert "".join(calls) == "abbaab"


def test_workers_that_miss_the_goal_have_a_ratio_of_0(load, monkeypatch):
    task = load("enron_spam")

    def losses(task, workers, setting, n_epochs, seed, goal=-np.inf):
        end = 0.3 if workers.n_workers == 1 else 0.4
        found = np.linspace(0.7, end, n_epochs + 1)
        return Curve(tuple(found), tuple(np.arange(n_epochs + 1.0)))

    monkeypatch.setattr("benchmarks.time_to_goal.tuning.curve", losses)
    monkeypatch.setattr(comparison, "curve", losses)
    groups = [Workers(count, "uniform", simulated=True) for count in (1, 8)]
    found = comparison.compare(task, groups, comparison.Plan(2, 1, 1, quick=True), lambda text: None)
    (missed,) = readings.select(found, figure=comparison.TIME, solver="8 workers")
    assert missed.ratio.median == 0.0
    assert "2 of 2 seeds not at the goal" in missed.note


@pytest.mark.parametrize(
    "options", [[], pytest.param(["--simulated"], marks=pytest.mark.slow)], ids=["measured", "simulated"]
)
def test_a_quick_run_prints_and_keeps_its_readings(options, tmp_path, capsys, monkeypatch):
    # rounds of 32 workers take long
    monkeypatch.setattr(second_core, "SIMULATED", (2, 4))
    stored = tmp_path / "readings.json"
    run = ["--quick", "--seeds", "1", "--rule", "uniform", "--datasets", "adult", "--out", str(stored), *options]
    assert second_core.main(run) == 0
    assert second_core.main([*run, "--datasets", "covtype"]) == 0
    text = capsys.readouterr().out
    assert "not a measurement" in text
    assert "9 fits of 6 passes each" in text
    assert {key.split(",")[0] for key in json.loads(stored.read_text())} == {"adult", "covtype"}
    for taken in readings.load(stored).values():
        timed = readings.select(taken.readings, figure=comparison.TIME)
        assert [reading.solver for reading in timed] == (
            ["1 worker", "2 workers", "4 workers"] if options else ["1 worker", "2 workers"]
        )
        assert all(value > 0 for reading in timed for value in reading.values)
        assert len(readings.select(taken.readings, figure=comparison.SPEED)) == (0 if options else 1)
        assert len(readings.select(taken.readings, figure=comparison.LIMIT)) == (0 if options else 1)


def test_real_data_are_asked_for(capsys):
    with pytest.raises(SystemExit):
        second_core.main(["--seeds", "1"])
    assert "--quick" in capsys.readouterr().err


@pytest.mark.slow  # starts an interpreter and runs every task
def test_the_script_runs_by_itself():
    command = [sys.executable, "benchmarks/second_core.py", "--quick", "--rule", "uniform", "--seeds", "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert all(f"| {name} | 2 workers |" in ran.stdout for name in tasks.NAMES)
