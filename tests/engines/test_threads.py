"""Whose thread does which task."""

import threading
from types import SimpleNamespace

import pytest

from parsgd.engines.threads import Threads


def crew_of(work, n_workers):
    shards = [SimpleNamespace(close=lambda: None) for _ in range(n_workers)]
    return Threads().open(lambda shard, task, pulse: work(task), shards, None)


def send_all(crew, n_workers):
    for worker in range(n_workers):
        crew.send(SimpleNamespace(worker=worker))


def whose(task):
    return task.worker, threading.current_thread()


def test_where_all_answers_are_waited_for_the_driver_does_the_last_task():
    crew, driver = crew_of(whose, 3), threading.current_thread()
    for _ in range(2):
        send_all(crew, 3)
        threads = dict(crew.receive(3))
        assert threads[2] is driver
        assert driver not in (threads[0], threads[1])
    crew.close()


def test_where_it_does_not_wait_for_all_it_does_none():
    crew, driver = crew_of(whose, 2), threading.current_thread()
    send_all(crew, 2)
    answers = crew.receive(1)
    while len(answers) < 2:
        answers += crew.receive(1)
    assert sorted(worker for worker, _ in answers) == [0, 1]
    assert driver not in dict(answers).values()
    crew.close()


def test_tasks_run_side_by_side_with_the_drivers_own():
    together = threading.Barrier(2, timeout=10)
    crew = crew_of(lambda task: together.wait(), 2)
    send_all(crew, 2)
    assert sorted(crew.receive(2)) == [0, 1]
    crew.close()


def test_an_error_of_the_drivers_own_task_is_raised_like_any_other():
    def fails(task):
        raise ValueError(f"worker {task.worker}")

    crew = crew_of(fails, 1)
    send_all(crew, 1)
    with pytest.raises(ValueError, match="worker 0"):
        crew.receive(1)
    crew.close()


def test_a_task_that_nobody_waits_for_is_dropped():
    crew = crew_of(whose, 2)
    send_all(crew, 2)
    crew.close()
    assert crew.pending == 2
