"""The line between a running fit and whoever watches it: progress one way, the order to stop the other."""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsgd.core import SGDRun

# How often a progress display hears of a running round.
_TELL_SECONDS = 0.1
# A worker's speed is that of about so many seconds of its work.
_RATE_SECONDS = 2.0
_observers: contextvars.ContextVar[tuple[Callable, ...]] = contextvars.ContextVar("observers", default=())


@dataclass(frozen=True)
class WorkerProgress:
    """How one worker gets on.

    ``examples`` it visited so far, also in rounds that are not over; ``steps`` it reported, and its ``weight`` in the
    last merge that it was part of (NaN before); ``rate`` is in examples/s of its own work, lately.  ``losses`` counts
    the tasks that were lost with whoever worked on them, ``why`` is said of the last one; ``gone``: nobody took its
    place.
    """

    worker: int
    examples: int
    steps: int = 0
    rate: float = 0.0
    weight: float = math.nan
    losses: int = 0
    why: str = ""
    gone: bool = False


@dataclass(frozen=True)
class Progress:
    """What an observer is told: examples visited so far, how many there will be at most, and the mean loss lately.

    ``worker_examples`` has the examples of each worker, ``workers`` more about each; ``epochs`` is how many passes were
    planned, ``rounds`` how many rounds are over, and ``skipped`` how many examples had been visited when the fit went
    on from a checkpoint.
    """

    examples: int
    planned: int
    loss: float
    seconds: float
    worker_examples: tuple[int, ...]
    done: bool = False
    epochs: int = 1
    rounds: int = 0
    skipped: int = 0
    workers: tuple[WorkerProgress, ...] = ()

    @property
    def epoch(self) -> float:
        """Passes over the rows that were made.

        >>> Progress(500, 2000, 0.25, 1.0, (500,), epochs=4).epoch
        1.0
        """
        return self.examples * self.epochs / max(self.planned, 1)

    @property
    def rate(self) -> float:
        """Examples/s of all workers together."""
        return (self.examples - self.skipped) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float:
        """Seconds till all that is planned is done, at most; infinite if nothing was done so far."""
        missing = max(self.planned - self.examples, 0)
        return missing / self.rate if self.rate > 0.0 else math.inf


@contextlib.contextmanager
def observe_progress(observer: Callable[[Progress], None]) -> Iterator[None]:
    """Tell ``observer`` how every fit inside the block gets on: several times a second, and at the end of each fit.

    >>> from parsgd import SGDClassifier, observe_progress
    >>> from sklearn.datasets import load_iris
    >>> told = []
    >>> with observe_progress(told.append):
    ...     _ = SGDClassifier(n_jobs=1, random_state=0).fit(*load_iris(return_X_y=True))
    >>> told[-1].done
    True
    """
    token = _observers.set((*_observers.get(), observer))
    try:
        yield
    finally:
        _observers.reset(token)


def is_observed() -> bool:
    """Whether an observer watches the fits of this context."""
    return bool(_observers.get())


class ProgressTracker:
    """The pulse of engines in this process: counts what workers do, tells observers, carries the order to stop."""

    def __init__(self, n_workers: int, planned: int, epochs: int = 1):
        self.observers = _observers.get()
        self.planned, self.epochs = planned, epochs
        self.done = [0] * n_workers
        self.records = [_Record() for _ in range(n_workers)]
        self.rounds = self.skipped = 0
        self.loss = math.nan
        self.halted = False
        self.began = time.perf_counter()
        self.told = self.began
        self.lock = threading.Lock()

    def __call__(self, worker: int, examples: int, sgd_run: SGDRun) -> bool:
        self.done[worker] += examples
        now = time.perf_counter()
        if self.observers and now - self.told > _TELL_SECONDS:
            with self.lock:
                self.told = now
                self.tell(sgd_run.mean_loss())
        return not self.halted

    def halt(self) -> None:
        """Order all workers to stop."""
        self.halted = True

    def go_on_from(self, done: Sequence[int]) -> None:
        """Count on from what workers had visited when a checkpoint was written."""
        self.done[:] = done
        self.skipped = sum(done)
        for record, count in zip(self.records, done, strict=True):
            record.skipped = count

    def end_round(self, loss: float, entry: Mapping[str, Any]) -> None:
        """Tell of a round that is over; ``entry`` is that of the history."""
        self.rounds = entry["round"] + 1
        for report in entry["workers"]:
            self.records[report["worker"]].add(report)
        self.tell(loss)

    def lose(self, worker: int, why: str, replaced: bool) -> None:
        """Tell of a task that is lost, and whether somebody took the worker's place."""
        record = self.records[worker]
        record.losses, record.why, record.gone = record.losses + 1, why, not replaced
        self.tell()

    def tell(self, loss: float = math.nan, done: bool = False) -> None:
        """Tell the observers where the fit stands."""
        self.loss = self.loss if math.isnan(loss) else loss
        if not self.observers:
            return
        seconds = time.perf_counter() - self.began
        workers = tuple(
            record.shown(worker, examples, seconds)
            for worker, (record, examples) in enumerate(zip(self.records, self.done, strict=True))
        )
        told = Progress(
            sum(self.done), self.planned, self.loss, seconds, tuple(self.done), done, self.epochs, self.rounds,
            self.skipped, workers,
        )  # fmt: skip
        for observer in self.observers:
            observer(told)


@dataclass
class _Record:
    """What a worker's reports said so far; of ``examples`` and ``seconds`` the last second or two count."""

    steps: int = 0
    examples: float = 0.0
    seconds: float = 0.0
    weight: float = math.nan
    losses: int = 0
    why: str = ""
    gone: bool = False
    skipped: int = 0

    def add(self, report: Mapping[str, Any]) -> None:
        if self.seconds > _RATE_SECONDS:
            self.seconds, self.examples = self.seconds / 2, self.examples / 2
        self.steps += report["steps"]
        self.examples += report["examples"]
        self.seconds += report["seconds"]
        self.weight = report["weight"]

    def shown(self, worker: int, done: int, seconds: float) -> WorkerProgress:
        # before the first report what is known are the pulses
        rate = self.examples / self.seconds if self.seconds > 0.0 else (done - self.skipped) / max(seconds, 1e-9)
        return WorkerProgress(worker, done, self.steps, rate, self.weight, self.losses, self.why, self.gone)
