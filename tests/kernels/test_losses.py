"""Losses and gradients match their formulas, and stay finite."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd.kernels import loss_kernels
from parsgd.kernels.losses import CLASSIFIER, REGRESSOR, names
from parsgd.kernels.lowlevel.fast_exp import exp
from parsgd.models.linear.linear_model import Linear

signs = st.sampled_from([-1.0, 1.0])
numbers = st.floats(-50, 50)

FORMULAS = {
    "hinge": lambda y, p, e: max(0.0, e - y * p),
    "perceptron": lambda y, p, e: max(0.0, -y * p),
    "squared_hinge": lambda y, p, e: max(0.0, 1.0 - y * p) ** 2,
    "log_loss": lambda y, p, e: np.logaddexp(0.0, -y * p),
    "modified_huber": lambda y, p, e: max(0.0, 1.0 - y * p) ** 2 if y * p >= -1.0 else -4.0 * y * p,
    "squared_error": lambda y, p, e: 0.5 * (y - p) ** 2,
    "huber": lambda y, p, e: 0.5 * (y - p) ** 2 if abs(y - p) <= e else e * (abs(y - p) - 0.5 * e),
    "epsilon_insensitive": lambda y, p, e: max(0.0, abs(y - p) - e),
    "squared_epsilon_insensitive": lambda y, p, e: max(0.0, abs(y - p) - e) ** 2,
    "quantile": lambda y, p, e: e * (y - p) if y >= p else (e - 1.0) * (y - p),
    "poisson": lambda y, p, e: math.exp(p) - y * p,
}
OF_CLASSES = set(names(CLASSIFIER)) - set(names(REGRESSOR))


def evaluate(name, parameter, y, p):
    """Value and derivative at one prediction."""
    model = Linear(1, loss=name, loss_parameter=parameter)
    value, gradient = model.losses(np.array([[p]]), np.array([y]))
    return value[0, 0], gradient[0, 0]


def test_every_loss_of_one_output_has_its_formula_here():
    assert set(FORMULAS) == set(names()) - {"softmax"}


@pytest.mark.parametrize("name", FORMULAS)
@given(data=st.data(), p=numbers, parameter=st.floats(0.05, 0.95))
def test_a_loss_is_its_formula(name, data, p, parameter):
    y = data.draw(signs if name in OF_CLASSES else st.floats(0, 50))
    parameter = 0.0 if name == "perceptron" else parameter
    value, _ = evaluate(name, parameter, y, p)
    np.testing.assert_allclose(value, FORMULAS[name](y, p, parameter), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
@given(data=st.data(), p=st.floats(-20, 20), parameter=st.floats(0.05, 0.95))
def test_a_derivative_lies_between_the_slopes_on_both_sides(name, data, p, parameter):
    y = data.draw(signs if name in OF_CLASSES else st.floats(0, 20))
    parameter = 0.0 if name == "perceptron" else parameter
    h = 1e-6
    behind, (here, gradient), ahead = (evaluate(name, parameter, y, q) for q in (p - h, p, p + h))
    slack = 1e-5 * (1.0 + abs(gradient))
    # convex: at a kink the derivative may be any value between the one-sided slopes
    assert (here - behind[0]) / h - slack <= gradient <= (ahead[0] - here) / h + slack


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("p", [-1e300, -1e8, -1e3, 1e3, 1e8, 1e300])
def test_a_gradient_is_finite_and_clipped_at_any_prediction(name, p):
    for y in (1.0,) if name == "poisson" else (-1.0, 1.0):
        gradient = evaluate(name, 0.5, y, p)[1]
        assert abs(gradient) <= loss_kernels.MAX_GRADIENT


@given(margins=st.lists(st.floats(-500, 500), min_size=2, max_size=9), data=st.data())
def test_softmax_is_its_formula_and_its_gradient_sums_to_zero(margins, data):
    k = len(margins)
    y = data.draw(st.integers(0, k - 1))
    ones = (1.0,) * k
    model = Linear(1, k, loss="softmax", positive=ones, negative=ones)
    value, gradient = model.losses(np.array([margins]), np.array([y]))
    np.testing.assert_allclose(value[0, 0], np.logaddexp.reduce(margins) - margins[y], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradient.sum(), 0.0, atol=1e-12)
    assert gradient[0, y] <= 0.0


@numba.njit
def _exps(x, out):
    for i in range(len(x)):
        out[i] = exp(x[i])


def test_the_exponential_is_right_to_1e_14_near_zero_and_clipped_far_away():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-708, 709, 20_000), rng.uniform(-1, 1, 20_000), np.arange(-708.0, 710.0), [0.0]])
    ours = np.empty_like(x)
    _exps(x, ours)
    exact = np.exp(x.astype(np.longdouble))
    error = np.abs((ours / exact).astype(float) - 1.0)
    assert error[np.abs(x) < 100].max() < 1e-14
    assert error.max() < 3e-14
    edges = np.array([-1e9, -708.0, 709.0, 1e9])
    out = np.empty(4)
    _exps(edges, out)
    assert out[0] == out[1] > 0.0
    assert out[2] == out[3] < np.inf
    assert ours[-1] == 1.0
