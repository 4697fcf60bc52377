"""The line between a running fit and whoever watches it: progress one way, the order to stop the other."""

from __future__ import annotations

import contextlib
import contextvars
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from parsgd.core import Descent

# How often a progress display hears of a running round.
_TELL_SECONDS = 0.1
_observers: contextvars.ContextVar[tuple[Callable, ...]] = contextvars.ContextVar("observers", default=())


@dataclass(frozen=True)
class Progress:
    """What an observer is told: examples visited so far, how many there will be at most, and the mean loss lately."""

    examples: int
    planned: int
    loss: float
    seconds: float
    workers: tuple[int, ...]
    done: bool = False


@contextlib.contextmanager
def watch(observer: Callable[[Progress], None]) -> Iterator[None]:
    """Tell ``observer`` how every fit inside the block gets on: several times a second, and at the end of each fit.

    >>> from parsgd import SGDClassifier, watch
    >>> from sklearn.datasets import load_iris
    >>> told = []
    >>> with watch(told.append):
    ...     _ = SGDClassifier(n_jobs=1, random_state=0).fit(*load_iris(return_X_y=True))
    >>> told[-1].done
    True
    """
    token = _observers.set((*_observers.get(), observer))
    try:
        yield
    finally:
        _observers.reset(token)


class Line:
    """The pulse of engines in this process: counts what workers do, tells observers, carries the order to stop."""

    def __init__(self, n_workers: int, planned: int):
        self.observers = _observers.get()
        self.planned = planned
        self.done = [0] * n_workers
        self.loss = math.nan
        self.halted = False
        self.began = time.perf_counter()
        self.told = self.began
        self.lock = threading.Lock()

    def __call__(self, worker: int, examples: int, descent: Descent) -> bool:
        self.done[worker] += examples
        now = time.perf_counter()
        if self.observers and now - self.told > _TELL_SECONDS:
            with self.lock:
                self.told = now
                self.tell(descent.mean_loss())
        return not self.halted

    def tell(self, loss: float = math.nan, done: bool = False) -> None:
        """Tell the observers where the fit stands."""
        self.loss = self.loss if math.isnan(loss) else loss
        seconds = time.perf_counter() - self.began
        told = Progress(sum(self.done), self.planned, self.loss, seconds, tuple(self.done), done)
        for observer in self.observers:
            observer(told)


@contextlib.contextmanager
def stopped_by_interrupt(line: Line) -> Iterator[None]:
    """Let the first Ctrl-C end the round early and the fit with it; a second one interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def halt(signum, frame):
        line.halted = True
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    if before is None or before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, halt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
