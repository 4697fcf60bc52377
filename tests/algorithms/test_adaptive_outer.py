"""The adaptive outer step: how far it goes, how fast workers may be, what it hands out."""

import pickle
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from convex_problems import logistic
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from parsgd import LocalSGD, MLPRegressor, SGDClassifier, SGDOneClassSVM, SGDRegressor, SimuParallel
from parsgd.algorithms.common import adaptive_outer
from parsgd.algorithms.common.adaptive_outer import Adaptive
from parsgd.algorithms.merging import merge_weights
from parsgd.core import Budget, FitState, Task, has_linear_state
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError, InvalidArgumentError
from parsgd.model_io.packing import pack, unpack
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import check_algorithm
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.training.loop import fit
from parsgd.training.stopping import StoppingRule
from parsgd.utils.row_arrays import rows_of

X = unit_rows(600, 6)
THREE = {"positive": (1.0,) * 3, "negative": (1.0,) * 3}
CONSTANT = {"schedule": "constant", "eta0": 0.1, "alpha": 0.01}
SIGNS, CLASSES, NUMBERS = 2.0 * labels(X) - 1.0, labels(X, 3).astype(np.int64), targets(X)
COUNTS = np.random.default_rng(0).poisson(np.exp(2.0 + X[:, 0])).astype(float)
MODELS = {
    "log_loss": (Linear(6, loss="log_loss", **CONSTANT), SIGNS),
    "hinge, l1": (Linear(6, loss="hinge", loss_parameter=1.0, penalty="l1", **CONSTANT), SIGNS),
    "squared_error, optimal": (Linear(6, loss="squared_error", alpha=0.1), NUMBERS),
    "poisson": (Linear(6, loss="poisson", **{**CONSTANT, "eta0": 0.01}), COUNTS),
    "softmax": (Linear(6, 3, loss="softmax", **CONSTANT, **THREE), CLASSES),
    "one against all, averaged": (Linear(6, 3, loss="log_loss", average=1, **CONSTANT, **THREE), CLASSES),
    "batches of 4": (Linear(6, loss="log_loss", batch_size=4, **CONSTANT), SIGNS),
    "network": (Network((6, 5, 3), solver="sgd", eta0=0.05, batch_size=8), CLASSES),
    "network, adam": (Network((6, 5, 3), solver="adam", eta0=0.01, batch_size=8), CLASSES),
}
both_layouts = pytest.mark.parametrize("layout", ["dense", "csr"])
every_model = pytest.mark.parametrize("name", MODELS)


def setup(name, layout="dense", dtype=np.float64):
    """A model and a source for it."""
    model, y = MODELS[name]
    model = replace(model, sparse=layout == "csr", dtype=np.dtype(dtype).name)
    rows = X.astype(dtype)
    rows = sparse.csr_matrix(rows) if layout == "csr" else rows
    return model, ArraySource(rows_of(rows, y if y.dtype.kind == "i" else y.astype(dtype)))


@dataclass(frozen=True)
class Spy(LocalSGD):
    """Local SGD that keeps what its merges were made from and what became of them."""

    def merge(self, standing, reports):
        merge = super().merge(standing, reports)
        self.seen.append((standing, reports, merge))
        return merge


def spied(model, source, outer_optimizer=None, n_workers=3, sync_every=0.25, engine=None, **fitting):
    """A fit and its merges."""
    spy = Spy(sync_every, outer_optimizer=outer_optimizer or Adaptive())
    object.__setattr__(spy, "seen", [])
    found = fit(model, spy, engine or Serial(), source, n_workers=n_workers, **{"max_epochs": 3, **fitting})
    return found, spy.seen


def objective(model, state, sample):
    """The mean loss on the sample, and the penalty."""
    return model.mean_loss(model.decision(state, sample.x), sample)[0] + model.penalty_value(state)


def judged(model, state, start, sample):
    """The mean loss on the sample, and what the penalty has fallen by since the start."""
    fall = min(model.penalty_value(state) - model.penalty_value(start), 0.0)
    return model.mean_loss(model.decision(state, sample.x), sample)[0] + fall


