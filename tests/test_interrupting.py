"""Ctrl-C ends a fit early and keeps what it found; a second one interrupts as usual."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import parsgd
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import InterruptedFit, Outcome
from parsgd.testing.problems import labels, targets, unit_rows

X = unit_rows(500, 8)
Y = labels(X)
# a minute or two, if nobody stopped it
LONG = {"max_iter": 10**6, "tol": None, "random_state": 0, "n_jobs": 2}
ENGINES = {"serial": Serial(), "threads": Threads()}
ALGORITHMS = [parsgd.SimuParallel(), parsgd.Weighted(), parsgd.Local(), parsgd.Hogwild()]
PAIRS = [
    pytest.param(algorithm, engine, id=f"{algorithm.name}-{engine}")
    for algorithm in ALGORITHMS for engine in ENGINES
    if algorithm.needs - {"shared_steps"} <= ENGINES[engine].offers
]  # fmt: skip


class PressesCtrlC:
    """An engine on which Ctrl-C is pressed once the first worker has visited so many rows and the driver listens.

    It is pressed ``times`` times, the second when the first was heard; till then no worker obeys the order to stop.
    """

    def __init__(self, engine, rows=20_000, times=1):
        self.engine, self.rows, self.left = engine, rows, times
        self.name, self.offers = engine.name, engine.offers

    def open(self, work, shards, pulse):
        ours = signal.getsignal(signal.SIGINT)
        listening, pressed = [], []

        def pressing(worker, examples, descent):
            if worker == 0:
                self.rows -= examples
                heard = not pressed or signal.getsignal(signal.SIGINT) is not ours
                if self.rows < 0 and self.left and listening and heard:
                    pressed.append(True)
                    self.press()
            return pulse(worker, examples, descent) or self.left > 0

        crew = self.engine.open(work, shards, pressing)
        receive = crew.receive
        crew.receive = lambda at_least: listening.append(True) or receive(at_least)
        return crew

    def press(self):
        self.left -= 1
        # to the main thread, where a terminal's Ctrl-C arrives
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.mark.parametrize(("algorithm", "engine"), PAIRS)
def test_ctrl_c_ends_the_fit_and_keeps_a_useful_model(engine, algorithm):
    before = signal.getsignal(signal.SIGINT)
    model = parsgd.SGDClassifier("log_loss", algorithm=algorithm, engine=PressesCtrlC(ENGINES[engine]), **LONG)
    with pytest.warns(InterruptedFit, match="examples visited"):
        model.fit(X, Y)
    assert model.outcome_ is Outcome.INTERRUPTED
    assert np.isfinite(model.coef_).all()
    assert model.score(X, Y) > 0.9
    assert model.n_iter_ < LONG["max_iter"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_fit_warns_where_the_user_called_fit():
    model = parsgd.SGDRegressor(engine=PressesCtrlC(Serial()), **LONG)
    with pytest.warns(InterruptedFit) as caught:
        model.fit(X, targets(X))
    assert caught[0].filename == __file__


def test_an_interrupted_fit_tells_its_watchers_that_it_is_done():
    told = []
    with parsgd.watch(told.append), pytest.warns(InterruptedFit):
        parsgd.SGDClassifier(engine=PressesCtrlC(Threads()), **LONG).fit(X, Y)
    assert told[-1].done
    assert 20_000 <= told[-1].examples < told[-1].planned


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_ctrl_c_interrupts_as_usual_and_leaves_no_worker(engine):
    engine = PressesCtrlC(ENGINES[engine], times=2)
    model = parsgd.SGDClassifier(algorithm="simuparallel", engine=engine, **LONG)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_from_outside_is_heard_too():
    told = []

    def press(progress):
        if not told:
            os.kill(os.getpid(), signal.SIGINT)
        told.append(progress)

    with parsgd.watch(press), pytest.warns(InterruptedFit):
        model = parsgd.SGDClassifier(engine="threads", algorithm="simuparallel", **LONG).fit(X, Y)
    assert model.outcome_ is Outcome.INTERRUPTED


def test_ctrl_c_is_heard_although_it_does_not_wake_the_waiting_driver():
    class PressesElsewhere(PressesCtrlC):
        def press(self):
            self.left -= 1
            time.sleep(0.05)  # the driver waits for reports by now
            signal.raise_signal(signal.SIGINT)  # to the worker's own thread

    model = parsgd.SGDClassifier(algorithm="simuparallel", engine=PressesElsewhere(Threads()), **LONG)
    with pytest.warns(InterruptedFit):
        model.fit(X, Y)


def test_the_handler_of_somebody_else_is_restored():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda signum, frame: pressed.append(signum))
    try:
        mine = signal.getsignal(signal.SIGINT)
        with pytest.warns(InterruptedFit):
            parsgd.SGDClassifier(engine=PressesCtrlC(Serial()), **LONG).fit(X, Y)
        assert signal.getsignal(signal.SIGINT) is mine
        assert pressed == []
    finally:
        signal.signal(signal.SIGINT, before)


def test_where_ctrl_c_is_ignored_it_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        model = parsgd.SGDClassifier(engine=PressesCtrlC(Serial()), **{**LONG, "max_iter": 100}).fit(X, Y)
        assert model.outcome_ is Outcome.MAX_EPOCHS
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_fit_outside_the_main_thread_leaves_signals_alone():
    found = []
    settings = {**LONG, "max_iter": 3}
    thread = threading.Thread(target=lambda: found.append(parsgd.SGDClassifier(**settings).fit(X, Y)))
    thread.start()
    thread.join()
    assert found[0].outcome_ is Outcome.MAX_EPOCHS


def test_an_error_in_a_worker_restores_the_handler_and_reaches_the_caller():
    class Fails(PressesCtrlC):
        def open(self, work, shards, pulse):
            def broken(shard, task, pulse):
                raise OSError("the disk is gone")

            return self.engine.open(broken, shards, pulse)

    for engine in ENGINES.values():
        with pytest.raises(OSError, match="the disk is gone"):
            parsgd.SGDClassifier(engine=Fails(engine), **LONG).fit(X, Y)
