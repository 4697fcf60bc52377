"""Outer steps: the mean is the average, and momentum is its formula, round after round."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from convex_problems import logistic
from hypothesis import given
from hypothesis import strategies as st

from parsgd import LocalSGD, SGDClassifier
from parsgd.algorithms.common.outer_optimizers import Mean, Momentum
from parsgd.algorithms.merging.merge_weights import fednova, merge, uniform
from parsgd.core import FitState
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.errors import InvalidArgumentError
from parsgd.model_io.packing import pack, unpack
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import check_algorithm
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import labels, unit_rows
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of

MODEL = Linear(4)  # with the intercept and the room, states of 9 numbers
SIZE = MODEL.size
seeds, n_workers = st.integers(0, 999), st.integers(1, 5)
momenta = st.builds(Momentum, st.sampled_from(["momentum", "nesterov"]), st.floats(0.1, 2.0), st.floats(0.0, 0.99))
OUTERS = [Mean(), Momentum(), Momentum("nesterov")]


def outer_step(outer_optimizer, model, state, reports, weights, memory):
    """An outer step from the weighted mean of the reports."""
    merged = merge(state, reports, weights, model.nonnegative)
    return outer_optimizer.step(FitState(model, state), reports, merged, memory)


def rounds(outer_optimizer, seed, n_workers, n_rounds=5, dtype=np.float64):
    """The merged moves ``D`` of some rounds of workers that go anywhere, and the states that the outer step makes."""
    rng = np.random.default_rng(seed)
    state = rng.standard_normal(SIZE).astype(dtype)
    weights = rng.dirichlet(np.ones(n_workers))
    memory = outer_optimizer.init_memory(FitState(MODEL, state))
    moves, states = [], [state]
    for _ in range(n_rounds):
        arrived = state + rng.standard_normal((n_workers, SIZE)).astype(dtype)
        reports = [small_report(worker, there) for worker, there in enumerate(arrived)]
        step = outer_step(outer_optimizer, MODEL, state, reports, weights, memory)
        moves.append(weights @ arrived - state)
        state, memory = step.state, step.memory
        states.append(state)
    return np.array(moves), np.array(states)


@given(seed=seeds, n_workers=n_workers)
def test_the_mean_is_the_workers_weighted_average(seed, n_workers):
    moves, states = rounds(Mean(), seed, n_workers)
    np.testing.assert_allclose(np.diff(states, axis=0), moves, atol=1e-12)


@given(seed=seeds, n_workers=n_workers, rate=st.floats(0.1, 2.0), beta=st.floats(0.0, 0.99))
def test_momentum_is_slowmo(seed, n_workers, rate, beta):
    moves, ours = rounds(Momentum("momentum", rate, beta), seed, n_workers)
    w, u, theirs = ours[0].copy(), np.zeros(SIZE), [ours[0]]
    for move in moves:
        u = beta * u + move
        w = w + rate * u
        theirs.append(w)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@given(seed=seeds, n_workers=n_workers, rate=st.floats(0.1, 2.0), beta=st.floats(0.0, 0.99))
def test_nesterov_is_diloco(seed, n_workers, rate, beta):
    moves, ours = rounds(Momentum("nesterov", rate, beta), seed, n_workers)
    w, m, theirs = ours[0].copy(), np.zeros(SIZE), [ours[0]]
    for move in moves:
        m = beta * m + move
        w = w + rate * (move + beta * m)
        theirs.append(w)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@given(seed=seeds, n_workers=n_workers)
@pytest.mark.parametrize("kind", ["momentum", "nesterov"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_momentum_without_memory_at_rate_one_is_the_mean_bit_for_bit(kind, dtype, seed, n_workers):
    ours = rounds(Momentum(kind, rate=1.0, beta=0.0), seed, n_workers, dtype=dtype)[1]
    theirs = rounds(Mean(), seed, n_workers, dtype=dtype)[1]
    assert ours.dtype == dtype
    assert ours.tobytes() == theirs.tobytes()


@given(outer_optimizer=momenta, seed=seeds)
def test_the_factor_is_the_part_that_a_rounds_own_move_has_in_the_step(outer_optimizer, seed):
    rng = np.random.default_rng(seed)
    state, memory = rng.standard_normal((2, SIZE))
    there, further = (small_report(0, state + part) for part in rng.standard_normal((2, SIZE)))
    one, other = (outer_step(outer_optimizer, MODEL, state, [r], np.ones(1), memory) for r in (there, further))
    np.testing.assert_allclose(other.state - one.state, one.factor * (further.state - there.state), atol=1e-9)
    assert one.factor == other.factor


@given(outer_optimizer=momenta, seed=seeds)
def test_a_step_writes_to_nothing_that_it_was_given(outer_optimizer, seed):
    rng = np.random.default_rng(seed)
    state, memory, arrived = rng.standard_normal((3, SIZE))
    kept = pickle.dumps((state, memory, arrived))
    step = outer_step(outer_optimizer, MODEL, state, [small_report(0, arrived)], np.ones(1), memory)
    assert pickle.dumps((state, memory, arrived)) == kept
    assert not any(np.shares_memory(step.state, given) for given in (state, memory, arrived))


@given(
    outer_optimizer=st.one_of(momenta, st.just(Mean())),
    seed=seeds,
    steps=st.lists(st.integers(1, 50), min_size=2, max_size=4).map(np.array),
    novel=st.booleans(),
)
def test_second_moments_are_never_negative(outer_optimizer, seed, steps, novel):
    """Neither where momentum overshoots nor where the rule's weights sum to more than 1."""
    model = Network((2, 3, 1), loss="squared_error", solver="adam")
    rng = np.random.default_rng(seed)
    weights = fednova(steps, np.ones(len(steps))) if novel else uniform(steps)
    state = np.abs(rng.standard_normal(model.size))
    memory = outer_optimizer.init_memory(FitState(model, state))
    for _ in range(4):
        # moments fall and rise by orders of magnitude
        arrived = rng.standard_normal((len(steps), model.size))
        arrived[:, model.nonnegative] = 10.0 ** rng.uniform(-9, 3, arrived[:, model.nonnegative].shape)
        reports = [small_report(worker, there) for worker, there in enumerate(arrived)]
        step = outer_step(outer_optimizer, model, state, reports, weights, memory)
        state, memory = step.state, step.memory
        assert np.all(state[model.nonnegative] >= 0.0)


