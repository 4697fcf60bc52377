"""The simulated engine: its clock says what the formula says, and what it trains is real."""

import math
from dataclasses import replace

import numpy as np
import pytest

from parsgd import LocalSGD, MiniBatch, SGDRegressor, Simulated, SimuParallel, WeightedAverage
from parsgd.algorithms.common.worker_loop import whole_batches
from parsgd.core import Budget, Task, TaskFailed, no_progress
from parsgd.data.sources.array_source import ArraySource
from parsgd.errors import Outcome, WorkersLostError
from parsgd.testing import check_engine, slow_down
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import targets, unit_rows
from parsgd.utils.row_arrays import rows_of

X = unit_rows(400, 5)
Y = targets(X)
TWO_A_PASS = LocalSGD(sync_every=0.5)
SHARDS = ArraySource(rows_of(X, Y)).split(4000, 0)


def echo(shard, task, pulse):
    """Visit the budget's examples; the report's message is as long as the task's."""
    return replace(small_report(task.worker, task.state, task.round), examples=task.budget.examples)


def crew(n_workers, work=echo, **settings):
    return Simulated(**settings).open(work, SHARDS[:n_workers], no_progress)


def task(worker, examples=100, round=0, size=1, **changes):
    return Task(worker, round, np.zeros(size), 0, Budget(examples), **changes)


def fit(engine, algorithm=TWO_A_PASS, **settings):
    settings = {"max_iter": 4, "tol": None, "random_state": 0, **settings}
    return SGDRegressor(engine=engine, algorithm=algorithm, **settings).fit(X, Y)


def bits(model):
    return model.coef_.tobytes() + model.intercept_.tobytes()


# -- the clock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [1.0, 0.25])
def test_a_task_takes_the_seconds_of_its_messages_and_of_its_examples(speed):
    ours = crew(1, speeds=speed, rate=1000.0, latency_s=0.5, bandwidth_bytes_per_s=80.0, merge_s=0.25)
    ours.send(task(0, examples=100, size=3))
    (report,) = ours.receive(1)
    message = 0.5 + 3 * 8 / 80.0
    assert report.seconds == pytest.approx(100 / (1000.0 * speed))
    assert ours.now() == pytest.approx(message + 100 / (1000.0 * speed) + message + 0.25)


def test_a_round_lasts_as_long_as_its_slowest_worker():
    ours = fit(Simulated(speeds=(1.0, 0.1, 0.5), rate=1000.0, latency_s=(0.0, 0.0, 0.2)), n_jobs=None)
    first = ours.history_[0]
    examples = [worker["examples"] for worker in first["workers"]]
    assert sum(examples) == pytest.approx(200, abs=2)
    seconds = [n / (1000.0 * speed) for n, speed in zip(examples, (1.0, 0.1, 0.5), strict=True)]
    assert [worker["seconds"] for worker in first["workers"]] == pytest.approx(seconds)
    assert first["seconds"] == pytest.approx(max(seconds[0], seconds[1], seconds[2] + 0.4))
    times = [entry["seconds"] for entry in ours.history_]
    assert times == pytest.approx([first["seconds"] * (k + 1) for k in range(8)], rel=0.03)


def test_answers_come_in_the_order_of_their_times_and_ties_in_that_of_the_workers():
    speeds = (0.5, 1.0, 0.1, 1.0)
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        ours = crew(4, speeds=speeds, rate=100.0)
        for worker in order:
            ours.send(task(worker))
        came = []
        for _ in range(4):
            (report,) = ours.receive(1)
            came.append((report.worker, ours.now()))
        assert came == [(1, 1.0), (3, 1.0), (0, 2.0), (2, 10.0)]


