"""Second run of a worker on a subsample of its rows, for the bias correction of SAVGM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from parsgd.core import ProgressCallback, RowBlock, RunningLoss, Shard, Task


@dataclass
class SubsampledShard(Shard):
    """About ``fraction`` of a shard's rows, selected by a hash of the row number and so the same in every epoch."""

    shard: Shard
    fraction: float
    seed: int
    n_rows: int = field(init=False)
    cost: float = field(init=False)

    def __post_init__(self) -> None:
        self.n_rows = sum(len(block.order) for block in self.blocks(self.seed, 0))
        self.cost = self.shard.cost

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[RowBlock]:
        for rows, order in self.shard.blocks(seed, epoch):
            # Knuth's multiplicative hash; the seed shifts it for each worker
            hashed = (order.astype(np.uint64) + np.uint64(self.seed)) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)
            order = order[hashed < self.fraction * 2**24]
            yield RowBlock(rows, order[start:])
            start = max(0, start - len(order))


def scale_budget(task: Task, part: SubsampledShard) -> Task:
    """Return a task with the same number of passes over the subsample and the same seconds per row."""
    budget, share = task.budget, part.n_rows / part.shard.n_rows
    seconds = None if budget.seconds is None else budget.seconds * share
    return replace(task, budget=replace(budget, examples=round(budget.examples * share), seconds=seconds))


def mute_progress(progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that reports zero examples, for runs that do not count as progress."""

    def muted(worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        return progress(worker, 0, sgd_run)

    return muted
