"""Workers on a Ray cluster of this machine, none of which comes to harm."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import closing
from copy import deepcopy
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest
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
)
from parsgd.algorithms.merging.merge_weights import weighted_sum
from parsgd.core import Budget, Shard, Task, no_progress
from parsgd.engines import remote_reports
from parsgd.errors import IncompatiblePartsError, InvalidArgumentError, Outcome
from parsgd.estimators.auto_select import count_workers
from parsgd.estimators.linear.linear_size import LinearSize
from parsgd.testing.contracts import check_engine
from parsgd.testing.contracts._fixtures import small_report
from parsgd.testing.problems import labels, targets, unit_rows

ray = pytest.importorskip("ray", reason="needs parsgd[ray]")
from parsgd.engines.ray import ray_session  # noqa: E402
from parsgd.engines.ray.object_state import ObjectState  # noqa: E402
from parsgd.engines.ray.ray_engine import Ray  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])

X = unit_rows(300, 6)
Y = labels(X, 3)
ALGORITHMS = [SimuParallel(), WeightedAverage(), LocalSGD(0.5), MiniBatch(32)]


@pytest.fixture(scope="module")
def engine():
    with Ray(n_processes=2) as engine:
        yield engine


def linear(engine, algorithm, n_jobs=2):
    settings = {"n_jobs": n_jobs, "max_iter": 2, "tol": None, "random_state": 3}
    return SGDClassifier("log_loss", algorithm=algorithm, engine=engine, **settings).fit(X, Y).coef_


def network(engine, algorithm, n_jobs=2):
    settings = {"n_jobs": n_jobs, "max_iter": 2, "n_iter_no_change": 2, "batch_size": 16, "random_state": 3}
    model = MLPClassifier((8,), algorithm=algorithm, engine=engine, **settings)
    with pytest.warns(match="Stochastic Optimizer"):
        return np.concatenate([weights.ravel() for weights in model.fit(X, Y).coefs_])


def test_it_keeps_the_contract_of_engines(engine):
    check_engine(engine)


@pytest.mark.cover(1)
@pytest.mark.parametrize("model", [linear, network])
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_it_gives_the_bits_of_serial_and_threads(engine, algorithm, model):
    ours = model(engine, algorithm)
    for other in ("serial", "threads"):
        assert np.array_equal(ours, model(other, algorithm))


@pytest.mark.parametrize("n_jobs", [1, 5])
def test_more_and_fewer_workers_than_actors_change_nothing(engine, n_jobs):
    assert np.array_equal(linear(engine, LocalSGD(0.5), n_jobs), linear("serial", LocalSGD(0.5), n_jobs))


@pytest.mark.cover(1)
@pytest.mark.parametrize("reduce", ["tree", "direct"])
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "elastic", "adaptive"], ids=str)
def test_states_that_stay_on_their_nodes_change_no_bit(engine, algorithm, reduce):
    algorithm = LocalSGD(0.2, outer_optimizer="adaptive") if algorithm == "adaptive" else algorithm
    assert np.array_equal(linear(replace(engine, reduce=reduce), algorithm, 3), linear("serial", algorithm, 3))


def test_of_forty_workers_states_the_driver_gets_only_their_sum(engine, monkeypatch):
    brought = []

    def counted(vector):
        brought.extend([vector.size] * bool(vector.size))
        return vector

    theirs = linear("serial", LocalSGD(1.0), 40)
    monkeypatch.setattr(remote_reports, "aligned", counted)
    ours = linear(engine, LocalSGD(1.0), 40)
    assert np.array_equal(ours, theirs)
    # in each of the two rounds
    assert len(brought) == 2


@pytest.mark.parametrize(("n", "dtype"), [(2, np.float64), (17, np.float64), (40, np.float32)])
def test_sums_in_a_tree_have_the_bits_of_sums_here(engine, n, dtype):
    states = np.random.default_rng(n).standard_normal((n, 7)).astype(dtype)
    with closing(replace(engine, reduce="tree").open(echo, [NoRows()] * n, no_progress)) as pool:
        there = [report.state for report in sorted(one_round(pool, states), key=lambda report: report.worker)]
        assert all(isinstance(state, ObjectState) for state in there)
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


def test_large_states_are_put_once_per_round_and_may_be_changed_where_they_arrive(engine, monkeypatch):
    put, n_puts = ray.put, []
    monkeypatch.setattr(ray, "put", lambda value: n_puts.append(value) or put(value))
    state = np.random.default_rng(0).standard_normal(300_000)
    with closing(engine.open(increase, [NoRows()] * 3, no_progress)) as pool:
        n_puts.clear()
        for round in range(3):
            sent = state + round
            for report in one_round(pool, [sent] * 3, round):
                assert np.array_equal(report.state, sent + 1.0)
                assert report.state.flags.aligned
                assert report.state.flags.writeable
        assert len(n_puts) == 3


def test_an_error_in_a_worker_ends_the_fit_with_that_error_and_is_not_tried_again(engine, trapped):
    trap = trapped(engine, [(1, 1)], deed="raise", times=9)
    with pytest.raises(OSError, match="these rows cannot be read") as caught:
        linear(trap, LocalSGD(0.5))
    [pid] = trap.sprung()
    note = f"Raised by worker 1 in round 1, the Ray worker with pid {pid} on the node 127.0.0.1:"
    assert any(note in found for found in caught.value.__notes__)


def test_warnings_of_workers_are_issued_here(engine):
    with closing(engine.open(warn, [NoRows()], no_progress)) as pool, pytest.warns(UserWarning, match="from afar"):
        one_round(pool, [np.zeros(1)])


def test_parts_that_cannot_be_pickled_are_named(engine):
    lock = threading.Lock()

    def work(shard, task, progress):
        return lock

    with pytest.raises(IncompatiblePartsError, match=r"cannot be pickled.*lock.*engine='threads'"):
        engine.open(work, [NoRows()], no_progress)


def test_work_continues_with_the_shard_that_the_actor_keeps(engine):
    with closing(engine.open(count_uses, [Counting(), Counting()], no_progress)) as pool:
        for round in range(4):
            assert [report.examples for report in one_round(pool, [np.zeros(1)] * 2, round)] == [round + 1] * 2


def test_shards_are_closed_on_the_actors_and_replaced_ones_too(engine, tmp_path, until):
    first, second = tmp_path / "first", tmp_path / "second"
    with closing(engine.open(count_uses, [Counting(first)], no_progress)) as pool:
        one_round(pool, [np.zeros(1)])
        assert not first.exists()
        pool.set_shards([Counting(second)])
        assert one_round(pool, [np.zeros(1)], 1)[0].examples == 1
        assert first.exists()
        assert not second.exists()
    assert second.exists()


def test_progress_is_reported_while_a_task_runs(engine):
    seen = []
    pool = engine.open(slow, [NoRows()], Recorder(seen))
    with closing(pool):
        one_round(pool, [np.zeros(1)])
    # besides those that the report adds
    assert len([examples for examples in seen if examples]) > 1
    assert sum(seen) == 100


def test_ctrl_c_ends_the_round_and_keeps_what_was_reached(engine):
    press = signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
    told = []

    def interrupt(progress):
        if not told:
            told.append(progress)
            threading.Timer(0.2, *press).start()

    model = SGDRegressor(engine=engine, algorithm=LocalSGD(0.5), n_jobs=2, max_iter=10**6, tol=None)
    with observe_progress(interrupt), pytest.raises(KeyboardInterrupt):
        model.fit(X, targets(X))
    assert model.outcome_ is Outcome.INTERRUPTED
    one_round = SGDRegressor(engine=engine, algorithm=SimuParallel(), n_jobs=2, max_iter=10**7, tol=None)
    pressed = []
    threading.Timer(1.0, lambda: pressed.append(time.monotonic()) or press[0](*press[1])).start()
    with pytest.raises(KeyboardInterrupt):
        one_round.fit(X, targets(X))
    assert np.isfinite(one_round.coef_).all()
    # generous for a busy machine; the actors poll every 0.02 s and the driver every 0.1 s
    assert time.monotonic() - pressed[0] < 5.0


def test_without_a_number_there_is_a_worker_for_each_core(engine):
    rows = unit_rows(4000, 6)
    model = SGDRegressor(engine=engine, max_iter=1, tol=None).fit(rows, targets(rows))
    assert model.algorithm_.n_workers == 2
    assert "the cluster has 2" in model.algorithm_.why


def test_the_cluster_of_this_process_is_used_by_name_and_by_address(engine):
    address = ray.get_runtime_context().gcs_address
    for other in ("ray", Ray(address=address), Ray(address="auto")):
        assert np.array_equal(linear(other, LocalSGD(0.5)), linear("serial", LocalSGD(0.5)))
    assert ray.is_initialized()
    with pytest.raises(IncompatiblePartsError, match=r"connected to the Ray cluster at 127\.0\.0\.1"):
        linear(Ray(address="127.0.0.1:9"), LocalSGD(0.5))


def in_a_task():
    counts = [count_workers(n, LinearSize(10_000_000, 500_000_000, 50, 1), "")[0] for n in (None, -1, 3)]
    try:
        SGDClassifier(engine="ray", n_jobs=2).fit(X, Y)
    except IncompatiblePartsError as error:
        return str(error), counts
    return "", counts


@pytest.fixture
def full(engine):
    """The cluster with all cores free; tasks that take both of them leave none for actors."""
    ray_session._kept[-1].cache.hosts, kept = [], ray_session._kept[-1].cache.hosts
    for host in kept:
        host.kill()
    return engine


def test_inside_a_task_that_leaves_no_core_the_engine_is_refused(full):
    said, _ = ray.get(ray.remote(num_cpus=2)(in_a_task).remote(), timeout=60)
    assert "engine='threads'" in said


def test_inside_a_task_that_leaves_a_core_it_works(full):
    said, counts = ray.get(ray.remote(num_cpus=1)(in_a_task).remote(), timeout=60)
    assert said == ""
    # and without a number it has one worker
    assert counts == [1, 1, 3]


def test_engines_can_be_copied_and_pickled_with_the_estimators_that_have_them(engine):
    assert clone(SGDClassifier(engine=engine)).engine is engine
    assert deepcopy(engine) is engine
    assert pickle.loads(pickle.dumps(engine)) == engine


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"address": 7}, "'address' parameter of Ray must be a str"),
        ({"n_processes": 0}, "'n_processes' parameter of Ray must be an int of at least 1"),
        ({"reduce": "treee"}, "Did you mean 'tree'"),
        ({"heartbeat_timeout_s": 0}, "'heartbeat_timeout_s' parameter of Ray must be a number"),
        ({"worker_timeout_s": None}, "'worker_timeout_s' parameter of Ray must be a number"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(settings, said):
    with pytest.raises(InvalidArgumentError, match=said):
        Ray(**settings)


# in a process of its own, which is connected to no cluster
ALONE = """
import json, os, sys, time
import numpy as np
from parsgd import LocalSGD, SGDClassifier
from parsgd.errors import InvalidArgumentError, WorkersLostError
from parsgd.ray import Ray
from parsgd.testing.problems import labels, unit_rows

