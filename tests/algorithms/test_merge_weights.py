"""Merge rules are laws on numbers: they sum to one, leave out the idle, and treat equals alike."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parsgd.algorithms.merging.merge_rules import RULES as NAMED
from parsgd.algorithms.merging.merge_weights import (
    bias_corrected,
    by_examples,
    by_steps,
    fednova,
    inverse_loss,
    merge,
    uniform,
    weighted_sum,
    wp_sgd,
)
from parsgd.core import FitState
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.contracts._fixtures import small_model, small_report, small_source

all_steps = st.lists(st.integers(0, 10**7), min_size=1, max_size=12).map(np.array)
rates = st.floats(1e-9, 0.5)
RULES = {
    "uniform": lambda steps, decay: uniform(steps),
    "steps": lambda steps, decay: by_steps(steps),
    "examples": lambda steps, decay: by_examples(steps),
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
    schedule_step=st.floats(1.0, 1e6),
    alpha=st.floats(1e-6, 1.0),
)
def test_wp_with_the_optimal_schedule_weighs_by_t0_and_the_steps_made(steps, schedule_step, alpha):
    model = Linear(1, alpha=alpha, schedule="optimal")
    start = model.optimal_start + schedule_step - 2.0
    logs = np.array([model.log_contraction(schedule_step, int(made)) for made in steps])
    assume(start > 0)
    np.testing.assert_allclose(wp_sgd(logs, steps), (start + steps) / (start + steps).sum(), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "optimal", "invscaling"])
@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
@given(schedule_step=st.integers(1, 1000), steps=st.integers(1, 3000), alpha=st.floats(1e-4, 0.2))
def test_the_contraction_is_the_product_of_the_shrinkages(schedule, penalty, schedule_step, steps, alpha):
    model = Linear(1, alpha=alpha, penalty=penalty, l1_ratio=0.15, schedule=schedule, eta0=0.5)
    shrinkages = 1.0 - (1.0 - model.l1_share) * alpha * model.rates(
        np.arange(schedule_step, schedule_step + steps, dtype=float)
    )
    np.testing.assert_allclose(
        model.log_contraction(schedule_step, steps), np.log(shrinkages).sum(), rtol=1e-3, atol=1e-12
    )


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


# -- further rules ---------------------------------------------------------------------------------------------------


@given(steps=all_steps, seed=st.integers(0, 99))
def test_by_loss_sums_to_one_leaves_out_the_idle_and_prefers_smaller_losses(steps, seed):
    losses = np.random.default_rng(seed).random(len(steps))
    weights = inverse_loss(losses, steps)
    assert np.all(weights[steps == 0] == 0.0)
    np.testing.assert_allclose(weights.sum(), 1.0 if steps.any() else 0.0, rtol=1e-12)
    moved = steps > 0
    assert np.all(np.diff(weights[moved][np.argsort(losses[moved])]) <= 1e-15)


def test_by_loss_is_the_exponential_of_the_relative_loss_whatever_the_unit():
    losses, steps = np.array([0.2, 0.4, 0.6]), np.ones(3)
    expected = np.exp(-2.0 * losses / 0.4)
    np.testing.assert_allclose(inverse_loss(losses, steps, 2.0), expected / expected.sum())
    np.testing.assert_allclose(inverse_loss(1e6 * losses, steps, 2.0), expected / expected.sum())
    for useless in (np.zeros(3), np.array([np.nan, 1.0, 1.0]), np.full(3, -1.0)):
        np.testing.assert_allclose(inverse_loss(useless, steps), 1 / 3)


@given(steps=st.lists(st.integers(1, 50), min_size=1, max_size=6).map(np.array), seed=st.integers(0, 99))
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_fednova_is_the_papers_update(steps, seed, momentum):
    """``x - tau_eff sum_i p_i d_i / |a_i|_1``, where a gradient counts as often as momentum repeats it."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(len(steps)))
    lengths = np.array([sum(sum(momentum**j for j in range(k + 1)) for k in range(n)) for n in steps])
    w, moves = rng.standard_normal(3), rng.standard_normal((len(steps), 3))
    theirs = w + (p @ lengths) * sum(p_i * d / a for p_i, d, a in zip(p, moves, lengths, strict=True))
    np.testing.assert_allclose(w + fednova(steps, 100 * p, momentum) @ moves, theirs, rtol=1e-9)


def test_fednova_gives_equal_workers_their_share_and_leaves_out_the_idle():
    np.testing.assert_allclose(fednova(np.array([7, 7]), np.array([30, 10])), [0.75, 0.25])
    np.testing.assert_allclose(fednova(np.array([7, 0, 7]), np.ones(3)), [0.5, 0.0, 0.5])
    assert not fednova(np.zeros(3), np.ones(3)).any()


@given(fraction=st.floats(0.01, 0.9), bias=st.floats(-5, 5), n=st.integers(10, 1000))
def test_the_correction_takes_away_a_bias_that_falls_with_the_rows(fraction, bias, n):
    whole, part = np.array([3.0 + bias / n]), np.array([3.0 + bias / (fraction * n)])
    np.testing.assert_allclose(bias_corrected(whole, part, fraction), 3.0, rtol=1e-9)


@given(weights=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_weights_are_of_the_moves_from_the_old_state(weights, seed):
    rng = np.random.default_rng(seed)
    state, states = rng.standard_normal(5), rng.standard_normal((len(weights), 5))
    reports = [small_report(worker, s) for worker, s in enumerate(states)]
    expected = state + np.array(weights) @ (states - state)
    np.testing.assert_allclose(merge(state, reports, np.array(weights)).state, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMED)
def test_every_named_rule_gives_equal_workers_one_nth_and_the_idle_nothing(name):
    rng = np.random.default_rng(0)
    state = rng.standard_normal(small_model().size)
    reports = [small_report(worker, state) for worker in range(4)]
    for sample in (None, small_source(200).rows):
        standing = FitState(small_model(), 0.0 * state, shard_rows=(20,) * 4, sample=sample)
        weights = NAMED[name](standing, reports)
        np.testing.assert_allclose(weights / weights.sum(), 0.25, rtol=1e-12)
        if name != "learned" or sample is None:
            np.testing.assert_allclose(weights, 0.25, rtol=1e-12)
        idle = NAMED[name](standing, [*reports[:3], replace(reports[3], steps=0, examples=0, log_contraction=0.0)])
        np.testing.assert_allclose(idle / idle.sum(), [1 / 3, 1 / 3, 1 / 3, 0.0], rtol=1e-12)


def test_what_cannot_be_negative_is_not_extrapolated():
    state, arrived = np.array([1.0, 4.0]), [np.array([2.0, 1.0]), np.array([4.0, 3.0])]
    reports = [small_report(worker, s) for worker, s in enumerate(arrived)]
    merged = merge(state, reports, np.array([1.0, 1.0]), nonnegative=slice(1, 2)).state
    np.testing.assert_allclose(merged, [1.0 + 1.0 + 3.0, 2.0])
    shorter = merge(state, reports, np.array([0.25, 0.25]), nonnegative=slice(1, 2)).state
    np.testing.assert_allclose(shorter, [2.0, 3.0])
