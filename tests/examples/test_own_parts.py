"""The parts that the examples add keep the contracts, and do in under 40 lines of code what they say."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from parsgd import SGDClassifier, SGDRegressor, open_dataset
from parsgd.core import FitState
from parsgd.testing import check_algorithm, check_engine, check_source
from parsgd.testing.contracts._fixtures import small_model, small_report
from parsgd.testing.problems import labels, targets, unit_rows

LONGEST = 40


@pytest.fixture
def example(pytestconfig, monkeypatch):
    """An example by its name, imported, so that what it defines can be pickled."""
    monkeypatch.syspath_prepend(pytestconfig.rootpath / "examples")
    return importlib.import_module


@pytest.mark.parametrize("name", ["own_loss", "own_algorithm", "own_engine", "own_source"])
def test_it_is_short(name, pytestconfig):
    lines = (pytestconfig.rootpath / "examples" / f"{name}.py").read_text("utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) < LONGEST


def test_expectiles_of_a_higher_level_are_higher(example):
    expectile, X = example("own_loss").Expectile, unit_rows(2000, 3)
    y = targets(X)
    low, high = (SGDRegressor(expectile(level), random_state=0).fit(X, y).predict(X) for level in (0.5, 0.9))
    assert (high > low).mean() > 0.99
    # the mean of the derivatives is near 0 at the optimum
    assert abs(np.mean([expectile(0.9).gradient(*pair) for pair in zip(y, high, strict=True)])) < 0.05


def test_an_expectile_s_gradient_is_the_slope_of_its_loss(example):
    loss, h = example("own_loss").Expectile(0.8), 1e-6
    for y, p in [(0.0, 1.0), (1.0, 0.0), (2.0, -3.0)]:
        slope = (loss.loss(y, p + h) - loss.loss(y, p - h)) / (2 * h)
        assert slope == pytest.approx(loss.gradient(y, p), rel=1e-6)


def test_the_median_keeps_the_contract_of_algorithms(example):
    check_algorithm(example("own_algorithm").Median())


def test_the_median_is_not_carried_away_by_one_wild_worker(example):
    median = example("own_algorithm").Median()
    model = small_model()
    reports = [small_report(worker, np.full(model.size, value)) for worker, value in enumerate((1.0, 2.0, 1e9))]
    assert (median.merge(FitState(model, np.zeros(model.size)), reports).state == 2.0).all()


def test_the_pool_keeps_the_contract_of_engines(example):
    engine = example("own_engine").InPool
    with ThreadPoolExecutor(3) as pool:
        barrier = Barrier(3)
        list(pool.map(lambda _: barrier.wait(), range(3)))  # its threads are there before, and stay
        check_engine(engine(pool))
        X = unit_rows(200, 6)
        ours, theirs = (
            SGDClassifier(engine=one, n_jobs=3, algorithm="local", random_state=0).fit(X, labels(X))
            for one in (engine(pool), "serial")
        )
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)


def test_the_simulated_rows_keep_the_contract_of_sources(example):
    pieces = [example("own_source").Simulated(seed, n_rows) for seed, n_rows in enumerate((9, 11, 5))]
    check_source(open_dataset(pieces).source())


@pytest.mark.parametrize("engine", ["serial", "threads", "processes", "simulated"])
def test_the_simulated_rows_are_learned_by_every_engine(example, engine):
    simulated = example("own_source").Simulated
    data, new = open_dataset([simulated(seed, 500) for seed in range(3)]), open_dataset(simulated(9, 500))
    settings = {"algorithm": "auto", "engine": engine, "n_jobs": 2, "random_state": 0}
    assert SGDClassifier("log_loss", **settings).fit(data).score(new) > 0.95
    assert SGDRegressor(**settings).fit(data).score(new) > 0.5
