"""What is said of a candidate follows from its own trials."""

import math
from dataclasses import replace

import pytest

from parsgd.planning import strategies
from parsgd.planning.measure_costs import FitTime
from parsgd.planning.trials.candidates import candidate, serial_candidate
from parsgd.planning.trials.heldout import CurvePoint
from parsgd.planning.trials.trial_runs import SerialRun, TrialRun
from parsgd.planning.trials.trial_schedule import TrialSchedule
from parsgd.training.cost_model import CostModel

KIND = dict(convex=True, batch_size=1, sparse=True, n_rows=1000)
HERE = [strategy for n in (2, 8) for strategy in strategies.strategies_for(n, on_threads=n == 2, **KIND)]
COSTS = CostModel(1000, 1e-5, contention={2: 1.2})
TIMES = {None: FitTime(0.0, 1e-5), **{each: FitTime(0.001, 6e-6) for each in HERE if each.n_workers == 2}}


def curve(speed=1.0):
    return [CurvePoint(0.0, p / 10, 1.0 / (1.0 + speed * p / 10)) for p in range(51)]


SERIAL = SerialRun(5.0, 0.01, [curve()])


def strategy(n_workers, label):
    return next(each for each in HERE if (each.n_workers, each.label) == (n_workers, label))


def of(*runs, n_workers=2, label="local, 10 a pass", serial=SERIAL, whole=5.0, times=TIMES):
    return candidate(COSTS, strategy(n_workers, label), runs, serial, whole, times)


def test_seconds_on_threads_are_those_of_timed_fits():
    cell = of(TrialRun(4.0, 0.1))
    assert cell.seconds == pytest.approx(0.001 + 4.0 * 0.006)
    assert cell.pass_s == pytest.approx(0.006)
    assert cell.speedup == pytest.approx(SERIAL.reached * 0.01 / cell.seconds)
    # what the passes take beyond the steps of the fastest algorithm, which is this one
    assert cell.round_s == 0.0


def test_seconds_on_a_cluster_are_those_of_rows_and_merges():
    cell = of(TrialRun(4.0, 0.1, combine_s=1e-4), n_workers=8)
    assert cell.pass_s == pytest.approx(0.01 / 8 + 10 * 1e-4)
    assert cell.seconds == pytest.approx(4.0 * cell.pass_s)
    once = of(TrialRun(4.0, 0.1, combine_s=1e-4), n_workers=8, label="simuparallel")
    assert once.seconds == pytest.approx(4.0 * 0.01 / 8 + 1e-4)


def test_bounds_are_those_of_seeds_goals_and_timings():
    cell = of(TrialRun(3.0, bounds=(2.9, 3.1)), TrialRun(4.0, bounds=(3.0, 5.5)))
    assert (cell.passes_low, cell.passes_high) == pytest.approx((2 / (1 / 2.9 + 1 / 3.0), 4.0))
    assert cell.low < cell.seconds < cell.high
    times = {**TIMES, strategy(2, "local, 10 a pass"): FitTime(0.001, 6e-6, 0.5, 3.0)}
    wider = of(TrialRun(3.0), TrialRun(4.0), times=times)
    assert wider.high / wider.seconds > 3.0
    assert wider.reaches
    assert not wider.is_known


def test_a_single_trial_scatters_as_serial_runs_do():
    serial = SerialRun(5.0, 0.01, [curve(), curve(0.97), curve(1.03)])
    alone = serial_candidate(COSTS, serial, 5.0, TIMES)
    cell = of(TrialRun(2.0), serial=serial)
    assert alone.passes_low < alone.passes < alone.passes_high
    assert cell.passes_low / 2.0 == pytest.approx(alone.passes_low / alone.passes)
    assert cell.passes_high / 2.0 == pytest.approx(alone.passes_high / alone.passes)


def test_never_is_what_all_own_trials_show():
    failed = TrialRun(math.inf, 0.9)
    assert of(failed).seconds == of(failed, failed).seconds == math.inf
    assert of(failed).basis == "rehearsed"
    # trials at odds, and trials that ended near the goal or too early
    for cell in (of(failed, TrialRun(9.0)), of(TrialRun(None, 0.17))):
        assert (cell.seconds, cell.basis) == (None, "undecided")
    assert of().basis == "no time"


def test_the_first_passes_show_no_failure_of_the_whole_fit():
    assert of(TrialRun(math.inf, 0.9), whole=50.0).seconds is None
    assert of(TrialRun(4.0, 0.1), whole=50.0).passes == pytest.approx(40.0)
    # except of one that diverged
    assert of(TrialRun(math.inf), whole=50.0).seconds == math.inf


def test_what_diverged_when_it_was_timed_is_not_known():
    times = {None: TIMES[None]}
    assert of(TrialRun(4.0, 0.1), times=times).seconds is None


def schedule(runs):
    return TrialSchedule(None, None, COSTS, SERIAL, HERE, TIMES, runs)


def test_nothing_is_said_from_the_trials_of_others():
    """Plain means with 2 workers failed, so that those of 8 are less promising, but they do not count as failed."""
    made = schedule({strategy(2, "local, 10 a pass"): [TrialRun(math.inf, 0.9)]})
    cells = {(cell.n_workers, cell.label): cell for cell in made.cells(5.0)}
    assert cells[2, "local, 10 a pass"].seconds == math.inf
    others = [cell for key, cell in cells.items() if key != (2, "local, 10 a pass")]
    assert all(cell.seconds is None for cell in others)
    assert cells[8, "local, 10 a pass"].basis == "others"
    assert cells[8, "local, adaptive, 2 a pass"].basis == "no time"


def test_every_number_of_workers_has_its_most_promising_trial_first(monkeypatch):
    made = schedule({})
    monkeypatch.setattr(TrialSchedule, "_expected_seconds", lambda self, each: each.share * each.n_workers)
    order = made.order()
    assert [(each.n_workers, each.adaptive) for each in order[:2]] == [(2, True), (8, True)]
    assert sorted(order[2:4], key=lambda each: each.n_workers)[1].n_workers == 8
    assert len(order) == len(set(order)) == len(HERE)


def test_trials_without_hope_come_last(monkeypatch):
    made, ran = schedule({}), []
    monkeypatch.setattr(TrialSchedule, "_run", lambda self, each, *_: ran.append(each))
    bad = strategy(8, "local, 10 a pass")
    monkeypatch.setattr(TrialSchedule, "_expected_seconds", lambda self, each: each.share)
    monkeypatch.setattr(TrialSchedule, "hopeless", lambda self, each: each is bad)
    made.make([0], None)
    assert ran[-1] is bad
    assert set(ran) == set(HERE)


def test_serial_sgd_has_bounds_too():
    cell = serial_candidate(COSTS, replace(SERIAL, curves=[curve(), curve(1.1)]), 5.0, TIMES)
    assert cell.passes_low <= cell.passes <= cell.passes_high
    assert cell.seconds == pytest.approx(cell.passes * 0.01)
    assert cell.speedup == 1.0
