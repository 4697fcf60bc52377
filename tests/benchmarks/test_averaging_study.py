"""The study of averages: its page is that of the stored readings, and eight runs give bias and variance."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def averaging(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("averaging")
    for name in ("averaging", "averaging_runs"):
        sys.modules.pop(name, None)


def test_the_page_is_that_of_the_stored_readings(averaging):
    stored = json.loads(averaging.STUDY.stored.read_text())
    assert set(stored) == {*averaging.SETS, averaging.NETWORK}
    assert averaging.STUDY.page.read_text() == averaging.page(stored, averaging.STUDY.observations())


def test_every_data_set_has_all_rates_and_lengths(averaging):
    stored = json.loads(averaging.STUDY.stored.read_text())
    for name in averaging.SETS:
        cases = averaging.load(stored[name])
        assert [case.part for case in cases] == 2 * list(averaging.PASSES)
        assert {len(case.measured) for case in cases} == {len(averaging.COUNTS)}
        small, large = cases[0].rate, cases[-1].rate
        assert large == 4 * small
        # no edge of the rates that were tried
        assert averaging.RATES[0] < small < averaging.RATES[-1]


@pytest.mark.parametrize("name", ["adult", pytest.param("network", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
def test_a_quick_run_measures_all_numbers_of_runs(name, averaging, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    averaging.main(["--quick", "--only", name, "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    if name == averaging.NETWORK:
        assert np.isfinite(entry["rows"][0]["fits"]).all()
    else:
        assert all(np.isfinite(case["measured"]).all() for case in entry["cases"])
        # a mean is nearer to the optimum than the runs in the mean
        assert all(np.diff(case["measured"]).max() < 1e-3 for case in entry["cases"])
    assert page.read_text() == averaging.page(json.loads(stored.read_text()))
    assert page.with_suffix(".png").stat().st_size > 0


def test_a_quick_run_keeps_the_readings(averaging, capsys):
    with pytest.raises(SystemExit):
        averaging.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


def test_doublings_end_at_the_predicted_number(averaging):
    bias, variance = 1.0, 2.0
    exact = averaging.Excess(1.0, 1, [bias + variance / k for k in averaging.COUNTS], bias, variance)
    assert exact.balance == 2.0
    assert exact.predicted_end == pytest.approx(8.0)
    assert exact.measured_end == pytest.approx(8.0, rel=0.05)
    assert averaging.Excess(1.0, 1, [1.0 / k for k in averaging.COUNTS], -0.1, 1.1).measured_end == math.inf
    assert averaging.Excess(1.0, 1, [1.0] * 7, 1.0, 0.0).measured_end == 1.0
