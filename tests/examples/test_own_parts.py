"""Parts of the examples: they satisfy the contracts, and run in every combination that they claim."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from parsgd import MLPClassifier, SGDClassifier, SGDRegressor, open_dataset, registry
from parsgd.core import FitState
from parsgd.data.sources.array_source import ArraySource
from parsgd.errors import IncompatiblePartsError, Outcome
from parsgd.testing import check_algorithm, check_engine, check_model, check_source
from parsgd.testing.contracts._fixtures import small_model, small_report
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of

LONGEST = 60


@pytest.fixture
def example(pytestconfig, monkeypatch):
    """An example by its name, imported, so that what it defines can be pickled."""
    monkeypatch.syspath_prepend(pytestconfig.rootpath / "examples")
    return importlib.import_module


@pytest.mark.parametrize("name", ["own_loss", "own_algorithm", "own_model", "own_engine", "own_source"])
def test_it_is_short(name, pytestconfig):
    lines = (pytestconfig.rootpath / "examples" / f"{name}.py").read_text("utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= LONGEST


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


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "threads", "processes", "simulated"])
def test_the_simulated_rows_are_learned_by_every_engine(example, engine):
    simulated = example("own_source").Simulated
    data, new = open_dataset([simulated(seed, 500) for seed in range(3)]), open_dataset(simulated(9, 500))
    settings = {"algorithm": "auto", "engine": engine, "n_jobs": 2, "random_state": 0}
    assert SGDClassifier("log_loss", **settings).fit(data).score(new) > 0.95
    assert SGDRegressor(**settings).fit(data).score(new) > 0.5


# -- combinations ----------------------------------------------------------------------------------------------------

ENGINES = [
    *("pool", "serial", "threads", "simulated"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("processes", "dask")),
]
ALGORITHMS = ["median", *registry.ALGORITHMS]


@pytest.fixture
def engine_named(example, kept_engine):
    """``engine_named("pool")``: an engine of the registry, or that of the example."""
    with ThreadPoolExecutor(3) as threads:
        yield lambda name: example("own_engine").InPool(threads) if name == "pool" else kept_engine(name)


@pytest.fixture
def algorithm_named(example):
    """``algorithm_named("median")``: an algorithm of the registry, or that of the example."""
    median = example("own_algorithm").Median
    return lambda name: median() if name == "median" else registry.load(registry.ALGORITHMS[name])()


@pytest.fixture
def simulated(example):
    """``simulated(n_pieces)``: a data set of the source of the example."""
    piece = example("own_source").Simulated
    return lambda n_pieces: open_dataset([piece(seed, 200) for seed in range(n_pieces)])


def test_the_model_satisfies_its_contract(example):
    check_model(example("own_model").LeastSquares(5), rows_of(unit_rows(41, 5), targets(unit_rows(41, 5))))


@pytest.mark.parametrize("source", ["arrays", "simulated"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_model_is_fitted_by_all_algorithms_that_it_supports(
    example, algorithm_named, engine_named, simulated, algorithm, engine, source
):
    X = unit_rows(200, 8)
    rows = ArraySource(rows_of(X, targets(X))) if source == "arrays" else simulated(3).source()
    model, part, place = example("own_model").LeastSquares(8), algorithm_named(algorithm), engine_named(engine)
    if part.traits.requires <= model.capabilities | place.capabilities:
        found = fit(model, part, place, rows, n_workers=2, max_epochs=3)
        assert found.outcome is Outcome.MAX_EPOCHS
        assert found.state.any()
        return
    with pytest.raises(IncompatiblePartsError, match=rf"{algorithm}.* needs .*{place.name}.*LeastSquares"):
        fit(model, part, place, rows, n_workers=2, max_epochs=3)


@pytest.mark.parametrize("source", ["arrays", "simulated"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [SGDClassifier, MLPClassifier, SGDRegressor])
def test_the_algorithm_fits_all_kinds_of_models(algorithm_named, engine_named, simulated, kind, engine, source):
    settings = {"algorithm": algorithm_named("median"), "engine": engine_named(engine), "n_jobs": 3}
    model = kind(**settings, max_iter=3, tol=0.0, random_state=0)
    X = unit_rows(200, 8)
    fitted = model.fit(simulated(3)) if source == "simulated" else model.fit(X, labels(X))
    assert fitted.n_iter_ == 3
    assert fitted.algorithm_.name == "median"


@pytest.mark.parametrize("source", ["arrays", "simulated"])
@pytest.mark.parametrize("algorithm", ["auto", *ALGORITHMS])
def test_the_engine_and_the_source_run_all_algorithms(algorithm_named, engine_named, simulated, algorithm, source):
    part = algorithm if algorithm == "auto" else algorithm_named(algorithm)
    X = unit_rows(200, 8)
    model = SGDClassifier("log_loss", algorithm=part, engine=engine_named("pool"), n_jobs=2, max_iter=3, tol=None)
    fitted = model.fit(simulated(3)) if source == "simulated" else model.fit(X, labels(X))
    assert fitted.n_iter_ == 3
