"""What engines do beyond the contract that every engine keeps."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from parsgd import LocalSGD, SGDRegressor
from parsgd.core import Budget, EngineDefaults, Task, no_progress
from parsgd.data.sources.array_source import ArraySource
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import InvalidArgumentError
from parsgd.testing.problems import targets, unit_rows
from parsgd.utils.row_arrays import rows_of

X = unit_rows(100, 4)
SHARDS = ArraySource(rows_of(X, targets(X))).split(3, 0)
TASKS = [Task(worker, 0, np.zeros(1), 0, Budget(1)) for worker in range(3)]


def test_the_serial_engine_works_in_the_calling_thread_when_a_report_is_asked_for():
    seen = []

    def work(shard, task, pulse):
        seen.append(threading.current_thread())
        return task.worker

    crew = Serial().open(work, SHARDS, no_progress)
    for task in TASKS:
        crew.send(task)
    assert seen == []
    assert crew.receive(2) == [0, 1]
    assert seen == [threading.current_thread()] * 2
    crew.close()
    assert crew.receive(3) == []


def test_every_worker_has_a_thread_of_its_own_at_the_same_time():
    meeting = threading.Barrier(3, timeout=60)

    def work(shard, task, pulse):
        meeting.wait()
        return task.worker

    with closing(Threads().open(work, SHARDS, no_progress)) as crew:
        for task in TASKS:
            crew.send(task)
        assert sorted(crew.receive(3)) == [0, 1, 2]


def test_a_quorum_is_enough_to_go_on():
    door = threading.Event()

    def work(shard, task, pulse):
        if task.worker == 2:
            door.wait(60)
        return task.worker

    crew = Threads().open(work, SHARDS, no_progress)
    try:
        for task in TASKS:
            crew.send(task)
        first = crew.receive(2)
        door.set()
        assert sorted(first) == [0, 1]
        assert crew.receive(1) == [2]
    finally:
        door.set()
        crew.close()


def test_closing_waits_for_the_workers_and_drops_what_was_not_begun():
    begun, entered, door = [], threading.Event(), threading.Event()

    def work(shard, task, pulse):
        begun.append(task.worker)
        entered.set()
        door.wait(60)

    crew = Threads().open(work, SHARDS[:1], no_progress)
    for _ in range(5):
        crew.send(TASKS[0])
    assert entered.wait(60)
    threading.Timer(0.05, door.set).start()
    crew.close()
    assert door.is_set()
    assert 1 <= len(begun) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("parsgd")]


@pytest.mark.parametrize("engine", [Serial(), Threads()], ids=repr)
def test_one_failing_worker_ends_the_fit_for_all_and_its_error_is_raised_as_it_is(engine):
    class Trips(EngineDefaults):
        name, capabilities = engine.name, engine.capabilities

        def open(self, work, shards, pulse):
            def tripping(shard, task, pulse):
                if task.worker == 1 and task.round == 2:
                    raise MemoryError("worker 1 has none left")
                return work(shard, task, pulse)

            return engine.open(tripping, shards, pulse)

    model = SGDRegressor(algorithm=LocalSGD(), engine=Trips(), n_jobs=3, max_iter=10**5, tol=None)
    with pytest.raises(MemoryError, match="worker 1 has none left"):
        model.fit(X, targets(X))


class Bare:
    """An engine with some members only."""

    name, capabilities = "bare", frozenset()

    def open(self, work, shards, progress):
        return Serial().open(work, shards, progress)


class Whole(EngineDefaults, Bare):
    """The same engine with the defaults of the others."""


def test_an_engine_that_lacks_members_is_refused_with_the_class_that_has_them():
    with pytest.raises(InvalidArgumentError, match=r"Bare lacks some. Derive it from parsgd.core.EngineDefaults"):
        SGDRegressor(engine=Bare(), n_jobs=2).fit(X, targets(X))
    for algorithm in (LocalSGD(), "auto"):
        settings = {"algorithm": algorithm, "n_jobs": 2, "max_iter": 2, "tol": None, "random_state": 0}
        ours, theirs = (SGDRegressor(engine=one, **settings).fit(X, targets(X)) for one in (Whole(), "serial"))
        assert ours.coef_.tobytes() == theirs.coef_.tobytes()


def test_two_fits_at_once_in_one_process_do_not_disturb_each_other():
    settings = {"algorithm": LocalSGD(), "engine": "threads", "n_jobs": 2, "tol": None, "max_iter": 20}

    def fit(seed):
        return SGDRegressor(random_state=seed, **settings).fit(X, targets(X)).coef_.tobytes()

    alone = [fit(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(fit, range(4))) == alone
