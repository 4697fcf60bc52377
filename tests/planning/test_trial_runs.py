"""Rehearsals end when they have shown enough, and no sooner."""

import math
import time

import pytest

from parsgd.planning.trials.heldout import CurvePoint
from parsgd.planning.trials.trial_runs import SerialRun, _from_beginning, _passes_of, _Until, reached


def curve(loss, passes, step=0.1):
    """Looks at a loss that is a function of the passes."""
    points = [CurvePoint(0.0, 0.0, loss(0.0))]
    return points + [CurvePoint(p * step, p * step, loss(p * step)) for p in range(1, round(passes / step) + 1)]


def falling(passes):
    return 1.0 / (1.0 + passes)


SERIAL = SerialRun(5.0, 0.0, [curve(falling, 5.0)])


def until(loss, serial=SERIAL, deadline=math.inf):
    """The passes after which a run with this loss is ended, and whether for want of time."""
    ends = _Until(serial, deadline)
    seen = curve(loss, 3 * serial.passes)
    for n in range(2, len(seen) + 1):
        if ends(seen[:n]):
            return seen[n - 1].passes, ends.cut
    return math.inf, ends.cut


def test_the_goal_is_the_end_of_the_serial_run():
    assert SERIAL.final == pytest.approx(sum(falling(4 + 0.1 * i) for i in range(1, 11)) / 10)
    assert 4.0 < SERIAL.reached < 5.0
    assert reached(SERIAL.curves[0], falling(2.5)) == pytest.approx(2.5)


def test_a_run_that_is_there_goes_on_for_a_while():
    end, cut = until(lambda passes: falling(4.0 * passes))
    there = SERIAL.reached / 4.0
    assert not cut
    assert 1.25 * there < end < 1.25 * there + 0.5


def test_a_run_that_cannot_get_there_is_ended_early():
    end, cut = until(lambda passes: falling(0.2 * passes))
    assert end == pytest.approx(1.0)
    assert not cut
    # one that is a little too slow may still be lucky
    assert until(lambda passes: falling(0.55 * passes))[0] > 9.0
    # and what has come to rest above the goal is not waited for
    assert until(lambda passes: max(falling(passes), 0.25))[0] == pytest.approx(6.5, abs=1.0)


def test_nothing_goes_on_for_ever():
    assert until(lambda passes: falling(0.6 * passes) if passes < 9 else 0.9)[0] <= 10.0
    assert until(lambda passes: math.nan)[0] == pytest.approx(0.1)


def test_when_time_is_over_that_is_said():
    end, cut = until(lambda passes: falling(0.9 * passes), deadline=time.perf_counter() - 1.0)
    assert end == pytest.approx(0.1)
    assert cut


def test_a_beginning_tells_by_how_many_times_serial_sgd_is_faster():
    slower = curve(lambda passes: falling(passes / 1.5), 1.5)
    found, (low, high) = _from_beginning(slower, SERIAL)
    assert found == pytest.approx(1.5 * SERIAL.reached, rel=0.01)
    assert low <= found <= high <= 1.1 * found
    much_slower = curve(lambda passes: falling(passes / 5.0), 1.5)
    assert _from_beginning(much_slower, SERIAL) == (None, None)
    assert _from_beginning(slower[:2], SERIAL) == (None, None)


def test_only_a_loss_that_is_clearly_above_the_goal_is_a_failure():
    stays = curve(lambda passes: max(falling(passes), 1.5 * SERIAL.goal), 10.0)
    assert _passes_of(stays, stays[-1].loss, False, SERIAL) == (math.inf, None)
    near = curve(lambda passes: max(falling(passes), 1.01 * SERIAL.goal), 10.0)
    assert _passes_of(near, near[-1].loss, False, SERIAL) == (None, None)
    # time ran out: the extrapolation is out of reach
    early = curve(lambda passes: falling(passes / 5.0), 1.5)
    assert _passes_of(early, early[-1].loss, True, SERIAL) == (None, None)
    there, (low, high) = _passes_of(SERIAL.curves[0], SERIAL.final, False, SERIAL)
    assert low < there < high
