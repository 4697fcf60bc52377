"""Workers on a Dask cluster of two processes, none of which comes to harm."""

import asyncio
import json
import pickle
import signal
import sys
import threading
from contextlib import closing
from copy import deepcopy
from dataclasses import replace

import cloudpickle
import dask.dataframe as dask_frames
import numpy as np
import pandas as pd
import pytest
from distributed import Client
from sklearn.base import clone

from parsgd import (
    LocalSGD,
    MiniBatch,
    MLPClassifier,
    SGDClassifier,
    SGDRegressor,
    SimuParallel,
    WeightedAverage,
    observe_progress,
    open_dataset,
)
from parsgd.algorithms.merging.merge_weights import weighted_sum
from parsgd.core import Budget, Shard, Task, no_progress
from parsgd.engines import remote_reports
from parsgd.engines.dask.dask_engine import Dask
from parsgd.engines.dask.remote_state import RemoteState
from parsgd.errors import DataFileError, IncompatiblePartsError, InvalidArgumentError, Outcome, WorkersLostError
from parsgd.testing.contracts import check_engine
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import labels, targets, unit_rows

cloudpickle.register_pickle_by_value(sys.modules[__name__])

X = unit_rows(300, 6)
Y = labels(X, 3)
ALGORITHMS = [SimuParallel(), WeightedAverage(), LocalSGD(0.5), MiniBatch(32)]


@pytest.fixture(scope="module")
def dask():
    with Dask(n_processes=2) as engine:
        # threads that Dask keeps for the life of the process begin with the first thing that it sends
        linear(engine, LocalSGD(1.0))
        yield engine


def sharing(engine, **settings):
    """The same cluster, with other settings."""
    return Dask(client=engine._kept[-1].client, **settings)


def linear(engine, algorithm, n_jobs=2):
    settings = {"n_jobs": n_jobs, "max_iter": 2, "tol": None, "random_state": 3}
    return SGDClassifier("log_loss", algorithm=algorithm, engine=engine, **settings).fit(X, Y).coef_


def network(engine, algorithm, n_jobs=2):
    settings = {"n_jobs": n_jobs, "max_iter": 2, "n_iter_no_change": 2, "batch_size": 16, "random_state": 3}
    model = MLPClassifier((8,), algorithm=algorithm, engine=engine, **settings)
    with pytest.warns(match="Stochastic Optimizer"):
        return np.concatenate([weights.ravel() for weights in model.fit(X, Y).coefs_])


def test_it_keeps_the_contract_of_engines(dask):
    check_engine(dask)


@pytest.mark.cover(1)
@pytest.mark.parametrize("model", [linear, network])
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_it_gives_the_bits_of_serial_and_threads(dask, algorithm, model):
    ours = model(dask, algorithm)
    for other in ("serial", "threads"):
        assert np.array_equal(ours, model(other, algorithm))


@pytest.mark.parametrize("n_jobs", [1, 5])
def test_more_and_fewer_workers_than_processes_are_no_matter(dask, n_jobs):
    assert np.array_equal(linear(dask, LocalSGD(0.5), n_jobs), linear("serial", LocalSGD(0.5), n_jobs))


@pytest.mark.cover(1)
@pytest.mark.parametrize("reduce", ["tree", "direct"])
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "elastic", "adaptive"], ids=str)
def test_states_that_stay_where_they_are_change_no_bit(dask, algorithm, reduce):
    algorithm = LocalSGD(0.2, outer_optimizer="adaptive") if algorithm == "adaptive" else algorithm
    ours = linear(sharing(dask, reduce=reduce), algorithm, 3)
    assert np.array_equal(ours, linear("serial", algorithm, 3))


