"""From what was seen to how long a fit takes: laws of the pure functions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd.estimators.cost_estimates import ProblemSize, thread_seconds
from parsgd.training.cost_model import CostModel, carried_over, fit_seconds, mean_passes, reach, round_seconds, trend

LOSSES = st.lists(st.floats(0.01, 10.0), min_size=1, max_size=20)
COSTS = CostModel(
    1000, 1e-6, state_bytes=800, contention={2: 1.5}, wake_s={2: 1e-4}, latency_s=1e-3, bandwidth_bytes_per_s=8e5
)


@given(LOSSES)
def test_a_trend_never_rises_and_keeps_the_mean(losses):
    found = trend(losses)
    assert np.all(np.diff(found) <= 1e-12)
    assert found.mean() == pytest.approx(np.mean(losses))


@given(LOSSES)
def test_no_other_falling_sequence_is_nearer(losses):
    found = trend(losses)
    distance = np.sum((found - losses) ** 2)
    above = np.maximum.accumulate(losses[::-1])[::-1]
    for other in (np.sort(losses)[::-1], np.full(len(losses), np.mean(losses)), above):
        assert distance <= np.sum((other - losses) ** 2) + 1e-9


@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=20, unique=True))
def test_what_falls_is_its_own_trend(losses):
    falling = sorted(losses, reverse=True)
    assert trend(falling).tolist() == falling


def test_a_lucky_look_is_not_an_arrival():
    passes = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert reach(passes, [0.9, 0.4, 0.8, 0.7, 0.45, 0.4], 0.5) > 4.0
    assert reach(passes[:2], [0.9, 0.4], 0.5) == pytest.approx(1.8)


@given(LOSSES, st.floats(0.01, 10.0), st.floats(0.01, 10.0))
def test_a_lower_goal_takes_longer(losses, one, other):
    passes = np.arange(1.0, len(losses) + 1.0)
    low, high = min(one, other), max(one, other)
    assert reach(passes, losses, low) >= reach(passes, losses, high)


def test_a_loss_that_is_no_number_is_not_reached():
    assert reach([1.0, 2.0], [math.nan, math.inf], 1.0) == math.inf
    assert reach([1.0, 2.0], [math.nan, 0.5], 1.0) == pytest.approx(2.0)


def test_runs_are_averaged_by_their_speed():
    assert mean_passes([3.0, 3.0]) == pytest.approx(3.0)
    assert mean_passes([1.0, math.inf]) == pytest.approx(2.0)
    assert mean_passes([1.0, math.inf, math.inf]) == math.inf
    assert mean_passes([]) == math.inf


def test_one_worker_pays_for_no_rounds():
    assert fit_seconds(COSTS, 1, 3.0, 50, 1.0) == pytest.approx(3e-3)
    assert round_seconds(COSTS, 1, 1.0) == 0.0


def test_threads_share_the_memory_and_are_woken():
    # 2 passes of 1,000 rows by two at 1.5 us a row, and 20 rounds of 0.1 ms and a merge of 0.05 ms
    assert fit_seconds(COSTS, 2, 2.0, 20, 5e-5) == pytest.approx(1.5e-3 + 20 * 1.5e-4)
    assert fit_seconds(COSTS, 2, 2.0, 0, 0.0, seconds_per_row=2e-6) == pytest.approx(2e-3)


def test_rounds_in_compiled_code_are_not_woken_and_threads_start_once():
    costs = replace(COSTS, compiled_round_s={2: 1e-5}, start_s=1e-3)
    assert fit_seconds(costs, 2, 2.0, 20, compiled=True) == pytest.approx(1.5e-3 + 1e-3 + 20 * 1e-5)
    assert round_seconds(costs, 2, 5e-5, compiled=True) == pytest.approx(6e-5)
    # one worker starts no thread, and a cluster has none
    assert fit_seconds(costs, 1, 3.0, 50, 1.0) == pytest.approx(3e-3)
    assert fit_seconds(costs, 8, 2.0, 1, 5e-5) == fit_seconds(COSTS, 8, 2.0, 1, 5e-5)


@pytest.mark.parametrize("n_workers", [1, 2, 4])
@pytest.mark.parametrize("adaptive", [True, False])
def test_auto_predicts_by_the_same_formula(n_workers, adaptive):
    class Size(ProblemSize):
        n_rows, epoch_seconds, merge_seconds, compiled_merge_seconds = 10_000, 0.1, 2e-3, 1e-4
        convex = True

        def rounds(self, n_workers):
            return 10, 1

        def reason_against(self, n_workers):
            return None

    found = thread_seconds(Size(), n_workers, adaptive)
    # plain means come after 10 ms of steps
    rounds = 10 if adaptive else {1: 0, 2: 5, 4: 2}[n_workers]
    several = 0.11 / n_workers + rounds * 1e-4 + 2.8e-3 * adaptive + 5e-4
    assert found == pytest.approx(0.1 if n_workers == 1 else several)


def test_a_cluster_pays_for_messages_and_merges_but_not_for_memory():
    # 8 workers: two latencies and two messages of 1 ms a round
    assert round_seconds(COSTS, 8, 5e-5) == pytest.approx(4e-3 + 5e-5)
    assert fit_seconds(COSTS, 8, 2.0, 1, 5e-5) == pytest.approx(2e-3 / 8 + 4e-3 + 5e-5)
    priced = CostModel(1000, 1e-6, latency_s=1e-3, merge_s=1e-4)
    assert round_seconds(priced, 8, 5.0) == pytest.approx(2e-3 + 8e-4)


@given(st.integers(3, 500))
def test_without_talk_twice_the_cluster_takes_half_the_time(n_workers):
    free = CostModel(1000, 1e-6)
    assert fit_seconds(free, 2 * n_workers, 5.0, 50) == pytest.approx(fit_seconds(free, n_workers, 5.0, 50) / 2)


def test_the_beginning_is_carried_over_in_proportion():
    assert carried_over(0.4, 0.5, 5.0) == pytest.approx(4.0)
    assert carried_over(3.0, 5.0, 5.0) == 3.0
