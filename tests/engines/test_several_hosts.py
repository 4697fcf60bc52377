"""Fits on several hosts, network namespaces of this machine: one is killed or cut off in the middle of a round."""

import functools
import itertools
import threading

import pytest

from benchmarks import hosts
from benchmarks.single import several_hosts

pytestmark = pytest.mark.slow
TIMEOUTS = {"heartbeat_timeout_s": 3.0, "worker_timeout_s": 30.0}
N_ROUNDS = several_hosts.SIZES["many rounds"][3]
N_ROWS = several_hosts.SIZES["many rounds"][0]


@functools.cache
def missing():
    return hosts.missing()


@pytest.fixture
def cluster():
    if missing():
        pytest.skip(missing())
    with hosts.DaskHosts(several_hosts.N_HOSTS) as found:
        yield found


def check_one_loss(told):
    """At most one task of one worker is lost, the history says so, and the fit makes all rounds."""
    end = told[-1]
    assert end["finite"]
    assert end["score"] > 0.9
    assert len(end["lost"]) == 1, end["lost"]
    # a lost task costs at most one pass over a worker's rows
    assert end["rounds"] in (N_ROUNDS, N_ROUNDS + 1)
    assert end["examples"] >= N_ROWS * N_ROUNDS - N_ROWS / 3
    return end["lost"][0]


def test_a_host_that_loses_power_costs_its_share(cluster):
    told = several_hosts.run(cluster, "many rounds", timeouts=TIMEOUTS, after_round={5: lambda: cluster.kill(2)})
    assert 5 <= check_one_loss(told)["round"] < N_ROUNDS


def test_a_host_that_is_cut_off_costs_its_share(cluster):
    told = several_hosts.run(cluster, "many rounds", timeouts=TIMEOUTS, after_round={5: lambda: cluster.disconnect(2)})
    assert "3 s" in check_one_loss(told)["why"]
    gaps = [after["seconds"] - before["seconds"] for before, after in itertools.pairwise(told[:-1])]
    # the round waits for the heartbeat only
    assert 2.0 < max(gaps) < 15.0


def test_a_host_that_is_cut_off_for_20_seconds_and_comes_back(cluster):
    def cut_off():
        cluster.disconnect(1)
        threading.Timer(20.0, cluster.connect, [1]).start()

    # the fit waits for the host: 20 s are less than the limit
    patient = {"heartbeat_timeout_s": 60.0, "worker_timeout_s": 60.0}
    told = several_hosts.run(cluster, "many rounds", timeouts=patient, after_round={5: cut_off})
    assert told[-1]["lost"] == []
    assert (told[-1]["rounds"], told[-1]["examples"]) == (N_ROUNDS, N_ROWS * N_ROUNDS)


def test_hosts_leave_nothing(cluster):
    names = [*cluster.names, cluster.switch]
    assert cluster.processes(cluster.names[1])
    cluster.__exit__(None, None, None)
    assert not any(cluster.processes(name) for name in names)
