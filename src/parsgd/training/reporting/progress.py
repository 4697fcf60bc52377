"""Progress of a running fit: worker counts to the observers, and the request to stop to the workers."""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsgd.core import RunningLoss

# Minimum seconds between two notifications in a round.
_NOTIFY_SECONDS = 0.1
# Seconds of a worker's recent work over which its rate is averaged.
_RATE_SECONDS = 2.0


@dataclass(frozen=True)
class WorkerProgress:
    """Progress of one worker.

    ``examples`` counts visited examples, including those of running rounds; ``steps`` counts reported steps.
    ``weight`` is the worker's last merge weight, NaN before its first merge.  ``rate`` is the recent number of examples
    per second of computing time.  ``lost_tasks`` counts its lost tasks, and ``why`` is the reason of the last one.
    ``lost`` is True if the worker was lost and not replaced.
    """

    worker: int
    examples: int
    steps: int = 0
    rate: float = 0.0
    weight: float = math.nan
    lost_tasks: int = 0
    why: str = ""
    lost: bool = False


@dataclass(frozen=True)
class Progress:
    """Progress of a fit, as passed to observers.

    ``examples`` counts visited examples, ``planned`` is their maximum, and ``loss`` is the most recent mean loss.
    ``worker_examples`` has the examples of each worker, and ``workers`` more details of each.  ``epochs`` is the
    planned number of epochs and ``rounds`` the number of completed rounds.  ``skipped`` counts the examples visited
    before the checkpoint from which the fit resumed.
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
        """Completed passes over the rows.

        >>> Progress(500, 2000, 0.25, 1.0, (500,), epochs=4).epoch
        1.0
        """
        return self.examples * self.epochs / max(self.planned, 1)

    @property
    def rate(self) -> float:
        """Examples per second of all workers together."""
        return (self.examples - self.skipped) / max(self.seconds, 1e-9)

    @property
    def left(self) -> float:
        """Maximum remaining seconds; infinite before the first example."""
        missing = max(self.planned - self.examples, 0)
        return missing / self.rate if self.rate > 0.0 else math.inf


Observer = Callable[[Progress], None]
_observers: contextvars.ContextVar[tuple[Observer, ...]] = contextvars.ContextVar("observers", default=())


@contextlib.contextmanager
def observe_progress(observer: Observer) -> Generator[None, None, None]:
    """Call ``observer`` with the :class:`Progress` of every fit in the block.

    It is called several times per second and at the end of each fit.

    >>> from parsgd import SGDClassifier, observe_progress
    >>> from sklearn.datasets import load_iris
    >>> received = []
    >>> with observe_progress(received.append):
    ...     _ = SGDClassifier(n_jobs=1, random_state=0).fit(*load_iris(return_X_y=True))
    >>> received[-1].done
    True
    """
    token = _observers.set((*_observers.get(), observer))
    try:
        yield
    finally:
        _observers.reset(token)


def is_observed() -> bool:
    """Return True if an observer is active in this context."""
    return bool(_observers.get())


class ProgressTracker:
    """Progress callback on the driver: counts examples, notifies observers and requests the workers to stop."""

    def __init__(self, n_workers: int, planned: int, epochs: int = 1):
        self.observers: tuple[Observer, ...] = _observers.get()
        self.planned: int = planned
        self.epochs: int = epochs
        self.done: list[int] = [0] * n_workers
        self.records: list[_Record] = [_Record() for _ in range(n_workers)]
        self.rounds: int = 0
        self.skipped: int = 0
        self.loss: float = math.nan
        self.halted: bool = False
        self.began: float = time.perf_counter()
        self.notified_at: float = self.began
        self.lock: threading.Lock = threading.Lock()

    def __call__(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        self.done[worker] += examples
        now = time.perf_counter()
        if self.observers and now - self.notified_at > _NOTIFY_SECONDS:
            with self.lock:
                self.notified_at = now
                self.notify(sgd_run.mean_loss())
        return not self.halted

    def halt(self) -> None:
        """Request all workers to stop."""
        self.halted = True

    def resume_from(self, done: Sequence[int]) -> None:
        """Continue from the workers' counts ``done`` of a checkpoint."""
        self.done[:] = done
        self.skipped = sum(done)
        for record, count in zip(self.records, done, strict=True):
            record.skipped = count

    def end_round(self, loss: float, entry: Mapping[str, Any]) -> None:
        """Record a completed round with its history entry, and notify the observers."""
        self.rounds = entry["round"] + 1
        for report in entry["workers"]:
            worker: int = report["worker"]
            self.records[worker].add(report)
        self.notify(loss)

    def task_failed(self, worker: int, why: str, replaced: bool) -> None:
        """Record a lost task, and notify the observers."""
        record = self.records[worker]
        record.lost_tasks, record.why, record.lost = record.lost_tasks + 1, why, not replaced
        self.notify()

    def notify(self, loss: float = math.nan, done: bool = False) -> None:
        """Notify the observers of the current progress."""
        self.loss = self.loss if math.isnan(loss) else loss
        if not self.observers:
            return
        seconds = time.perf_counter() - self.began
        workers = tuple(
            record.summary(worker, examples, seconds)
            for worker, (record, examples) in enumerate(zip(self.records, self.done, strict=True))
        )
        progress = Progress(
            sum(self.done),
            self.planned,
            self.loss,
            seconds,
            tuple(self.done),
            done,
            self.epochs,
            self.rounds,
            self.skipped,
            workers,
        )
        for observer in self.observers:
            observer(progress)


@dataclass
class _Record:
    """Sums over a worker's reports; ``examples`` and ``seconds`` cover the last second or two."""

    steps: int = 0
    examples: float = 0.0
    seconds: float = 0.0
    weight: float = math.nan
    lost_tasks: int = 0
    why: str = ""
    lost: bool = False
    skipped: int = 0

    def add(self, report: Mapping[str, Any]) -> None:
        if self.seconds > _RATE_SECONDS:
            self.seconds, self.examples = self.seconds / 2, self.examples / 2
        self.steps += report["steps"]
        self.examples += report["examples"]
        self.seconds += report["seconds"]
        self.weight = report["weight"]

    def summary(self, worker: int, done: int, seconds: float) -> WorkerProgress:
        # before the first report, only progress callbacks have counted examples
        rate = self.examples / self.seconds if self.seconds > 0.0 else (done - self.skipped) / max(seconds, 1e-9)
        return WorkerProgress(worker, done, self.steps, rate, self.weight, self.lost_tasks, self.why, self.lost)
