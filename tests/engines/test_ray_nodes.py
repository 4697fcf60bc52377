"""A Ray cluster of three nodes with workers, which are removed, come late, or end all together."""

import os
import signal
import sys
from contextlib import closing
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest

from parsgd import LocalSGD, SGDClassifier, observe_progress
from parsgd.core import Budget, Shard, Task, TaskFailed, no_progress
from parsgd.errors import WorkersLostError
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import labels, unit_rows

ray = pytest.importorskip("ray", reason="needs parsgd[ray]")
from ray.cluster_utils import Cluster  # noqa: E402

from parsgd.engines.ray.ray_engine import Ray  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])

# a node takes seconds to start and to end; Ray leaves that to the garbage collector
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

X = unit_rows(2000, 8)
Y = labels(X)


@pytest.fixture(scope="module")
def connected():
    """A cluster of one node without cores for workers, and a connection to it."""
    handler, environment = signal.getsignal(signal.SIGTERM), dict(os.environ)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
        restore(handler, environment)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        restore(handler, environment)


def restore(handler, environment):
    signal.signal(signal.SIGTERM, handler)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


@pytest.fixture
def cluster(connected):
    """The cluster, with three more nodes of one core."""
    before = dict(os.environ)
    while len(connected.worker_nodes) < 3:
        connected.add_node(num_cpus=1)
    restore(signal.getsignal(signal.SIGTERM), before)
    return connected


def remove_one(cluster):
    cluster.remove_node(next(iter(cluster.worker_nodes)))


def test_a_lost_node_costs_its_shares_of_one_round_and_a_new_one_gets_work(cluster, until):
    engine = Ray(heartbeat_timeout_s=10.0)
    with closing(engine.open(where_it_ran, [NoRows()] * 3, no_progress)) as pool:
        assert len(set(places(pool, 0)[0])) == 3
        remove_one(cluster)
        there, n_lost = places(pool, 1)
        assert n_lost == 1
        assert len(set(there)) == 2
        cluster.add_node(num_cpus=1)
        rounds = iter(range(2, 10**6))
        until(lambda: len(set(places(pool, next(rounds))[0])) == 3)


def test_a_fit_goes_on_without_a_node(cluster):
    removed = []

    def remove(progress):
        if not removed:
            removed.append(remove_one(cluster))

    settings = {"alpha": 0.01, "n_jobs": 3, "max_iter": 100, "tol": None, "random_state": 0}
    with observe_progress(remove):
        model = SGDClassifier("log_loss", algorithm=LocalSGD(0.1), engine="ray", **settings).fit(X, Y)
    assert removed
    lost = [(entry["round"], gone["replaced"]) for entry in model.history_ for gone in entry["lost"]]
    assert lost == lost[:1]
    assert lost[0][1]
    theirs = SGDClassifier("log_loss", algorithm=LocalSGD(0.1), engine="serial", **settings).fit(X, Y)
    assert model.score(X, Y) == pytest.approx(theirs.score(X, Y), abs=0.02)


def test_states_on_a_node_that_is_lost_are_made_again(cluster):
    state = np.zeros(200_000)
    with closing(Ray(reduce="tree").open(where_it_ran, [NoRows()] * 3, no_progress)) as pool:
        for worker in range(3):
            pool.send(Task(worker, 0, state + worker, 0, Budget(1)))
        reports = []
        while len(reports) < 3:
            reports += pool.receive(3 - len(reports))
        remove_one(cluster)
        states = [report.state for report in reports]
        total = states[0].weighted_sum(states, np.full(3, 0.5))
        assert np.array_equal(total, np.full(200_000, 1.5))


def test_a_fit_without_any_node_for_workers_ends(cluster):
    removed = []

    def remove(progress):
        while cluster.worker_nodes:
            removed.append(remove_one(cluster))

    engine = Ray(worker_timeout_s=8.0)
    model = SGDClassifier(algorithm=LocalSGD(0.1), engine=engine, n_jobs=3, max_iter=100, tol=None)
    with observe_progress(remove), pytest.raises(WorkersLostError, match=r"All 3 workers are lost.*No other came"):
        model.fit(X, Y)
    assert len(removed) == 3
    with pytest.raises(WorkersLostError, match="has no free core for a worker, and none came within 8 s"):
        model.fit(X, Y)


class NoRows(Shard):
    n_rows, cost = 0, 1.0

    def blocks(self, seed, epoch, start=0):
        return iter(())


def where_it_ran(shard, task, pulse):
    return replace(small_report(task.worker, task.state.copy(), task.round), steps=os.getpid())


def places(pool, round):
    """A round: the process of each of the workers, and the number of lost tasks."""
    found, n_lost = {}, 0
    for worker in range(len(pool.shards)):
        pool.send(Task(worker, round, np.zeros(1), 0, Budget(1)))
    while len(found) < len(pool.shards):
        for answer in pool.receive(1):
            if isinstance(answer, TaskFailed):
                assert answer.replaced
                n_lost += 1
                pool.send(Task(answer.worker, round, np.zeros(1), 0, Budget(1)))
            else:
                found[answer.worker] = answer.steps
    return [found[worker] for worker in sorted(found)], n_lost