def beginning(model, source, n_workers=4, outer_optimizer=None, gain=1.0, state=None):
    """Where a fit that looks at all rows begins."""
    state = model.init(1) if state is None else state
    lr_scale = np.full(model.n_outputs, gain)
    tasks = tuple(Task(worker, 0, state, 1, Budget(10), lr_scale=lr_scale) for worker in range(n_workers))
    standing = FitState(model, state, n_workers, source.n_rows, sample=source.rows, tasks=tasks)
    return standing, (outer_optimizer or Adaptive()).init_memory(standing)


def reported(states, steps=10):
    return [replace(small_report(worker, state), steps=steps) for worker, state in enumerate(states)]


def outer_step(outer_optimizer, standing, reports, weight, memory):
    """An outer step from the mean of the reports."""
    merged = merge_weights.merge(standing.state, reports, np.full(len(reports), weight), standing.model.nonnegative)
    return outer_optimizer.step(standing, reports, merged, memory)


# -- how far -------------------------------------------------------------------------------------------------------


@every_model
@settings(max_examples=10)
@given(seed=st.integers(0, 99), length=st.floats(-3.0, 2.0), damping=st.sampled_from([0, 0.1, 1.0, 10.0]))
def test_the_part_of_the_move_is_the_first_from_which_a_shorter_one_is_dearer(name, seed, length, damping):
    model, source = setup(name)
    rng = np.random.default_rng(seed)
    start = model.init(1)
    arrived = start + 10.0**length * rng.standard_normal((4, start.size))
    arrived[:, model.nonnegative] = np.abs(arrived[:, model.nonnegative])
    outer_optimizer = Adaptive(damping=damping)
    standing, memory = beginning(model, source, outer_optimizer=outer_optimizer)
    step = outer_step(outer_optimizer, standing, reported(arrived), 0.25, memory)
    merged, before = arrived.mean(axis=0), judged(model, start, start, source.rows)

    def dearness(part):
        loss = judged(model, start + part * (merged - start), start, source.rows)
        return loss + damping / 2.0 * abs(before) * (part - 1.0) ** 2

    dear = [dearness(part) for part in adaptive_outer._FRACTIONS]
    rises = [here >= before for before, here in pairwise(dear)]
    theirs = adaptive_outer._FRACTIONS[rises.index(True) if True in rises else -1]
    assert step.factor == theirs
    # the part is no worse than the whole; moved further or not, its loss is no worse than the part's
    part = start + step.factor * (merged - start)
    assert judged(model, part, start, source.rows) <= dear[0] + 1e-12 * abs(dear[0])
    bare, ends = (model.mean_loss(model.decision(s, source.rows.x), source.rows)[0] for s in (part, step.state))
    assert ends <= bare + 1e-9 * abs(bare)


def test_a_move_ten_times_too_long_is_cut_and_so_is_the_gain():
    model, source = setup("squared_error, optimal")
    best = np.linalg.lstsq(np.column_stack([X, np.ones(600)]), NUMBERS, rcond=None)[0]
    state = model.init(1)
    model.views(state)["coef"][:, 0], model.views(state)["intercept"][:] = 10.0 * best[:-1], 10.0 * best[-1]
    standing, memory = beginning(model, source)
    step = outer_step(Adaptive(), standing, reported([state] * 4), 0.25, memory)
    assert 0.05 < step.factor <= 0.25
    assert step.memory.trust == step.factor if step.factor > 0.25 else step.memory.trust == 0.25
    assert objective(model, step.state, source.rows) < objective(model, model.init(1), source.rows)
    tiny = replace(standing, model=replace(model, schedule="constant", eta0=1e-6))
    assert Adaptive().lr_factor(tiny, memory) == pytest.approx(4.0)
    assert Adaptive().lr_factor(tiny, step.memory) == pytest.approx(1.0 + 3.0 * step.memory.trust)


@every_model
@pytest.mark.parametrize("bad", [1e200, np.inf, np.nan])
def test_where_runs_exploded_the_state_stays(name, bad):
    model, source = setup(name)
    standing, memory = beginning(model, source)
    step = outer_step(Adaptive(), standing, reported([np.full(model.size, bad)] * 4), 0.25, memory)
    np.testing.assert_array_equal(step.state, standing.state)
    assert (step.factor, step.memory.trust) == (0.0, 0.25)


