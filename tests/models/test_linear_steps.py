"""Every step written out in numpy, as plainly as the formulas read: what compiled runs must do, scaled forms or not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsgd.core import Rows
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils.row_arrays import rows_of

GRADIENTS = {
    "hinge": lambda y, p: np.where(y * p <= 1.0, -y, 0.0),
    "log_loss": lambda y, p: -y / (1.0 + np.exp(y * p)),
    "squared_error": lambda y, p: p - y,
}
VALUES = {
    "hinge": lambda y, p: np.maximum(0.0, 1.0 - y * p),
    "log_loss": lambda y, p: np.logaddexp(0.0, -y * p),
    "squared_error": lambda y, p: 0.5 * (p - y) ** 2,
}


def written_out(model: Linear, X, y, weight, epochs):
    """SGD over ``epochs`` passes in stored order; the state's named parts.

    ``y`` is ``(n_rows, n_outputs)``.  Penalties: l2 shrinks before the step; l1 is paid after it, by
    the weights that the batch's rows store, each up to what it owes (Tsuruoka et al. 2009).  The mean of the iterates
    is that of whole vectors, taken after the step and before l1 of the same step is paid.
    """
    (n, d), k, size = X.shape, model.n_outputs, model.batch_size
    decay = 0.01 if model.sparse else 1.0
    w, b = np.zeros((d, k)), np.zeros(k)
    mean_w, mean_b, averaged = np.zeros((d, k)), np.zeros(k), 0
    paid, owed, t, losses = np.zeros((d, k)), np.zeros(k), 1.0, 0.0
    for start in [s for _ in range(epochs) for s in range(0, n, size)]:
        batch = np.arange(start, min(start + size, n))
        eta = float(model.rates(np.array(t)))
        p = X[batch] @ w + b
        class_weight = np.where(y[batch] > 0, model.positive, model.negative)
        step = -eta * weight[batch, None] * class_weight * GRADIENTS[model.loss](y[batch], p) / len(batch)
        losses += VALUES[model.loss](y[batch], p).sum()
        if model.penalty in ("l2", "elasticnet"):
            w *= max(0.0, 1.0 - (1.0 - model.l1_share) * eta * model.alpha)
        w += X[batch].T @ step
        if model.fit_intercept:
            b += decay * step.sum(axis=0)
        if model.average and t >= model.average:
            averaged += 1
            mean_w += (w - mean_w) / averaged
            mean_b += (b - mean_b) / averaged
        if model.truncates:
            owed += model.l1_share * eta * model.alpha
            for row in batch:
                for j in np.flatnonzero(X[row]) if model.sparse else range(d):
                    before = w[j].copy()
                    shrunk = np.where(before > 0, np.maximum(0, before - (owed + paid[j])), 0.0)
                    grown = np.where(before < 0, np.minimum(0, before + (owed - paid[j])), 0.0)
                    w[j] = np.where(before > 0, shrunk, grown)
                    paid[j] += w[j] - before
        t += 1.0
    if averaged == 0:  # the mean of none is where the run stands
        mean_w, mean_b = w, b
    return {"coef": w, "intercept": b, "mean_coef": mean_w, "mean_intercept": mean_b, "loss": losses}


def compiled(model: Linear, rows: Rows, epochs):
    state = model.init(0)
    order = np.arange(len(rows.y), dtype=np.int32)
    sgd_run = model.sgd_run(state, 1.0, np.ones(model.n_outputs), 0)
    for _ in range(epochs):
        sgd_run.run(rows, order, 0, len(order))
    totals = sgd_run.take_totals()
    sgd_run.finalize()
    return {**model.views(state), "loss": totals.loss.sum()}


problems = st.fixed_dictionaries(
    {
        "loss": st.sampled_from(list(GRADIENTS)),
        "penalty": st.sampled_from(["l2", "l1", "elasticnet", None]),
        "schedule": st.sampled_from(["constant", "invscaling", "optimal"]),
        "average": st.sampled_from([0, 1, 20]),
        "batch_size": st.sampled_from([1, 2, 7, 100]),
        "fit_intercept": st.booleans(),
        "measured": st.booleans(),
        "n_outputs": st.sampled_from([1, 3]),
        "alpha": st.sampled_from([0.02, 0.3]),
    }
)


@pytest.mark.parametrize("layout", ["dense", "csr"])
@given(description=problems, weighted=st.booleans(), seed=st.integers(0, 3))
@settings(max_examples=4 * settings.default.max_examples)
def test_a_compiled_run_is_the_run_written_out(layout, description, weighted, seed):
    k = description["n_outputs"]
    X = unit_rows(40, 5, density=0.5, seed=seed)
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.2, 2.0, 40) if weighted else np.ones(40)
    class_weights = {name: tuple(rng.uniform(0.5, 1.5, k)) for name in ("positive", "negative")}
    model = Linear(
        5,
        loss_parameter=float(description["loss"] == "hinge"),
        l1_ratio=0.4,
        eta0=0.3,
        sparse=layout == "csr",
        **description,
        **class_weights,
    )
    if k > 1:
        y = labels(X, k).astype(np.int64)
        outputs = np.where(y[:, None] == np.arange(k), 1.0, -1.0)
    else:
        y = targets(X) if description["loss"] == "squared_error" else 2.0 * labels(X) - 1.0
        outputs = y[:, None]
    rows = unit_rows(40, 5, density=0.5, seed=seed, layout=layout)
    ours = compiled(model, rows_of(rows, y, weight if weighted else None), 3)
    theirs = written_out(model, X, outputs, weight, 3)
    for name, value in ours.items():
        if name in theirs:
            np.testing.assert_allclose(value, theirs[name], rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.cover(1)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "average", "tolerance"), [("float32", 0, 1e-5), ("float64", 0, 1e-9), ("float64", 1, 1e-6)]
)
def test_weights_that_shrink_by_a_thousand_a_step_are_folded_before_they_underflow(
    layout, n_outputs, dtype, average, tolerance
):
    X = unit_rows(40, 5, layout=layout, dtype=dtype)
    y = labels(X, 3).astype(np.int64) if n_outputs == 3 else (2.0 * labels(X) - 1.0).astype(dtype)
    ones = (1.0,) * n_outputs
    model = Linear(
        5,
        n_outputs,
        dtype=dtype,
        loss="log_loss",
        alpha=0.999,
        schedule="constant",
        eta0=1.0,
        sparse=layout == "csr",
        average=average,
        positive=ones,
        negative=ones,
    )
    outputs = np.where(y[:, None] == np.arange(3), 1.0, -1.0) if n_outputs == 3 else y[:, None]
    dense = X.toarray() if layout == "csr" else X
    ours = compiled(model, rows_of(X, y), 5)
    theirs = written_out(model, dense.astype(float), outputs, np.ones(40), 5)
    for name in model.layout:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_mean_of_millions_of_iterates_still_moves_in_float32(n_outputs):
    """A step moves it by less than a rounding error of their sum."""
    X = unit_rows(2_000, 5)
    labeled = labels(X, 3).astype(np.int64) if n_outputs == 3 else 2.0 * labels(X) - 1.0
    changes = []
    for dtype in ("float32", "float64"):
        settings = {"loss": "log_loss", "schedule": "constant", "eta0": 1e-4, "average": 1, "alpha": 0.0}
        model = Linear(5, n_outputs, dtype=dtype, **settings)
        state = model.init(0)
        views = model.views(state)
        views["coef"][:] = views["mean_coef"][:] = 0.5
        run = model.sgd_run(state, 1e7, np.ones(n_outputs), 0)
        y = labeled if n_outputs == 3 else labeled.astype(dtype)
        run.run(rows_of(X.astype(dtype), y), np.arange(2_000, dtype=np.int32), 0, 2_000)
        run.finalize()
        changes.append(views["mean_coef"].astype(float) - 0.5)
    np.testing.assert_allclose(*changes, rtol=0.0, atol=0.1 * np.abs(changes[1]).max())
