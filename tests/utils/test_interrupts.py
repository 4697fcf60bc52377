"""Ctrl-C ends a fit early and keeps what it found; whoever called the fit decides what comes of it."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parsgd
from parsgd.checkpointing.store import CheckpointStore
from parsgd.core import MODEL_CAPABILITIES, EngineDefaults, GroupPool
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import FitInterruptedWarning, Outcome
from parsgd.testing.problems import labels, targets, unit_rows
from parsgd.utils import interrupts

X = unit_rows(500, 8)
Y = labels(X)
# what a script, a notebook or an interactive session calls itself
MAIN = {"__name__": "__main__"}
exec("def fit(model, *data, **more): return model.fit(*data, **more)", MAIN)
exec("def partial_fit(model, *data): return model.partial_fit(*data)", MAIN)
# a minute or two, if nobody stopped it
LONG = {"max_iter": 10**6, "tol": None, "random_state": 0, "n_jobs": 2}
ENGINES = {"serial": Serial(), "threads": Threads()}
ALGORITHMS = [parsgd.SimuParallel(), parsgd.WeightedAverage(), parsgd.LocalSGD(), parsgd.Hogwild()]
PAIRS = [
    pytest.param(algorithm, engine, id=f"{algorithm.name}-{engine}")
    for algorithm in ALGORITHMS
    for engine in ENGINES
    if algorithm.traits.requires - MODEL_CAPABILITIES <= ENGINES[engine].capabilities
]


class PressesCtrlC(EngineDefaults):
    """An engine on which Ctrl-C is pressed once the first worker has visited so many rows and the driver listens.

    It is pressed ``times`` times, the second when the first was heard; till then no worker obeys the order to stop.
    """

    def __init__(self, engine, rows=20_000, times=1):
        self.engine, self.rows, self.left = engine, rows, times
        self.name, self.capabilities = engine.name, engine.capabilities

    def open(self, work, shards, pulse):
        listening, pressed = [], []

        def pressing(worker, examples, sgd_run):
            if worker == 0:
                self.rows -= examples
                heard = not pressed or pulse.halted
                if self.rows < 0 and self.left and listening and heard:
                    pressed.append(True)
                    self.press()
            return pulse(worker, examples, sgd_run) or self.left > 0

        crew = self.engine.open(work, shards, pressing)
        receive = crew.receive
        crew.receive = lambda at_least: listening.append(True) or receive(at_least)
        if isinstance(crew, GroupPool):
            together = crew.run_together
            crew.run_together = lambda *arguments: listening.append(True) or together(*arguments)
        return crew

    def press(self):
        self.left -= 1
        # to the main thread, where a terminal's Ctrl-C arrives
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.mark.parametrize(("algorithm", "engine"), PAIRS)
def test_ctrl_c_ends_the_fit_and_keeps_a_useful_model(engine, algorithm):
    before = signal.getsignal(signal.SIGINT)
    model = parsgd.SGDClassifier("log_loss", algorithm=algorithm, engine=PressesCtrlC(ENGINES[engine]), **LONG)
    with pytest.warns(FitInterruptedWarning, match="examples visited"):
        MAIN["fit"](model, X, Y)
    assert model.outcome_ is Outcome.INTERRUPTED
    assert np.isfinite(model.coef_).all()
    assert model.score(X, Y) > 0.9
    assert model.n_iter_ < LONG["max_iter"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_fit_warns_where_the_user_called_fit():
    model = parsgd.SGDRegressor(engine=PressesCtrlC(Serial()), **LONG)
    with pytest.warns(FitInterruptedWarning) as caught:
        MAIN["fit"](model, X, targets(X))
    assert caught[0].filename == "<string>"


def test_an_interrupted_fit_tells_its_watchers_that_it_is_done():
    told = []
    with parsgd.observe_progress(told.append), pytest.raises(KeyboardInterrupt):
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

    model = parsgd.SGDClassifier(engine="threads", algorithm="simuparallel", **LONG)
    with parsgd.observe_progress(press), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.outcome_ is Outcome.INTERRUPTED


def test_ctrl_c_is_heard_although_it_does_not_wake_the_waiting_driver():
    class PressesElsewhere(PressesCtrlC):
        def press(self):
            self.left -= 1
            time.sleep(0.05)  # the driver waits for reports by now
            signal.raise_signal(signal.SIGINT)  # to the worker's own thread

    model = parsgd.SGDClassifier(algorithm="simuparallel", engine=PressesElsewhere(Threads()), **LONG)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)


def test_the_handler_of_somebody_else_is_restored():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda signum, frame: pressed.append(signum))
    try:
        mine = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
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
    model = parsgd.SGDClassifier(**{**LONG, "max_iter": 3})
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(model.fit, X, Y).result().outcome_ is Outcome.MAX_EPOCHS


def test_an_error_in_a_worker_restores_the_handler_and_reaches_the_caller():
    class Fails(PressesCtrlC):
        def open(self, work, shards, pulse):
            def broken(shard, task, pulse):
                raise OSError("the disk is gone")

            return self.engine.open(broken, shards, pulse)

    for engine in ENGINES.values():
        with pytest.raises(OSError, match="the disk is gone"):
            parsgd.SGDClassifier(engine=Fails(engine), **LONG).fit(X, Y)


FITS = {
    "linear": (parsgd.SGDClassifier, LONG),
    "regressor": (parsgd.SGDRegressor, LONG),
    "network": (parsgd.MLPClassifier, {"n_iter_no_change": 10**6, "hidden_layer_sizes": (4,), **LONG, "tol": 0.0}),
    "one class": (parsgd.SGDOneClassSVM, LONG),
}


@pytest.mark.parametrize("name", FITS)
def test_a_library_that_calls_fit_gets_keyboard_interrupt_and_the_model_is_kept(name):
    kind, settings = FITS[name]
    model = kind(engine=PressesCtrlC(Threads()), **settings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.outcome_ is Outcome.INTERRUPTED
    assert np.isfinite(model.predict(X)).all()
    assert model.history_


def test_solvers_that_have_no_workers_are_interrupted_alike():
    def press(progress):
        if progress.examples > 2000:
            signal.raise_signal(signal.SIGINT)

    model = parsgd.MLPClassifier((4,), solver="lbfgs", max_iter=10**6, max_fun=10**8, tol=0.0, random_state=0)
    with parsgd.observe_progress(press), pytest.warns(FitInterruptedWarning):
        MAIN["fit"](model, X, Y)
    assert model.outcome_ is Outcome.INTERRUPTED
    with parsgd.observe_progress(press), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.outcome_ is Outcome.INTERRUPTED


def searched(estimator):
    return GridSearchCV(estimator, {"alpha": [1e-4, 1e-3, 1e-2]}, cv=3, error_score="raise")


MAKERS = {
    "search": searched,
    "pipeline": lambda estimator: make_pipeline(StandardScaler(), estimator),
    "voting": lambda estimator: VotingClassifier([("a", estimator), ("b", estimator)]),
    "search of pipelines": lambda estimator: GridSearchCV(
        make_pipeline(StandardScaler(), estimator), {"sgdclassifier__alpha": [1e-4, 1e-3]}, cv=2
    ),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_one_press_ends_whatever_makes_several_fits(maker):
    engine = PressesCtrlC(Serial())
    # the second fit would press no key, and last
    with pytest.raises(KeyboardInterrupt):
        MAIN["fit"](MAKERS[maker](parsgd.SGDClassifier(engine=engine, **LONG)), X, Y)


def test_partial_fit_raises_whoever_calls_it_and_keeps_its_pass():
    model = parsgd.SGDClassifier().fit(X, Y)
    engine = PressesCtrlC(Serial(), rows=-1)
    model.set_params(engine=engine)
    before = model.t_
    with pytest.raises(KeyboardInterrupt):
        MAIN["partial_fit"](model, X, Y)
    assert engine.left == 0
    assert model.t_ > before
    assert model.outcome_ is Outcome.INTERRUPTED


class Presses:
    """Part of a fit that presses Ctrl-C when one of its methods is called for the first time."""

    def __init__(self, part, method):
        self.part, self.method, self.done = part, method, False

    def __getattr__(self, name):
        value = getattr(self.part, name)
        if name != self.method or self.done:
            return value

        def pressing(*arguments, **more):
            if not self.done:
                self.done = True
                signal.raise_signal(signal.SIGINT)
            return value(*arguments, **more)

        return pressing


class Open(Serial):
    """An engine whose crew presses Ctrl-C when a method is called."""

    def __init__(self, method):
        object.__setattr__(self, "method", method)

    def open(self, work, shards, pulse):
        if self.method == "open":
            signal.raise_signal(signal.SIGINT)
        return Presses(Threads().open(work, shards, pulse), self.method)


@pytest.mark.parametrize("moment", ["open", "send", "receive", "run_together", "now", "close"])
def test_a_press_at_any_moment_of_the_rounds_ends_the_fit_once(moment):
    # an outer step with momentum takes place in Python
    algorithm = parsgd.LocalSGD(outer_optimizer="momentum" if moment in ("send", "receive") else "mean")
    model = parsgd.SGDClassifier(engine=Open(moment), algorithm=algorithm, **{**LONG, "max_iter": 20})
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.outcome_ is (Outcome.MAX_EPOCHS if moment == "close" else Outcome.INTERRUPTED)
    assert np.isfinite(model.coef_).all()


def test_a_press_after_the_last_round_is_not_lost(monkeypatch):
    attributes = parsgd.SGDClassifier._attributes

    def pressing(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        return attributes(self, *arguments)

    monkeypatch.setattr(parsgd.SGDClassifier, "_attributes", pressing)
    model = parsgd.SGDClassifier(max_iter=3, tol=None)
    with pytest.warns(FitInterruptedWarning, match="the model is complete"):
        MAIN["fit"](model, X, Y)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert model.outcome_ is Outcome.MAX_EPOCHS
    assert model.score(X, Y) > 0.5


def test_a_press_before_the_rounds_ends_the_fit_at_once(monkeypatch):
    def press(*arguments, **settings):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(parsgd.SGDClassifier, "_check_parameters", press)
    with pytest.raises(KeyboardInterrupt):
        # arguments that no other test has: those found right before are not checked again
        MAIN["fit"](parsgd.SGDClassifier(alpha=0.000123), X, Y)


def test_a_press_while_a_checkpoint_is_written_leaves_whole_files(monkeypatch, tmp_path):
    write, pressed = CheckpointStore.write, []

    def pressing(self, *arguments):
        pressed.append(True)
        if len(pressed) == 3:
            signal.raise_signal(signal.SIGINT)
        return write(self, *arguments)

    monkeypatch.setattr(CheckpointStore, "write", pressing)
    kept = parsgd.Checkpoint(tmp_path, seconds=0)
    with pytest.raises(KeyboardInterrupt):
        parsgd.SGDClassifier(checkpoint=kept, algorithm="local", engine="serial", **LONG).fit(X, Y)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2
    assert all(name.endswith(".parsgd-checkpoint") for name in names)
    monkeypatch.undo()
    model = parsgd.SGDClassifier(checkpoint=kept, algorithm="local", engine="serial", **{**LONG, "max_iter": 5})
    assert model.fit(X, Y, resume=True).resumed_from_ is not None


def test_an_error_after_a_press_does_not_hide_it():
    class Fails(PressesCtrlC):
        def open(self, work, shards, pulse):
            signal.raise_signal(signal.SIGINT)
            raise OSError("the disk is gone")

    with pytest.raises(KeyboardInterrupt) as caught:
        MAIN["fit"](parsgd.SGDClassifier(engine=Fails(Serial()), **LONG), X, Y)
    assert isinstance(caught.value.__cause__, OSError)


def test_streamed_rows_leave_no_reader_behind():
    blocks = [(X[i : i + 50], Y[i : i + 50]) for i in range(0, 500, 50)]
    data = parsgd.open_dataset(blocks, shuffle_buffer_rows=64)
    for engine in (Serial(), Threads()):
        with pytest.raises(KeyboardInterrupt):
            parsgd.SGDClassifier(engine=PressesCtrlC(engine), **LONG).fit(data)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("parsgd")]


def test_a_shielded_block_is_finished_before_the_press_takes_effect():
    done = []

    def work():
        with interrupts.shielded():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
