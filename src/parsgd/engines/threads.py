"""Workers as threads of this process: kernels release the GIL, and all workers read the same arrays."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from parsgd.core import Pulse, Report, Shard, Task, Work


@dataclass(frozen=True)
class Threads:
    """One thread for each worker, for the length of a fit."""

    name = "threads"
    offers = frozenset({"shared_memory"})

    def open(self, work: Work, shards: Sequence[Shard], pulse: Pulse) -> ThreadCrew:
        return ThreadCrew(work, shards, pulse)


class ThreadCrew:
    def __init__(self, work: Work, shards: Sequence[Shard], pulse: Pulse):
        self.work, self.shards, self.pulse = work, shards, pulse
        self.pool = ThreadPoolExecutor(max_workers=max(1, len(shards)), thread_name_prefix="parsgd")
        self.pending: set[Future[Report]] = set()

    def send(self, task: Task) -> None:
        self.pending.add(self.pool.submit(self.work, self.shards[task.worker], task, self.pulse))

    def receive(self, at_least: int) -> list[Report]:
        reports: list[Report] = []
        while self.pending and len(reports) < at_least:
            done, self.pending = wait(self.pending, return_when=FIRST_COMPLETED)
            reports.extend(future.result() for future in done)
        return reports

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.pending.clear()
