"""The study of one average of unequal workers: its page is that of the stored readings, and its rows are complete."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("unequal_average")
    for name in ("unequal_average", "watching"):
        sys.modules.pop(name, None)


def rows_of(entry):
    return [*entry["shots"], *entry["constant"], *entry.get("mailboxes", [])]


def names(rows):
    return [(row["name"], row["passes"]) for row in rows]


def test_the_page_is_that_of_the_stored_readings(study):
    stored = json.loads(study.STUDY.stored.read_text())
    assert set(stored) == set(study.PROBLEMS)
    assert study.STUDY.page.read_text() == study.page(stored, study.STUDY.observations())


def test_every_data_set_has_all_pools_and_seeds(study):
    stored = json.loads(study.STUDY.stored.read_text())
    for name, entry in stored.items():
        assert names(entry["shots"]) == [(pool, passes) for pool in study.POOLS for passes in study.PASSES]
        assert names(entry["constant"]) == [("mixed", passes) for passes in study.PASSES]
        boxes = [(pool, passes) for pool in study.BOXES for passes in study.PASSES]
        assert names(entry.get("mailboxes", [])) == (boxes if name == study.MAILBOXES else [])
        assert entry["rate"] in study.RATES
        for row in rows_of(entry):
            assert np.shape(row["losses"]) == (len(study.SEEDS), len(study.COLUMNS))
            assert np.isfinite(row["losses"]).all()


@pytest.mark.parametrize("name", ["covtype", pytest.param("enron_spam", marks=pytest.mark.slow)])
def test_a_quick_run_measures_every_rule(name, study, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "POOLS", {"mixed": study.MIXED})
    monkeypatch.setattr(study, "RATES", study.RATES[3:5])
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    study.main(["--quick", "--only", name, "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    assert ("mailboxes" in entry) == (name == study.MAILBOXES)
    assert all(np.shape(row["losses"]) == (1, len(study.COLUMNS)) for row in rows_of(entry))
    assert page.read_text() == study.page(json.loads(stored.read_text()))
    assert page.with_suffix(".png").stat().st_size > 0


def test_a_quick_run_keeps_the_readings(study, capsys):
    with pytest.raises(SystemExit):
        study.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


def test_the_least_mean_is_bold_and_learned_is_compared_with_its_rivals(study):
    losses = np.full((2, len(study.COLUMNS)), 2.0)
    losses[:, study.COLUMNS.index("steps")] = 1.0
    losses[:, study.COLUMNS.index("learned")] = [1.0, 1.5]
    text = study.line("pool, 1", losses, np.array([0.5, 1.5]))
    assert text.startswith("| pool, 1 | 2 ± 0 | **1 ± 0** | 2 ± 0 |")
    assert text.endswith("| 1.25 ± 0.35 | 1.00 | 1.250 (1.500) |\n")
