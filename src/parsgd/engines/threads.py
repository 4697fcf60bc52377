"""Workers as threads of this process: kernels release the GIL, and all workers read the same arrays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from parsgd.core import ProgressCallback, Report, Shard, Task, WorkFn
from parsgd.engines.affinity import take_core, usable_cores
from parsgd.utils.background import Background

# A signal that arrives just before Python begins to wait does not end the waiting: Ctrl-C is heard after so long.
_LISTEN_SECONDS = 0.1


@dataclass(frozen=True)
class Threads:
    """One thread for each worker, for the length of a fit."""

    name = "threads"
    capabilities = frozenset({"shared_memory"})

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> ThreadWorkerPool:
        return ThreadWorkerPool(work, shards, pulse)


class ThreadWorkerPool:
    """Threads, and the driver's own: where it waits for all answers, the last task sent is done by itself.

    So two workers are one thread to wake and to wait for in each round, not two: rounds of few rows take a fifth less.
    """

    def __init__(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback):
        self.work, self.shards, self.pulse = work, shards, pulse
        self.threads = Background(max(1, len(shards)), "parsgd")
        self.answers: SimpleQueue[Report | BaseException] = SimpleQueue()
        self.pending = 0
        # the last task sent, until it is known whether the driver has anything else to do
        self.held: Task | None = None
        cores = usable_cores()
        # where workers outnumber cores, the system knows better
        self.cores = cores if len(shards) <= len(cores) else []

    def send(self, task: Task) -> None:
        self.pending += 1
        self._start_held()
        self.held = task

    def _start_held(self) -> None:
        if self.held is not None:
            self.threads.run(self._answer, self.held)
            self.held = None

    def _answer(self, task: Task) -> None:
        try:
            take_core(task.worker, self.cores)
            self.answers.put(self.work(self.shards[task.worker], task, self.pulse))
        except BaseException as error:  # whatever it is, it is the driver's to raise
            self.answers.put(error)

    def receive(self, at_least: int) -> list[Report]:
        if at_least < self.pending:
            self._start_held()
        elif self.held is not None:
            task, self.held = self.held, None
            self._answer(task)
        reports: list[Report] = []
        while self.pending and (len(reports) < at_least or not self.answers.empty()):
            answer = self._next()
            self.pending -= 1
            if isinstance(answer, BaseException):
                raise answer
            reports.append(answer)
        return reports

    def _next(self) -> Report | BaseException:
        while True:
            try:
                return self.answers.get(timeout=_LISTEN_SECONDS)
            except Empty:
                continue

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
