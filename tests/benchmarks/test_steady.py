"""What one more pass costs, on clocks that are made up."""

import pytest

from benchmarks.steady import LEAST_S, MOST_PASSES, Steady


def schedule_step(once, a_pass):
    return lambda epochs: once + a_pass * epochs


@pytest.mark.parametrize("once", [0.0, 0.5])
def test_what_a_fit_does_once_is_left_out(once):
    assert Steady.of(schedule_step(once, 0.01))() == pytest.approx(0.01)


def test_the_passes_in_between_take_long_enough_to_be_seen():
    steady = Steady.of(schedule_step(0.5, 0.004))
    assert (steady.many - steady.few) * 0.004 >= LEAST_S


def test_passes_that_take_no_time_are_not_made_without_end():
    steady = Steady.of(schedule_step(0.5, 0.0))
    assert steady.many - steady.few <= MOST_PASSES
    assert steady() > 0


def test_noise_that_hits_one_of_two_fits_is_not_counted():
    noise = iter([0.0] * 3 + [9.0, 0.0, 0.0, 9.0])
    steady = Steady.of(lambda epochs: 0.1 + 0.01 * epochs + next(noise))
    assert steady() == pytest.approx(0.01)
