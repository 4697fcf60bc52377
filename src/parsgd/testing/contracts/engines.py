"""Contract suite for engines."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd import core
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.core import Budget, Report, Task, no_progress
from parsgd.engines.serial import Serial
from parsgd.testing.contracts._assert import SEED, must, must_have_members
from parsgd.testing.contracts._fixtures import small_model, small_report, small_source
from parsgd.training.loop import fit


def check_engine(engine: core.Engine) -> None:
    """Check an engine.

    - Every task is answered once, by the worker's own shard.
    - Its clock does not run backwards.
    - Errors in workers reach the driver.
    - Results equal those of ``engine="serial"`` bit for bit.
    - A closed pool leaves no threads.
    """
    must_have_members(engine, core.Engine, "Engine")
    must(
        all(isinstance(capability, str) for capability in engine.capabilities),
        "capabilities must be a set of capability names.",
    )
    before = set(threading.enumerate())
    _check_pool(engine)
    _check_errors(engine)
    for n_workers in (1, 3):
        ours, theirs = (
            fit(small_model(), LocalSGD(0.5), one, small_source(), n_workers=n_workers, max_epochs=2, seed=SEED).state
            for one in (engine, Serial())
        )
        must(np.array_equal(ours, theirs), f"{n_workers} workers must give the same bits as on engine='serial'.")
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    must(not left, f"A closed pool must leave no threads; these are running: {left}.")


def _check_pool(engine: core.Engine) -> None:
    shards = [_EmptyShard(100), _EmptyShard(200), _EmptyShard(0)]
    pool = engine.open(_echo, shards, no_progress)
    must_have_members(pool, core.WorkerPool, "WorkerPool")
    with closing(pool):
        now = pool.now()
        for round in range(3):
            if round == 2:
                shards = [_EmptyShard(7), _EmptyShard(8), _EmptyShard(9)]
                pool.set_shards(shards)
            for worker in (2, 0, 1):
                pool.send(Task(worker, round, np.zeros(1), 0, Budget(1)))
            reports = []
            while len(reports) < 3:
                received = pool.receive(1)
                must(received, "receive must wait for the requested number of reports while tasks are pending.")
                reports += received
            must(sorted(r.worker for r in reports) == [0, 1, 2], "Every task must be answered exactly once.")
            must(all(r.round == round for r in reports), "A report must have the round of its task.")
            must(all(r.examples == shards[r.worker].n_rows for r in reports), "A worker must work on its own shard.")
            must(pool.receive(0) == [], "receive must return no reports when no task is pending.")
            must(pool.now() >= now, "The pool's time must not go back.")
            now = pool.now()


def _check_errors(engine: core.Engine) -> None:
    pool = engine.open(_fail, [_EmptyShard(1), _EmptyShard(2)], no_progress)
    with closing(pool), suppress(ZeroDivisionError):
        for worker in (0, 1):
            pool.send(Task(worker, 0, np.zeros(1), 0, Budget(1)))
        while pool.receive(1):
            pass
        must(False, "An error in a worker must be raised by receive; it was swallowed.")


@dataclass
class _EmptyShard(core.Shard):
    """A shard with a number of rows, but without blocks."""

    n_rows: int
    cost: float = 1.0

    def blocks(self, seed: int, epoch: int):
        yield from ()


def _echo(shard: Any, task: Task, progress: Any) -> Report:
    return replace(small_report(task.worker, task.state, task.round), examples=shard.n_rows)


def _fail(shard: Any, task: Task, progress: Any) -> Report:
    if task.worker == 1:
        raise ZeroDivisionError("worker 1 fails")
    return _echo(shard, task, progress)
