"""Promise 3: the gradient is the slope of the objective, and rows count as often as they weigh."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parsgd.core import Rows
from parsgd.kernels.losses import CLASSIFIER, REGRESSOR, names
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils.row_arrays import rows_of

PARAMETERS = {
    "hinge": 1.0,
    "huber": 0.3,
    "epsilon_insensitive": 0.1,
    "squared_epsilon_insensitive": 0.1,
    "quantile": 0.7,
}
STEP = 1e-6


class Cosh:
    """``scale^2 (cosh(r / scale) - 1)``: a loss from outside."""

    def __init__(self, scale):
        self.scale = scale

    def loss(self, y, p):
        return self.scale**2 * (np.cosh((p - y) / self.scale) - 1.0)

    def gradient(self, y, p):
        return self.scale * np.sinh((p - y) / self.scale)


shapes = st.fixed_dictionaries(
    {
        "n_rows": st.integers(1, 30),
        "n_features": st.integers(1, 20),
        "n_outputs": st.sampled_from([1, 2, 3, 9]),
        "layout": st.sampled_from(["dense", "csr"]),
        "weighted": st.booleans(),
        "seed": st.integers(0, 3),
    }
)
penalties = st.fixed_dictionaries(
    {
        "penalty": st.sampled_from(["l2", "l1", "elasticnet", None]),
        "alpha": st.sampled_from([1e-4, 0.1, 2.0]),
        "l1_ratio": st.sampled_from([0.15, 0.5]),
        "fit_intercept": st.booleans(),
    }
)


def make(loss, shape, settings):
    """A model, rows for it, and a random place."""
    k = max(shape["n_outputs"], 2) if loss == "softmax" else shape["n_outputs"]
    X = unit_rows(shape["n_rows"], shape["n_features"], layout=shape["layout"], seed=shape["seed"])
    rng = np.random.default_rng(shape["seed"])
    if k > 1:
        y = labels(X, k).astype(np.int64)
    elif loss in set(names(CLASSIFIER)) - set(names(REGRESSOR)):
        y = 2.0 * labels(X) - 1.0
    else:
        y = np.abs(targets(X))
    model = Linear(
        shape["n_features"],
        k,
        loss=loss,
        loss_parameter=PARAMETERS.get(loss, 0.0),
        sparse=shape["layout"] == "csr",
        positive=tuple(rng.uniform(0.5, 2.0, k)),
        negative=tuple(rng.uniform(0.5, 2.0, k)),
        **settings,
    )
    weight = rng.uniform(0.1, 2.0, shape["n_rows"]) if shape["weighted"] else np.zeros(0)
    return model, rows_of(X, y, weight), rng.standard_normal(model.size)


@pytest.mark.parametrize("loss", [*names(), Cosh(2.0)], ids=lambda loss: loss if isinstance(loss, str) else "own")
@given(shape=shapes, settings=penalties)
def test_the_gradient_is_the_finite_difference_of_the_objective(loss, shape, settings):
    model, rows, state = make(loss, shape, settings)
    gradient = model.gradient(state, rows)[1]
    move = np.random.default_rng(9).standard_normal(model.size)
    move /= np.linalg.norm(move)
    if not model.fit_intercept:  # it is not among the parameters then
        model.views(move)["intercept"][:] = 0.0
    ahead, here, behind = (model.gradient(state + s * STEP * move, rows)[0] for s in (1, 0, -1))
    # not across a kink: there the slopes on both sides differ
    assume(abs((ahead - here) - (here - behind)) < 1e-4 * STEP)
    np.testing.assert_allclose((ahead - behind) / (2 * STEP), gradient @ move, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error", "softmax"])
@given(shape=shapes, counts=st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_a_row_of_weight_two_is_the_row_twice(loss, shape, counts):
    model, rows, state = make(loss, shape, {"penalty": None})
    n = len(rows.y)
    counts = np.maximum(counts[:n], [1] + [0] * (n - 1))
    X = unit_rows(n, shape["n_features"], layout=shape["layout"], seed=shape["seed"])
    numbers = np.repeat(np.arange(n), counts)
    repeated = rows_of(X[numbers], np.asarray(rows.y)[numbers])
    once = model.gradient(state, Rows(rows.x, rows.y, counts.astype(float)))
    often = model.gradient(state, repeated)
    # both are means: over so many rows, and over so many repetitions
    np.testing.assert_allclose(once[0] * n, often[0] * counts.sum(), rtol=1e-9)
    np.testing.assert_allclose(once[1] * n, often[1] * counts.sum(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["log_loss", "softmax"])
@given(shape=shapes, settings=penalties)
def test_csr_rows_have_the_gradient_of_the_same_dense_rows(loss, shape, settings):
    dense, csr = (make(loss, {**shape, "layout": layout}, settings) for layout in ("dense", "csr"))
    views = dense[0].views(dense[2])
    state = csr[0].init(0)
    csr[0].views(state)["coef"][:], csr[0].views(state)["intercept"][:] = views["coef"], views["intercept"]
    theirs, ours = dense[0].gradient(dense[2], dense[1]), csr[0].gradient(state, csr[1])
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)
    for name in ("coef", "intercept"):
        np.testing.assert_allclose(csr[0].views(ours[1])[name], dense[0].views(theirs[1])[name], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("loss", names())
@given(shape=shapes, settings=penalties)
def test_a_run_at_rate_zero_adds_up_the_objective(loss, shape, settings):
    model, rows, state = make(loss, {**shape, "weighted": False}, settings)
    ones = (1.0,) * model.n_outputs  # the objective by which fits stop does not know of weights
    model = replace(model, positive=ones, negative=ones)
    state = model.init(0)
    rng = np.random.default_rng(1)
    for name, view in model.views(state).items():
        if name in ("coef", "intercept"):
            view[:] = rng.standard_normal(view.shape)
    expected = model.gradient(state, rows)[0]
    sgd_run = model.sgd_run(state.copy(), 1.0, np.zeros(model.n_outputs), 0)
    sgd_run.run(rows, np.arange(len(rows.y), dtype=np.int32), 0, len(rows.y))
    totals = sgd_run.take_totals()
    np.testing.assert_allclose(model.total_loss(totals.objective) / totals.examples, expected, rtol=1e-9)
