"""Instrumented fit: wraps an algorithm and an engine unchanged, with callbacks at the start and at each merge."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from parsgd.core import (
    Algorithm,
    AlgorithmTraits,
    Engine,
    EngineWrapper,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    StoppableProgress,
    Task,
    TaskSpec,
    Work,
    WorkerPool,
    WorkFn,
)


class StopTrial(Exception):
    """Raised to end a trial fit early, when it has shown enough."""


class InstrumentedFit(EngineWrapper, ABC):
    """Wrapper that is both the algorithm and the engine of an estimator, and calls ``on_merge`` after each merge.

    ``combine_s`` holds the duration of each merge.  ``seconds_per_row`` holds, for each round, the slowest worker's
    seconds divided by the workers' mean number of rows.
    """

    def __init__(self, algorithm: Algorithm, engine: Engine):
        self.algorithm: Algorithm = algorithm
        self.engine: Engine = engine
        self.pool: WorkerPool | None = None
        self.progress: StoppableProgress | None = None
        self.combine_s: list[float] = []
        self.seconds_per_row: list[float] = []

    @property
    def name(self) -> str:
        return self.algorithm.name

    @property
    def traits(self) -> AlgorithmTraits:
        # every merge must be visible here, so rounds return to Python
        return self.algorithm.traits._replace(planned="")

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> WorkerPool:
        if isinstance(work, Work):
            work = replace(work, algorithm=self.algorithm)  # workers need no instruments
        self.pool, self.progress = self.engine.open(work, shards, progress), progress
        return self.pool

    def n_probe_rows(self, n_rows: int) -> int:
        return self.algorithm.n_probe_rows(n_rows)

    def rows_per_step(self, model: Model) -> int:
        return self.algorithm.rows_per_step(model)

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        return self.algorithm.next_task(fit_state, worker)

    def quorum(self, n_workers: int) -> int:
        return self.algorithm.quorum(n_workers)

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        return self.algorithm.run(model, shard, task, progress)

    def init_memory(self, fit_state: FitState) -> Any:
        self.on_start(fit_state)
        return self.algorithm.init_memory(fit_state)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        started = time.perf_counter()
        merge = self.algorithm.merge(fit_state, reports)
        self.combine_s.append(time.perf_counter() - started)
        examples = sum(report.examples for report in reports)
        if examples:
            self.seconds_per_row.append(max(report.seconds for report in reports) * len(reports) / examples)
        self.on_merge(fit_state, reports, merge)
        return merge

    def stop(self) -> None:
        """End the fit here, but raise KeyboardInterrupt if Ctrl-C was pressed in the meantime."""
        if self.progress is not None and self.progress.halted:
            raise KeyboardInterrupt
        raise StopTrial

    @abstractmethod
    def on_start(self, fit_state: FitState) -> None:
        """Handle the start of the fit."""

    @abstractmethod
    def on_merge(self, fit_state: FitState, reports: Sequence[Report], merge: MergeResult) -> None:
        """Handle a completed merge."""
