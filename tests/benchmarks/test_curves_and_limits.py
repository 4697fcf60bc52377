"""Exponents and shares of made-up times, and quick runs of the two figures."""

import pytest

from benchmarks.figures import curves, limits
from benchmarks.options import Options
from benchmarks.readings import select

# that a fit of one epoch has not converged is known
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("power", [0.0, 1.0, 1.3])
def test_the_exponent_of_a_power_law_is_its_power(power):
    rows = [curves.at("made up", size, curves.STEADY, [2e-6 * size**power] * 3) for size in (10, 100, 10_000)]
    found = curves.exponent("made up", rows, 1.05)
    assert found.median == pytest.approx(power, abs=1e-9)
    assert found.met is (power <= 1.05)


def test_a_share_is_the_limits_time_over_ours():
    ways = {("stored order", "a way"): lambda: 0.004}
    found = limits.shares(ways, lambda: 0.001, "memory", "rows", Options(None, n_turns=1))
    assert found[0].median == pytest.approx(0.25)
    assert limits.with_target(found[0], 0.6).met is False


@pytest.mark.slow
def test_quick_limits_have_a_target_for_each_problem(tmp_path):
    readings = limits.measure(Options(tmp_path, quick=True, n_turns=1))
    assert [reading.target for reading in readings if reading.target is not None] == [0.60, 0.70, 0.88]
    assert all(value > 0 for reading in readings for value in reading.values)
    text = limits.describe(readings)
    assert all(reading.problem in text for reading in readings)
    assert all(path.stat().st_size > 0 for path in limits.draw(readings, tmp_path))


@pytest.mark.slow
def test_quick_curves_have_an_exponent_for_each_ladder(tmp_path):
    readings = curves.measure(Options(tmp_path, quick=True, n_turns=1))
    exponents = select(readings, unit="exponent")
    assert [reading.problem for reading in exponents][: len(curves.LADDERS)] == list(curves.LADDERS)
    for reading in exponents:
        assert len(select(readings, problem=reading.problem, solver=curves.STEADY)) == 3
        assert reading.problem in curves.describe(readings)
    assert len(curves.draw(readings, tmp_path)) == 3
