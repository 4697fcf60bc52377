"""Actors of a Ray cluster that are killed for real, or stopped."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from parsgd import LocalSGD, SGDClassifier, SimuParallel
from parsgd.errors import WorkersLostError
from parsgd.testing.problems import labels, unit_rows

ray = pytest.importorskip("ray", reason="needs parsgd[ray]")
from parsgd.engines.ray.ray_engine import Ray  # noqa: E402

X = unit_rows(2000, 8)
Y = labels(X)
TRAIN, TEST = slice(0, 1500), slice(1500, None)
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def engine():
    with Ray(n_processes=2) as engine:
        yield engine


def fitted(engine, algorithm=None, n_jobs=4, max_iter=5):
    settings = {"alpha": 0.01, "n_jobs": n_jobs, "max_iter": max_iter, "tol": None, "random_state": 0}
    model = SGDClassifier("log_loss", algorithm=algorithm or LocalSGD(0.5), engine=engine, **settings)
    return model.fit(X[TRAIN], Y[TRAIN])


def loss(model):
    margins = (2 * Y[TEST] - 1) * model.decision_function(X[TEST])
    return float(np.logaddexp(0.0, -margins).mean())


@pytest.fixture(scope="module")
def undisturbed():
    return loss(fitted("serial"))


def lost(model):
    return [(entry["round"], gone["worker"], gone["replaced"]) for entry in model.history_ for gone in entry["lost"]]


@pytest.mark.parametrize("moment", [pytest.param("begin", marks=slow), "middle", pytest.param("end", marks=slow)])
def test_a_round_ends_without_an_actor_that_is_killed_in_it(engine, trapped, undisturbed, moment):
    trap = trapped(engine, [(1, 3)], moment=moment)
    began = time.monotonic()
    model = fitted(trap)
    assert time.monotonic() - began < 60
    assert len(trap.sprung()) == 1
    # another task may have been waiting for the same actor
    assert (3, 1, True) in lost(model)
    assert {round for round, _, _ in lost(model)} == {3}
    entry, gone = model.history_[3], {worker for _, worker, _ in lost(model)}
    assert [worker["worker"] for worker in entry["workers"]] == sorted({0, 1, 2, 3} - gone)
    assert sum(worker["weight"] for worker in entry["workers"]) == pytest.approx(1.0)
    assert len(model.history_[4]["workers"]) == 4
    assert f"the Ray worker with pid {trap.sprung()[0]} on the node 127.0.0.1 was lost" in entry["lost"][0]["why"]
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


@slow
def test_two_deaths_in_a_row(engine, trapped, undisturbed):
    model = fitted(trapped(engine, [(0, 2), (3, 3)]))
    assert {(2, 0, True), (3, 3, True)} <= set(lost(model))
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


def test_both_actors_at_once_are_replaced(engine, trapped, undisturbed):
    model = fitted(trapped(engine, [(0, 2), (1, 2), (2, 2), (3, 2)]))
    assert {(2, 0, True), (2, 1, True)} <= set(lost(model))
    assert len(model.history_[-1]["workers"]) == 4
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)


def test_one_shot_averages_do_the_lost_task_again_to_the_same_bits(engine, trapped):
    model = fitted(trapped(engine, [(1, 0)]), SimuParallel())
    assert (0, 1, True) in lost(model)
    assert np.array_equal(model.coef_, fitted("serial", SimuParallel()).coef_)


@slow
def test_rows_that_kill_every_actor_that_takes_them_end_the_fit(engine, trapped):
    trap = trapped(engine, [(1, 0)], times=9, moment="begin")
    with pytest.raises(WorkersLostError, match=r"Worker 1 failed 5 times in a row"):
        fitted(trap, SimuParallel(), n_jobs=2)


@pytest.mark.alone
def test_an_actor_that_is_silent_is_given_up_and_taken_back_when_it_answers(engine, trapped, undisturbed, until):
    trap = trapped(replace(engine, heartbeat_timeout_s=2.0), [(1, 3)], moment="begin", deed="stop")
    try:
        model = fitted(trap)
        assert (3, 1, True) in lost(model)
        assert "sent no heartbeat for 2 s" in model.history_[3]["lost"][0]["why"]
    finally:
        for process in trap.sprung():
            os.kill(process, signal.SIGCONT)
    assert loss(model) == pytest.approx(undisturbed, rel=0.02)
