"""Instrumented engine: wraps an algorithm and an engine unchanged, with callbacks at the start and at each merge."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from parsgd.core import (
    Algorithm,
    Engine,
    EngineDefaults,
    FitState,
    MergeResult,
    Report,
    Shard,
    StoppableProgress,
    Work,
    WorkerPool,
    WorkFn,
)


class StopTrial(Exception):
    """Raised to end a trial fit early, when it has shown enough."""


class InstrumentedEngine(EngineDefaults, ABC):
    """Wrapper that acts as both algorithm and engine of an estimator, and calls ``on_merge`` after each merge.

    ``combine_s`` holds the duration of each merge.  ``seconds_per_row`` holds, for each round, the slowest worker's
    seconds divided by the workers' mean number of rows.
    """

    def __init__(self, algorithm: Algorithm, engine: Engine):
        self.algorithm, self.engine = algorithm, engine
        self.pool: WorkerPool | None = None
        self.progress: StoppableProgress | None = None
        self.combine_s: list[float] = []
        self.seconds_per_row: list[float] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "algorithm" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.algorithm, name)

    @property
    def capabilities(self) -> frozenset[str]:
        return self.engine.capabilities

    @property
    def n_workers(self) -> int | None:
        return self.engine.n_workers

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> WorkerPool:
        if isinstance(work, Work):
            work = replace(work, algorithm=self.algorithm)  # workers need no instruments
        self.pool, self.progress = self.engine.open(work, shards, progress), progress
        return self.pool

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
