"""Workers of a Dask cluster that are killed for real, stopped, or come late."""

import os
import signal
import sys
import time
from contextlib import closing
from dataclasses import replace

import cloudpickle
import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

from parsgd import LocalSGD, SGDClassifier, SimuParallel, open_dataset
from parsgd.core import Budget, Shard, Task, TaskFailed, no_progress
from parsgd.engines.dask.dask_engine import Dask
from parsgd.errors import DataFileError, WorkersLostError
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import labels, unit_rows

cloudpickle.register_pickle_by_value(sys.modules[__name__])

X = unit_rows(2000, 8)
Y = labels(X)
TRAIN, TEST = slice(0, 1500), slice(1500, None)
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def restarting():
    """Two processes whose nannies start others in their place.

    A LocalCluster looks 15 s after a death whether there is a process of that name, and if it has just died again gives
    it up for good; here it never looks.
    """
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}), Dask(n_processes=2) as engine:
        yield engine


@pytest.fixture
def cluster(restarting):
    """Both are there when a test begins, and when it ends."""
    connection = restarting._kept[-1]
    connection.client.wait_for_workers(2, timeout=60)
    yield restarting
    connection.client.wait_for_workers(2, timeout=60)
    # a nanny that starts a process sets environment variables in this one
    connection.tidy()


@pytest.fixture
def scheduler():
    """A client of a scheduler without workers."""
    with LocalCluster(n_workers=0, dashboard_address=":0") as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def fitted(engine, algorithm=None, n_jobs=4, data=None):
    # so regular that a lost round shows little, whichever tasks of their neighbours die with them
    settings = {"alpha": 0.01, "n_jobs": n_jobs, "max_iter": 5, "tol": None, "random_state": 0}
    model = SGDClassifier("log_loss", algorithm=algorithm or LocalSGD(0.5), engine=engine, **settings)
    return model.fit(X[TRAIN], Y[TRAIN]) if data is None else model.fit(data)


def loss(model):
    margins = (2 * Y[TEST] - 1) * model.decision_function(X[TEST])
    return float(np.logaddexp(0.0, -margins).mean())


@pytest.fixture(scope="module")
def undisturbed():
    return loss(fitted("serial"))


def lost(model):
    return [(entry["round"], gone["worker"], gone["replaced"]) for entry in model.history_ for gone in entry["lost"]]


@pytest.mark.parametrize("moment", [pytest.param("begin", marks=slow), "middle", pytest.param("end", marks=slow)])
def test_a_round_ends_without_a_worker_that_is_killed_in_it(cluster, trapped, undisturbed, moment):
    engine = trapped(cluster, [(1, 3)], moment=moment)
    began = time.monotonic()
    model = fitted(engine)
    assert time.monotonic() - began < 60
    assert len(engine.sprung()) == 1
    # those who lived on the same process may be lost with it
    assert (3, 1, True) in lost(model)
    assert {round for round, _, _ in lost(model)} == {3}
    entry, gone = model.history_[3], {worker for _, worker, _ in lost(model)}
    assert [worker["worker"] for worker in entry["workers"]] == sorted({0, 1, 2, 3} - gone)
    assert sum(worker["weight"] for worker in entry["workers"]) == pytest.approx(1.0)
    assert len(model.history_[4]["workers"]) == 4
    assert "Dask worker at tcp://" in entry["lost"][0]["why"]
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


@pytest.mark.slow
def test_two_deaths_in_a_row(cluster, trapped, undisturbed):
    model = fitted(trapped(cluster, [(0, 2), (3, 3)]))
    assert {(2, 0, True), (3, 3, True)} <= set(lost(model))
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


@pytest.mark.slow
def test_the_same_worker_twice_in_a_row(cluster, trapped, undisturbed):
    model = fitted(trapped(cluster, [(2, 2), (2, 3)], times=2))
    assert {(2, 2, True), (3, 2, True)} <= set(lost(model))
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


@pytest.mark.slow
def test_both_processes_at_once(cluster, trapped, undisturbed):
    model = fitted(trapped(cluster, [(0, 2), (1, 2), (2, 2), (3, 2)]))
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


