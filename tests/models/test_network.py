"""A network's first state is scikit-learn's, its gradient the slope of its objective; it keeps a model's promises."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special
from sklearn.neural_network import MLPClassifier, MLPRegressor

from parsgd import SimuParallel
from parsgd.algorithms.minibatch import MiniBatch
from parsgd.core import Rows
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.errors import DivergedError
from parsgd.models.network.forward import ACTIVATIONS, LOSSES
from parsgd.models.network.network_model import SOLVERS, Network
from parsgd.testing import check_model
from parsgd.testing.problems import labels, unit_rows
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of

N_FEATURES, N_OUT, STEP = 6, 3, 1e-6


def targets_of(loss, X, seed=0):
    """What the loss takes: class numbers, zeros and ones, counts, or numbers."""
    rng, n = np.random.default_rng(seed), X.shape[0]
    if loss == "softmax":
        return labels(X, N_OUT, seed=seed).astype(np.int64)
    if loss == "sigmoid":
        return rng.integers(0, 2, (n, N_OUT)).astype(X.dtype)
    if loss == "poisson":
        return rng.poisson(1.0, (n, N_OUT)).astype(X.dtype)
    return rng.standard_normal((n, N_OUT)).astype(X.dtype)


def make(loss="softmax", hidden=(5,), n_rows=24, layout="dense", weighted=False, seed=0, dtype=np.float64, **settings):
    """A model and rows for it."""
    X = unit_rows(n_rows, N_FEATURES, layout=layout, seed=seed, dtype=dtype)
    weight = np.random.default_rng(seed).uniform(0.2, 2.0, n_rows).astype(dtype) if weighted else None
    settings = {"activation": "tanh", "loss_parameter": 0.7, "sparse": layout == "csr", **settings}
    model = Network((N_FEATURES, *hidden, N_OUT), loss=loss, dtype=np.dtype(dtype).name, **settings)
    return model, rows_of(X, targets_of(loss, X, seed), weight)


# -- the gradient --------------------------------------------------------------------------------------------------


places = st.fixed_dictionaries(
    {
        "hidden": st.lists(st.integers(1, 7), max_size=3),
        "n_rows": st.integers(1, 30),
        "layout": st.sampled_from(["dense", "csr"]),
        "weighted": st.booleans(),
        "seed": st.integers(0, 3),
        "activation": st.sampled_from(list(ACTIVATIONS)),
        "solver": st.sampled_from(SOLVERS),
        "alpha": st.sampled_from([0.0, 1e-4, 0.5]),
    }
)


@pytest.mark.parametrize("loss", LOSSES)
@given(place=places)
def test_the_gradient_is_the_finite_difference_of_the_objective(loss, place):
    model, rows = make(loss, **place)
    rng = np.random.default_rng(9)
    # room between the layers and the solver's slots move too: they must not count
    state, move = (rng.standard_normal(model.init(0).size) for _ in range(2))
    move /= np.linalg.norm(move)
    gradient = model.gradient(state, rows)[1]
    ahead, here, behind = (model.gradient(state + s * STEP * move, rows)[0] for s in (1, 0, -1))
    # not across a kink: there the slopes on both sides differ
    assume(abs((ahead - here) - (here - behind)) < 1e-4 * STEP)
    np.testing.assert_allclose((ahead - behind) / (2 * STEP), gradient @ move, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_parameter_has_its_own_slope(activation):
    model, rows = make("softmax", (4, 3), activation=activation, alpha=0.3)
    state = model.init(2)
    for names in model.views(state).values():
        for part in names:
            part += 0.3 * np.random.default_rng(4).standard_normal(part.shape)
    gradient = model.gradient(state, rows)[1]
    theirs = np.zeros_like(state)
    for i in range(state.size):
        move = np.zeros_like(state)
        move[i] = STEP
        theirs[i] = (model.gradient(state + move, rows)[0] - model.gradient(state - move, rows)[0]) / (2 * STEP)
    np.testing.assert_allclose(gradient, theirs, atol=1e-8)
    used = np.zeros(state.size)
    for names in model.views(used).values():
        for part in names:
            part[:] = 1.0
    assert used.sum() == 6 * 4 + 4 + 4 * 3 + 3 + 3 * 3 + 3
    assert not gradient[used == 0.0].any()


@given(place=places, counts=st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_a_row_of_weight_two_is_the_row_twice_in_the_objective(place, counts):
    model, rows = make(**{**place, "weighted": False})
    n = len(rows.y)
    counts = np.maximum(counts[:n], [1] + [0] * (n - 1))
    X = unit_rows(n, N_FEATURES, layout=place["layout"], seed=place["seed"])
    numbers = np.repeat(np.arange(n), counts)
    state = model.init(3)
    once = model.gradient(state, Rows(rows.x, rows.y, counts.astype(float)))
    often = model.gradient(state, rows_of(X[numbers], np.asarray(rows.y)[numbers]))
    np.testing.assert_allclose(once[0], often[0], rtol=1e-12)
    np.testing.assert_allclose(once[1], often[1], rtol=1e-9, atol=1e-13)


def test_more_rows_than_are_taken_at_a_time_count_like_few():
    model, rows = make("softmax", n_rows=20_001, weighted=True, alpha=0.0)
    state = model.init(0)
    values, gradients, shares = [], [], []
    for first in range(0, 20_001, 700):
        part = slice(first, first + 700)
        x = rows.x._replace(data=rows.x.data[first * N_FEATURES : (first + 700) * N_FEATURES])
        value, gradient = model.gradient(state, Rows(x, rows.y[part], rows.weight[part]))
        values.append(value)
        gradients.append(gradient)
        shares.append(rows.weight[part].sum())
    value, gradient = model.gradient(state, rows)
    np.testing.assert_allclose(value, np.average(values, weights=shares), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.average(gradients, axis=0, weights=shares), rtol=1e-9, atol=1e-15)
    X = np.asarray(rows.x.data).reshape(-1, N_FEATURES)
    np.testing.assert_array_equal(model.decision(state, X)[8190:8200], model.decision(state, X[8190:8200]))


@pytest.mark.parametrize("loss", LOSSES)
def test_predictions_are_those_that_go_with_the_loss(loss):
    model, rows = make(loss, (4, 4))
    state = model.init(1)
    X = np.asarray(rows.x.data).reshape(-1, N_FEATURES)
    views, value = model.views(state), X
    for layer, (coef, intercept) in enumerate(zip(views["coefs"], views["intercepts"], strict=True)):
        value = value @ coef + intercept
        value = np.tanh(value) if layer < 2 else value
    np.testing.assert_allclose(model.decision(state, X), value, rtol=1e-12)
    theirs = {
        "softmax": lambda z: special.softmax(z, axis=1),
        "sigmoid": special.expit,
        "poisson": np.exp,
    }.get(loss, lambda z: z)(value)
    np.testing.assert_allclose(model.predict(state, X), theirs, rtol=1e-12)


# -- the first state -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_the_first_state_is_the_one_that_scikit_learn_draws(activation, dtype):
    model, rows = make("softmax", (7, 4), n_rows=30, activation=activation, dtype=dtype)
    X = np.asarray(rows.x.data).reshape(-1, N_FEATURES)
    # one pass at a rate that moves nothing
    settings = {"activation": activation, "solver": "sgd", "learning_rate_init": 1e-30, "hidden_layer_sizes": (7, 4)}
    theirs = MLPClassifier(**settings, random_state=11).partial_fit(X, rows.y, classes=np.arange(N_OUT))
    ours = model.views(model.init(11))
    for mine, their in zip(ours["coefs"] + ours["intercepts"], theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, their, rtol=1e-6 if dtype is np.float32 else 1e-12)
        assert mine.dtype == dtype
    y = np.asarray(rows.y, dtype=dtype)
    theirs = MLPRegressor(**settings, random_state=12).partial_fit(X, y)
    ours = Network((N_FEATURES, 7, 4, 1), activation=activation, loss="squared_error")
    np.testing.assert_allclose(ours.views(ours.init(12))["coefs"][-1], theirs.coefs_[-1], rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "start", "gain", "fans"),
    [
        ("tanh", "glorot", 6.0, "both"),
        ("relu", "glorot", 6.0, "both"),
        ("logistic", "glorot", 2.0, "both"),
        ("gelu", "he", 6.0, "in"),
        ("logistic", "he", 6.0, "in"),
    ],
)
def test_first_parameters_fill_the_interval_that_the_start_names(activation, start, gain, fans):
    model = Network((40, 90, 30, 5), activation=activation, start=start)
    views = model.views(model.init(0))
    for coef, intercept in zip(views["coefs"], views["intercepts"], strict=True):
        i, o = coef.shape
        bound = np.sqrt(gain / (i + o if fans == "both" else i))
        assert 0.9 * bound < np.abs(coef).max() <= bound
        assert np.abs(intercept).max() <= bound
        np.testing.assert_allclose(coef.var(), bound**2 / 3, rtol=0.25)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solvers_slots_begin_at_zero_beside_the_parameters(solver):
    model = Network((4, 8, 2), solver=solver)
    state = model.init(0)
    parameters, first, second = model.parts(state)
    assert parameters.size == model.n_parameters
    assert (first.size > 0, second.size > 0) == (solver != "sgd", solver in ("adam", "adamw"))
    assert not first.any()
    assert not second.any()
    assert parameters.size + first.size + second.size == state.size
    np.testing.assert_array_equal(parameters, Network((4, 8, 2), solver="sgd").init(0))


# -- the contract --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "layout", "settings"),
    [
        ("softmax", "dense", {"solver": "adam", "batch_size": 7}),
        ("softmax", "dense", {"solver": "sgd", "batch_size": 1, "alpha": 0.1, "eta0": 0.05}),
        ("softmax", "dense", {"solver": "nesterov", "batch_size": 5, "activation": "relu", "schedule": "invscaling"}),
        ("softmax", "dense", {"solver": "adamw", "batch_size": 200, "activation": "gelu", "clip_norm": 0.1}),
        ("softmax", "dense", {"solver": "sgd", "batch_size": 10, "dropout": 0.4, "hidden": (30, 20)}),
        ("softmax", "csr", {"solver": "sgd", "batch_size": 4, "alpha": 0.5, "eta0": 0.1}),
        ("softmax", "csr", {"solver": "momentum", "batch_size": 6, "activation": "leaky_relu"}),
        ("squared_error", "dense", {"solver": "momentum", "batch_size": 9, "weighted": True}),
        ("sigmoid", "dense", {"solver": "adam", "batch_size": 3, "activation": "logistic", "hidden": (4, 4, 4)}),
        ("poisson", "dense", {"solver": "sgd", "batch_size": 8, "hidden": (), "weighted": True}),
    ],
)
def test_a_network_keeps_the_promises_of_a_model(loss, layout, settings):
    check_model(*make(loss, n_rows=64, layout=layout, **settings))


def test_the_check_notices_a_network_that_breaks_its_promises():
    model, rows = make("softmax", solver="sgd", batch_size=64)
    upwards = replace(model, eta0=-0.1)
    with pytest.raises(AssertionError, match="uphill"):
        check_model(upwards, rows)


# -- rows that are no numbers --------------------------------------------------------------------------------------


@pytest.mark.cover(2)
@pytest.mark.parametrize("algorithm", [SimuParallel(), MiniBatch()], ids=lambda a: a.name)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_rows_with_a_value_that_is_no_number_are_an_error_and_never_a_fit(layout, activation, algorithm):
    for bad, solver, n_workers in product((np.nan, np.inf, -np.inf), ("sgd", "adam"), (1, 2)):
        X = unit_rows(40, N_FEATURES, layout=layout)
        (X.data if layout == "csr" else X.reshape(-1))[77] = bad
        model = make("softmax", (5, 4), layout=layout, activation=activation, solver=solver, batch_size=8)[0]
        source = ArraySource(rows_of(X, targets_of("softmax", unit_rows(40, N_FEATURES))))
        with pytest.raises(DivergedError, match=r"round \d"):
            fit(model, algorithm, Serial(), source, n_workers=n_workers, max_epochs=2)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "softmax"])
def test_targets_that_are_no_numbers_are_an_error_too(loss):
    model, rows = make(loss, batch_size=8)
    y = np.array(rows.y)
    y[17, 1] = np.nan
    source = ArraySource(rows_of(np.array(rows.x.data).reshape(-1, N_FEATURES), y))
    for algorithm in (SimuParallel(), MiniBatch()):
        with pytest.raises(DivergedError):
            fit(model, algorithm, Serial(), source, max_epochs=2)
