"""Lost tasks of a running fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsgd.core import TaskFailed, WorkerPool
from parsgd.errors import WorkersLostError

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop

# Consecutive failures of one worker after which its rows are taken as the cause.
_MAX_FAILURES = 5


def record_failure(loop: Loop, pool: WorkerPool, failed: TaskFailed) -> list[int]:
    """Record a lost task, and return its worker in a list if it is now idle."""
    loop.progress.task_failed(failed.worker, failed.why, failed.replaced)
    loop.failures[failed.worker] += 1
    if failed.replaced:
        loop.kept[failed.worker] = -1, loop.kept[failed.worker][1]
        if loop.failures[failed.worker] >= _MAX_FAILURES:
            raise WorkersLostError(
                f"Worker {failed.worker} failed {_MAX_FAILURES} times in a row, last in round {loop.round}:"
                f" {failed.why}. Its rows may exceed worker memory; use more workers or more memory per worker."
            )
        if not loop.traits.one_shot:
            return [failed.worker]
        loop.send_again(pool, [failed.worker])
        return []
    # continue without the worker if another one has rows
    loop.alive.remove(failed.worker)
    if not any(loop.shard_rows[worker] for worker in loop.alive):
        who = f"All {loop.n_workers} workers" if not loop.alive else "All workers that had rows"
        last = f"the last one, {failed.worker}, in round {loop.round}: {failed.why}"
        raise WorkersLostError(f"{who} are lost; {last}")
    return []
