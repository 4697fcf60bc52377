"""The gradient's noise, and one-shot averages taken apart."""

import math

import numpy as np
import pytest

from parsgd import SGDClassifier, Simulated, SimuParallel
from parsgd.estimators.linear.linear_kind import LINEAR
from parsgd.models.linear.linear_model import Linear
from parsgd.planning import gradient_noise
from parsgd.planning.trials.heldout import HeldOut, ObservedFit
from parsgd.planning.trials.independent_runs import IndependentRuns, RunVariance
from parsgd.utils.row_arrays import rows_of

rng = np.random.default_rng(0)


def test_the_noise_scale_is_that_of_the_gradients_themselves(monkeypatch):
    """Squared loss at w = 0: a row's gradient is -y x, whose mean and variance are known."""
    n, d = 4000, 3
    X = rng.standard_normal((n, d))
    y = X[:, 0] + rng.standard_normal(n)
    model = Linear(n_features=d, loss="squared_error", schedule="constant", eta0=0.1, fit_intercept=False)
    monkeypatch.setattr(gradient_noise, "_BATCHES", 400)
    monkeypatch.setattr(gradient_noise, "_MOST_ROWS", n)
    found = gradient_noise.measure(model, [model.init(0)], rows_of(X, y))
    gradients = -y[:, None] * X
    slope, _ = model.gradient_sum(model.init(0), rows_of(X, y), np.arange(n), 0, n, 1.0, 0)
    intercept = slope[d] / n if len(slope) > d + 1 else 0.0
    assert found.gradient == pytest.approx(np.sum(gradients.mean(axis=0) ** 2) + intercept**2, rel=0.1)
    # the state has an intercept, whose gradient is -y
    variance = np.sum(gradients.var(axis=0)) + np.var(y)
    assert found.variance == pytest.approx(variance, rel=0.2)
    assert 0 < found.scale < math.inf


def test_estimates_from_two_batch_sizes_are_unbiased():
    mean, deviation = np.array([1.0, -2.0]), 3.0
    found = []
    for _ in range(3000):
        gradients = mean + deviation * rng.standard_normal((40, 2))
        found.append(gradient_noise.noise_of([rows.sum(axis=0) for rows in np.split(gradients, 8)], [5] * 8))
    average = gradient_noise.mean_noise(found)
    assert average.gradient == pytest.approx(5.0, rel=0.05)
    assert average.variance == pytest.approx(2 * deviation**2, rel=0.05)
    assert average.scale == pytest.approx(18.0 / 5.0, rel=0.1)


def test_gradients_that_are_all_noise_have_an_endless_scale():
    assert gradient_noise.GradientNoise(-1e-9, 1.0).scale == math.inf


def problem(n_rows=240):
    X = rng.standard_normal((n_rows, 4))
    return X, (X @ np.array([1.0, -1.0, 0.5, 0.0]) + 0.5 * rng.standard_normal(n_rows) > 0).astype(int)


@pytest.mark.parametrize("average", [False, True])
def test_workers_that_part_are_one_shot_averaging_after_every_pass(average):
    X, y = problem()
    settings = dict(loss="log_loss", alpha=0.01, tol=None, random_state=3, n_jobs=4, average=average)
    watched = ObservedFit(IndependentRuns(), Simulated(), HeldOut(X, y, np.array([0, 1]), LINEAR))
    SGDClassifier(**settings, max_iter=3, algorithm=watched, engine=watched).fit(X, y)
    for passes, point in enumerate(watched.curve[1:], 1):
        ours = SGDClassifier(**settings, max_iter=passes, algorithm=SimuParallel(), engine=Simulated()).fit(X, y)
        theirs = np.log1p(np.exp(-(2 * y - 1) * ours.decision_function(X))).mean()
        assert point.passes == passes
        assert point.loss == pytest.approx(theirs, rel=1e-9)


def test_spread_and_bias_are_those_of_a_known_law():
    """L_k = 0.3 + 0.2 / k, goal 0.25: V = 0.2, bias 0.05, and 4 workers of use."""
    spread = RunVariance(8, single=0.5, average=0.3 + 0.2 / 8, goal=0.25)
    assert spread.noise == pytest.approx(0.2)
    assert spread.bias == pytest.approx(0.05)
    assert spread.useful == pytest.approx(4.0)
    assert RunVariance(8, 0.5, 0.2, 0.5).useful == math.inf
