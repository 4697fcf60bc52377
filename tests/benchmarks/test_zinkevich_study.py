"""The study of Zinkevich et al. 2010: its page is that of the stored readings, and a quick run measures every part."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("algorithms", "tuned", "gap-Huber-0.001", "small")
MODULES = ("zinkevich", "zinkevich_gap", "zinkevich_theory", "zinkevich_printed", "spam_runs", "bounds")


@pytest.fixture
def zinkevich(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("zinkevich")
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def stored(zinkevich):
    return json.loads(zinkevich.STUDY.stored.read_text())


def test_the_page_is_that_of_the_stored_readings(zinkevich, stored):
    assert set(stored) == set(zinkevich.PARTS)
    assert zinkevich.STUDY.page.read_text() == zinkevich.page(stored, zinkevich.STUDY.observations())


def test_all_parts_are_of_the_same_rows(zinkevich, stored):
    sizes = {(entry["n_rows"], entry["n_test"], entry["values_per_row"]) for entry in stored.values()}
    assert len(sizes) == 1


def test_every_part_is_complete(zinkevich, stored):
    n_rows = stored["algorithms"]["n_rows"]
    machines = len(zinkevich.MACHINES) - 1
    variants = list(zinkevich.zinkevich_gap.variants(zinkevich.equal_rate(n_rows)))
    assert len(stored["algorithms"]["readings"]) == len(zinkevich.LAMBDAS) * 3 * machines
    for name in zinkevich.FIGURE_RATES:
        assert len(zinkevich.loaded(stored[name])) == len(zinkevich.LAMBDAS) * len(zinkevich.LOSSES)
    for name in zinkevich.GAPS:
        assert [each["name"] for each in stored[name]["readings"]] == [variant.name for variant in variants]
    for name in zinkevich.MAIL:
        assert [row["eta"] for row in stored[name]["readings"]] == list(zinkevich.zinkevich_theory.RATES)


def test_bounds_hold_where_their_conditions_do(stored):
    for row in stored["small"]["readings"]:
        if "not covered" not in row["rate"]:
            # equal but for rounding if a bound is attained
            assert np.max(row["measured"]) <= row["bound"] * (1 + 1e-6)


@pytest.mark.parametrize("name", ["mail-squared", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_quick_run_measures_a_part(name, zinkevich, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    zinkevich.main(["--quick", "--only", name, "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    assert entry["readings"]
    assert page.read_text() == zinkevich.page(json.loads(stored.read_text()))
    assert len(list(tmp_path.glob("*.png"))) == (name == "tuned")


def test_a_quick_run_keeps_the_readings(zinkevich, capsys):
    with pytest.raises(SystemExit):
        zinkevich.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


def test_curves_come_back_from_their_reading(zinkevich):
    runs = importlib.import_module("spam_runs")
    curves = {k: np.linspace(2.0, 1.0, 8) + k for k in zinkevich.MACHINES}
    setting, points = runs.Setting("Huber", 1e-3, 0.1, 0.5, 0.3), zinkevich.points_of(25_000)
    found = runs.Found(setting, np.array([0.1, 0.2]), np.array([0.3, 0.4]), points, curves, curves)
    back = runs.Found.of(json.loads(json.dumps(found.reading())), 25_000)
    assert back.setting == setting
    for name in ("base", "scatter", "examples"):
        np.testing.assert_array_equal(getattr(back, name), getattr(found, name))
    for k in zinkevich.MACHINES:
        np.testing.assert_array_equal(back.objective[k], curves[k])
    assert not found.diverged
    assert found._replace(rmse={1: np.array([np.nan])}).diverged


def test_a_variant_that_diverged_has_a_row_and_is_last(zinkevich):
    gap = zinkevich.zinkevich_gap
    reading = {"name": "larger rate", "eta": 1.0, "decay": 0.5, "start": 0.0, "unit_rows": True, "diverged": True}
    difference, row = gap.row(zinkevich.OBJECTIVES[0], reading, 25_000)
    assert np.isinf(difference)
    assert row == "| larger rate | 1 t^-1/2 | 0 | diverged | | | | |\n"
