"""The study of PyTorch modules: its page is that of the stored readings, and its clocks are those of the notebook."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("toy", "characters", "speeds", "fits")


@pytest.fixture
def study(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("torch_workers")
    for name in ("torch_workers", *(f"torch_workers_{name}" for name in MODULES), "stored_study", "datasets"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, before the fixture that compares the environment, because the first optimizer sets a variable."""
    pytest.importorskip("torch._dynamo")
    return pytest.importorskip("torch")


@pytest.fixture
def toy(study, torch):
    return importlib.import_module("torch_workers_toy")


@pytest.fixture
def speeds(study, torch):
    return importlib.import_module("torch_workers_speeds")


def test_the_page_is_that_of_the_stored_readings(study):
    stored = json.loads(study.STUDY.stored.read_text())
    assert set(stored) == set(study.PARTS)
    assert study.STUDY.page.read_text() == study.page(stored, study.STUDY.observations())


def test_every_row_has_the_same_number_of_fits(study):
    stored = json.loads(study.STUDY.stored.read_text())
    assert {len(row["trials"]) for row in stored["characters"]["rows"]} == {8}
    assert {row["fits"] for row in stored["speeds"]["rows"]} == {8}


def test_the_stored_clocks_are_the_expected_ones(study):
    toy = json.loads(study.STUDY.stored.read_text())["toy"]
    assert all(ours == pytest.approx(expected) for _, _, expected, ours, _ in toy["clocks"]["rows"])
    assert all(computed == pytest.approx(printed) for _, printed, computed in toy["clocks"]["printed"])
    assert all(toy["identity"])


@pytest.mark.slow
@pytest.mark.parametrize("part", ["toy", "characters", "speeds"])
def test_a_quick_run_measures_every_row(study, torch, part, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    study.main(["--quick", "--only", part, "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    text = page.read_text()
    assert all(f"| {row['name']} |" in text for row in entry["rows"])
    assert text == study.page(json.loads(stored.read_text()))


def test_a_quick_run_keeps_the_readings(study, capsys):
    with pytest.raises(SystemExit):
        study.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


def test_the_clock_of_the_notebook_follows_from_four_times(toy):
    points, reports = toy.expected_clock(100, toy.GRACE, foresees=True)
    assert [toy.at_steps(points, steps) for steps, _ in toy.PRINTED] == pytest.approx([s for _, s in toy.PRINTED])
    assert sum(reports) == 400
    without, _ = toy.expected_clock(100, 0.0, foresees=True)
    ends = sorted(20 * seconds * k for seconds in toy.SECONDS_PER_STEP for k in range(1, 401))
    assert without[-1][1] == pytest.approx(ends[399])


@pytest.mark.parametrize("grace", [0.0, 0.5, 5.0])
def test_the_virtual_clock_is_the_expected_one(toy, grace):
    points, reports = toy.clock(toy.AsyncDiLoCo(**toy.PLAIN, grace=grace), 8)
    expected, expected_reports = toy.expected_clock(8, grace, foresees=False)
    assert reports == expected_reports
    assert np.array(points) == pytest.approx(np.array(expected))


def test_unlimited_grace_gives_the_bits_of_synchronous_diloco(toy):
    assert toy.identity(1, 8)


def test_the_schedule_continues_over_new_optimizers(toy, torch):
    weight = torch.nn.Parameter(torch.ones(1))
    make, rates = toy.RoundsOfShards(2), []
    for _ in range(5):
        optimizer = make([weight])
        for _ in range(2):
            weight.grad = torch.ones(1)
            optimizer.step()
            rates.append(optimizer.param_groups[0]["lr"])
        assert len(optimizer.state) == 1
    # the peak rate at first; four workers, and then the second update of every shard
    assert rates[::2] == [toy.RATE] * 5
    assert len(set(rates[1:8:2])) == 1
    assert rates[9] == pytest.approx(
        toy.LEAST_RATE + (toy.RATE - toy.LEAST_RATE) * (1 + math.cos(21 / 40 * math.pi)) / 2
    )


def test_a_fit_ends_at_the_goal_and_repeats(speeds):
    problem = speeds.Problem(None)
    grid, make = speeds.WAYS["AsyncLocalSGD"]
    whole = speeds.loss_curve(problem, make(grid[2]), grid[2], speeds.SPEEDS, 1, passes=1)
    assert len(whole.points) >= 8
    assert whole.points[-1][1] >= 1.0
    ended = speeds.loss_curve(problem, make(grid[2]), grid[2], speeds.SPEEDS, 1, whole.points[3][2])
    assert ended.points == whole.points[:4]
    assert whole.to(-1.0) == (math.inf, math.inf)


def test_a_median_of_misses_is_a_miss(study):
    assert study.middle([1.0, None, None]) == math.inf
    assert study.with_quartiles([1.0, None, None]) == "missed"
    assert study.with_quartiles([1.0, 2.0, 3.0, None, 1.5]) == "2 (1.5 to 3)"
    assert study.order_table(
        [{"name": "a", "virtual": [2.0], "real": [None]}, {"name": "b", "virtual": [1.0], "real": [1.0]}]
    )


def test_momentum_at_every_merge_is_the_step_of_the_notebook(toy, torch):
    fits, steps = importlib.import_module("torch_workers_fits"), []

    class Compared(toy.AsyncDiLoCo):
        """The algorithm, compared with PyTorch's Nesterov step along half a pseudo-gradient."""

        def merge(self, fit_state, reports):
            if not steps:
                start = torch.nn.Parameter(torch.from_numpy(fit_state.state.copy()))
                steps.append((start, torch.optim.SGD([start], lr=1.0, momentum=0.9, nesterov=True)))
            parameter, optimizer = steps[0]
            (report,) = reports
            parameter.grad = torch.from_numpy(fit_state.task_of(report.worker).state - report.state) / 2
            optimizer.step()
            merged = super().merge(fit_state, reports)
            np.testing.assert_allclose(merged.state, parameter.detach().numpy(), rtol=1e-4, atol=1e-6)
            steps.append(None)
            return merged

    settings = {"optimizer": fits.adamw(1e-3), "batch_size": 32}
    data, module = toy.problem(0, 2), torch.nn.Linear(2, toy.CLASSES)
    assert fits.fit(module, data, Compared(**toy.PLAIN), toy.engine(), None, 5, 0, **settings)
    assert len(steps) > 30
