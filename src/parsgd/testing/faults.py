"""Faults to inject: engines that wrap another engine and make some of its workers misbehave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from parsgd.core import ProgressCallback, Report, Shard, Task, TaskFailed, WorkerPool, WorkFn
from parsgd.errors import InvalidArgumentError
from parsgd.registry import ENGINES, resolve


def slow_down(factors: Mapping[int, float], engine: Any = "threads") -> SlowedEngine:
    """An engine on which worker ``w`` takes ``factors[w]`` times as long: it idles after each stretch of work.

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
        raise InvalidArgumentError(f"slow_down takes factors >= 1, how many times as long a worker takes; got {bad}.")
    return SlowedEngine(resolve(ENGINES, engine, "engine", "slow_down", ("open", "capabilities")), dict(factors))


@dataclass(frozen=True)
class SlowedEngine:
    """See :func:`slow_down`."""

    engine: Any
    factors: dict[int, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.engine.name}, slowed"

    @property
    def capabilities(self) -> frozenset[str]:
        return self.engine.capabilities

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> SlowedWorkerPool:
        return SlowedWorkerPool(self.engine.open(work, shards, pulse), self.factors)


class SlowedWorkerPool:
    def __init__(self, crew: WorkerPool, factors: Mapping[int, float]):
        self.crew, self.factors = crew, factors

    def send(self, task: Task) -> None:
        self.crew.send(replace(task, slowdown=self.factors.get(task.worker, 1.0)))

    def receive(self, at_least: int) -> list[Report | TaskFailed]:
        return self.crew.receive(at_least)

    def set_shards(self, shards: Sequence[Shard]) -> None:
        self.crew.set_shards(shards)

    def now(self) -> float:
        return self.crew.now()

    def close(self) -> None:
        self.crew.close()
