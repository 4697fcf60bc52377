"""Reference engine: workers run one after the other in the calling thread.  Other engines reproduce its bits.

It is also the engine for debugging.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from parsgd.core import EngineDefaults, Report, Shard, StoppableProgress, Task, TaskFailed, WorkFn


@dataclass(frozen=True)
class Serial(EngineDefaults):
    """Engine that runs each task when its report is requested, in the order of sending."""

    name = "serial"
    capabilities: ClassVar[frozenset[str]] = frozenset({"cancel"})
    in_calling_thread = True

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> SerialWorkerPool:
        return SerialWorkerPool(work, shards, progress)


class SerialWorkerPool:
    """Tasks that wait for ``receive``, which runs them in the calling thread."""

    def __init__(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress):
        self.work: WorkFn = work
        self.shards: Sequence[Shard] = shards
        self.progress: StoppableProgress = progress
        self.tasks: deque[Task] = deque()

    def send(self, task: Task) -> None:
        self.tasks.append(task)

    def receive(self, at_least: int, within_s: float = 0.0) -> list[Report | TaskFailed]:
        # no task runs while the driver waits
        reports: list[Report | TaskFailed] = []
        while self.tasks and len(reports) < at_least:
            task = self.tasks.popleft()
            reports.append(self.work(self.shards[task.worker], task, self.progress))
        return reports

    def cancel(self, worker: int) -> bool:
        for position, task in enumerate(self.tasks):
            if task.worker == worker:
                del self.tasks[position]
                return True
        return False

    def set_shards(self, shards: Sequence[Shard]) -> None:
        for shard in self.shards:
            shard.close()
        self.shards = shards

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        for shard in self.shards:
            shard.close()
        self.tasks.clear()
