"""The study of the number of rows: the optimum is known, and the page is that of the stored readings."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from parsgd import open_dataset

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scale(monkeypatch):
    """The study, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    yield importlib.import_module("scale")
    for name in ("scale", "scale_runs", "datasets"):
        sys.modules.pop(name, None)


@pytest.fixture
def runs(scale):
    return importlib.import_module("scale_runs")


def test_the_page_is_that_of_the_stored_readings(scale):
    stored = json.loads(scale.STUDY.stored.read_text())
    assert set(stored) <= set(scale.SERIES)
    assert scale.STUDY.page.read_text() == scale.page(stored, scale.STUDY.observations())


def test_the_excess_log_loss_is_the_mean_of_many_rows(runs):
    best = runs.optimum()
    coef, intercept = best + np.linspace(-0.3, 0.2, len(best)), 0.1
    X = np.random.default_rng(3).standard_normal((400_000, len(best)))
    u, v = X @ best, X @ coef + intercept
    each = expit(u) * (np.logaddexp(0, -v) - np.logaddexp(0, -u)) + expit(-u) * (
        np.logaddexp(0, v) - np.logaddexp(0, u)
    )
    assert runs.excess_log_loss(coef, intercept) == pytest.approx(each.mean(), abs=4 * each.std() / len(each) ** 0.5)
    assert runs.excess_log_loss(best, 0.0) == pytest.approx(0.0, abs=1e-15)
    # a small excess is the quadratic form of its curvature
    small, double = (runs.excess_log_loss(best * (1 + step), 0.0) for step in (1e-5, 2e-5))
    assert double / small == pytest.approx(4.0, rel=1e-3)


def test_the_rows_do_not_depend_on_their_number_and_files_have_the_same_ones(runs, tmp_path):
    X, y = runs.rows_in_memory(300, runs.LOGISTIC, 100)
    few, labels = runs.rows_in_memory(200, runs.LOGISTIC, 100)
    np.testing.assert_array_equal(X[:200], few)
    np.testing.assert_array_equal(y[:200], labels)
    assert 0.3 < y.mean() < 0.7
    runs.write_rows(tmp_path, 300, 100)
    data = open_dataset(tmp_path, target=runs.TARGET)
    assert data.shape == X.shape
    np.testing.assert_array_equal(np.concatenate([chunk.x for chunk in chunks(data)]), X)


def chunks(data):
    return [chunk for piece in data.pieces for chunk in piece.chunks()]


def test_links_are_copies_of_the_rows(runs, tmp_path):
    X, y = runs.rows_in_memory(50, runs.LOGISTIC)
    runs.write_part(tmp_path / "part-00000.parquet", X, y, plain=False)
    runs.replicate(tmp_path / "part-00000.parquet", 4)
    assert open_dataset(tmp_path, target=runs.TARGET).n_rows == 200


def test_the_least_objective_is_below_others(runs):
    X, y = runs.rows_in_memory(500, runs.LOGISTIC)
    least = runs.least_objective(X, y)
    assert least < runs.objective(X, y, runs.optimum(), 0.0)
    assert least < runs.objective(X, y, np.zeros(X.shape[1]), 0.0)


def test_exponents_are_slopes(scale):
    sizes = [1e5, 1e6, 1e7]
    assert scale.exponent(sizes, [2 * size**0.5 for size in sizes]) == pytest.approx(0.5)
    assert np.isnan(scale.exponent(sizes[:1], [1.0]))
    assert np.isnan(scale.exponent(sizes, [1.0, 0.0, 1.0]))


def test_sizes_that_do_not_fit_are_left_out(scale, tmp_path, monkeypatch):
    assert scale.too_large("arrays", 10**9, tmp_path)
    assert not scale.too_large("arrays", 1000, tmp_path)
    monkeypatch.setattr(scale.scale_runs, "free_bytes", lambda folder: 10**9)
    assert scale.too_large("files", 1000, tmp_path)
    assert not scale.too_large("covtype", 10**9, tmp_path)


@pytest.mark.slow
def test_a_quick_run_measures_every_series(scale, tmp_path):
    stored, page = tmp_path / "readings.json", tmp_path / "page.md"
    scale.main(["--quick", "--stored", str(stored), "--out", str(page), "--scratch", str(tmp_path)])
    found = json.loads(stored.read_text())
    assert set(found) == set(scale.SERIES)
    for entry in found.values():
        assert [reading["rows"] for reading in entry["readings"]] == [1000, 2000, 4000]
        assert all(loss > 0 for reading in entry["readings"] for loss in reading["excess"])
    assert page.read_text() == scale.page(found)
    assert page.with_suffix(".svg").stat().st_size > 0


def test_a_quick_run_keeps_the_readings(scale, capsys):
    with pytest.raises(SystemExit):
        scale.main(["--quick"])
    assert "--stored" in capsys.readouterr().err
