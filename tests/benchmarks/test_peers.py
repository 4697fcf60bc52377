"""The study of other libraries: its page is that of the stored readings, and every row has the same budget."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def peers(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("peers")
    for name in ("peers", "peers_runs"):
        sys.modules.pop(name, None)


@pytest.fixture
def runs(peers):
    return importlib.import_module("peers_runs")


def fits(runs, *points):
    return [runs.Point(*point) for point in points]


def entry(peers, ours, theirs):
    """Readings of two rows, each with one setting and the same fit in three turns: seconds and loss."""
    rows = [
        {"name": name, "speed": "", "settings": 1, "fits": 1, "tuning_s": 1.0, "chosen": [0, 0, 0]}
        | {"words": {"0": "a"}, "turns": {"0": [[[1, *fit]]] * 3}}
        for name, fit in ((peers.ONE, ours), (peers.TWO, ours), ("Snap ML", theirs))
    ]
    sizes = {"n_rows": 10, "n_columns": 2, "n_classes": 2, "limit_s": 1.0, "left_out": [], "about": {"text": "here"}}
    return {"name": "adult", "network": False, "rows": rows, **sizes}


def test_the_page_is_that_of_the_stored_readings(peers):
    stored = json.loads(peers.STUDY.stored.read_text())
    assert set(stored) <= set(peers.SETS)
    assert peers.STUDY.page.read_text() == peers.page(stored, peers.STUDY.observations())
    assert {row["settings"] for each in stored.values() for row in each["rows"]} <= {peers.BUDGET}


@pytest.mark.parametrize("name", ["covtype2", "news20"])
def test_every_solver_has_the_same_number_of_settings(name, runs):
    problem = runs.load(name, None)
    for solver in ("ours", *runs.PEERS):
        found = runs.settings_of(solver, problem)
        assert len({str(setting) for setting in found}) == len(found) == runs.BUDGET
    assert len(set(runs.trainings(runs.LAYERS))) == runs.BUDGET


@pytest.mark.parametrize("name", ["adult", pytest.param("news20", marks=pytest.mark.slow)])
def test_a_quick_run_measures_all_rows(name, peers, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    peers.main(["--quick", "--only", name, "--stored", str(stored), "--out", str(page)])
    found = json.loads(stored.read_text())
    for each in found.values():
        names = [row["name"] for row in each["rows"]]
        assert names[:4] == [peers.ONE, peers.TWO, "scikit-learn SGD", "scikit-learn LogisticRegression"]
        for row in each["rows"]:
            assert row["settings"] == peers.BUDGET
            assert all(len(turns) == 2 for turns in row["turns"].values())
            assert np.isfinite(min(point.loss for points in peers.points_of(row).values() for point in points))
    assert page.read_text() == peers.page(found)
    assert page.with_suffix(".svg").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_quick_run_measures_networks(peers, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    peers.main(["--quick", "--only", "fashion_mnist", "--stored", str(stored), "--out", str(page)])
    (found,) = json.loads(stored.read_text()).values()
    assert {peers.ONE, peers.TWO, "scikit-learn MLP"} <= {row["name"] for row in found["rows"]}
    assert "| scikit-learn MLP |" in page.read_text()


def test_a_quick_run_keeps_the_readings(peers, capsys):
    with pytest.raises(SystemExit):
        peers.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


def test_the_soonest_setting_is_chosen_and_else_that_with_the_least_loss(runs):
    slow, fast = fits(runs, (1, 2.0, 0.5), (2, 4.0, 0.1)), fits(runs, (1, 1.0, 0.6), (2, 2.0, 0.3))
    assert runs.time_to(slow, 0.2) == 4.0
    assert runs.time_to(fast, 0.2) == math.inf
    assert [runs.choose([slow, fast], goal) for goal in (0.5, 0.4, 0.2, 0.0)] == [0, 1, 0, 0]


def test_the_fits_of_a_setting_end_after_the_limit_or_a_divergence(runs):
    class Row:
        def fits(self, setting, passes, seed):
            return iter(fits(runs, *((n, float(n), setting) for n in passes)))

    assert [point.passes for point in runs.ladder(Row(), 0.5, (1, 2, 3, 5), 0, 2.5)] == [1, 2, 3]
    assert [point.passes for point in runs.ladder(Row(), math.inf, (1, 2, 3, 5), 0, 2.5)] == [1]


def test_a_loss_is_the_cross_entropy_of_the_test_rows(runs):
    problem = runs.Problem("a", "a", None, None, np.zeros((2, 1)), np.array([0, 1]))
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25]])
    assert runs.test_loss(problem, lambda X: probabilities) == pytest.approx(np.log(8) / 2)
    assert runs.test_loss(problem, lambda X: probabilities * np.nan) == np.inf


def test_faster_rows_of_other_libraries_are_listed(peers):
    lost, n_pairs = peers.losses([entry(peers, ours=(1.0, 0.5), theirs=(0.5, 0.51))])
    assert n_pairs == 6
    # within 5 % both are at the goal, and within 1 % parsgd only
    assert lost == [["adult", "5 %", row, "1,000", "Snap ML", "500", "0.5"] for row in (peers.ONE, peers.TWO)]
    missed, _ = peers.losses([entry(peers, ours=(1.0, None), theirs=(2.0, 0.5))])
    assert len(missed) == 6