if __name__ == "__main__":
    X = unit_rows(300, 6)
    def fit(engine, max_iter=2):
        settings = dict(n_jobs=2, max_iter=max_iter, tol=None, random_state=0)
        model = SGDClassifier(algorithm=LocalSGD(0.5), engine=engine, **settings)
        return model.fit(X, labels(X, 2)).coef_
    errors = []
    os.environ["RAY_ADDRESS"] = "127.0.0.1:9"
    try:
        fit(Ray(worker_timeout_s=2.0))
    except WorkersLostError as error:
        errors.append(str(error))
    del os.environ["RAY_ADDRESS"]
    for address, kind in (("127.0.0.1:9", WorkersLostError), ("ray://here:1", InvalidArgumentError)):
        try:
            fit(Ray(address=address, worker_timeout_s=2.0))
        except kind as error:
            errors.append(str(error))
    if "forever" in sys.argv:
        from parsgd import observe_progress
        with observe_progress(lambda progress: print("training", flush=True)):
            fit("ray", 10**7)
        sys.exit()
    before = dict(os.environ)
    same = [bool(np.array_equal(fit("ray"), fit("serial"))) for _ in range(2)]
    import ray
    print(json.dumps([errors, same, before == dict(os.environ), ray.is_initialized()]))
"""


@pytest.fixture
def script(tmp_path):
    """A program, and its environment with a folder for its temporary files."""
    (tmp_path / "alone.py").write_text(ALONE)
    (tmp_path / "t").mkdir()
    return tmp_path / "alone.py", os.environ | {"TMPDIR": str(tmp_path / "t")}


def ours(script):
    """Processes that were started with the environment of the program."""
    psutil = pytest.importorskip("psutil")
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == script[1]["TMPDIR"] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_a_cluster_for_one_fit_leaves_no_process_no_file_and_no_variable(script, until):
    done = subprocess.run(
        [sys.executable, script[0]], env=script[1], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    errors, same, environment, connected = json.loads(done.stdout.splitlines()[-1])
    assert all("The Ray cluster at 127.0.0.1:9 does not answer" in error for error in errors[:2])
    assert "submit it as a Ray job" in errors[2]
    assert same == [True, True]
    assert environment
    assert not connected
    until(lambda: not ours(script))
    assert not list((script[0].parent / "t").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_is_ended_leaves_no_process(script, until, number):
    with subprocess.Popen(
        [sys.executable, script[0], "forever"],
        env=script[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert "training" in process.stdout.readline()
        # as a terminal does with Ctrl-C: to all processes of the group
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        began = time.monotonic()
        process.wait(timeout=60)
        assert time.monotonic() - began < 30
    until(lambda: not ours(script))


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


class Recorder:
    """A callback that records the examples."""

    halted = False

    def __init__(self, seen):
        self.seen = seen

    def __call__(self, worker, examples, sgd_run):
        self.seen.append(examples)
        return True


class Loss:
    def mean_loss(self):
        return 1.0


def one_round(pool, states, round=0):
    """Reports of a round in the order of the workers."""
    for worker, state in enumerate(states):
        pool.send(Task(worker, round, state, 0, Budget(1)))
    reports = []
    while len(reports) < len(states):
        reports += pool.receive(len(states) - len(reports))
    return sorted(reports, key=lambda report: report.worker)


def echo(shard, task, progress):
    return small_report(task.worker, task.state.copy(), task.round)


def increase(shard, task, progress):
    task.state[:] += 1.0
    return small_report(task.worker, task.state, task.round)


def warn(shard, task, progress):
    warnings.warn("from afar", UserWarning, stacklevel=1)
    return echo(shard, task, progress)


def count_uses(shard, task, progress):
    shard.used += 1
    return replace(echo(shard, task, progress), examples=shard.used)


def slow(shard, task, progress):
    for _ in range(100):
        time.sleep(0.02)
        progress(task.worker, 1, Loss())
    return replace(echo(shard, task, progress), examples=100)
