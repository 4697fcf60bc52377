"""The study of standard errors: its page is that of the stored readings, and its truth is that of a large sample."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def uncertainty(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("uncertainty")
    for name in ("uncertainty", "uncertainty_runs"):
        sys.modules.pop(name, None)


def test_the_page_is_that_of_the_stored_readings(uncertainty):
    stored = json.loads(uncertainty.STUDY.stored.read_text())
    assert set(stored) == set(uncertainty.PARTS)
    assert all(entry["repetitions"] >= 1000 for entry in stored.values())
    assert uncertainty.STUDY.page.read_text() == uncertainty.page(stored, uncertainty.STUDY.observations())


def test_stored_coverage_meets_the_goal_where_classical_intervals_do_not(uncertainty):
    stored = json.loads(uncertainty.STUDY.stored.read_text())
    cells = [cell for part in uncertainty.CELLS for cell in stored[part]["cells"]]
    for cell in cells:
        for name in ("plug-in", "corrected"):
            method = cell["methods"][name]
            assert method["refused"] > 0.2 or 0.93 <= method["coverage"] <= 0.97, (cell["cell"], name)
    classical = [cell["methods"]["classical"]["first"] for cell in cells if "linear, hetero" in cell["cell"]]
    assert classical
    assert max(classical) < 0.9


@pytest.mark.parametrize("part", ["linear", pytest.param("early", marks=pytest.mark.slow)])
def test_a_quick_run_measures_all_methods(part, uncertainty, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    uncertainty.main(["--quick", "--only", part, "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    lines = entry["rows"] if part == "early" else entry["cells"]
    covered = [line["methods"]["corrected"]["coverage"] for line in lines]
    assert all(0.8 <= each <= 1.0 for each in covered)
    assert any(len(line["methods"]) == 6 for line in lines) == (part == "linear")
    assert page.read_text() == uncertainty.page(json.loads(stored.read_text()))


def test_the_best_coefficients_are_those_of_a_large_sample(uncertainty):
    cell = uncertainty.Cell("logistic", "misspecified", 400_000, 3, 3)
    x, y = cell.draw(np.random.default_rng(0), cell.n)
    model = cell.estimator(cell.n, random_state=0).fit(x, y).estimate_uncertainty(x, y, correct=True)
    errors = np.append(model.coef_, model.intercept_) - cell.truth
    assert (np.abs(errors) < 4 * np.append(model.coef_std_, model.intercept_std_)).all()
    # the score without its quadratic term is another one
    assert np.abs(cell.truth - np.append(np.linalg.solve(cell.root.T, cell.direction), 0.0)).max() > 0.1
