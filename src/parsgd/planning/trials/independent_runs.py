"""Independent runs, averaged only for observation: one run yields the one-shot averages of all lengths.

Round: the worker continues SGD from its own state; the driver waits for all reports; merge = ``1/K sum_i w_i``, which
no worker continues from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.algorithms.common.round_length import round_budget
from parsgd.algorithms.common.worker_loop import run
from parsgd.algorithms.merging import merge_weights
from parsgd.core import (
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SynchronousAlgorithm,
    Task,
    TaskSpec,
)


@dataclass(frozen=True)
class IndependentRuns(SynchronousAlgorithm):
    """Independent runs; after p passes the mean is the model of a ``SimuParallel`` fit with ``max_iter=p``.

    The mean is available after every pass.
    """

    name = "parting"

    def init_memory(self, fit_state: FitState) -> tuple[np.ndarray, ...]:
        return (fit_state.state,) * fit_state.n_workers

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        return TaskSpec(round_budget(fit_state, worker, 1.0), fit_state.memory[worker])

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        return run(model, shard, task, progress)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        own = list(fit_state.memory)
        for report in reports:
            own[report.worker] = report.state
        weights = merge_weights.uniform([report.steps for report in reports])
        return merge_weights.merge(fit_state.state, reports, weights)._replace(memory=tuple(own))


@dataclass(frozen=True)
class RunVariance:
    """Noise and bias of one average of K independent runs, from ``L_k = L_inf + V / k`` for the mean of k runs.

    ``single`` is the mean loss of single runs, ``average`` that of their average, ``goal`` the serial run's.
    Zhang, Duchi, Wainwright, "Communication-Efficient Algorithms for Statistical Optimization", JMLR 14, 2013.
    """

    n_workers: int
    single: float
    average: float
    goal: float

    @property
    def noise(self) -> float:
        """V, the part of a single run's loss that averaging removes.

        >>> round(RunVariance(2, single=0.5, average=0.4, goal=0.25).noise, 9)
        0.2
        """
        return (self.single - self.average) / (1.0 - 1.0 / self.n_workers)

    @property
    def bias(self) -> float:
        """Excess loss over the goal of an average of infinitely many runs.

        Workers with 1/K of the rows have made less progress, which averaging does not correct.

        >>> round(RunVariance(2, single=0.5, average=0.4, goal=0.25).bias, 9)
        0.05
        """
        return self.single - self.noise - self.goal

    @property
    def useful(self) -> float:
        """``k* = V / bias``, the number of runs at which the remaining noise equals the bias; inf without bias."""
        return math.inf if self.bias <= 0.0 else max(self.noise, 0.0) / self.bias
