"""Every step of a network written out in NumPy, as plainly as the formulas read: what the compiled steps must do."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from parsgd.core import Rows
from parsgd.kernels.network.network_types import FIRST_LAYER_SCALE
from parsgd.models.network import network_sgd_run
from parsgd.models.network.forward import ACTIVATIONS, LOSSES
from parsgd.models.network.network_model import SOLVERS, Network
from parsgd.testing.problems import labels, unit_rows
from parsgd.utils.row_arrays import rows_of

N_ROWS, N_FEATURES, N_OUT = 26, 6, 3
# these are reported as means over outputs, and their gradient is that of the sum, as in scikit-learn
AVERAGED = ("squared_error", "absolute_error", "huber")


class Problem:
    """Rows with targets for a loss; a network for them is made by :meth:`model`."""

    def __init__(self, loss="softmax", layout="dense", weighted=False, n_rows=N_ROWS, dtype=np.float64, seed=0):
        self.loss, self.layout, self.dtype = loss, layout, np.dtype(dtype).name
        rng = np.random.default_rng(seed)
        self.X = unit_rows(n_rows, N_FEATURES, density=0.5, seed=seed, dtype=dtype)
        made = unit_rows(n_rows, N_FEATURES, density=0.5, seed=seed, dtype=dtype, layout=layout)
        self.y = {
            "softmax": lambda: labels(self.X, N_OUT).astype(np.int64),
            "sigmoid": lambda: rng.integers(0, 2, (n_rows, N_OUT)).astype(dtype),
            "poisson": lambda: rng.poisson(1.0, (n_rows, N_OUT)).astype(dtype),
        }.get(loss, lambda: rng.standard_normal((n_rows, N_OUT)).astype(dtype))()
        self.weight = rng.uniform(0.2, 2.0, n_rows).astype(dtype) if weighted else np.ones(n_rows, dtype=dtype)
        self.rows = rows_of(made, self.y, self.weight if weighted else None)

    def model(self, hidden=(5,), **settings):
        settings = {"activation": "tanh", "loss_parameter": 0.7, "solver": "sgd", "eta0": 0.3, **settings}
        sizes = (N_FEATURES, *hidden, N_OUT)
        return Network(sizes, loss=self.loss, dtype=self.dtype, sparse=self.layout == "csr", **settings)

    def some(self, numbers):
        """These rows alone, dense and weighted."""
        return rows_of(self.X[numbers], np.ascontiguousarray(self.y[numbers]), self.weight[numbers])


def run(model, rows, order=None, epochs=1, state=None, schedule_step=1.0, gain=1.0, seed=0):
    """The state after some passes of compiled steps, the totals, and the clock."""
    state = model.init(3) if state is None else state.copy()
    order = np.arange(len(rows.y), dtype=np.int32) if order is None else order.astype(np.int32)
    sgd_run = model.sgd_run(state, schedule_step, np.array([gain]), seed)
    for _ in range(epochs):
        sgd_run.run(rows, order, 0, len(order))
    totals = sgd_run.take_totals()
    sgd_run.finalize()
    return state, totals, sgd_run.schedule_step


def penalty_of(model, state):
    return 0.5 * model.alpha * sum(float(np.vdot(coef, coef)) for coef in model.views(state)["coefs"])


def reported(model, state, rows):
    """The objective as a tally has it."""
    weight = rows.weight.sum() if rows.weight.size else len(rows.y)
    loss = model.gradient(state, rows)[0] - (0.0 if model.solver == "adamw" else penalty_of(model, state) / weight)
    share = 1.0 / N_OUT if model.loss in AVERAGED else 1.0
    return loss * share + (0.0 if model.solver == "adamw" else penalty_of(model, state) / weight)


# -- one step ------------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_plain_sgd_goes_along_the_gradient(loss, activation, layout):
    order = np.random.default_rng(5).permutation(N_ROWS)
    for weighted, alpha, hidden in product((False, True), (0.0, 0.8), ((), (5,), (4, 7, 3))):
        problem = Problem(loss, layout, weighted)
        model = problem.model(hidden, activation=activation, alpha=alpha)
        before = model.init(3)
        objective, gradient = model.gradient(before, problem.rows)
        assert objective > 0.0
        for visited in (None, order):  # rows side by side are read where they lie, others are gathered
            after, totals, schedule_step = run(model, problem.rows, visited)
            np.testing.assert_allclose(after, before - model.eta0 * gradient, rtol=1e-10, atol=1e-12)
            expected = reported(model, before, problem.rows)
            np.testing.assert_allclose(totals.objective[0] / totals.examples, expected, rtol=1e-12)
            assert (totals.examples, totals.steps, schedule_step) == (N_ROWS, 1, 2.0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_in_single_precision_a_step_is_the_same_to_single_precision(activation):
    for solver, dropout in product(SOLVERS, (0.0, 0.4)):
        ways = []
        for dtype in (np.float32, np.float64):
            problem = Problem("softmax", dtype=dtype, weighted=True)
            model = problem.model((7, 5), activation=activation, solver=solver, alpha=0.1, dropout=dropout)
            state = np.concatenate([problem.model((7, 5)).init(3).astype(np.float32)] * (1 + model.n_slots))
            state[model.n_parameters :] **= 2
            ways.append(run(model, problem.rows, state=state.astype(dtype)))
        (single, seen, _), (double, wanted, _) = ways
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(seen.loss, wanted.loss, rtol=1e-5)


def test_in_single_precision_the_penalty_in_the_loss_is_that_of_the_last_sixteenth_step():
    seen, penalties = {}, []
    for dtype in (np.float64, np.float32):
        problem = Problem("softmax", dtype=dtype)
        model = problem.model((20,), alpha=0.5, batch_size=2, eta0=0.05)
        state = model.init(3)
        sgd_run, losses = model.sgd_run(state, 1.0, np.ones(1), 0), []
        for start in [*range(0, N_ROWS, 2)] * 3:
            if dtype is np.float64:
                penalties.append(penalty_of(model, state))
            sgd_run.run(problem.rows, np.arange(N_ROWS, dtype=np.int32), start, start + 2)
            losses.append(float(sgd_run.take_totals().loss[0]))
        seen[dtype] = np.array(losses)
    old = [penalties[max(step // 16 * 16 - 1, 0)] for step in range(1, 40)]
    np.testing.assert_allclose(seen[np.float32], seen[np.float64] - penalties + old, rtol=1e-5)
    assert old[-1] > 1.02 * penalties[-1]


def test_in_single_precision_a_penalty_too_weak_to_move_a_weight_in_one_step_moves_it_in_many():
    # rows of zeros: nothing else moves the first layer
    model = Network((N_FEATURES, 4, N_OUT), dtype="float32", solver="sgd", alpha=1e-7, eta0=0.1, batch_size=1)
    rows = rows_of(np.zeros((20_000, N_FEATURES), np.float32), np.zeros(20_000, dtype=np.int64))
    before = model.init(0)
    after = run(model, rows, state=before)[0]
    ratio = model.views(after)["coefs"][0].astype(float) / model.views(before)["coefs"][0]
    np.testing.assert_allclose(1.0 - ratio, 1.0 - (1.0 - 1e-8) ** 20_000, rtol=0.01)


# -- many steps ----------------------------------------------------------------------------------------------------


def written_out(model, problem, order, state, schedule_step=1.0):
    """Steps over ``order`` in batches, by the formulas of `solvers.py`; the state and the summed losses."""
    n, b1, b2 = model.n_parameters, model.beta_1, model.beta_2
    plain = replace(model, solver="sgd", alpha=0.0, sparse=False)
    w, first, second = (part.copy() if part.size else np.zeros(n) for part in model.parts(state))
    penalised = np.zeros(n)  # biases are not
    for coef in plain.views(penalised)["coefs"]:
        coef[:] = 1.0
    losses = 0.0
    for start in range(0, len(order), model.batch_size):
        numbers = order[start : start + model.batch_size]
        rows, share = problem.some(numbers), problem.weight[numbers].sum()
        eta = model.eta0
        if model.schedule == "invscaling":
            epochs = (schedule_step - model.begun) // model.steps_per_epoch
            eta /= (1.0 + model.seen + epochs * model.rows_per_epoch) ** model.power_t
        g = plain.gradient(w, rows)[1]
        losses += reported(replace(model, sparse=False), w, rows) * len(numbers)
        if model.clip_norm is not None:
            g *= min(1.0, model.clip_norm / np.linalg.norm(g))
        if model.solver == "adamw":
            w *= 1.0 - eta * model.alpha * penalised
        else:
            g += model.alpha / share * penalised * w
        if model.solver == "sgd":
            w -= eta * g
        elif model.solver == "momentum":
            first = model.momentum * first - eta * g
            w += first
        elif model.solver == "nesterov":
            first = model.momentum * first - eta * g
            w += model.momentum * first - eta * g
        else:
            first = b1 * first + (1.0 - b1) * g
            second = b2 * second + (1.0 - b2) * g**2
            rate = eta * np.sqrt(1.0 - b2**schedule_step) / (1.0 - b1**schedule_step)
            w -= rate * first / (np.sqrt(second) + model.epsilon)
        schedule_step += 1.0
    return np.concatenate([w, first, second])[: len(state)], losses


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_run_of_steps_is_the_run_written_out(solver, layout):
    rng = np.random.default_rng(8)
    # the last batch of each pass is short
    order = np.concatenate([rng.permutation(N_ROWS) for _ in range(3)])
    passes = np.split(order, 3)
    for weighted, alpha, schedule, clip in product((0, 1), (0.0, 0.6), ("constant", "invscaling"), (None, 0.2)):
        problem = Problem("softmax", layout, weighted)
        model = problem.model(
            (5, 4),
            solver=solver,
            alpha=alpha,
            schedule=schedule,
            clip_norm=clip,
            batch_size=8,
            eta0=0.1,
            momentum=0.7,
            beta_1=0.8,
            beta_2=0.95,
            epsilon=1e-3,
            seen=10.0,
            rows_per_epoch=26.0,
            steps_per_epoch=4.0,
            begun=5.0,
            power_t=0.3,
        )
        state = model.init(3)
        state[model.n_parameters :] = rng.uniform(0.0, 0.01, state.size - model.n_parameters)
        theirs, losses, schedule_step = state, 0.0, 9.0
        sgd_run = model.sgd_run(ours := state.copy(), 9.0, np.ones(1), 0)
        for visited in passes:
            theirs, more = written_out(model, problem, visited, theirs, schedule_step)
            losses, schedule_step = losses + more, schedule_step + 4.0
            sgd_run.run(problem.rows, visited.astype(np.int32), 0, N_ROWS)
        totals = sgd_run.take_totals()
        sgd_run.finalize()
        assert sgd_run.schedule_step == schedule_step
        for mine, their in zip(_used(model, ours), _used(model, theirs), strict=True):
            np.testing.assert_allclose(mine, their, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(totals.loss[0], losses, rtol=1e-10)


def _used(model, state):
    """Parameters and slots, layer by layer, without the room between layers."""
    for part in model.parts(state):
        if part.size:
            views = model.views(part)
            yield from views["coefs"] + views["intercepts"]


@pytest.mark.parametrize("solver", ["momentum", "nesterov", "adam", "adamw"])
def test_gradients_taken_a_few_rows_at_a_time_are_the_whole_gradients(solver, monkeypatch):
    problem = Problem("softmax", weighted=True)
    model = problem.model((9, 8), solver=solver, batch_size=7, alpha=0.3, eta0=0.05)
    usual = run(model, problem.rows, epochs=3)
    monkeypatch.setattr(network_sgd_run, "_GRADIENT_BYTES", 25 * 8)  # two rows of the first layer, three of the next
    pieces = run(model, problem.rows, epochs=3)
    np.testing.assert_allclose(pieces[0], usual[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(pieces[1].loss, usual[1].loss, rtol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_gain_is_a_factor_on_the_rate(solver):
    problem = Problem("softmax")
    model = problem.model(solver=solver, alpha=0.2, batch_size=8)
    slower = replace(model, eta0=0.2 * model.eta0)
    np.testing.assert_allclose(run(model, problem.rows, gain=0.2)[0], run(slower, problem.rows)[0], rtol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss", ["softmax", "huber"])
def test_a_row_of_weight_two_is_the_row_twice(loss, solver):
    problem = Problem(loss)
    counts = np.random.default_rng(2).integers(0, 4, N_ROWS)
    repeated = np.repeat(np.arange(N_ROWS), counts)
    heavy = Rows(problem.rows.x, problem.rows.y, rows_of(problem.X, problem.y, counts.astype(float)).weight)
    model = problem.model(solver=solver, alpha=0.4, batch_size=100, clip_norm=0.5 if solver == "adam" else None)
    ours, theirs = run(model, heavy), run(model, problem.rows, repeated)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours[1].loss / N_ROWS, theirs[1].loss / len(repeated), rtol=1e-12)


# -- sparse rows ---------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss", ["softmax", "poisson"])
def test_csr_rows_give_what_dense_rows_give(loss, solver, clip):
    ways = []
    for layout in ("dense", "csr"):
        problem = Problem(loss, layout, weighted=True)
        model = problem.model((6, 5), solver=solver, alpha=0.2, batch_size=7, eta0=0.02, clip_norm=clip, dropout=0.2)
        ways.append(run(model, problem.rows, epochs=20))
    np.testing.assert_allclose(ways[1][0], ways[0][0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ways[1][1].loss, ways[0][1].loss, rtol=1e-10)


@pytest.mark.parametrize("shrink", [0.9, 0.4, 0.0, -0.5])
def test_weights_that_shrink_a_lot_are_folded_before_they_underflow(shrink):
    ways = []
    for layout in ("dense", "csr"):
        problem = Problem("softmax", layout, n_rows=28)
        model = problem.model((6,), alpha=(1.0 - shrink) * 7 / 0.2, batch_size=7, eta0=0.2)
        state = model.init(1)
        sgd_run = model.sgd_run(state, 1.0, np.ones(1), 0)
        scales = []
        for _ in range(100):
            sgd_run.run(problem.rows, np.arange(28, dtype=np.int32), 0, 28)
            scales.append(float(sgd_run.run_state[FIRST_LAYER_SCALE]))
        totals = sgd_run.take_totals()
        sgd_run.finalize()
        ways.append((state, totals.loss))
        if layout == "csr":
            assert min(scales) > 1e-7
            # it was held as a product for a while, and multiplied in now and then
            assert (shrink == 0.9) == (min(scales) < 1e-3)
            assert sum(np.diff(scales) > 0) >= (2 if shrink == 0.9 else 0)
    np.testing.assert_allclose(ways[1][0], ways[0][0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ways[1][1], ways[0][1], rtol=1e-10)


def test_settling_in_the_middle_of_a_run_of_sparse_rows_changes_nothing_but_rounding():
    problem = Problem("softmax", "csr")
    model = problem.model(alpha=1.0, batch_size=5)
    usual = run(model, problem.rows, epochs=4)
    state = model.init(3)
    sgd_run = model.sgd_run(state, 1.0, np.ones(1), 0)
    for _ in range(4):
        sgd_run.run(problem.rows, np.arange(N_ROWS, dtype=np.int32), 0, N_ROWS)
        sgd_run.finalize()
    np.testing.assert_allclose(state, usual[0], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(sgd_run.take_totals().loss, usual[1].loss, rtol=1e-12)


# -- standing still ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_batch_that_weighs_nothing_moves_nothing(solver, layout):
    problem = Problem("softmax", layout, n_rows=12)
    weight = np.repeat([1.0, 0.0, 2.0], 4)
    rows = Rows(problem.rows.x, problem.rows.y, rows_of(problem.X, problem.y, weight).weight)
    model = problem.model(solver=solver, alpha=0.5, batch_size=4, dropout=0.3)
    state = run(model, rows, np.arange(4))[0]  # with velocities
    still, totals, schedule_step = run(model, rows, np.arange(4, 8), state=state, schedule_step=2.0)
    assert still.tobytes() == state.tobytes()
    assert totals.loss[0] == 0.0
    assert schedule_step == 3.0
    alone = run(model, rows, np.arange(8, 12), state=state, schedule_step=3.0)[0]
    through = run(model, rows, np.arange(4, 12), state=state, schedule_step=2.0)[0]
    np.testing.assert_array_equal(through, alone)
    assert not np.array_equal(through, state)


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_gain_of_zero_stands_still_and_goes_on_counting(solver, layout):
    problem = Problem("softmax", layout)
    model = problem.model(solver=solver, alpha=0.5, batch_size=4)
    state = run(model, problem.rows)[0]
    still, totals, schedule_step = run(model, problem.rows, state=state, gain=0.0)
    assert still.tobytes() == state.tobytes()
    # batches divide the penalty by their own size, the whole by its own
    parts = [problem.some(np.arange(start, min(start + 4, N_ROWS))) for start in range(0, N_ROWS, 4)]
    expected = sum(reported(replace(model, sparse=False), state, part) * len(part.y) for part in parts)
    np.testing.assert_allclose(totals.loss[0], expected, rtol=1e-12)
    assert (totals.examples, schedule_step) == (N_ROWS, 1.0 + len(parts))


# -- no numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.cover(1)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_value_that_is_no_number_makes_the_loss_of_its_batch_no_number(loss, activation, layout):
    for hidden, dropout in (((), 0.0), ((5,), 0.0), ((5, 4), 0.3)):
        problem = Problem(loss, layout)
        model = problem.model(hidden, activation=activation, dropout=dropout)
        x = np.array(problem.rows.x.data)
        x[7] = np.nan
        rows = Rows(problem.rows.x._replace(data=rows_of(x[None], x).x.data), problem.rows.y, problem.rows.weight)
        assert np.isnan(run(model, rows, gain=0.0)[1].loss[0])
        assert np.isfinite(run(model, problem.rows, gain=0.0)[1].loss[0])