@pytest.mark.parametrize("outer_optimizer", OUTERS, ids=repr)
@pytest.mark.parametrize("solver", ["sgd", "nesterov", "adam"])
def test_networks_learn_with_every_outer_step_in_single_precision(outer_optimizer, solver):
    X = unit_rows(240, 6, dtype=np.float32)
    source = ArraySource(rows_of(X, labels(X, 3).astype(np.int64)))
    model = Network((6, 8, 3), dtype="float32", solver=solver, eta0=0.02, batch_size=8)
    found = fit(model, LocalSGD(0.25, outer_optimizer=outer_optimizer), Serial(), source, n_workers=3, max_epochs=4)
    assert found.state.dtype == np.float32
    assert found.history[-1]["loss"] < found.history[0]["loss"]
    assert np.all(found.state[model.nonnegative] >= 0.0)


@pytest.mark.parametrize("outer_optimizer", OUTERS, ids=repr)
@pytest.mark.parametrize("settings", [{}, {"average": True}], ids=str)
def test_every_outer_step_arrives_near_the_optimum(outer_optimizer, settings):
    problem = logistic(400, alpha=0.05)
    model = SGDClassifier(
        "log_loss",
        alpha=problem.alpha,
        algorithm=LocalSGD(0.25, outer_optimizer=outer_optimizer),
        n_jobs=4,
        max_iter=60,
        tol=None,
        random_state=0,
        **settings,
    ).fit(problem.X, problem.y)
    assert problem.gap(model.coef_, model.intercept_) < 0.02 * problem.gap(np.zeros(8), 0.0)


@pytest.mark.parametrize("outer_optimizer", ["momentum", "nesterov"])
def test_where_nobody_moved_momentum_does_not_move_either(outer_optimizer):
    algorithm, state = LocalSGD(outer_optimizer=outer_optimizer), np.ones(SIZE)
    standing = FitState(MODEL, state, n_workers=1, n_rows=10, shard_rows=(10,))
    standing = replace(standing, memory=algorithm.init_memory(standing)._replace(outer_optimizer=np.ones(SIZE)))
    idle = replace(small_report(0, state + 1.0), steps=0, examples=0)
    np.testing.assert_array_equal(algorithm.merge(standing, [idle]).state, state)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (dict(kind="heavy ball"), "'kind' parameter of Momentum must be a str among {'momentum', 'nesterov'}"),
        (dict(kind="nestorov"), "Did you mean 'nesterov'?"),
        (dict(rate=0.0), "'rate' parameter of Momentum must be a number in the range (0, inf]"),
        (dict(rate=True), "'rate' parameter of Momentum"),
        (dict(rate="fast"), "Got 'fast' instead"),
        (dict(beta=-0.1), "'beta' parameter of Momentum must be a number in the range"),
        (dict(beta=False), "'beta' parameter of Momentum"),
        (dict(beta=1.0), "'beta' parameter of Momentum must be below 1"),
        (dict(beta=float("nan")), "Got nan instead"),
    ],
)
def test_bad_parameters_are_named_with_what_was_expected_and_what_came(bad, said):
    with pytest.raises(InvalidArgumentError) as refusal:
        Momentum(**bad)
    assert said in str(refusal.value)


def test_the_published_defaults_are_filled_in():
    assert (Momentum().rate, Momentum().beta) == (1.0, 0.5)
    assert (Momentum("nesterov").rate, Momentum("nesterov").beta) == (0.7, 0.9)
    assert Momentum(beta=0).beta == 0


@pytest.mark.parametrize("outer_optimizer", ["mean", "momentum", "nesterov", *OUTERS], ids=repr)
def test_algorithms_with_outer_steps_keep_their_contract(outer_optimizer):
    check_algorithm(LocalSGD(0.5, outer_optimizer=outer_optimizer))


@pytest.mark.parametrize("outer_optimizer", OUTERS, ids=repr)
def test_outer_steps_can_be_pickled_and_saved(outer_optimizer):
    algorithm = LocalSGD(outer_optimizer=outer_optimizer)
    assert pickle.loads(pickle.dumps(algorithm)) == algorithm
    assert unpack(pack(algorithm, "", {}), {}) == algorithm