def test_of_forty_workers_states_the_driver_gets_only_their_sum(dask, monkeypatch):
    brought = []

    def counted(vector):
        brought.extend([vector.size] * bool(vector.size))
        return vector

    theirs = linear("serial", LocalSGD(1.0), 40)
    monkeypatch.setattr(remote_reports, "aligned", counted)
    ours = linear(dask, LocalSGD(1.0), 40)
    assert np.array_equal(ours, theirs)
    # in each of the two rounds
    assert len(brought) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "dtype"), [(2, np.float64), (16, np.float32), (17, np.float64), (40, np.float32), (300, np.float32)]
)
def test_sums_in_a_tree_have_the_bits_of_sums_here(dask, n, dtype):
    states = np.random.default_rng(n).standard_normal((n, 7)).astype(dtype)
    with closing(sharing(dask, reduce="tree").open(echo, [NoRows()] * n, no_progress)) as crew:
        for worker, state in enumerate(states):
            crew.send(Task(worker, 0, state, 0, Budget(1)))
        there = [report.state for report in sorted(crew.receive(n), key=lambda report: report.worker)]
        assert all(isinstance(state, RemoteState) for state in there)
        assert np.array_equal(np.asarray(there[0]), states[0])
        assert there[0].dtype == dtype
        for weights in (np.full(n, 1.0 / n), np.arange(n) / n, np.eye(n)[1], np.zeros(n)):
            ours, theirs = weighted_sum(there, weights), weighted_sum(list(states), weights)
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)
        # with a state of the driver's own before, and after
        mixed, weights = [states[0], *there, states[-1]], np.linspace(0.0, 1.0, n + 2)
        theirs = weighted_sum([states[0], *states, states[-1]], weights)
        assert np.array_equal(there[0].weighted_sum(mixed, weights), theirs)


def test_large_states_travel_by_themselves_and_arrive_whole(dask):
    state = np.random.default_rng(0).standard_normal(300_000)
    with closing(dask.open(echo, [NoRows()] * 3, no_progress)) as crew:
        for round in range(3):
            for worker in range(3):
                crew.send(Task(worker, round, state + round, 0, Budget(1)))
            for report in crew.receive(3):
                assert np.array_equal(report.state, state + report.round)
                assert report.state.flags.aligned


def test_an_error_in_a_worker_ends_the_fit_with_that_error_and_is_not_tried_again(dask, trapped):
    engine = trapped(dask, [(1, 1)], deed="raise", times=9)
    with pytest.raises(OSError, match="these rows cannot be read") as caught:
        linear(engine, LocalSGD(0.5))
    assert any("Dask worker at tcp://" in note for note in caught.value.__notes__)
    assert len(engine.sprung()) == 1


def test_work_goes_on_with_the_shard_that_lies_on_the_worker(dask):
    with closing(dask.open(count_uses, [Counting(), Counting()], no_progress)) as crew:
        for round in range(4):
            for worker in (0, 1):
                crew.send(Task(worker, round, np.zeros(1), 0, Budget(1)))
            assert [report.examples for report in crew.receive(2)] == [round + 1] * 2


def test_nothing_is_left_on_the_cluster_and_shards_are_closed_there(dask, tmp_path, until):
    client = dask._kept[-1].client
    with closing(dask.open(count_uses, [Counting(tmp_path / "closed")], no_progress)) as crew:
        crew.send(Task(0, 0, np.zeros(1), 0, Budget(1)))
        crew.receive(1)
        assert not (tmp_path / "closed").exists()
    until((tmp_path / "closed").exists)
    until(lambda: not any(client.has_what().values()))


def test_the_active_client_is_used_and_stays(dask):
    client = dask._kept[-1].client
    with client.as_current():
        assert Dask().default_workers() == 2
        ours = linear("dask", LocalSGD(0.5))
    assert client.status == "running"
    assert np.array_equal(ours, linear("serial", LocalSGD(0.5)))


def test_without_a_number_there_is_a_worker_for_each_thread(dask):
    rows = unit_rows(4000, 6)
    model = SGDRegressor(engine=dask, max_iter=1, tol=None).fit(rows, targets(rows))
    assert model.algorithm_.n_workers == 2
    assert "the cluster has 2 threads" in model.algorithm_.why


def test_an_address_is_enough(dask):
    address = dask._kept[-1].client.scheduler.address
    assert np.array_equal(linear(Dask(address=address), LocalSGD(0.5)), linear("serial", LocalSGD(0.5)))


def test_ctrl_c_ends_the_round_and_keeps_what_was_reached(dask):
    press = signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
    told = []

    def interrupt(progress):
        if not told:
            told.append(progress)
            threading.Timer(0.2, *press).start()

    model = SGDRegressor(engine=dask, algorithm=LocalSGD(0.5), n_jobs=2, max_iter=10**6, tol=None)
    with observe_progress(interrupt), pytest.raises(KeyboardInterrupt):
        model.fit(X, targets(X))
    assert model.outcome_ is Outcome.INTERRUPTED
    one_round = SGDRegressor(engine=dask, algorithm=SimuParallel(), n_jobs=2, max_iter=10**7, tol=None)
    threading.Timer(1.0, *press).start()
    with pytest.raises(KeyboardInterrupt):
        one_round.fit(X, targets(X))
    assert np.isfinite(one_round.coef_).all()


