"""An algorithm and an engine at once, each as it was, whose merges somebody looks at."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from parsgd.core import Algorithm, Engine, FitState, MergeResult, ProgressCallback, Report, Shard, WorkerPool, WorkFn


class StopTrial(Exception):
    """Ends a fit from within, when what was to be seen of it was seen."""


class InstrumentedEngine(ABC):
    """Passes everything on; ``saw`` hears of each merge.  ``combine_s``: how long each one took;
    ``paces``: each round's seconds a row of a worker, by the slowest one and the mean of their rows.

    An estimator takes it as its ``algorithm`` and as its ``engine``.
    """

    def __init__(self, algorithm: Algorithm, engine: Engine):
        self.algorithm, self.engine = algorithm, engine
        self.crew: WorkerPool | None = None
        self.pulse: ProgressCallback | None = None
        self.combine_s: list[float] = []
        self.paces: list[float] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "algorithm" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.algorithm, name)

    @property
    def capabilities(self) -> frozenset[str]:
        return self.engine.capabilities

    @property
    def n_workers(self) -> int | None:
        return getattr(self.engine, "n_workers", None)

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> WorkerPool:
        self.crew, self.pulse = self.engine.open(work, shards, pulse), pulse
        return self.crew

    def init_memory(self, standing: FitState) -> Any:
        self.starts(standing)
        return self.algorithm.init_memory(standing)

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        began = time.perf_counter()
        merge = self.algorithm.merge(standing, reports)
        self.combine_s.append(time.perf_counter() - began)
        examples = sum(report.examples for report in reports)
        if examples:
            self.paces.append(max(report.seconds for report in reports) * len(reports) / examples)
        self.saw(standing, reports, merge)
        return merge

    def enough(self) -> None:
        """End the fit here; a Ctrl-C that came meanwhile is not forgotten."""
        if getattr(self.pulse, "halted", False):
            raise KeyboardInterrupt
        raise StopTrial

    @abstractmethod
    def starts(self, standing: FitState) -> None:
        """The fit begins."""

    @abstractmethod
    def saw(self, standing: FitState, reports: Sequence[Report], merge: MergeResult) -> None:
        """A merge was made."""