def test_a_task_begins_when_it_arrives_and_not_before_its_worker_is_free():
    ours = crew(2, rate=100.0, speeds=(1.0, 0.5))
    ours.send(task(0))
    ours.send(task(1))
    assert [report.worker for report in ours.receive(1)] == [0]
    ours.send(task(0, round=1))  # sent at 1 s, ends at 2 s, as the other one's first task
    ours.send(task(0, round=2))
    assert [(report.worker, report.round) for report in ours.receive(2)] == [(0, 1), (1, 0)]
    assert ours.now() == 2.0
    assert [report.round for report in ours.receive(9)] == [2]
    assert ours.now() == 3.0
    assert ours.receive(1) == []


def test_the_driver_takes_one_report_after_another():
    ours = crew(3, rate=100.0, speeds=(1.0, 1.0, 0.1), merge_s=2.0)
    for worker in range(3):
        ours.send(task(worker))
    ours.receive(1)
    assert ours.now() == 3.0
    ours.receive(1)  # it came at 1 s and waited
    assert ours.now() == 5.0
    ours.receive(1)  # it came at 10 s
    assert ours.now() == 12.0


def test_nothing_is_trained_before_an_answer_is_asked_for():
    asked = []
    ours = crew(2, lambda shard, task, pulse: asked.append(task.worker) or echo(shard, task, pulse))
    ours.send(task(1))
    ours.send(task(0))
    assert asked == []
    assert len(ours.receive(1)) == 1
    assert sorted(asked) == [0, 1]
    ours.close()
    assert ours.receive(1) == []


def test_a_worker_that_is_slowed_down_by_a_fault_is_slow_on_the_virtual_clock():
    engine = Simulated(rate=100.0)
    ours = slow_down({1: 4.0}, engine).open(echo, SHARDS[:2], no_progress)
    ours.send(task(0))
    ours.send(task(1))
    assert [(report.worker, report.seconds) for report in ours.receive(2)] == [(0, 1.0), (1, 4.0)]
    check_engine(Simulated(speeds=0.3, rate=50.0, jitter=0.4, latency_s=1.0, merge_s=0.1, bandwidth_bytes_per_s=1e3))


# -- rounds in seconds ---------------------------------------------------------------------------------------------


def test_in_a_round_of_seconds_each_worker_does_what_its_speed_allows():
    ours = fit(Simulated(speeds=(1.0, 0.5, 0.1), rate=1000.0), WeightedAverage(seconds=0.1, rule="steps"), max_iter=100)
    (entry,) = ours.history_
    assert [worker["examples"] for worker in entry["workers"]] == [100, 50, 10]
    assert [worker["seconds"] for worker in entry["workers"]] == pytest.approx([0.1] * 3)
    assert [worker["weight"] for worker in entry["workers"]] == pytest.approx([100 / 160, 50 / 160, 10 / 160])
    assert entry["seconds"] == pytest.approx(0.1)
    assert ours.outcome_ is Outcome.OUT_OF_TIME


def test_a_round_of_seconds_ends_early_where_nothing_is_left_to_do():
    ours = fit(Simulated(speeds=(1.0, 0.5), rate=1000.0), SimuParallel(seconds=0.5), max_iter=1)
    assert [worker["examples"] for worker in ours.history_[0]["workers"]] == [200, 200]
    assert ours.history_[0]["seconds"] == pytest.approx(0.4)
    assert ours.outcome_ is Outcome.MAX_EPOCHS


def test_the_example_that_a_worker_is_at_is_ended():
    ours = fit(Simulated(speeds=(1.0, 0.001), rate=1000.0), LocalSGD(seconds=0.0105), max_iter=1)
    first = ours.history_[0]
    assert [worker["examples"] for worker in first["workers"]] == [11, 1]
    assert first["seconds"] == pytest.approx(1.0)


