"""The study of merge rules at their best rates: its page is that of the stored readings, and its rows are complete."""

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
    yield importlib.import_module("unequal_rules")
    sys.modules.pop("unequal_rules", None)


def test_the_page_is_that_of_the_stored_readings(study):
    stored = json.loads(study.STUDY.stored.read_text())
    assert set(stored) == set(study.PROBLEMS)
    assert study.STUDY.page.read_text() == study.page(stored, study.STUDY.observations())


def test_every_rule_has_all_rates_and_seeds(study):
    stored = json.loads(study.STUDY.stored.read_text())
    ways = [(rule, in_rounds) for rule in study.RULES for in_rounds in (True, False)]
    for entry in stored.values():
        assert tuple(entry["rates"]) == study.RATES
        assert [(row["rule"], row["rounds"]) for row in entry["rows"]] == ways
        for row in entry["rows"]:
            assert len(row["losses"]) == len(study.SEEDS)
            tried = [np.inf if loss is None else loss for loss in row["tried"]]
            # no edge of the rates that were tried
            assert 0 < np.argmin(tried) < len(study.RATES) - 1
            assert row["rate"] == study.RATES[np.argmin(tried)]


def test_a_quick_run_measures_a_rule(study, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "RULES", ("touched",))
    quick_run(study, "adult", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adult", "news20"])
def test_a_quick_run_measures_every_rule(name, study, tmp_path):
    quick_run(study, name, tmp_path)


def quick_run(study, name, folder):
    stored, page = folder / "readings.json", folder / "page.md"
    study.main(["--quick", "--only", name, "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    assert len(entry["rows"]) == 2 * len(study.RULES)
    assert page.read_text() == study.page(json.loads(stored.read_text()))


def test_a_quick_run_keeps_the_readings(study, capsys):
    with pytest.raises(SystemExit):
        study.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


def test_a_rule_that_diverges_is_never_the_best(study):
    rows = [{"rule": rule, "rounds": True, "rate": 1, "losses": [2.0, 2.0]} for rule in study.RULES]
    rows[0]["losses"], rows[1]["losses"] = [1.0, None], [1.0, 1.0]
    lines = study.table([{"name": "a", "rows": rows}], True).splitlines()
    assert lines[2] == "| `uniform` | diverged |"
    assert lines[3] == "| `steps` | **1.0000 ± 0** |"
