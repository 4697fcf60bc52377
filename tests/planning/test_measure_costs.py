"""Timings of a plan are those of the fits that it predicts."""

import math

import numpy as np
import pytest

from parsgd import LocalSGD, SGDClassifier
from parsgd.errors import DivergedError
from parsgd.planning import measure_costs, strategies
from parsgd.planning.measure_costs import FitTime, fit_time, time_fits
from parsgd.planning.trials import samples

KIND = dict(convex=True, batch_size=1, sparse=False, n_rows=3000, on_threads=True)


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 5))
    return samples.draw(model(), X, (X @ rng.standard_normal(5) > 0).astype(int), np.random.RandomState(0))


def model():
    return SGDClassifier("log_loss", alpha=0.01, max_iter=4, tol=None, random_state=0)


def test_rows_are_timed_by_the_work_itself(sample):
    row_s, state_bytes = measure_costs.seconds_per_row(model(), sample)
    assert 0 < row_s < 1e-3
    assert state_bytes >= 8 * 6


def test_timed_fits_are_those_that_a_user_makes(sample, monkeypatch):
    """The algorithm itself on real threads, without instruments: its rounds are compiled."""
    fits, real = [], measure_costs._fit

    def fit(estimator, of):
        real(estimator, of)
        fits.append((estimator.n_jobs, estimator.algorithm, estimator.engine, estimator.max_iter))

    monkeypatch.setattr(measure_costs, "_fit", fit)
    here = strategies.strategies_for(2, **KIND)
    # with time for all rows
    found = time_fits(model(), sample, here, 1e-6, 0.5)
    assert set(found) == {None, *here}
    assert {(n, algorithm, engine) for n, algorithm, engine, _ in fits} == {
        (1, "auto", "serial"),
        # of 3000 rows 600 are held out, and rounds have as many steps as with all of them
        *((2, strategy.for_timing(1.25), "threads") for strategy in here),
    }
    assert len({passes for *_, passes in fits}) == 2
    assert all(0 < each.seconds_per_row < 1e-3 and each.start_s >= 0 for each in found.values())
    assert all(each.low <= 1.0 <= each.high for each in found.values())


def test_rounds_of_a_timed_fit_to_few_rows_keep_their_length(sample):
    (strategy,) = (each for each in strategies.strategies_for(2, **KIND) if each.label == "local, 10 a pass")
    few = sample.first(480)
    assert few.share == pytest.approx(0.2)
    assert strategy.for_timing(1.0 / few.share).sync_every == pytest.approx(0.5)
    # a round has at most all rows, while a trial would show another algorithm
    assert strategy.for_timing(20.0) == LocalSGD(sync_every=1.0)
    assert strategy.for_sample(20.0) is None


def test_passes_are_the_difference_of_fits_and_the_rest_is_the_start():
    """Fits of 0.5 s and 0.25 s per pass, of which one is disturbed."""
    turns = [[(1.0, 0.75), (5.0, 1.75)]] * 4 + [[(1.0, 0.75), (5.0, 9.0)]]
    found = fit_time(turns, 100)
    assert (found.start_s, found.seconds_per_row) == pytest.approx((0.5, 0.0025))
    assert found.low == 1.0
    assert 1.0 < found.high < 9.0 / 1.75
    # timings that contradict each other
    noisy = fit_time([[(1.0, 3.0), (3.0, 2.0)]], 100)
    assert noisy.start_s >= 0
    assert noisy.seconds_per_row > 0
    # a stopping rule that ends both fits after the first pass
    assert fit_time([[(1.0, 2.0), (1.0, 2.0)]], 100) == FitTime(0.0, 0.02)


def test_fits_that_diverge_have_no_time(sample, monkeypatch):
    def fit(estimator, of):
        raise DivergedError("gone")

    monkeypatch.setattr(measure_costs, "_fit", fit)
    assert time_fits(model(), sample, (), 1e-6, 0.0) == {}
    assert math.isnan(measure_costs.time_fit(model(), sample, None, 1)[0][0])


def test_contention_is_that_of_the_fastest_algorithm():
    slow, fast = strategies.strategies_for(2, **KIND)[:2]
    times = {None: FitTime(0.0, 1e-6), slow: FitTime(0.0, 9e-7), fast: FitTime(0.0, 6e-7)}
    assert measure_costs.contention(times, [2, 4], 1e-6) == pytest.approx({2: 1.2, 4: 1.0})
