"""Processes that die, stop or stumble: the fit goes on without them, or says why it cannot; it never hangs."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest

import parsgd
from parsgd import (
    AsyncLocalSGD,
    DelayedSGD,
    ElasticAveraging,
    LocalSGD,
    MiniBatch,
    Processes,
    SGDRegressor,
    SimuParallel,
    WeightedAverage,
)
from parsgd.core import Budget, EngineDefaults, Task, TaskFailed, no_progress
from parsgd.data.sources.array_source import ArraySource
from parsgd.errors import Outcome, WorkersLostError
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import targets, unit_rows
from parsgd.utils.row_arrays import rows_of

# other processes cannot import tests
cloudpickle.register_pickle_by_value(sys.modules[__name__])
X = unit_rows(600, 5)
Y = targets(X)
QUICK = {"max_iter": 4, "tol": None, "random_state": 0, "n_jobs": 3, "learning_rate": "constant", "eta0": 0.05}
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def three():
    with Processes(3) as engine:
        yield engine


def fit(engine, algorithm=None, **settings):
    settings = {**QUICK, "algorithm": algorithm or LocalSGD(sync_every=0.5), **settings}
    return SGDRegressor(engine=engine, **settings).fit(X, Y)


def bits(model):
    return model.coef_.tobytes() + model.intercept_.tobytes()


def lost(model):
    return [gone for entry in model.history_ for gone in entry["lost"]]


def loss(model):
    return float(np.mean((model.predict(X) - Y) ** 2))


@pytest.mark.parametrize("at", [pytest.param("begin", marks=slow), "middle", "answer", pytest.param("end", marks=slow)])
def test_a_round_ends_without_the_process_that_is_killed_in_it_and_the_next_has_all_workers(three, trapped, at):
    model = fit(trapped(three, [(1, 1)], moment=at))
    (gone,) = lost(model)
    assert gone["worker"] == 1
    assert gone["replaced"]
    assert "was killed by signal 9 (out of memory is the usual cause)" in gone["why"]
    assert [len(entry["workers"]) for entry in model.history_] == [3, 2, *[3] * (len(model.history_) - 2)]
    assert all(sum(worker["weight"] for worker in entry["workers"]) == pytest.approx(1.0) for entry in model.history_)
    assert model.outcome_ is Outcome.MAX_EPOCHS
    assert loss(model) <= 1.02 * loss(fit("serial"))


@pytest.mark.cover(1)
@pytest.mark.parametrize("algorithm", [SimuParallel(), WeightedAverage(rule="steps")], ids=repr)
@pytest.mark.parametrize("at", ["middle", "end"])
def test_where_one_round_is_the_fit_its_tasks_are_repeated_and_no_bit_is_another(three, trapped, algorithm, at):
    model = fit(trapped(three, [(1, 0)], moment=at, times=2), algorithm)
    # whoever was at work in the same process is lost, too
    assert [gone["worker"] for gone in lost(model)].count(1) == 2
    assert bits(model) == bits(fit("serial", algorithm))


@pytest.mark.parametrize(
    "algorithm",
    [
        MiniBatch(60),
        # test_async_local_sgd.py loses workers of this algorithm without processes
        pytest.param(AsyncLocalSGD(), marks=slow),
        pytest.param(DelayedSGD(30), marks=slow),
        pytest.param(ElasticAveraging(), marks=slow),
        pytest.param(LocalSGD(sync_every=0.25, outer_optimizer="adaptive"), marks=slow),
    ],
    ids=repr,
)
def test_every_algorithm_goes_on(three, trapped, algorithm):
    # a rate that falls: at a constant one a loss varies by 3 % with the order in which answers happen to come
    settings = {"max_iter": 20, "learning_rate": "invscaling", "eta0": 0.5, "power_t": 0.5}
    engine = trapped(three, [(1, round) for round in range(99)], moment="begin", times=2)
    model = fit(engine, algorithm, **settings)
    # whoever was at work in the same process is lost, too
    assert [gone["worker"] for gone in lost(model)].count(1) == 2
    assert loss(model) <= 1.02 * loss(fit("serial", algorithm, **settings))


@pytest.mark.slow
def test_one_survivor_is_enough_and_its_history_says_whom_it_outlived(three, trapped):
    model = fit(trapped(three, [(0, 1), (1, 1)]))
    assert sorted(gone["worker"] for gone in lost(model)) == [0, 1]
    assert len(model.history_[-1]["workers"]) == 3
    assert loss(model) <= 1.02 * loss(fit("serial"))


def test_when_no_process_is_left_the_fit_says_so(trapped):
    this = psutil.Process()
    before, files = this.children(), this.num_fds()
    with pytest.raises(WorkersLostError, match=r"lost.*was killed by signal 9"):
        fit(trapped(Processes(2), [(1, round) for round in range(1, 9)], moment="begin", times=9))
    assert this.children() == before
    assert this.num_fds() == files


def test_a_process_that_leaves_by_itself_is_lost_and_why_it_ended_is_told(three):
    def leaves(shard, task, pulse):
        os._exit(7)

    with closing(three.open(leaves, split(1), no_progress)) as crew:
        crew.send(Task(0, 0, np.zeros(1), 0, Budget(1)))
        (gone,) = crew.receive(1)
        assert gone == TaskFailed(0, 0, gone.why, replaced=False)
        assert "ended with status 7" in gone.why
        crew.send(Task(0, 1, np.zeros(1), 0, Budget(1)))
        assert [(gone.round, gone.replaced) for gone in crew.receive(1)] == [(1, False)]


def split(n_workers):
    return ArraySource(rows_of(X, Y)).split(n_workers, 0)


class Continued(EngineDefaults):
    """An engine that lets a stopped process go on as soon as the driver has heard that it is lost."""

    def __init__(self, trapped):
        self.engine, self.name, self.capabilities = trapped, trapped.name, trapped.capabilities

    def open(self, work, shards, pulse):
        crew = self.engine.open(work, shards, pulse)
        receive = crew.receive

        def received(at_least):
            answers = receive(at_least)
            for answer in answers:
                if isinstance(answer, TaskFailed):
                    self.host = crew.hosts[1]
                    os.kill(*self.engine.sprung(), signal.SIGCONT)
                    # it has said something by now, and been taken back
                    deadline = time.monotonic() + 60
                    while self.host.silent and time.monotonic() < deadline:
                        crew._wait()
            return answers

        crew.receive = received
        self.crew = crew
        return crew


@pytest.mark.alone
def test_a_process_that_is_silent_for_too_long_is_lost_and_is_used_again_when_it_comes_back(trapped):
    engine = Continued(trapped(Processes(3, heartbeat_timeout_s=2.0), [(1, 1)], moment="begin", deed="stop"))
    model = fit(engine)
    (gone,) = lost(model)
    assert gone["worker"] == 1
    assert "sent no heartbeat for" in gone["why"]
    assert not engine.host.silent
    assert engine.crew.placement.host_of(1) is engine.host
    assert len(model.history_[-1]["workers"]) == 3


@pytest.mark.slow
@pytest.mark.alone
def test_a_process_that_stays_silent_holds_nobody_up_not_even_at_the_end(trapped):
    def answers_at_once(shard, task, pulse):
        return small_report(task.worker, task.state, task.round)

    engine = trapped(Processes(2, heartbeat_timeout_s=1.5), [(1, 0)], moment="begin", deed="stop")
    with closing(engine.open(answers_at_once, split(2), no_progress)) as crew:
        for worker in range(2):
            crew.send(Task(worker, 0, np.zeros(1), 0, Budget(1)))
        answers = crew.receive(2)
        assert sorted(isinstance(answer, TaskFailed) for answer in answers) == [False, True]
    assert not psutil.pid_exists(*engine.sprung())


def test_when_the_driver_is_killed_its_processes_end(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(
        "import os, sys, time, psutil\n"
        "from parsgd import Processes, SGDRegressor\n"
        "from parsgd.testing.problems import targets, unit_rows\n"
        "X = unit_rows(600, 5)\n"
        "def tell(progress):\n"
        "    print(*[child.pid for child in psutil.Process().children()], flush=True)\n"
        "from parsgd import observe_progress\n"
        "with observe_progress(tell):\n"
        "    SGDRegressor(engine=Processes(2), n_jobs=2, algorithm='simuparallel', max_iter=10**7, tol=None)"
        ".fit(X, targets(X))\n"
    )
    path = os.pathsep.join([str(Path(parsgd.__file__).parents[1]), *sys.path])
    driver = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    with driver:
        children = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
        assert len(children) == 2
        driver.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_shared_data_for_which_there_is_no_space_are_an_error_that_says_so(tmp_path):
    code = (
        "import resource, signal, numpy as np, parsgd\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "X = np.random.default_rng(0).standard_normal((400, 500))\n"
        "try:\n"
        "    parsgd.SGDClassifier(n_jobs=2, algorithm='local', engine='processes').fit(X, X[:, 0] > 0)\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    path = os.pathsep.join([str(Path(parsgd.__file__).parents[1]), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "could not share" in ended.stdout, ended.stderr
    assert "engine='threads'" in ended.stdout
