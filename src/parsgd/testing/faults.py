"""Fault injection: engines that wrap another engine and slow some of its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from parsgd.core import (
    CancelingPool,
    Engine,
    EngineWrapper,
    Report,
    Shard,
    StoppableProgress,
    Task,
    TaskFailed,
    WorkerPool,
    WorkFn,
)
from parsgd.errors import InvalidArgumentError
from parsgd.registry import ENGINES, resolve


def slow_down(factors: Mapping[int, float], engine: Any = "threads") -> SlowedEngine:
    """Return an engine on which worker ``w`` takes ``factors[w]`` times as long, by sleeping after each chunk of work.

    >>> from parsgd import LocalSGD, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=LocalSGD(seconds=0.01), engine=slow_down({0: 4.0}), n_jobs=2, random_state=0)
    >>> first = model.fit(X / X.max(axis=0), y).history_[0]["workers"]
    >>> first[0]["steps"] < first[1]["steps"]
    True
    """
    bad = {worker: factor for worker, factor in factors.items() if not factor >= 1.0}
    if bad:
        raise InvalidArgumentError(
            f"The 'factors' of slow_down must be at least 1, the ratio of a worker's durations. Got {bad} instead."
        )
    return SlowedEngine(resolve(ENGINES, engine, "engine", "slow_down", ("open", "capabilities")), dict(factors))


@dataclass(frozen=True)
class SlowedEngine(EngineWrapper):
    """Engine with slowed workers, see :func:`slow_down`."""

    engine: Engine
    factors: dict[int, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.engine.name}, slowed"

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> SlowedWorkerPool:
        return SlowedWorkerPool(self.engine.open(work, shards, progress), self.factors)


class SlowedWorkerPool:
    """Pool that adds the slowdown to each task."""

    def __init__(self, pool: WorkerPool, factors: Mapping[int, float]):
        self.pool: WorkerPool = pool
        self.factors: Mapping[int, float] = factors

    def send(self, task: Task) -> None:
        self.pool.send(replace(task, slowdown=self.factors.get(task.worker, 1.0)))

    def cancel(self, worker: int) -> bool:
        return cast("CancelingPool", self.pool).cancel(worker)

    def receive(self, at_least: int, within_s: float = 0.0) -> list[Report | TaskFailed]:
        return self.pool.receive(at_least, within_s) if within_s > 0.0 else self.pool.receive(at_least)

    def set_shards(self, shards: Sequence[Shard]) -> None:
        self.pool.set_shards(shards)

    def now(self) -> float:
        return self.pool.now()

    def close(self) -> None:
        self.pool.close()