def test_where_nothing_is_lost_by_the_whole_move_it_is_made():
    """All losses 0 before and after, and no penalty: a tie goes to the longer move."""
    model = Linear(6, loss="hinge", loss_parameter=1.0, penalty=None, **CONSTANT)
    easy = X[np.abs(X[:, 0]) > 0.3]
    source = ArraySource(rows_of(easy, np.sign(easy[:, 0])))
    state = model.init(1)
    model.views(state)["coef"][0] = 100.0
    standing, memory = beginning(model, source, state=state)
    assert objective(model, state, source.rows) == 0.0
    assert outer_step(Adaptive(), standing, reported([1.5 * state] * 4), 0.25, memory).factor == 1.0


def test_losses_below_zero_are_no_reason_to_cut():
    found, seen = spied(*setup("poisson"), n_workers=4, max_epochs=5)
    assert found.history[-1]["loss"] < 0.0
    assert all(merge.weights.sum() == pytest.approx(1.0) for _, _, merge in seen)


@pytest.mark.parametrize("scale", [0.0, 30.0])
def test_weights_that_the_penalty_draws_back_are_drawn_back(scale):
    """A loss without the penalty would have such moves cut."""
    problem = logistic(600, alpha=0.3)
    start = {"coef_init": scale * problem.coef[None], "intercept_init": [0.0]}
    model = SGDClassifier(
        "log_loss",
        alpha=0.3,
        algorithm=LocalSGD(outer_optimizer="adaptive"),
        n_jobs=4,
        max_iter=20,
        tol=None,
        random_state=0,
    ).fit(problem.X, problem.y, **start)
    assert problem.gap(model.coef_, model.intercept_) < 1e-3


@pytest.mark.parametrize("name", [name for name in MODELS if has_linear_state(MODELS[name][0])])
@both_layouts
@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_what_the_objective_has_besides_the_loss_is_the_models_penalty(name, layout, seed):
    model, source = setup(name, layout)
    state = model.init(1)
    model.views(state)["coef"][:] = np.random.default_rng(seed).standard_normal((6, model.n_outputs))
    theirs = model.gradient(state, source.rows)[0]
    np.testing.assert_allclose(objective(model, state, source.rows), theirs, rtol=1e-12)


