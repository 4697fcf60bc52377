"""What an engine promises."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd import core
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.core import Budget, Report, Task, no_progress
from parsgd.engines.serial import Serial
from parsgd.testing.contracts._assert import SEED, must
from parsgd.testing.contracts._fixtures import small_model, small_report, small_source
from parsgd.training.loop import fit


def check_engine(engine: core.Engine) -> None:
    """Check an engine: every task answered once, on its own shard; time passes; errors arrive; same bits as serial;
    nothing left."""
    must(isinstance(engine, core.Engine), f"{type(engine).__name__} lacks parts of parsgd.core.Engine.")
    must(
        all(isinstance(offer, str) for offer in engine.capabilities),
        "capabilities must be a set of names of capabilities.",
    )
    before = set(threading.enumerate())
    _check_crew(engine)
    _check_errors(engine)
    for n_workers in (1, 3):
        ours, theirs = (
            fit(small_model(), LocalSGD(0.5), one, small_source(), n_workers=n_workers, max_epochs=2, seed=SEED).state
            for one in (engine, Serial())
        )
        must(np.array_equal(ours, theirs), f"{n_workers} workers must give the bits that they give on engine='serial'.")
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    must(not left, f"A closed crew must leave no thread behind; these go on: {left}.")


def _check_crew(engine: core.Engine) -> None:
    shards = [_Numbered(100), _Numbered(200), _Numbered(0)]
    crew = engine.open(_echo, shards, no_progress)
    try:
        now = crew.now()
        for round in range(3):
            if round == 2:
                shards = [_Numbered(7), _Numbered(8), _Numbered(9)]
                crew.set_shards(shards)
            for worker in (2, 0, 1):
                crew.send(Task(worker, round, np.zeros(1), 0, Budget(1)))
            reports = []
            while len(reports) < 3:
                some = crew.receive(1)
                must(some, "receive must return as many reports as it is asked for while as many are under way.")
                reports += some
            must(sorted(r.worker for r in reports) == [0, 1, 2], "Every task must be answered, and once.")
            must(all(r.round == round for r in reports), "An answer must belong to the round of its task.")
            must(all(r.examples == shards[r.worker].n_rows for r in reports), "A worker must work on its own shard.")
            must(crew.receive(0) == [], "Nothing may arrive when nothing is under way.")
            must(crew.now() >= now, "The crew's time must not go back.")
            now = crew.now()
    finally:
        crew.close()


def _check_errors(engine: core.Engine) -> None:
    crew = engine.open(_stumble, [_Numbered(1), _Numbered(2)], no_progress)
    try:
        for worker in (0, 1):
            crew.send(Task(worker, 0, np.zeros(1), 0, Budget(1)))
        while crew.receive(1):
            pass
        must(False, "An error in a worker must be raised by receive; it was swallowed.")
    except ZeroDivisionError:
        pass
    finally:
        crew.close()


@dataclass
class _Numbered(core.Shard):
    """A shard of so many rows, none of which can be had."""

    n_rows: int
    cost: float = 1.0

    def blocks(self, seed: int, epoch: int):
        yield from ()


def _echo(shard: Any, task: Task, pulse: Any) -> Report:
    return replace(small_report(task.worker, task.state, task.round), examples=shard.n_rows)


def _stumble(shard: Any, task: Task, pulse: Any) -> Report:
    if task.worker == 1:
        raise ZeroDivisionError("worker 1 stumbles")
    return _echo(shard, task, pulse)
