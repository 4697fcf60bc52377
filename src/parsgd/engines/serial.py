"""The reference engine: workers take turns in the calling thread.  How one debugs; other engines repeat its bits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from parsgd.core import ProgressCallback, Report, Shard, Task, WorkFn


@dataclass(frozen=True)
class Serial:
    """Run each task when its report is asked for, in the order of sending."""

    name = "serial"
    capabilities = frozenset()
    in_calling_thread = True

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> SerialWorkerPool:
        return SerialWorkerPool(work, shards, pulse)


class SerialWorkerPool:
    def __init__(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback):
        self.work, self.shards, self.pulse = work, shards, pulse
        self.tasks: deque[Task] = deque()

    def send(self, task: Task) -> None:
        self.tasks.append(task)

    def receive(self, at_least: int) -> list[Report]:
        reports = []
        while self.tasks and len(reports) < at_least:
            task = self.tasks.popleft()
            reports.append(self.work(self.shards[task.worker], task, self.pulse))
        return reports

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