@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet", None])
@given(seed=st.integers(0, 99), part=st.floats(0.0, 1.0))
def test_penalties_between_two_states_are_those_of_the_state_between_them(penalty, seed, part):
    for model in (Linear(5, penalty=penalty, alpha=0.3, one_class=seed % 2 == 0), Network((3, 2), alpha=0.3)):
        start, end = np.random.default_rng(seed).standard_normal((2, model.size))
        theirs = model.penalty_value(start + part * (end - start))
        np.testing.assert_allclose(model.penalty_value(start, end, part), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_network_on_one_batch_has_the_objective_of_its_gradient(solver):
    model = Network((6, 5, 3), solver=solver, alpha=0.5, batch_size=600)
    _, source = setup("network")
    np.testing.assert_allclose(
        objective(model, model.init(1), source.rows), model.gradient(model.init(1), source.rows)[0], rtol=1e-12
    )
    assert replace(model, solver="adamw").penalty_value(replace(model, solver="adamw").init(1)) == 0.0


# -- rare features ---------------------------------------------------------------------------------------------------


def rare_and_dense(layout):
    """One-hot rows of either sign beside a column of ones; workers have settled the latter and just begun with the
    others."""
    model = Linear(
        65,
        loss="squared_error",
        schedule="constant",
        eta0=0.1,
        penalty=None,
        fit_intercept=False,
        sparse=layout == "csr",
    )
    rows = np.column_stack([np.ones(64), np.eye(64)])
    rows = sparse.csr_matrix(rows) if layout == "csr" else rows
    state, signs = model.init(1), np.where(np.arange(64) % 2, 1.0, -1.0)
    model.views(state)["coef"][:, 0] = np.append(1.0, 0.025 * signs)
    return model, ArraySource(rows_of(rows, 1.0 + signs)), state


def test_small_moves_of_rare_features_that_agree_are_made_further_and_those_of_dense_ones_are_not():
    model, source, arrived = rare_and_dense("csr")
    standing, memory = beginning(model, source)
    step = outer_step(Adaptive(), standing, reported([arrived] * 4, steps=16), 0.25, memory)
    further = model.views(step.state)["coef"][:, 0] / model.views(arrived)["coef"][:, 0]
    assert step.factor == 1.0
    assert 1.0 <= further[0] < 1.2
    assert np.all(further[1:] > 3.5)
    assert np.all(further[1:] <= 4.0)
    # the decisions remembered are those at the state
    np.testing.assert_allclose(step.memory.decision, model.decision(step.state, source.rows.x), rtol=1e-12)


def test_where_moving_them_further_does_harm_it_is_not_done_and_after_some_tries_not_tried():
    model, source, arrived = rare_and_dense("csr")
    model.views(arrived)["coef"][1:] *= 40.0
    standing, memory = beginning(model, source)
    for tries in range(1, 5):
        step = outer_step(Adaptive(), standing, reported([arrived] * 4, steps=16), 0.25, memory)
        np.testing.assert_array_equal(step.state, arrived)
        assert step.memory.failures == min(tries, adaptive_outer._MAX_FAILURES)
        memory = step.memory._replace(decision=memory.decision, loss=memory.loss, due=0)


def test_dense_and_sparse_rows_measure_alike():
    _, dense = setup("log_loss")
    _, csr = setup("log_loss", "csr")
    (ours, _), (theirs, stored) = (adaptive_outer._feature_stats(source.rows, 6) for source in (csr, dense))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    np.testing.assert_allclose(theirs, (X**2).mean(axis=0))
    assert stored == 6.0


# -- how fast ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_workers", [2, 8])
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_rates_are_raised_n_fold_where_tiny_and_not_at_all_at_their_limit(n_workers, loss):
    for eta0, expected in ((1e-7, n_workers), (100.0, 1.0)):
        model = Linear(6, loss=loss, schedule="constant", eta0=eta0)
        standing, memory = beginning(model, ArraySource(rows_of(X, SIGNS)), n_workers)
        assert Adaptive().lr_factor(standing, memory) == pytest.approx(expected)


@given(
    eta0=st.floats(1e-8, 1e3),
    n_workers=st.integers(1, 64),
    schedule_step=st.floats(1.0, 1e6),
    trust=st.floats(0.0, 1.0),
)
@pytest.mark.parametrize("schedule", ["constant", "optimal", "invscaling", "pa1"])
def test_the_gain_lies_between_one_and_the_number_of_workers(schedule, eta0, n_workers, schedule_step, trust):
    model = Linear(6, loss="hinge", loss_parameter=1.0, schedule=schedule, eta0=eta0)
    standing, memory = beginning(model, ArraySource(rows_of(X[:50], SIGNS[:50])), n_workers)
    gain = Adaptive().lr_factor(replace(standing, schedule_step=schedule_step), memory._replace(trust=trust))
    assert 1.0 <= gain <= n_workers * (1 + 1e-12)
    if schedule == "pa1":
        assert gain == 1.0


@pytest.mark.parametrize(("name", "expected"), [("squared_error, optimal", 1.0), ("softmax", (2 / 3) / 3)])
def test_the_curvature_is_the_mean_second_derivative(name, expected):
    """Of softmax at 0: ``p (1 - p)`` with ``p = 1/3``; over a whole unit a little less."""
    memory = beginning(*setup(name))[1]
    if name == "softmax":
        assert 0.6 * expected < memory.curvature < expected
    else:
        assert memory.curvature == pytest.approx(expected)


def test_a_loss_without_bounds_on_its_curvature_is_not_sped_up():
    model, source = setup("poisson")
    state = model.init(1)
    model.views(state)["intercept"][:] = 20.0
    standing, memory = beginning(model, source, state=state)
    assert Adaptive().lr_factor(standing, memory) == 1.0


def test_where_there_are_no_rows_to_look_at_rates_stay():
    model, source = setup("log_loss")
    tiny = replace(model, eta0=1e-7)
    unseen = replace(beginning(tiny, source)[0], sample=None)
    unweighted = replace(unseen, sample=source.rows._replace(weight=np.zeros(600)))
    for standing in (unseen, unweighted):
        memory = Adaptive().init_memory(standing)
        assert Adaptive().lr_factor(standing, memory) == 1.0
        step = outer_step(Adaptive(), standing, reported([np.ones(model.size)] * 2), 0.5, memory)
        np.testing.assert_array_equal(step.state, np.ones(model.size))
    assert [Adaptive(100).n_probe_rows(n) for n in (3, 10, 400, 10_000)] == [0, 2, 100, 100]


def test_workers_that_are_lost_raise_no_rates(losing):
    model, source = setup("log_loss")
    model = replace(model, eta0=1e-6)
    _, seen = spied(model, source, engine=losing(1, 2))
    lr_scale = [standing.tasks[0].lr_scale[0] for standing, _, _ in seen]
    np.testing.assert_allclose(lr_scale[:3], 3.0)
    np.testing.assert_allclose(lr_scale[3:], 2.0)
    assert len(lr_scale) > 4


@pytest.mark.parametrize("sync_every", [0.1, 1.0])
@pytest.mark.parametrize("n_workers", [1, 3, 7])
def test_the_clock_counts_the_steps_of_all_workers_together(sync_every, n_workers):
    model, source = setup("log_loss")
    found, _ = spied(model, source, n_workers=n_workers, sync_every=sync_every)
    assert found.schedule_step == 1 + 3 * 600
    again, _ = spied(
        model, source, n_workers=n_workers, sync_every=sync_every, schedule_step=found.schedule_step, state=found.state
    )
    assert again.schedule_step == 1 + 6 * 600


def test_the_clock_counts_the_steps_of_those_that_are_left(losing):
    found, _ = spied(*setup("log_loss"), engine=losing(1, 2))
    assert found.schedule_step == 1 + sum(w["steps"] for entry in found.history for w in entry["workers"])


@pytest.mark.slow
def test_a_run_that_explodes_at_raised_rates_is_made_again_without_them():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((800, 10))
    y = rows @ rng.standard_normal(10)
    few = dict(
        hidden_layer_sizes=(20,),
        activation="identity",
        solver="sgd",
        momentum=0.0,
        batch_size=8,
        max_iter=2,
        tol=0.0,
        random_state=0,
        n_jobs=8,
    )
    made = {}
    for outer_optimizer in ("mean", "adaptive"):
        with pytest.warns(UserWarning, match="converge"):
            model = MLPRegressor(
                learning_rate_init=0.1, algorithm=LocalSGD(1.0, outer_optimizer=outer_optimizer), **few
            ).fit(rows, y)
        made[outer_optimizer] = np.mean((model.predict(rows) - y) ** 2)
    assert made["mean"] < 0.1 * np.var(y)
    assert made["adaptive"] < 0.1 * np.var(y)
    with pytest.raises(DivergedError):
        MLPRegressor(learning_rate_init=100.0, algorithm=LocalSGD(1.0, outer_optimizer="adaptive"), **few).fit(rows, y)


def test_an_explosion_cuts_the_gain():
    model, source = setup("log_loss")
    standing, memory = beginning(model, source, gain=4.0)
    calm = reported([model.init(1) + 0.01] * 4)
    calm = [replace(report, lr_scale=np.array([4.0])) for report in calm]
    assert outer_step(Adaptive(), standing, calm, 0.25, memory).memory.trust == 1.0
    exploded = [replace(calm[0], lr_scale=np.array([1.0])), *calm[1:]]
    assert outer_step(Adaptive(), standing, exploded, 0.25, memory).memory.trust == 0.25


# -- what is handed out ----------------------------------------------------------------------------------------------


@every_model
def test_the_answer_is_the_mean_of_the_states_the_later_ones_and_those_of_longer_rounds_counting_more(name):
    model, source = setup(name)
    found, seen = spied(model, source)
    mean = seen[0][2].state
    for k, (standing, reports, merge) in enumerate(seen):
        share = sum(report.examples for report in reports) / (
            standing.examples + sum(report.examples for report in reports)
        )
        newest = 9.0 * share / (8.0 * share + 1.0)
        # of equal rounds
        assert newest == pytest.approx(9.0 / (k + 9.0), rel=0.2)
        mean = (1.0 - newest) * mean + newest * merge.state
        np.testing.assert_allclose(merge.answer, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.state, mean, rtol=1e-9, atol=1e-12)
    assert not np.array_equal(found.state, seen[-1][2].state)


def test_decisions_are_made_after_merges_1_4_and_16_and_at_the_end_of_every_pass():
    found, seen = spied(*setup("log_loss"), sync_every=0.05)
    due = [standing.round for standing, _, merge in seen if merge.memory.outer_optimizer.start is None]
    assert found.history[-1]["round"] == 59
    assert due == [0, 3, 15, 19, 39, 59]


def test_a_round_in_which_nobody_moved_keeps_the_answer():
    model, source = setup("log_loss")
    _, seen = spied(model, source)
    standing, reports, merge = seen[-1]
    idle = [replace(report, steps=0, examples=0) for report in reports]
    still = LocalSGD(0.25, outer_optimizer="adaptive").merge(
        replace(standing, state=merge.state, memory=merge.memory, round=standing.round + 1), idle
    )
    np.testing.assert_array_equal(still.state, merge.state)
    np.testing.assert_array_equal(still.answer, merge.answer)


def test_fits_go_on_from_the_answer():
    settings = dict(
        loss="log_loss", alpha=0.01, algorithm=LocalSGD(0.25, outer_optimizer="adaptive"), n_jobs=3, random_state=0
    )
    problem = logistic(400, alpha=0.01)
    model, gaps = SGDClassifier(**settings), []
    for _ in range(6):
        model.partial_fit(problem.X, problem.y, classes=[-1, 1])
        gaps.append(problem.gap(model.coef_, model.intercept_))
    assert model.t_ == 1 + 6 * 400
    assert gaps[-1] < 0.2 * gaps[0]
    warm = SGDClassifier(**settings, warm_start=True, max_iter=3, tol=None)
    for _ in range(2):
        warm.fit(problem.X, problem.y)
    assert problem.gap(warm.coef_, warm.intercept_) < 0.01 * problem.gap(np.zeros(8), 0.0)


def test_early_stopping_scores_and_keeps_the_answer():
    model, source = setup("log_loss")
    scored = []

    def monitor(state):
        scored.append(state.copy())
        return np.array([-objective(model, state, source.rows)])

    rule = StoppingRule(1e-4, 2, monitor=monitor, keeps_best=True)
    found, seen = spied(model, source, stopping=rule, max_epochs=50)
    ends = [merge for standing, _, merge in seen if (standing.round + 1) % 4 == 0]
    for ours, merge in zip(scored, ends, strict=True):
        np.testing.assert_array_equal(ours, merge.answer)
    scores = [entry["score"] for entry in found.history if entry["score"] is not None]
    np.testing.assert_array_equal(found.state, scored[int(np.argmax(scores))])


# -- as a whole ------------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("sync_every", [0.2, 1.0])
def test_with_one_worker_it_is_local_sgd_bit_for_bit_and_serial_sgd(name, sync_every):
    model, source = setup(name)
    ours, theirs = (
        fit(model, LocalSGD(sync_every, outer_optimizer=outer_optimizer), Serial(), source, max_epochs=3)
        for outer_optimizer in ("adaptive", "mean")
    )
    assert ours.state.tobytes() == theirs.state.tobytes()
    assert ours.schedule_step == theirs.schedule_step
    serial = fit(model, SimuParallel(), Serial(), source, max_epochs=3)
    np.testing.assert_allclose(ours.state, serial.state, rtol=1e-9, atol=1e-10)


@pytest.mark.cover(1)
@every_model
@both_layouts
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_model_learns_and_engines_give_the_same_bits(name, layout, dtype):
    model, source = setup(name, layout, dtype)
    found, seen = spied(model, source, n_workers=4)
    threads, _ = spied(model, source, n_workers=4, engine=Threads())
    assert found.state.dtype == dtype
    assert found.state.tobytes() == threads.state.tobytes()
    assert objective(model, found.state, source.rows) < objective(model, model.init(1), source.rows)
    assert np.all(found.state[model.nonnegative] >= 0.0)
    # the decisions that are carried along are those of the state
    standing, _, merge = seen[-1]
    theirs = model.decision(merge.state, standing.sample.x)
    np.testing.assert_allclose(
        merge.memory.outer_optimizer.decision, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max()
    )


def test_eight_workers_end_no_worse_than_their_plain_mean_on_a_noisy_problem():
    problem = logistic(2000, 20, alpha=1e-3)
    gaps = {}
    for outer_optimizer in ("mean", "adaptive"):
        model = SGDClassifier(
            "log_loss",
            alpha=1e-3,
            algorithm=LocalSGD(outer_optimizer=outer_optimizer),
            n_jobs=8,
            max_iter=3,
            tol=None,
            random_state=0,
        ).fit(problem.X, problem.y)
        gaps[outer_optimizer] = problem.gap(model.coef_, model.intercept_)
    assert gaps["adaptive"] < gaps["mean"]


@pytest.mark.parametrize("n_rows", [2, 3, 5, 9])
def test_more_workers_than_rows_are_no_error(n_rows):
    rows, y = X[:n_rows], np.arange(n_rows) % 2
    model = SGDClassifier(
        "log_loss", algorithm=LocalSGD(outer_optimizer="adaptive"), n_jobs=8, max_iter=3, tol=None, random_state=0
    ).fit(rows, y)
    assert np.isfinite(model.coef_).all()
    assert model.t_ == 1 + sum(w["steps"] for entry in model.history_ for w in entry["workers"])


def test_one_worker_that_is_left_goes_on_alone(losing):
    found, seen = spied(*setup("log_loss"), n_workers=2, engine=losing(0, 1))
    assert [len(entry["workers"]) for entry in found.history[:2]] == [2, 1]
    assert seen[-1][0].tasks[1].lr_scale[0] == 1.0
    assert found.examples >= 3 * 600


def test_the_learned_rule_and_the_adaptive_step_share_their_rows():
    big = unit_rows(1500, 6)
    model = SGDRegressor(
        algorithm=LocalSGD(0.5, rule="learned", outer_optimizer="adaptive"),
        n_jobs=3,
        max_iter=3,
        tol=None,
        random_state=0,
    ).fit(big, targets(big))
    assert model.score(big, targets(big)) > 0.5


def test_one_class_is_learned():
    model = SGDOneClassSVM(
        0.2, algorithm=LocalSGD(outer_optimizer="adaptive"), n_jobs=3, max_iter=20, tol=None, random_state=0
    )
    inner_delay = model.fit(X + 1.0).predict(X + 1.0) == 1
    assert 0.7 < inner_delay.mean() < 1.0


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (dict(n_rows=0), "'n_rows' parameter of Adaptive must be an int of at least 1. Got 0 instead."),
        (dict(n_rows=None), "'n_rows' parameter of Adaptive must be an int of at least 1. Got None instead."),
        (dict(damping=-1.0), "'damping' parameter of Adaptive must be a number"),
        (dict(damping=False), "'damping' parameter of Adaptive"),
    ],
)
def test_bad_parameters_are_named_with_what_was_expected_and_what_came(bad, said):
    with pytest.raises(InvalidArgumentError) as refusal:
        Adaptive(**bad)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "outer_optimizer", ["adaptive", Adaptive(50, damping=0), Adaptive(damping=float("inf"))], ids=repr
)
def test_it_keeps_its_contract_and_can_be_pickled_and_saved(outer_optimizer):
    algorithm = LocalSGD(0.5, outer_optimizer=outer_optimizer)
    check_algorithm(algorithm)
    assert pickle.loads(pickle.dumps(algorithm)) == algorithm
    assert unpack(pack(algorithm, "", {}), {}) == algorithm