@pytest.mark.parametrize("scattered", [False, pytest.param(True, marks=slow)])
def test_partitions_on_a_process_that_dies_are_computed_again_if_dask_knows_how(
    cluster, trapped, undisturbed, scattered
):
    client, parts = cluster._kept[-1].client, [(X[TRAIN][i::4], Y[TRAIN][i::4]) for i in range(4)]
    there = sorted(client.scheduler_info()["workers"])
    if scattered:
        futures = [client.scatter([part], workers=[there[i // 2]])[0] for i, part in enumerate(parts)]
    else:
        futures = [client.submit(itself, part, workers=there, pure=False) for part in parts]
    data, engine = open_dataset(futures), trapped(cluster, [(1, 3)])
    if scattered:
        with pytest.raises(DataFileError, match=r"lost with the Dask worker|no longer in the memory of the Dask"):
            fitted(engine, n_jobs=2, data=data)
    else:
        model = fitted(engine, n_jobs=2, data=data)
        assert (3, 1, True) in lost(model)
        assert loss(model) == pytest.approx(undisturbed, rel=0.02)


def itself(part):
    return part


def test_one_shot_averages_do_the_lost_task_again_to_the_same_bits(cluster, trapped):
    model = fitted(trapped(cluster, [(1, 0)]), SimuParallel())
    assert (0, 1, True) in lost(model)
    assert np.array_equal(model.coef_, fitted("serial", SimuParallel()).coef_)


@pytest.mark.slow
def test_rows_that_kill_whoever_takes_them_end_the_fit(cluster, trapped):
    engine = trapped(cluster, [(1, 0)], times=9, moment="begin")
    with pytest.raises(WorkersLostError, match=r"Worker 1 failed 5 times in a row"):
        fitted(engine, SimuParallel(), n_jobs=2)


@pytest.mark.slow
def test_states_that_stay_on_a_process_which_dies_are_made_again(cluster, until):
    client = cluster._kept[-1].client
    with closing(Dask(client=client, reduce="tree").open(where_it_ran, [NoRows()] * 4, no_progress)) as crew:
        for worker in range(4):
            crew.send(Task(worker, 0, np.full(3, float(worker)), 0, Budget(1)))
        reports = crew.receive(4)
        os.kill(reports[0].steps, signal.SIGKILL)
        states = [report.state for report in reports]
        total = states[0].weighted_sum(states, np.full(4, 0.25))
        assert np.array_equal(total, np.full(3, 1.5))


@pytest.mark.slow
def test_with_its_nanny_too_and_then_all_but_one(scheduler, dask_workers, trapped, undisturbed):
    dask_workers(scheduler.scheduler.address, 3)
    scheduler.wait_for_workers(3, timeout=60)
    engine = trapped(Dask(client=scheduler), [(0, 2), (1, 4)], deed="kill, nanny too")
    model = fitted(engine)
    assert len(engine.sprung()) == 2
    assert {(2, 0, True), (4, 1, True)} <= set(lost(model))
    assert len(model.history_[-1]["workers"]) == 4
    assert len(scheduler.scheduler_info()["workers"]) == 1
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


def test_the_last_one_too(scheduler, dask_workers, trapped):
    dask_workers(scheduler.scheduler.address, 1, "--no-nanny")
    scheduler.wait_for_workers(1, timeout=60)
    with pytest.raises(WorkersLostError, match=r"All 2 workers are lost.*No other came within 1 s"):
        fitted(trapped(Dask(client=scheduler, worker_timeout_s=1.0), [(0, 2)]), n_jobs=2)
    with pytest.raises(
        WorkersLostError, match=r"has no workers, and none came within 0.5 s. Start some: dask worker tcp://"
    ):
        fitted(Dask(client=scheduler, worker_timeout_s=0.5), n_jobs=2)


@pytest.mark.alone
def test_a_process_that_is_silent_is_given_up_and_taken_back_when_it_speaks(cluster, trapped, undisturbed):
    client = cluster._kept[-1].client
    engine = trapped(Dask(client=client, heartbeat_timeout_s=2.0), [(1, 3)], moment="begin", deed="stop")
    try:
        model = fitted(engine)
        assert (3, 1, True) in lost(model)
        assert "no heartbeat for 2 s" in model.history_[3]["lost"][0]["why"]
    finally:
        for process in engine.sprung():
            os.kill(process, signal.SIGCONT)
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


def test_a_process_that_comes_late_gets_work(scheduler, dask_workers):
    dask_workers(scheduler.scheduler.address, 1, "--no-nanny")
    scheduler.wait_for_workers(1, timeout=60)
    with closing(Dask(client=scheduler).open(where_it_ran, [NoRows()] * 4, no_progress)) as crew:
        assert len(set(places(crew, 0))) == 1
        dask_workers(scheduler.scheduler.address, 1, "--no-nanny")
        end = time.monotonic() + 60
        round, there = 1, []
        while len(set(there)) < 2:
            assert time.monotonic() < end, "nobody works on the process that came"
            there = places(crew, round)
            round += 1
        assert sorted(there.count(place) for place in set(there)) == [2, 2]


@pytest.mark.slow
def test_a_worker_that_leaves_in_good_order_is_replaced_too(scheduler, dask_workers):
    dask_workers(scheduler.scheduler.address, 2)
    scheduler.wait_for_workers(2, timeout=60)
    with closing(Dask(client=scheduler).open(where_it_ran, [NoRows()] * 2, no_progress)) as crew:
        assert len(set(places(crew, 0))) == 2
        scheduler.retire_workers([next(iter(scheduler.scheduler_info()["workers"]))])
        assert len(set(places(crew, 1))) == 1


def test_a_scheduler_that_goes_away_ends_the_fit():
    short = dask.config.set({"distributed.comm.timeouts.connect": "2s"})
    with short, Dask(n_processes=1, worker_timeout_s=2.0) as engine:
        cluster = engine._kept[-1].client.cluster
        with closing(engine.open(where_it_ran, [NoRows()], no_progress)) as crew:
            places(crew, 0)
            cluster.sync(cluster.scheduler.close)
            crew.send(Task(0, 1, np.zeros(1), 0, Budget(1)))
            with pytest.raises(WorkersLostError, match="scheduler does not answer"):
                crew.receive(1)


class NoRows(Shard):
    n_rows, cost = 0, 1.0

    def blocks(self, seed, epoch, start=0):
        return iter(())


def where_it_ran(shard, task, pulse):
    return replace(small_report(task.worker, task.state.copy(), task.round), steps=os.getpid())


def places(crew, round):
    """A round: the process of each of the workers."""
    found = {}
    for worker in range(len(crew.shards)):
        crew.send(Task(worker, round, np.zeros(1), 0, Budget(1)))
    while len(found) < len(crew.shards):
        for answer in crew.receive(1):
            if isinstance(answer, TaskFailed):
                assert answer.replaced
                crew.send(Task(answer.worker, round, np.zeros(1), 0, Budget(1)))
            else:
                found[answer.worker] = answer.steps
    return [found[worker] for worker in sorted(found)]
