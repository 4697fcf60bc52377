"""Workers' threads begin on cores of their own, and stay free to go elsewhere."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from parsgd import SGDClassifier
from parsgd.engines import affinity

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no such call")


def test_a_thread_moves_and_may_go_wherever_it_could_before():
    usable = affinity.usable_cores()

    def moved(number):
        affinity.take_core(number, usable)
        return sorted(os.sched_getaffinity(0))

    for number in range(2 * len(usable)):
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(moved, number).result() == usable


def test_each_worker_asks_for_a_core_of_its_own(monkeypatch):
    asked, allowed = [], sorted(os.sched_getaffinity(0))
    monkeypatch.setattr(affinity, "_present_core", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {3, 5, 8})
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cores: asked.append(set(cores)))
    X = np.random.default_rng(0).standard_normal((90, 3))
    SGDClassifier(n_jobs=3, engine="threads", algorithm="simuparallel", max_iter=2, tol=None).fit(X, X[:, 0] > 0)
    assert sorted(map(tuple, (c for c in asked if len(c) == 1))) == [(3,), (5,), (8,)]
    assert asked.count({3, 5, 8}) == 3
    monkeypatch.undo()
    assert sorted(os.sched_getaffinity(0)) == allowed


def test_more_workers_than_cores_are_left_to_the_system(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cores: pytest.fail("nobody should be moved"))
    X = np.random.default_rng(0).standard_normal((90, 3))
    SGDClassifier(n_jobs=3, engine="threads", algorithm="simuparallel", max_iter=2, tol=None).fit(X, X[:, 0] > 0)


def test_a_core_that_may_not_be_had_harms_nobody(monkeypatch):
    def refuse(thread, cores):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(affinity, "_present_core", None)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    affinity.take_core(0, [0, 1])


def test_who_is_on_its_core_already_is_left_there(monkeypatch):
    monkeypatch.setattr(affinity, "_present_core", lambda: 5)
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cores: pytest.fail("it is where it should be"))
    affinity.take_core(1, [3, 5, 8])