def test_a_batch_that_a_worker_is_at_is_ended_and_no_epochs_last_one_exceeded():
    assert [whole_batches(8, examples, 10, 4) for examples in (0, 1, 2, 3)] == [0, 2, 2, 6]
    ours = fit(Simulated(rate=1000.0), WeightedAverage(seconds=0.033), n_jobs=2, batch_size=8, max_iter=9)
    workers = ours.history_[0]["workers"]
    assert [(worker["steps"], worker["examples"]) for worker in workers] == [(5, 40), (5, 40)]
    theirs = fit("serial", SimuParallel(), n_jobs=1, batch_size=8, max_iter=1)
    # 400 rows are 50 batches, so in 0.4 s and a bit one epoch and a batch are made
    ours = fit(Simulated(rate=1000.0), WeightedAverage(seconds=0.401), n_jobs=1, batch_size=8, max_iter=9)
    assert ours.history_[0]["workers"][0]["examples"] == 408
    exact = fit(Simulated(rate=1000.0), WeightedAverage(seconds=0.4), n_jobs=1, batch_size=8, max_iter=9)
    assert bits(exact) == bits(theirs)


def test_what_a_worker_has_at_the_deadline_is_what_serial_sgd_has_after_so_many_examples():
    cut = fit(Simulated(rate=1000.0), WeightedAverage(seconds=1.2), n_jobs=1, max_iter=50)
    assert cut.n_iter_ == 3
    assert bits(cut) == bits(fit("serial", SimuParallel(), n_jobs=1, max_iter=3))


# -- the same again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [LocalSGD(seconds=0.01), WeightedAverage(seconds=0.2, rule="measured")], ids=repr)
def test_jittered_fits_repeat_their_bits_and_their_times_and_another_seed_gives_others(algorithm):
    def once(seed):
        engine = Simulated(speeds=(1.0, 0.3, 0.7), rate=1000.0, jitter=0.3, latency_s=0.001, seed=seed)
        model = fit(engine, algorithm)
        return bits(model), model.history_

    assert once(3) == once(3)
    assert once(3)[0] != once(4)[0]


def test_jitter_has_mean_one_and_the_deviation_that_was_asked_for():
    ours = crew(4000, rate=100.0, jitter=0.5)
    for worker in range(4000):
        ours.send(task(worker))
    seconds = np.array([report.seconds for report in ours.receive(4000)])
    assert seconds.mean() == pytest.approx(1.0, abs=0.03)
    assert np.log(seconds).std() == pytest.approx(0.5, abs=0.02)


def test_jitter_does_not_depend_on_the_order_of_sending():
    times = []
    for order in ((0, 1, 2), (2, 1, 0)):
        ours = crew(3, rate=100.0, jitter=0.5, seed=1)
        for worker in order:
            ours.send(task(worker))
        times.append([(report.worker, report.seconds) for report in ours.receive(3)])
    assert times[0] == times[1]
    assert len({seconds for _, seconds in times[0]}) == 3


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_worker_loses_the_task_it_dies_in_and_the_driver_hears_of_it_once():
    ours = crew(2, rate=100.0, failures={1: 1.5}, latency_s=0.1)
    for round in range(2):
        for worker in range(2):
            ours.send(task(worker, round=round))
        if round == 0:
            assert [report.worker for report in ours.receive(2)] == [0, 1]
    # sent at 1.2 s, begun at 1.3, died at 1.5, heard of at 1.6; the other one's report arrives at 2.4
    assert ours.receive(1) == [TaskFailed(1, 1, "machine 1 failed after 1.5 s", replaced=True)]
    assert ours.now() == pytest.approx(1.6)
    assert [report.worker for report in ours.receive(2)] == [0]
    assert ours.now() == pytest.approx(2.4)


def test_a_report_that_is_under_way_arrives_though_its_worker_is_dead():
    ours = crew(1, rate=100.0, failures={0: 1.0}, latency_s=0.0, bandwidth_bytes_per_s=math.inf)
    ours.send(task(0))
    assert ours.receive(1)[0].examples == 100
    assert ours.now() == 1.0
    ours.send(task(0))
    assert isinstance(ours.receive(1)[0], TaskFailed)
    assert ours.now() == 1.0


