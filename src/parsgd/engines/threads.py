"""Workers as threads of this process: kernels release the GIL, and all workers read the same arrays."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import ClassVar

from parsgd.core import EngineDefaults, GroupPool, Report, Shard, StoppableProgress, Task, TaskFailed, Work, WorkFn
from parsgd.engines.affinity import take_core, usable_cores
from parsgd.utils.background import Background

# Maximum delay of Ctrl-C: a signal just before Python starts to wait does not end the wait.
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Threads(EngineDefaults):
    """Engine with one thread per worker for the duration of a fit."""

    name = "threads"
    capabilities: ClassVar[frozenset[str]] = frozenset({"shared_memory"})

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> ThreadWorkerPool:
        # an engine that wraps this one may wrap the work, which must then run as tasks
        pool = ThreadGroupPool if type(work) is Work else ThreadWorkerPool
        return pool(work, shards, progress)


class ThreadWorkerPool:
    """Worker threads, together with the driver's thread.

    If the driver waits for all reports, it runs the last task itself.  Two workers then need one thread to wake and to
    wait for per round, not two; short rounds take a fifth less time.
    """

    def __init__(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress):
        self.work: WorkFn = work
        self.shards: Sequence[Shard] = shards
        self.progress: StoppableProgress = progress
        self.threads: Background = Background(max(1, len(shards)), "parsgd")
        self.results: SimpleQueue[Report | BaseException] = SimpleQueue()
        self.pending: int = 0
        # the last task sent; the driver may run it itself
        self.held: Task | None = None
        cores = usable_cores()
        # if workers outnumber cores, the system decides
        self.cores: list[int] = cores if len(shards) <= len(cores) else []

    def send(self, task: Task) -> None:
        self.pending += 1
        self._start_held()
        self.held = task

    def _start_held(self) -> None:
        if self.held is not None:
            self.threads.run(self._run_task, self.held)
            self.held = None

    def _run_task(self, task: Task) -> None:
        try:
            take_core(task.worker, self.cores)
            self.results.put(self.work(self.shards[task.worker], task, self.progress))
        except BaseException as error:  # raised again by the driver
            self.results.put(error)

    def receive(self, at_least: int, within_s: float = 0.0) -> list[Report | TaskFailed]:
        if at_least < self.pending or within_s > 0.0:
            self._start_held()
        elif self.held is not None:
            task, self.held = self.held, None
            self._run_task(task)
        reports: list[Report | TaskFailed] = []
        while self.pending and (len(reports) < at_least or not self.results.empty()):
            self._add_next(reports)
        until = time.perf_counter() + within_s
        while self.pending and time.perf_counter() < until and not self.progress.halted:
            self._add_next(reports, until)
        return reports

    def _add_next(self, reports: list[Report | TaskFailed], until: float = math.inf) -> None:
        """Add the next report, if it arrives before the time ``until``."""
        while (left := until - time.perf_counter()) > 0.0:
            with contextlib.suppress(Empty):
                result = self.results.get(timeout=min(left, _POLL_SECONDS))
                break
        else:
            return
        self.pending -= 1
        if isinstance(result, BaseException):
            raise result
        reports.append(result)

    def set_shards(self, shards: Sequence[Shard]) -> None:
        for shard in self.shards:
            shard.close()
        self.shards = shards

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        self.threads.close()
        for shard in self.shards:
            shard.close()


class ThreadGroupPool(ThreadWorkerPool, GroupPool):
    """Worker threads that can also run functions together."""

    def __init__(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress):
        super().__init__(work, shards, progress)
        self.ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run_together(
        self, functions: Sequence[Callable[[], Callable[[], object]]], poll: Callable[[], None], brief: bool = False
    ) -> None:
        last = len(functions) - brief
        for worker, function in enumerate(functions[:last]):
            self.threads.run(self._run_function, worker, function)
        for function in functions[last:]:
            self._run_function(last, function)
        errors: list[BaseException] = []
        pending = len(functions)
        while pending:
            try:
                result = self.ended.get(timeout=_POLL_SECONDS / 2)
            except Empty:
                poll()
                continue
            pending -= 1
            if result is not None:
                errors.append(result)
        if errors:
            raise errors[0]

    def _run_function(self, worker: int, function: Callable[[], Callable[[], object]]) -> None:
        try:
            take_core(worker, self.cores)
            prepared = function()
            # a thread that waited for its turn in Python may have moved
            take_core(worker, self.cores)
            prepared()
            self.ended.put(None)
        except BaseException as error:  # raised again by the driver
            self.ended.put(error)
