"""The study of networks: its page is that of the stored readings, and all rows share the settings of one worker."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from parsgd import MLPClassifier

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def networks(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("networks")
    sys.modules.pop("networks", None)


def test_the_page_is_that_of_the_stored_readings(networks):
    stored = json.loads(networks.STUDY.stored.read_text())
    assert set(stored) == set(networks.SETS)
    assert networks.STUDY.page.read_text() == networks.page(stored, networks.STUDY.observations())


def test_every_row_was_measured_with_the_settings_of_one_worker(networks):
    for name, entry in json.loads(networks.STUDY.stored.read_text()).items():
        data, settings = networks.SETS[name]
        _, passes, n_seeds = networks.DATA[data]
        assert (entry["settings"], entry["passes"]) == (settings, passes)
        assert [row["name"] for row in entry["rows"]] == [way.name for way in networks.WAYS]
        assert {len(row["scores"]) for row in entry["rows"]} == {n_seeds}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["covtype-adam", "california_housing-sgd"])
def test_a_quick_run_measures_every_row(name, networks, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    networks.main(["--quick", "--only", name, "--stored", str(stored), "--out", str(page)])
    (entry,) = json.loads(stored.read_text()).values()
    assert [row["name"] for row in entry["rows"]] == [way.name for way in networks.WAYS]
    assert page.read_text() == networks.page(json.loads(stored.read_text()))


def test_a_quick_run_keeps_the_readings(networks, capsys):
    with pytest.raises(SystemExit):
        networks.main(["--quick"])
    assert "--stored" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_moments_are_reset_only_between_rounds(networks):
    X, y = np.random.default_rng(0).random((64, 4), dtype=np.float32), np.arange(64) % 2
    settings = {"solver": "sgd", "momentum": 0.9, "batch_size": 8, "max_iter": 1, "random_state": 0}
    coefs = [
        MLPClassifier((4,), **settings, n_jobs=2, algorithm=algorithm, engine="serial").fit(X, y).coefs_[0]
        for averages in (1.0, 0.25)
        for algorithm in (networks.LocalSGD(sync_every=averages), networks.Resetting(sync_every=averages))
    ]
    assert np.array_equal(coefs[0], coefs[1])
    assert not np.array_equal(coefs[2], coefs[3])


def test_a_fit_that_diverges_has_no_score(networks):
    row = {"scores": [0.5, None, None], "losses": [0.1, None, None]}
    assert networks.score_of(row) == "diverged with 2 of 3 seeds"
    assert networks.loss_of(row) == networks.NOTHING
    assert networks.score_of({"scores": [0.5, 0.7]}) == "0.6000 ± 0.1414"
