"""Bounds of Zinkevich et al. 2010 hold on small problems with known constants, and fail where they do not apply.

Every test compares a measured value with its bound from both sides: below it, and a fixed part of it.
"""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from parsgd.models.linear.linear_model import Linear
from parsgd.utils.row_arrays import rows_of

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(scope="module")
def bounds():
    """The module of the study, forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STUDIES)
        yield importlib.import_module("bounds")
    sys.modules.pop("bounds")


def linear_model(problem, eta):
    return Linear(
        problem.X.shape[1],
        loss=problem.loss,
        loss_parameter=1.0,
        alpha=problem.lam,
        schedule="constant",
        eta0=eta,
        fit_intercept=False,
    )


def run(model, problem, start, order):
    state = model.init(0)
    model.views(state)["coef"][:, 0] = start
    sgd_run = model.sgd_run(state, 1.0, np.ones(1), 0)
    sgd_run.run(rows_of(problem.X, problem.y), order, 0, len(order))
    sgd_run.finalize()
    return model.views(state)["coef"][:, 0].copy()


@pytest.mark.parametrize("loss", ["huber", "squared_error", "log_loss"])
def test_a_step_of_the_problems_is_a_step_of_the_library(bounds, loss):
    problem = bounds.rows_of_unequal_length(loss)
    order = np.random.default_rng(1).integers(0, 40, 30).astype(np.int32)
    w = np.ones((1, 5))
    for row in order:
        w = problem.step(w, np.array([row]), problem.largest_rate)
    model = linear_model(problem, problem.largest_rate)
    np.testing.assert_allclose(run(model, problem, np.ones(5), order), w[0], rtol=1e-10)


@pytest.mark.parametrize("loss", ["huber", "squared_error", "log_loss"])
def test_lemma_3_a_step_contracts_by_one_minus_eta_lambda(bounds, loss):
    problem = bounds.rows_of_unequal_length(loss)
    for part in (1.0, 0.3):
        eta = part * problem.largest_rate
        measured, bound = bounds.measured_contraction(problem, eta, 0), bounds.contraction(eta, problem.lam)
        assert bound - 1e-9 < measured < bound + 1e-9


def test_lemma_3_needs_the_squared_norm(bounds):
    problem = bounds.rows_of_unequal_length("squared_error")
    unsquared = bounds.largest_rate(problem.norms, problem.curvature, problem.lam)
    assert unsquared > problem.largest_rate
    assert bounds.measured_contraction(problem, unsquared, 0) > 1.0


def test_coupled_runs_of_the_library_approach_each_other_as_the_model_says(bounds):
    problem = bounds.rows_of_unequal_length("huber")
    eta, steps = problem.largest_rate, 50
    model = linear_model(problem, eta)
    order = np.random.default_rng(2).integers(0, 40, steps).astype(np.int32)
    there, here = (run(model, problem, start, order) for start in (np.ones(5), np.zeros(5)))
    ratio = np.linalg.norm(there - here) / math.sqrt(5.0)
    bound = bounds.contraction(eta, problem.lam, steps)
    assert 1e-3 * bound < ratio <= bound
    assert math.exp(model.log_contraction(1.0, steps)) == pytest.approx(bound)


@pytest.mark.parametrize("steps", [0, 10, 40])
def test_theorem_8_is_attained_where_the_loss_is_linear(bounds, steps):
    problem = bounds.attaining()
    eta = problem.largest_rate
    bound = bounds.distance(problem.first_gradient, eta, problem.lam, steps)
    for measured in bounds.measured_distance(problem, eta, steps, 3, 0):
        assert measured == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize("loss", ["huber", "squared_error", "log_loss"])
@pytest.mark.parametrize("steps", [0, 10, 40])
def test_theorem_8_bounds_the_distance_to_the_stationary_distribution(bounds, loss, steps):
    problem = bounds.rows_of_unequal_length(loss)
    eta = problem.largest_rate
    bound = bounds.distance(problem.first_gradient, eta, problem.lam, steps)
    below, above = bounds.measured_distance(problem, eta, steps, 500, 0)
    assert 1e-3 * bound < above <= bound
    # the distance itself is between the two, so it is positive at the start beyond sampling noise
    assert below <= above
    assert steps > 0 or below > 0.03 * bound


def test_theorem_9_bounds_the_bias_which_falls_with_the_rate(bounds):
    problem, found = bounds.skewed(), []
    for part in (1.0, 0.5):
        eta = part * problem.largest_rate
        measured, noise = bounds.measured_bias(problem, eta, 4000, 0)
        assert 100.0 * noise < measured
        assert 1e-4 * bounds.bias(problem.G, eta) < measured <= bounds.bias(problem.G, eta)
        found.append(measured)
    assert found[1] < 0.5 * found[0]


def test_theorem_9_least_squares_have_no_bias(bounds):
    problem = bounds.coin()
    measured, noise = bounds.measured_bias(problem, problem.largest_rate, 4000, 0)
    assert measured < 10.0 * noise


@pytest.mark.parametrize("part", [1.0, 0.5, 0.1])
def test_theorem_10_bounds_the_spread_which_has_a_closed_form(bounds, part):
    problem = bounds.coin()
    eta, curvature = part * problem.largest_rate, 1.0 + problem.lam
    measured = bounds.measured_spread(problem, eta, 20_000, 0)
    assert measured == pytest.approx(eta / (curvature * (2.0 - eta * curvature)), rel=0.05)
    assert 0.01 < measured / bounds.spread(problem.G, eta, problem.lam) <= 1.0


@pytest.mark.parametrize("loss", ["huber", "log_loss"])
def test_theorem_10_bounds_the_spread_and_averaging_divides_it_by_k(bounds, loss):
    problem = bounds.rows_of_unequal_length(loss)
    eta = problem.largest_rate
    bound = bounds.spread(problem.G, eta, problem.lam)
    assert 1e-4 < bounds.measured_spread(problem, eta, 2000, 0) / bound <= 1.0
    variances = [bounds.averages(problem, eta, k, 1000, 0, steps=100).var(axis=0).sum() for k in (1, 10)]
    assert variances[0] / variances[1] == pytest.approx(10.0, rel=0.1)


def test_theorem_10_does_not_hold_beyond_the_largest_rate(bounds):
    problem = bounds.coin()
    # least squares are stable up to a rate of 2 / (1 + lambda)
    eta = 0.995 * 2.0 / (1.0 + problem.lam)
    assert eta > problem.largest_rate
    samples = problem.chains(eta, 1500, np.zeros((1000, 1)), 0)
    spread = np.square(samples - problem.minimizer).sum(axis=1).mean()
    assert spread > bounds.spread(problem.G, eta, problem.lam)


def test_theorem_11_is_attained_by_least_squares_around_the_minimizer(bounds):
    problem = bounds.coin()
    samples = problem.stationary(problem.largest_rate, 500, 0)
    measured, bound = bounds.measured_around(problem, samples, problem.minimizer)
    assert measured == pytest.approx(bound, rel=1e-6)
    assert measured > 0.0


@pytest.mark.parametrize("loss", ["huber", "squared_error", "log_loss"])
def test_theorem_11_bounds_the_excess_around_any_point(bounds, loss):
    problem = bounds.rows_of_unequal_length(loss)
    samples = problem.stationary(problem.largest_rate, 500, 0)
    for point in (problem.minimizer, samples.mean(axis=0), np.zeros(5), samples[0]):
        measured, bound = bounds.measured_around(problem, samples, point)
        assert 0.01 * bound < measured <= bound


@pytest.mark.parametrize("k", [1, 10, 100])
def test_theorem_12_bounds_the_excess_of_the_average(bounds, k):
    problem = bounds.rows_of_unequal_length("huber")
    eta = problem.largest_rate
    measured = problem.excess(bounds.averages(problem, eta, k, 50, 0)).mean()
    bound = bounds.excess_of_average(problem.G, problem.smoothness, eta, problem.lam, k)
    assert 1e-6 * bound < measured <= bound


def test_theorem_12_needs_its_steps(bounds):
    problem = bounds.rows_of_unequal_length("huber")
    # a rate at which the bound is below the excess of the start
    eta, k = 1e-5, 1000
    start = problem.excess(bounds.averages(problem, eta, k, 1, 0, steps=1)).mean()
    assert start > bounds.excess_of_average(problem.G, problem.smoothness, eta, problem.lam, k)
