"""How long a round lasts and who gets how many rows: laws on numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsgd.algorithms.common.round_length import examples_in_round, longest_part
from parsgd.algorithms.common.round_schedule import deadline, next_period, shares_by_speed, update_seconds_per_example
from parsgd.testing.contracts._fixtures import small_report

periods, losses = st.floats(1e-3, 1.0), st.floats(0.0, 1e6)
paces = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8).map(np.array)


@given(present=periods, first_loss=losses, loss=losses)
def test_a_period_never_grows_and_never_falls_below_a_thousandth(present, first_loss, loss):
    following = next_period(1.0, present, first_loss, loss)
    assert 1e-3 <= following <= present


@given(present=periods, first_loss=st.floats(0.1, 1e6), more=st.floats(1.0, 10.0))
def test_where_the_loss_does_not_fall_the_period_halves(present, first_loss, more):
    # the present period belongs to the loss (present)^2 first_loss
    following = next_period(1.0, present, first_loss, present**2 * first_loss * more * (1 + 1e-9))
    assert following == pytest.approx(max(present / 2.0, 1e-3))


@given(first_loss=st.floats(0.1, 1e6), share=st.floats(0.01, 0.99))
def test_else_it_goes_by_the_root_of_the_loss(first_loss, share):
    assert next_period(1.0, 1.0, first_loss, share * first_loss) == pytest.approx(np.sqrt(share))


@pytest.mark.parametrize(
    ("first_loss", "loss"), [(0.0, 0.0), (1.0, np.nan), (-1.0, -2.0), (np.inf, 1.0), (1.0, np.inf)]
)
def test_losses_that_tell_nothing_shorten_it_within_its_bounds(first_loss, loss):
    assert 1e-3 <= next_period(1.0, 0.5, first_loss, loss) <= 0.25


@given(seconds_per_example=paces, data=st.data())
def test_the_deadline_is_the_median_and_three_deviations(seconds_per_example, data):
    examples = np.array(
        data.draw(st.lists(st.integers(1, 1000), min_size=len(seconds_per_example), max_size=len(seconds_per_example)))
    )
    seconds = np.sort(seconds_per_example * examples)
    n = len(seconds)
    median = 0.5 * (seconds[(n - 1) // 2] + seconds[n // 2])
    off = np.sort(np.abs(seconds - median))
    deviation = max(0.5 * (off[(n - 1) // 2] + off[n // 2]), 0.1 * median)
    assert deadline(seconds_per_example, examples) == pytest.approx(median + 3.0 * deviation, rel=1e-9, abs=1e-11)


@given(seconds_per_example=st.floats(1e-6, 1.0), n_workers=st.integers(1, 8), examples=st.integers(1, 1000))
def test_workers_alike_are_given_a_third_more_than_they_need(seconds_per_example, n_workers, examples):
    allowed = deadline(np.full(n_workers, seconds_per_example), np.full(n_workers, examples))
    assert allowed == pytest.approx(1.3 * seconds_per_example * examples, rel=1e-6)


@given(slowness=st.floats(2.0, 1e6), others=st.integers(3, 9))
def test_one_worker_however_slow_does_not_move_the_deadline(slowness, others):
    alike = np.full(others, 0.01)
    examples = np.full(others + 1, 100)
    assert deadline(np.append(alike, slowness * 0.01), examples) == deadline(alike, examples[1:])


@given(seconds_per_example=paces, rows=st.integers(1, 1000))
def test_shares_sum_to_one_and_go_by_speed(seconds_per_example, rows):
    shares = shares_by_speed(seconds_per_example, [rows] * len(seconds_per_example))
    theirs = (1.0 / seconds_per_example) / np.sum(1.0 / seconds_per_example)
    if shares is None:
        np.testing.assert_allclose(1.0 / len(seconds_per_example), theirs, rtol=0.1001)
    else:
        assert shares.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(shares, theirs)


@given(seconds_per_example=paces, off=st.floats(-0.09, 0.09))
def test_rows_stay_where_they_are_near_enough(seconds_per_example, off):
    rows = 1e6 / seconds_per_example
    assert shares_by_speed(seconds_per_example, rows) is None
    rows[0] *= 1.0 + off / 2
    assert shares_by_speed(seconds_per_example, rows) is None


@pytest.mark.parametrize("unknown", [np.nan, np.inf, 0.0, -1.0])
def test_rows_stay_while_somebodys_speed_is_unknown(unknown):
    assert shares_by_speed(np.array([0.01, unknown]), [50, 50]) is None


def test_workers_that_reported_are_noted_and_the_others_remembered():
    before = np.array([np.nan, 0.5, 0.25])
    reports = [
        replace(small_report(0, np.zeros(1)), examples=10, seconds=2.0),
        replace(small_report(2, np.zeros(1)), examples=0, seconds=9.0),
    ]
    after = update_seconds_per_example(before, reports)
    np.testing.assert_array_equal(after, [0.2, 0.5, 0.25])
    np.testing.assert_array_equal(before, [np.nan, 0.5, 0.25])


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    batch_size=st.integers(1, 50),
    sync_every=st.floats(1e-2, 1.0),
)
def test_the_longest_part_is_the_longest_stretch(sizes, batch_size, sync_every):
    ours = longest_part(np.array(sizes), batch_size, sync_every)
    for n_rows, longest in zip(sizes, ours, strict=True):
        cursor, stretches = 0, [0]
        while cursor < n_rows:
            stretches.append(examples_in_round(n_rows, batch_size, sync_every, cursor))
            cursor += stretches[-1]
        # the longest in batches may be the last one, whose last batch is short
        assert max(stretches) <= longest <= max(stretches) + batch_size - 1
