"""Steps that are too small to matter are skipped, because some processors handle subnormal numbers slowly."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.forward import LOSSES
from parsgd.models.network.network_model import Network
from parsgd.utils.row_arrays import rows_of

FAR = np.array([-800.0, -90.0, -51.0, -49.0, -5.0, 0.0, 5.0, 49.0, 51.0, 90.0, 800.0])


def test_losses_keep_their_values_and_gradients_to_rounding():
    model = Linear(1, loss="log_loss")
    for y in (-1.0, 1.0):
        values, gradients = model.losses(FAR[:, None], np.full(len(FAR), y))
        np.testing.assert_allclose(values[:, 0], np.logaddexp(0.0, -y * FAR), rtol=1e-12, atol=1e-20)
        np.testing.assert_allclose(gradients[:, 0], -y * expit(-y * FAR), rtol=1e-12, atol=1e-20)
    margins = np.stack([FAR, np.zeros(len(FAR)), 0.3 * FAR], axis=1)
    for k in range(3):
        values, gradients = Linear(1, 3, loss="softmax").losses(margins, np.full(len(FAR), k))
        np.testing.assert_allclose(values[:, 0], -log_softmax(margins, axis=1)[:, k], rtol=1e-12, atol=1e-20)
        np.testing.assert_allclose(gradients, softmax(margins, axis=1) - (np.arange(3) == k), rtol=1e-12, atol=1e-20)


@pytest.mark.parametrize(("loss", "n_outputs"), [("log_loss", 1), ("log_loss", 3), ("softmax", 3)])
def test_a_linear_model_with_a_large_margin_takes_no_step(loss, n_outputs):
    ones = (1.0,) * n_outputs
    model = Linear(2, n_outputs, "float32", loss=loss, penalty=None, schedule="constant", positive=ones, negative=ones)
    state = model.init(0)
    views = model.views(state)
    # the margin of the right class is at least 85: e^-85 is a float32, but times the learning rate nearly subnormal
    views["coef"][:] = 0.0
    views["intercept"][:] = [-85.0] * n_outputs
    views["intercept"][0] = 85.0
    before = state.copy()
    y = np.zeros(8, dtype=np.int64) if n_outputs > 1 else np.ones(8, dtype=np.float32)
    rows = rows_of(np.ones((8, 2), dtype=np.float32), y)
    sgd_run = model.sgd_run(state, 1.0, np.ones(n_outputs), 0)
    sgd_run.run(rows, np.arange(8, dtype=np.int32), 0, 8)
    sgd_run.finalize()
    np.testing.assert_array_equal(state, before)


def test_a_network_with_a_large_margin_takes_no_step():
    model = Network((2, 3), dtype="float32", loss="softmax", solver="sgd", momentum=0.0, alpha=0.0, batch_size=4)
    state = model.init(0)
    views = model.views(state)
    views["coefs"][0][:], views["intercepts"][0][:] = 0.0, [85.0, 0.0, -5.0]
    before = state.copy()
    rows = rows_of(np.ones((8, 2), dtype=np.float32), np.zeros(8, dtype=np.int64))
    sgd_run = model.sgd_run(state, 1.0, np.ones(1), 0)
    sgd_run.run(rows, np.arange(8, dtype=np.int32), 0, 8)
    sgd_run.finalize()
    np.testing.assert_array_equal(state, before)


def test_the_numpy_losses_of_networks_skip_the_same_steps():
    z = np.array([[85.0, 0.0, -5.0], [1.0, 2.0, 3.0]], dtype=np.float32)
    losses, error = LOSSES["softmax"].evaluate(z, np.array([0, 1]), 0.0)
    assert error.dtype == np.float32
    np.testing.assert_array_equal(error[0], 0.0)
    np.testing.assert_allclose(losses[1], -log_softmax(z[1])[1], rtol=1e-6)
    np.testing.assert_allclose(error[1], softmax(z[1]) - [0, 1, 0], rtol=1e-6)


@pytest.mark.parametrize("loss", ["log_loss", "poisson", "softmax"])
def test_nan_stays_nan(loss):
    k = 3 if loss == "softmax" else 1
    model = Linear(2, k, loss=loss, positive=(1.0,) * k, negative=(1.0,) * k)
    values, gradients = model.losses(np.full((1, k), np.nan), np.zeros(1, dtype=int) if k > 1 else np.ones(1))
    assert np.isnan(values).all()
    assert np.isnan(gradients).all()
    state = model.init(0)
    model.views(state)["intercept"][:] = np.nan
    sgd_run = model.sgd_run(state, 1.0, np.ones(k), 0)
    rows = rows_of(np.ones((1, 2)), np.zeros(1, dtype=np.int64) if k > 1 else np.ones(1))
    sgd_run.run(rows, np.zeros(1, dtype=np.int32), 0, 1)
    sgd_run.finalize()
    assert np.isnan(state[: 2 * model.n_outputs].reshape(2, -1)[:, :k]).all()