def test_partitions_that_were_lost_before_the_fit_are_named_with_the_fix(dask):
    client = dask._kept[-1].client
    blocks = client.map(lambda start: (X[start : start + 100], Y[start : start + 100]), range(0, 300, 100), pure=False)
    data = open_dataset(blocks)
    client.cancel(blocks)
    for engine in (dask, "serial", "threads"):
        with pytest.raises(DataFileError, match="Open the data again"):
            SGDClassifier(engine=engine, n_jobs=2, max_iter=2, tol=None).fit(data)


def in_a_task():
    try:
        SGDClassifier(engine="dask", n_jobs=2).fit(X, Y)
    except IncompatiblePartsError as error:
        return str(error)


def test_inside_a_task_of_dask_the_engine_is_refused(dask):
    said = dask._kept[-1].client.submit(in_a_task, pure=False).result(timeout=60)
    assert "engine='threads'" in said


def test_an_asynchronous_client_is_refused_with_the_fix(dask):
    frame = dask_frames.from_pandas(pd.DataFrame(X).assign(y=Y).rename(columns=str), npartitions=2)

    async def opened():
        address = dask._kept[-1].client.scheduler.address
        async with Client(address, asynchronous=True):
            open_dataset(frame, target="y")

    with pytest.raises(InvalidArgumentError, match="a synchronous Client"):
        asyncio.run(opened())


def test_engines_can_be_copied_and_pickled_with_the_estimators_that_have_them(dask):
    engine = sharing(dask)
    assert clone(SGDClassifier(engine=engine)).engine is engine
    assert deepcopy(engine) is engine
    back = pickle.loads(pickle.dumps(engine))
    assert back.client is None
    assert back.address == engine.client.scheduler.address


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"client": "tcp://here"}, "'client' parameter of Dask must be a distributed.Client"),
        ({"address": 7}, "'address' parameter of Dask must be a str"),
        ({"address": "a", "scheduler_file": "b"}, "one of client, address and scheduler_file"),
        ({"n_processes": 0}, "'n_processes' parameter of Dask must be an int of at least 1"),
        ({"reduce": "treee"}, "Did you mean 'tree'"),
        ({"direct": 1}, "'direct' parameter of Dask must be a bool"),
        ({"heartbeat_timeout_s": 0}, "'heartbeat_timeout_s' parameter of Dask must be a number"),
        ({"worker_timeout_s": None}, "'worker_timeout_s' parameter of Dask must be a number"),
    ],
)
def test_what_cannot_be_used_is_refused_when_it_is_made(settings, said):
    with pytest.raises(InvalidArgumentError, match=said):
        Dask(**settings)


def test_a_scheduler_that_is_not_there_is_named(dask):
    with pytest.raises(WorkersLostError, match=r"scheduler at tcp://127.0.0.1:9 does not answer.*reachable"):
        linear(Dask(address="tcp://127.0.0.1:9", worker_timeout_s=0.5), LocalSGD(0.5))


def test_a_scheduler_is_found_by_the_file_that_it_writes(dask, tmp_path):
    path = tmp_path / "scheduler.json"
    for content, said in (
        (None, "there is no such file, after 0.2 s"),
        ("{", "it contains no scheduler address"),
        ("[]", "it contains no scheduler address"),
        ('{"address": "tcp://127.0.0.1:9"}', "scheduler at tcp://127.0.0.1:9, which .*json names, does not answer"),
    ):
        if content is not None:
            path.write_text(content)
        with pytest.raises(WorkersLostError, match=said):
            linear(Dask(scheduler_file=str(path), worker_timeout_s=0.2), LocalSGD(0.5))
    # it may be written while one waits
    written = {"address": dask._kept[-1].client.scheduler.address}
    path.unlink()
    threading.Timer(0.3, path.write_text, [json.dumps(written)]).start()
    assert np.array_equal(linear(Dask(scheduler_file=str(path)), LocalSGD(0.5)), linear("serial", LocalSGD(0.5)))


class NoRows(Shard):
    n_rows, cost = 0, 1.0

    def blocks(self, seed, epoch, start=0):
        return iter(())


class Counting(NoRows):
    """A shard that counts how often it was used, and leaves a file when it is closed on a worker."""

    def __init__(self, path=None):
        self.path, self.used = path, 0

    def close(self):
        if self.path is not None and self.used:
            self.path.touch()


def echo(shard, task, pulse):
    return small_report(task.worker, task.state.copy(), task.round)


def count_uses(shard, task, pulse):
    shard.used += 1
    return replace(echo(shard, task, pulse), examples=shard.used)
