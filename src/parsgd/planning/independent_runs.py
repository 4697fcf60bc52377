"""Workers that never meet, looked at as if they did: one run shows the one-shot averages of all lengths.

run: SGD from where the worker itself stands.  quorum: all.  merge: the workers' mean, which nobody goes on from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.algorithms.common import merge_weights
from parsgd.algorithms.common.round_length import examples_in_round
from parsgd.algorithms.common.worker_loop import run
from parsgd.core import (
    Budget,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SynchronousAlgorithm,
    Task,
)


@dataclass(frozen=True)
class IndependentRuns(SynchronousAlgorithm):
    """After p passes its model is that of a ``SimuParallel`` fit with ``max_iter=p``; there are looks at every
    ``sync_every``-th part of a pass."""

    sync_every: float = 1.0

    name = "parting"

    def init_memory(self, standing: FitState) -> tuple[np.ndarray, ...]:
        return (standing.state,) * standing.n_workers

    def start_state(self, standing: FitState, worker: int) -> np.ndarray:
        return standing.memory[worker]

    def budget(self, standing: FitState, worker: int) -> Budget:
        cursor = standing.cursors[worker]
        return Budget(
            examples_in_round(standing.shard_rows[worker], standing.model.batch_size, self.sync_every, cursor)
        )

    def run(self, model: Model, shard: Shard, task: Task, pulse: ProgressCallback) -> Report:
        return run(model, shard, task, pulse)

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        own = list(standing.memory)
        for report in reports:
            own[report.worker] = report.state
        weights = merge_weights.uniform([report.steps for report in reports])
        return merge_weights.merge(standing.state, reports, weights)._replace(memory=tuple(own))


@dataclass(frozen=True)
class RunVariance:
    """One average of K independent runs, taken apart: ``L_k = L_inf + V / k`` for the loss of a mean of k of them.

    ``single`` is the mean loss of the runs by themselves, ``average`` that of their average, ``goal`` the serial run's.
    Zhang, Duchi, Wainwright, "Communication-Efficient Algorithms for Statistical Optimization", JMLR 14, 2013.
    """

    n_workers: int
    single: float
    average: float
    goal: float

    @property
    def noise(self) -> float:
        """V, what an average of many takes away from the loss of a single run.

        >>> round(RunVariance(2, single=0.5, average=0.4, goal=0.25).noise, 9)
        0.2
        """
        return (self.single - self.average) / (1.0 - 1.0 / self.n_workers)

    @property
    def bias(self) -> float:
        """By how much the loss of an average of endlessly many is above the goal: workers with 1/K of the rows have not
        gone as far, and no average mends that.

        >>> round(RunVariance(2, single=0.5, average=0.4, goal=0.25).bias, 9)
        0.05
        """
        return self.single - self.noise - self.goal

    @property
    def useful(self) -> float:
        """``k* = V / bias``: more runs than this take less away than is left; inf without bias."""
        return math.inf if self.bias <= 0.0 else max(self.noise, 0.0) / self.bias
