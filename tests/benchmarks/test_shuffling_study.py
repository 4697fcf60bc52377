"""The study of shuffle buffers: its page is that of the stored readings, and a quick run measures every buffer."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shuffling(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("shuffling")
    sys.modules.pop("shuffling", None)


def test_the_page_is_that_of_the_stored_readings(shuffling):
    stored = json.loads(shuffling.STUDY.stored.read_text())
    assert set(stored) == set(shuffling.SETS)
    assert shuffling.STUDY.page.read_text() == shuffling.page(stored, shuffling.STUDY.observations())


def test_every_row_has_the_same_fits(shuffling):
    stored = json.loads(shuffling.STUDY.stored.read_text())
    fits = [(order, *fit) for order in (shuffling.AS_STORED, shuffling.BY_TARGET) for fit in shuffling.FITS]
    for entry in stored.values():
        assert [(row["order"], row["passes"], row["workers"]) for row in entry["rows"]] == fits
        for row in entry["rows"]:
            assert np.shape([row["full"], *row["losses"]]) == (1 + len(shuffling.BUFFERS), len(shuffling.SEEDS))


@pytest.mark.parametrize("name", ["adult", pytest.param("covtype", marks=pytest.mark.slow)])
def test_a_quick_run_measures_every_buffer(name, shuffling, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    shuffling.main(["--quick", "--only", name, "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    assert len(entry["rows"]) == 2 * len(shuffling.FITS)
    assert all(np.isfinite([row["full"], *row["losses"]]).all() for row in entry["rows"])
    assert page.read_text() == shuffling.page(json.loads(stored.read_text()))


def test_a_quick_run_keeps_the_readings(shuffling, capsys):
    with pytest.raises(SystemExit):
        shuffling.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


def test_a_ratio_is_of_fits_with_the_same_seed(shuffling):
    assert shuffling.cells({"full": [1.0, 2.0], "losses": [[2.0, 2.0]]}) == ["1.5000", "1.500 (2.000)"]