def test_the_rows_of_the_dead_go_to_the_machine_with_the_fewest_and_take_its_time():
    source = ArraySource(rows_of(X, Y))
    shards = source.split(4, 0, "shuffled", np.array([4.0, 2.0, 1.0, 1.0]))
    ours = Simulated(rate=100.0, speeds=(1.0, 1.0, 1.0, 0.5), failures={1: 0.0}).open(echo, shards, no_progress)
    for worker in range(4):
        ours.send(task(worker))
    # machine 2 has two tasks of a second each, machine 3 one of two
    came = []
    while len(came) < 4:
        came += [(report.worker, ours.now()) for report in ours.receive(1)]
    assert came == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0)]


def test_what_is_sent_before_the_driver_hears_of_a_death_is_lost_and_what_is_sent_after_that_is_not():
    ours = crew(2, rate=100.0, failures={1: 0.5}, latency_s=1.0)
    ours.send(task(0, examples=0))
    ours.receive(1)
    assert ours.now() == 2.0  # it was heard of at 1.5 s
    ours.send(task(1))
    assert [report.worker for report in ours.receive(1)] == [1]
    ours = crew(2, rate=100.0, failures={1: 2.5}, latency_s=1.0)
    ours.send(task(0, examples=0))
    ours.receive(1)
    ours.send(task(1))  # at 2 s; it would begin at 3 s
    assert ours.receive(1) == [TaskFailed(1, 0, "machine 1 failed after 2.5 s", replaced=True)]
    assert ours.now() == 3.5


def test_machines_that_die_at_once_leave_their_rows_to_the_others_or_to_nobody():
    for n_workers, replaced in ((3, True), (2, False)):
        ours = crew(n_workers, rate=100.0, failures={0: 0.5, 1: 0.5})
        for worker in range(2):
            ours.send(task(worker))
        assert [(gone.worker, gone.replaced) for gone in ours.receive(2)] == [(0, replaced), (1, replaced)]
    ours.send(task(0, round=1))
    assert ours.receive(1) == [TaskFailed(0, 1, "the last machine has failed", replaced=False)]


@pytest.mark.parametrize("algorithm", [LocalSGD(sync_every=0.5), MiniBatch(40)], ids=repr)
def test_a_fit_survives_deaths_and_says_who_was_lost(algorithm):
    ours = fit(Simulated(rate=1000.0, failures={0: 0.115, 2: 0.265}), algorithm, n_jobs=4)
    lost = [(gone["worker"], gone["why"]) for entry in ours.history_ for gone in entry["lost"]]
    assert lost == [(0, "machine 0 failed after 0.115 s"), (2, "machine 2 failed after 0.265 s")]
    assert {worker["worker"] for worker in ours.history_[-1]["workers"]} == {0, 1, 2, 3}
    for entry in ours.history_:
        assert sum(worker["weight"] for worker in entry["workers"]) == pytest.approx(1.0)
    assert ours.outcome_ is Outcome.MAX_EPOCHS
    losses = [entry["loss"] for entry in ours.history_]
    assert np.mean(losses[len(losses) // 2 :]) < np.mean(losses[: len(losses) // 2])


def test_in_one_shot_the_work_of_the_dead_is_done_again_by_others_and_no_bit_is_another():
    engine = Simulated(rate=1000.0, failures={1: 0.1})
    ours = fit(engine, SimuParallel(), n_jobs=2)
    (entry,) = ours.history_
    assert [gone["worker"] for gone in entry["lost"]] == [1]
    assert entry["seconds"] == pytest.approx(2 * 4 * 200 / 1000.0)
    both = fit(replace(engine, failures={}), SimuParallel(), n_jobs=2)
    assert bits(both) == bits(ours)


def test_when_all_machines_die_the_fit_says_so():
    with pytest.raises(
        WorkersLostError, match=r"All 2 workers are lost; the last one, 1, in round 2: machine 1 failed after"
    ):
        fit(Simulated(rate=1000.0, failures={0: 0.2, 1: 0.3}), LocalSGD(sync_every=0.5), n_jobs=2)
