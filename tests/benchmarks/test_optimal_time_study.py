"""The study of optimal time: its page is that of the stored readings, and its bounds are those of the theory."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("optimal_time")
    for name in ("optimal_time", "optimal_time_runs"):
        sys.modules.pop(name, None)


@pytest.fixture
def runs(study):
    return importlib.import_module("optimal_time_runs")


def test_the_page_is_that_of_the_stored_readings(study):
    stored = json.loads(study.STUDY.stored.read_text())
    assert set(stored) == set(study.PARTS)
    assert study.STUDY.page.read_text() == study.page(stored, study.STUDY.observations())


def test_stored_times_show_who_is_optimal(study):
    """Optimal algorithms are within one constant of the lower bound in all pools, and the others in one far from it."""
    found = {name: study.loaded(entry) for name, entry in json.loads(study.STUDY.stored.read_text()).items()}

    def over(algorithm, pools):
        rows = [row for pool in pools for row in found[pool].rows if row.name == algorithm]
        return [math.inf if row.over_lower_bound is None else row.over_lower_bound for row in rows]

    fixed = [name for name, (pool, different) in study.PARTS.items() if not different and pool != "random times"]
    for algorithm in ("Rennala", "Ringmaster"):
        found_at = over(algorithm, fixed)
        assert max(found_at) < 1.3 * min(found_at)
        assert max(found_at) < 0.2
    assert max(over("wait for all", fixed)) > 50 * min(over("wait for all", fixed))
    assert over("asynchronous", ["1,000 workers"])[0] > 2 * over("Ringmaster", ["1,000 workers"])[0]
    different = [name for name, (_, kind) in study.PARTS.items() if kind]
    for algorithm in ("Malenia", "Ringleader"):
        assert max(over(algorithm, different)) < 1.3 * min(over(algorithm, different))
    assert max(over("Rennala", different)) == math.inf


def test_a_quick_run_measures_all_algorithms(study, runs, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    study.main(["--quick", "--only", "equal", "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    assert [row["name"] for row in entry["rows"]] == list(runs.algorithms(np.ones(4)))
    assert any(row["time"] for row in entry["rows"])
    assert page.read_text() == study.page(json.loads(stored.read_text()))


def test_lower_bounds_are_those_of_the_formulas(runs):
    equal = np.ones(32)
    with_all = runs.CONDITION * (1.0 + runs.NOISE / 32) / 32 * 32
    assert runs.lower_bound(equal, False) == pytest.approx(with_all)
    assert runs.lower_bound(equal, True) == pytest.approx(with_all)
    slow = np.append(np.ones(31), 1e9)
    assert runs.lower_bound(slow, False) == pytest.approx(runs.CONDITION * (1.0 + runs.NOISE / 31), rel=1e-6)
    assert runs.lower_bound(slow, True) > 1e9


def test_the_start_has_the_stated_distance(runs):
    x, a = runs.start(), runs.curvature()
    assert 0.5 * x @ a @ x == pytest.approx(1.0)
    assert np.linalg.eigvalsh(a)[-1] == pytest.approx(1.0)


def test_noise_has_the_stated_variance_and_different_rows_the_mean_zero(runs):
    for different in (False, True):
        noise = runs.source(0, 8, different).rows.x.data.reshape(-1, runs.DIMENSIONS)
        assert np.square(noise.mean(axis=0)).sum() < 1e-4
        within = [part - part.mean(axis=0) for part in np.array_split(noise, 8)]
        variance = np.mean([np.square(part).sum(axis=1).mean() for part in within])
        assert variance == pytest.approx(runs.VARIANCE, rel=0.02)


def test_means_of_a_path_are_those_of_its_steps(runs):
    path = runs.Path(np.array([0.0, 1.0, 3.0]), np.array([9.0, 5.0, 1.0]))
    assert path.mean(0.5, 1.5) == pytest.approx(7.0)
    assert path.mean(2.0, 6.0) == pytest.approx(2.0)
    assert path.mean(4.0, 5.0) == pytest.approx(1.0)
