"""Dropout: which units are left out is random between rows, layers and steps, and the same whenever the fit is.

Masks are read out of a step.  With ``k`` rows and ``k`` outputs, weights of the last layer at 0 and targets that are
the unit vectors, a step of plain SGD leaves in that layer's column ``r`` what the hidden units were for row ``r``.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from parsgd.models.network.forward import ACTIVATIONS
from parsgd.models.network.network_model import SOLVERS, Network
from parsgd.testing.problems import labels, unit_rows
from parsgd.utils.row_arrays import rows_of

N_UNITS, N_BATCH = 20_000, 4


def masks(dropout=0.3, *, step=1, seed=5, hidden=1):
    """The factors on the hidden units of the last of some layers, ``(units, rows)``, at a step."""
    sizes = (1, *[1] * (hidden - 1), N_UNITS, N_BATCH)
    model = Network(
        sizes,
        activation="identity",
        loss="squared_error",
        solver="sgd",
        alpha=0.0,
        eta0=N_BATCH,
        dropout=dropout,
        batch_size=N_BATCH,
    )
    state = np.zeros(model.n_parameters)
    model.views(state)["intercepts"][-2][:] = 1.0  # every hidden unit is 1
    sgd_run = model.sgd_run(state, float(step), np.ones(1), seed)
    sgd_run.run(rows_of(np.zeros((N_BATCH, 1)), np.eye(N_BATCH)), np.arange(N_BATCH, dtype=np.int32), 0, N_BATCH)
    return model.views(state)["coefs"][-1]


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_a_unit_is_left_out_with_the_probability_that_was_asked_for_or_divided_by_the_rest(dropout):
    found = masks(dropout)
    kept = found != 0.0
    np.testing.assert_allclose(found[kept], 1.0 / (1.0 - dropout), rtol=1e-12)
    # six standard deviations
    deviation = np.sqrt(dropout * (1.0 - dropout) / N_UNITS)
    np.testing.assert_allclose(kept.mean(axis=0), 1.0 - dropout, atol=6.0 * deviation)
    np.testing.assert_allclose(found.mean(), 1.0, atol=6.0 * deviation / (1.0 - dropout) / 2.0)


def test_masks_have_nothing_in_common_between_rows_units_steps_seeds_and_layers():
    first = masks() != 0.0
    others = {
        "steps": masks(step=2) != 0.0,
        "seeds": masks(seed=6) != 0.0,
        "layers": masks(hidden=2) != 0.0,
        "rows": np.roll(first, 1, axis=1),
        "units": np.roll(first, 1, axis=0),
    }
    for name, other in others.items():
        both = (first & other).mean()
        np.testing.assert_allclose(both, 0.49, atol=6.0 * np.sqrt(0.49 * 0.51 / first.size), err_msg=name)
    np.testing.assert_array_equal(first, masks() != 0.0)


def problem(hidden=(11, 7), **settings):
    X = unit_rows(38, 6)
    settings = {"activation": "tanh", "batch_size": 8, "eta0": 0.1, **settings}
    return Network((6, *hidden, 3), **settings), rows_of(X, labels(X, 3).astype(np.int64))


def run(model, rows, cuts=(), seed=5, epochs=3):
    state = model.init(1)
    sgd_run = model.sgd_run(state, 1.0, np.ones(1), seed)
    order = np.random.default_rng(0).permutation(38).astype(np.int32)
    for _ in range(epochs):
        for start, stop in pairwise([0, *cuts, 38]):
            sgd_run.run(rows, order, start, stop)
    return state, float(sgd_run.take_totals().loss[0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_seed_drops_the_same_units_however_the_run_is_cut(solver):
    model, rows = problem(solver=solver, dropout=0.4)
    state, loss = run(model, rows)
    for cuts in ((8,), (8, 16, 24, 32), (32,)):
        again, same = run(model, rows, cuts)
        assert again.tobytes() == state.tobytes()
        assert same == loss
    assert not np.array_equal(run(model, rows, seed=6)[0], state)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dropping_almost_nothing_is_dropping_nothing(activation):
    for hidden in ((11,), (11, 7)):
        model, rows = problem(hidden, activation=activation, solver="sgd")
        ours, theirs = run(replace(model, dropout=1e-13), rows), run(model, rows)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_goes_along_the_gradient_of_the_loss_with_these_units_left_out(activation):
    model, rows = problem((9, 8), activation=activation, solver="sgd", dropout=0.4, alpha=0.3, batch_size=38)
    order = np.arange(38, dtype=np.int32)

    def visit(state, gain):
        state = state.copy()
        sgd_run = model.sgd_run(state, 7.0, np.array([gain]), 5)
        sgd_run.run(rows, order, 0, 38)
        return state, float(sgd_run.take_totals().loss[0]) / 38

    state = model.init(2)
    gradient = (state - visit(state, 1.0)[0]) / model.eta0
    rng = np.random.default_rng(3)
    for _ in range(5):
        move = rng.standard_normal(state.size)
        # a run that stands still, at the same clock, has the same masks
        ahead, behind = (visit(state + s * 1e-6 * move, 0.0)[1] for s in (1, -1))
        np.testing.assert_allclose((ahead - behind) / 2e-6, gradient @ move, rtol=1e-5, atol=1e-7)
    assert not np.allclose(gradient, model.gradient(state, rows)[1], atol=1e-3)


def test_what_leads_into_a_unit_that_was_left_out_and_away_from_it_stays():
    X = unit_rows(1, 6)
    model = Network((6, 50, 3), activation="tanh", solver="sgd", alpha=0.0, eta0=0.1, dropout=0.5, batch_size=1)
    rows = rows_of(X, np.zeros(1, dtype=np.int64))
    before = model.init(0)
    after = before.copy()
    model.sgd_run(after, 1.0, np.ones(1), 5).run(rows, np.zeros(1, dtype=np.int32), 0, 1)
    moved = model.views(after - before)
    into = (moved["coefs"][0] != 0.0).any(axis=0)
    biases = moved["intercepts"][0] != 0.0
    away = (moved["coefs"][1] != 0.0).any(axis=1)
    np.testing.assert_array_equal(into, away)
    np.testing.assert_array_equal(biases, away)
    assert 10 < away.sum() < 40


def test_predictions_leave_nothing_out():
    model, rows = problem(dropout=0.5)
    state, X = model.init(0), unit_rows(38, 6)
    np.testing.assert_array_equal(model.predict(state, X), replace(model, dropout=0.0).predict(state, X))
    np.testing.assert_array_equal(model.gradient(state, rows)[1], replace(model, dropout=0.0).gradient(state, rows)[1])
