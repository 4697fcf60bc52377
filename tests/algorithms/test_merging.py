"""Merge rules are laws on numbers: they sum to one, leave out the idle, and treat equals alike."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parsgd.algorithms.merging import by_steps, merge, uniform, weighted_sum, wp_sgd
from parsgd.models.linear import Linear

all_steps = st.lists(st.integers(0, 10**7), min_size=1, max_size=12).map(np.array)
rates = st.floats(1e-9, 0.5)
RULES = {
    "uniform": lambda steps, decay: uniform(steps),
    "steps": lambda steps, decay: by_steps(steps),
    "wp": lambda steps, decay: wp_sgd(steps * np.log1p(-decay), steps),
}


@pytest.mark.parametrize("rule", RULES)
@given(steps=all_steps, decay=rates)
def test_weights_sum_to_one_and_leave_out_the_idle(rule, steps, decay):
    weights = RULES[rule](steps, decay)
    assert weights.shape == steps.shape
    assert np.all(weights >= 0.0)
    assert np.all(weights[steps == 0] == 0.0)
    np.testing.assert_allclose(weights.sum(), 1.0 if steps.any() else 0.0, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@given(steps=st.integers(1, 10**7), n_workers=st.integers(1, 12), decay=rates)
def test_equal_workers_count_alike(rule, steps, n_workers, decay):
    np.testing.assert_allclose(RULES[rule](np.full(n_workers, steps), decay), 1.0 / n_workers, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@given(steps=all_steps, decay=rates, data=st.data())
def test_weights_follow_their_workers_wherever_they_stand(rule, steps, decay, data):
    order = np.array(data.draw(st.permutations(range(len(steps)))))
    np.testing.assert_allclose(RULES[rule](steps, decay)[order], RULES[rule](steps[order], decay), rtol=1e-9)


@pytest.mark.parametrize("rule", RULES)
@given(steps=all_steps, decay=rates)
def test_who_made_more_steps_counts_no_less(rule, steps, decay):
    weights = RULES[rule](np.sort(steps), decay)
    assert np.all(np.diff(weights) >= -1e-15)


@given(steps=st.lists(st.integers(1, 1000), min_size=2, max_size=6).map(np.array), decay=rates)
def test_wp_weights_fall_by_the_contraction_with_every_step_of_delay(steps, decay):
    weights = wp_sgd(steps * np.log1p(-decay), steps)
    expected = (1.0 - decay) ** (steps.max() - steps.astype(float))
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6, atol=1e-300)


@given(
    steps=st.lists(st.integers(1, 10**6), min_size=1, max_size=6).map(np.array),
    clock=st.floats(1.0, 1e6),
    alpha=st.floats(1e-6, 1.0),
)
def test_wp_with_the_optimal_schedule_weighs_by_t0_and_the_steps_made(steps, clock, alpha):
    model = Linear(1, alpha=alpha, schedule="optimal")
    start = model.optimal_start + clock - 2.0
    logs = np.array([model.log_contraction(clock, int(made)) for made in steps])
    assume(start > 0)
    np.testing.assert_allclose(wp_sgd(logs, steps), (start + steps) / (start + steps).sum(), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "optimal", "invscaling"])
@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
@given(clock=st.integers(1, 1000), steps=st.integers(1, 3000), alpha=st.floats(1e-4, 0.2))
def test_the_contraction_is_the_product_of_the_shrinkages(schedule, penalty, clock, steps, alpha):
    model = Linear(1, alpha=alpha, penalty=penalty, l1_ratio=0.15, schedule=schedule, eta0=0.5)
    shrinkages = 1.0 - (1.0 - model.l1_share) * alpha * model.rates(np.arange(clock, clock + steps, dtype=float))
    np.testing.assert_allclose(model.log_contraction(clock, steps), np.log(shrinkages).sum(), rtol=1e-3, atol=1e-12)


@given(weights=st.lists(st.floats(0, 1), min_size=1, max_size=5), size=st.integers(0, 9), seed=st.integers(0, 9))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_weighted_sum_is_added_in_float64_and_kept_in_the_dtype_of_the_states(dtype, weights, size, seed):
    vectors = np.random.default_rng(seed).standard_normal((len(weights), size)).astype(dtype)
    total = weighted_sum(list(vectors), np.array(weights))
    expected = np.array(weights) @ vectors.astype(np.float64)
    assert total.dtype == dtype
    np.testing.assert_allclose(total, expected, rtol=np.finfo(dtype).eps, atol=1e-14)


def test_a_long_sum_is_the_sum_of_its_blocks():
    vectors = np.random.default_rng(0).standard_normal((2, 200_001))
    # where the two terms cancel, what is left of them is their rounding
    total = weighted_sum(list(vectors), np.array([0.25, 0.75]))
    np.testing.assert_allclose(total, [0.25, 0.75] @ vectors, rtol=1e-12, atol=1e-15)


def test_one_vector_of_weight_one_comes_back_bit_for_bit_in_an_array_of_its_own():
    vector = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    total = weighted_sum([vector], np.ones(1))
    assert total.tobytes() == vector.tobytes()
    assert not np.shares_memory(total, vector)


def test_where_nobody_moved_the_state_stays():
    state = np.ones(3)
    merged = merge(state, [], np.zeros(0))
    assert merged.state is state
