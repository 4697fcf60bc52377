"""Learned merge weights: laws on the sample, and what they do for workers of unequal worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from parsgd import MLPClassifier, SGDClassifier, WeightedAverage
from parsgd.algorithms.merging.learned_weights import learn_weights, sample_rows
from parsgd.models.linear.linear_model import Linear
from parsgd.models.network.network_model import Network
from parsgd.testing import check_algorithm
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils.row_arrays import rows_of

X = unit_rows(2400, 6)
SAMPLE, TEST = slice(0, 400), slice(400, 2400)
PROBLEMS = {
    "log_loss": (Linear(6, loss="log_loss"), 2.0 * labels(X) - 1.0),
    "hinge": (Linear(6, loss="hinge", loss_parameter=1.0), 2.0 * labels(X) - 1.0),
    "squared_error": (Linear(6, loss="squared_error"), targets(X)),
    "softmax": (Linear(6, 3, loss="softmax", positive=(1.0,) * 3, negative=(1.0,) * 3), labels(X, 3)),
    "one against all": (Linear(6, 3, loss="log_loss", positive=(1.0,) * 3, negative=(1.0,) * 3), labels(X, 3)),
}


def solution(model, y, rng=None, noise=0.0):
    """A state with least-squares weights, times 4 for losses of margins; and noise."""
    if y.dtype.kind == "i":
        y = np.where(y[:, None] == np.arange(model.n_outputs), 1.0, -1.0)
    design = np.column_stack([X, np.ones(len(X))])
    found = np.linalg.lstsq(design, y.reshape(len(X), -1), rcond=None)[0]
    found = found * (1.0 if model.loss == "squared_error" else 4.0)
    if noise:
        found = found + noise * rng.standard_normal(found.shape)
    state = model.init(1)
    model.views(state)["coef"][:], model.views(state)["intercept"][:] = found[:-1], found[-1]
    return state


def loss(model, y, states, weights, rows=TEST, base=0.0):
    state = base + np.tensordot(weights, np.array(states) - base, 1)
    part = rows_of(X[rows], y[rows])
    return model.mean_loss(model.decision(state, part.x), part)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
@given(n_workers=st.integers(1, 12), seed=st.integers(0, 99), spread=st.floats(0.1, 10.0))
def test_on_the_sample_they_are_never_worse_than_by_steps(name, n_workers, seed, spread):
    model, y = PROBLEMS[name]
    rng = np.random.default_rng(seed)
    states = [solution(model, y, rng, spread * rng.random()) for _ in range(n_workers)]
    steps = rng.dirichlet(np.ones(n_workers))
    weights = learn_weights(model, rows_of(X[SAMPLE], y[SAMPLE]), model.init(1), states, steps)
    assert np.all(weights >= 0.0)
    assert loss(model, y, states, weights, SAMPLE) <= loss(model, y, states, steps, SAMPLE) * (1 + 1e-12)
    again = learn_weights(model, rows_of(X[SAMPLE], y[SAMPLE]), model.init(1), states, steps)
    np.testing.assert_array_equal(weights, again)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("base", [0.0, 0.5])
def test_a_good_worker_is_found_among_useless_ones(name, base):
    model, y = PROBLEMS[name]
    rng = np.random.default_rng(0)
    good = solution(model, y)
    useless = [base * good + 5.0 * rng.standard_normal(good.size) for _ in range(9)]
    for state in useless:
        state[6:8] = 0.0  # the room between coefficients
    states = [*useless[:4], good, *useless[4:]]
    equal = np.full(10, 0.1)
    weights = learn_weights(model, rows_of(X[SAMPLE], y[SAMPLE]), base * good, states, equal)
    assert weights.argmax() == 4
    alone = loss(model, y, [good], np.ones(1))
    assert loss(model, y, states, weights, base=base * good) < 1.3 * alone + 0.02
    assert loss(model, y, states, equal, base=base * good) > 2.0 * alone


def test_the_length_of_the_mean_is_learned_too():
    model, y = PROBLEMS["squared_error"]
    good = solution(model, y)
    sample = rows_of(X[SAMPLE], y[SAMPLE])
    for factor in (0.1, 4.0):
        weights = learn_weights(model, sample, model.init(1), [factor * good] * 3, np.full(3, 1 / 3))
        np.testing.assert_allclose(weights, 1 / (3 * factor), rtol=0.05)


def test_a_sample_that_is_wholly_right_does_not_make_the_mean_endless():
    model, y = PROBLEMS["log_loss"]
    states = [solution(model, y, np.random.default_rng(w), 1.0) for w in range(4)]
    right = np.flatnonzero(model.decision(sum(states), X)[:, 0] * y > 0)[:100]
    weights = learn_weights(model, rows_of(X[right], y[right]), model.init(1), states, np.full(4, 0.25))
    assert weights.sum() < 30.0
    assert loss(model, y, states, weights) < 3.0 * loss(model, y, states, np.full(4, 0.25))


@pytest.mark.parametrize("n_workers", [65, pytest.param(300, marks=pytest.mark.slow)])
def test_very_many_workers_are_weighed_in_groups_of_like_losses(n_workers):
    model, y = PROBLEMS["log_loss"]
    rng = np.random.default_rng(0)
    states = [solution(model, y, rng, 0.5 if worker % 2 else 20.0) for worker in range(n_workers)]
    equal = np.full(n_workers, 1 / n_workers)
    weights = learn_weights(model, rows_of(X[SAMPLE], y[SAMPLE]), model.init(1), states, equal)
    assert len(np.unique(weights.round(12))) <= 64
    assert loss(model, y, states, weights) < 0.9 * loss(model, y, states, equal)


def test_dense_and_sparse_samples_give_the_same_weights():
    model, y = PROBLEMS["log_loss"]
    states = [solution(model, y, np.random.default_rng(w), 3.0) for w in range(5)]
    dense, csr = (
        learn_weights(model, rows_of(layout(X[SAMPLE]), y[SAMPLE]), model.init(1), states, np.full(5, 0.2))
        for layout in (np.asarray, sparse.csr_matrix)
    )
    np.testing.assert_allclose(dense, csr, rtol=1e-6)


def test_where_a_sample_can_tell_nothing_weights_stay_by_steps():
    by_steps = np.array([0.7, 0.3])
    model, y = PROBLEMS["log_loss"]
    states = [solution(model, y), 9.0 * solution(model, y)]
    # one class only; four rows; a loss that would have all decisions at 0; one worker that moved
    one_class = rows_of(X[SAMPLE], np.ones(400))
    np.testing.assert_array_equal(learn_weights(model, one_class, model.init(1), states, by_steps), by_steps)
    np.testing.assert_array_equal(
        learn_weights(model, rows_of(X[:4], y[:4]), model.init(1), states, by_steps), by_steps
    )
    perceptron = Linear(6, loss="hinge", loss_parameter=0.0)
    sample = rows_of(X[SAMPLE], y[SAMPLE])
    np.testing.assert_array_equal(learn_weights(perceptron, sample, model.init(1), states, by_steps), by_steps)
    idle = np.array([0.0, 1.0])
    np.testing.assert_array_equal(learn_weights(model, sample, model.init(1), states, idle), idle)


def test_of_a_network_the_move_is_cut_short_where_that_is_better():
    y = labels(X, 3)
    model = Network((6, 8, 3), solver="sgd")
    net = MLPClassifier((8,), max_iter=30, random_state=0, n_jobs=1, tol=0.0).fit
    with pytest.warns(UserWarning, match="converged"):
        net = net(X[TEST], y[TEST])
    good = model.init(1)
    for name in ("coefs", "intercepts"):
        for view, array in zip(model.views(good)[name], getattr(net, f"{name}_"), strict=True):
            view[:] = array
    start, towards = model.init(1), np.array([0.5, 0.5])
    sample = rows_of(X[SAMPLE], y[SAMPLE])
    np.testing.assert_array_equal(learn_weights(model, sample, start, [good, good], towards), towards)
    overshot = start + 4.0 * (good - start)
    np.testing.assert_array_equal(learn_weights(model, sample, start, [overshot] * 2, towards), 0.25 * towards)


@pytest.mark.parametrize(
    ("n_rows", "held"), [(999, 0), (1000, 100), (8000, 800), (12_748, 1000), (50_000, 1000), (10**6, 5000)]
)
def test_how_many_rows_are_held_back(n_rows, held):
    assert sample_rows(n_rows) == held


def test_the_algorithm_keeps_its_contract():
    check_algorithm(WeightedAverage(rule="learned"))


def test_in_a_fit_the_sample_is_kept_from_the_workers():
    y = labels(X)
    few = {"n_jobs": 3, "max_iter": 2, "tol": None, "random_state": 0}
    model = SGDClassifier("log_loss", algorithm=WeightedAverage(rule="learned"), **few).fit(X, y)
    workers = model.history_[0]["workers"]
    assert sum(worker["examples"] for worker in workers) == 2 * (2400 - 240)
    assert model.score(X, y) > 0.85
    by_steps = SGDClassifier("log_loss", algorithm=WeightedAverage(rule="steps"), **few).fit(X, y)
    assert log_loss(model, y) < log_loss(by_steps, y)


def log_loss(model, y):
    return np.logaddexp(0.0, -(2.0 * y - 1.0) * model.decision_function(X)).mean()
