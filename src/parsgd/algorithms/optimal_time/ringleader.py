"""Ringleader ASGD: asynchronous SGD along a table of every worker's latest gradients.

Maranjyan, Richtarik, "Ringleader ASGD: The First Asynchronous SGD with Optimal Time Complexity under Data
Heterogeneity", 2025.

Round: the worker sends the summed gradient of a batch of its rows; the driver waits for one report; merge = the
gradient enters the table, and a step along the table's mean follows in the second phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from parsgd.algorithms.common.gradient_steps import GradientSteps, StepMemory
from parsgd.algorithms.common.worker_batches import WorkerBatches
from parsgd.core import FitState, MergeResult, Report
from parsgd.errors import check_count

# One entry per worker: the sum of its gradients, followed by the number of their rows; None before the first.
Table = tuple[np.ndarray | None, ...]


class RingleaderMemory(NamedTuple):
    """The table of the present turn, that of the next, and the workers that have made their step in this turn.

    ``stepped`` is empty in the first phase.
    """

    table: Table
    following: Table
    stepped: tuple[int, ...]
    steps: StepMemory


@dataclass(frozen=True)
class Ringleader(WorkerBatches):
    """Asynchronous SGD for workers with different rows: every step is along gradients of all workers.

    The driver keeps a table of gradient sums ``G_i`` of ``b_i`` gradients from each of n workers.  A turn has two
    phases.  In the first, gradients are added to the table until it has one of every worker.  In the second, n steps
    follow: the first at once, and one at the next arrival from each other worker, whose gradient is added first::

        w = w - eta / n  sum_i G_i / b_i

    A further gradient of a worker that has made its step enters the table of the next turn.  No gradient is ignored,
    and none is more than ``2 n - 2`` steps old.  Workers have the weight of their rows in place of ``1/n``.

    For smooth objectives and noise of variance ``sigma^2`` per gradient, the time to ``E |grad f|^2 <= epsilon`` is
    within a constant of the lower bound for workers with different rows, with times per gradient ``tau_i`` and the
    slowest ``tau_n``::

        tau_n L Delta / epsilon + (1/n sum_i tau_i) sigma^2 L Delta / (n epsilon^2)

    :class:`Malenia` has the same bound; it makes one step where Ringleader makes n.  If the rows are distributed alike,
    :class:`Rennala` and :class:`Ringmaster` wait for nobody.

    Parameters
    ----------
    batch_size : int or None
        Rows per gradient.  Default: the model's own batch size, or 256 where that is 1.

    Notes
    -----
    The result depends on the workers' speeds.  With ``engine="serial"`` workers alternate, and results repeat to the
    bit.  The driver keeps up to two gradients per worker.  A schedule of the learning rate counts steps.

    Examples
    --------
    >>> from parsgd import Ringleader, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> algorithm = Ringleader(batch_size=8)
    >>> model = SGDClassifier(algorithm=algorithm, engine="serial", n_jobs=3, max_iter=8, tol=None, random_state=0)
    >>> model.fit(scale(X), y).score(scale(X), y) > 0.9
    True
    """

    batch_size: int | None = None

    name = "ringleader"

    def __post_init__(self) -> None:
        check_count(self.batch_size, "batch_size", "Ringleader")

    def init_memory(self, fit_state: FitState) -> RingleaderMemory:
        empty: Table = (None,) * fit_state.n_workers
        return RingleaderMemory(empty, empty, (), StepMemory())

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        """Add each gradient to a table, and make the steps that are due; every gradient has the weight 1."""
        memory: RingleaderMemory = fit_state.memory
        steps = GradientSteps(fit_state, memory.steps)
        weights = np.array([float(report.steps > 0) for report in reports])
        if memory.stepped and set(memory.stepped).issuperset(_active(fit_state)):
            # the workers whose steps were missing are lost
            memory = self._next_turn(memory)
        in_phase_1 = not memory.stepped
        for report in reports:
            steps.visit(report)
            if not report.steps:
                continue
            if report.worker in memory.stepped:
                memory = memory._replace(following=_added(memory.following, report))
                continue
            memory = memory._replace(table=_added(memory.table, report))
            if not in_phase_1:
                memory = self._step(fit_state, steps, memory, report.worker)
        # gradients that arrive together all belong to the first phase
        if in_phase_1 and weights.any() and all(memory.table[worker] is not None for worker in _active(fit_state)):
            last = next(report.worker for report in reversed(reports) if report.steps)
            memory = self._step(fit_state, steps, memory, last)
        return steps.result(weights, memory._replace(steps=steps.memory))

    def _step(
        self, fit_state: FitState, steps: GradientSteps, memory: RingleaderMemory, worker: int
    ) -> RingleaderMemory:
        """Make the step of a worker; after that of the last one the next turn begins."""
        steps.make(_mean(memory.table, fit_state.shard_rows))
        stepped = (*memory.stepped, worker)
        memory = memory._replace(stepped=stepped)
        return self._next_turn(memory) if set(stepped).issuperset(_active(fit_state)) else memory

    @staticmethod
    def _next_turn(memory: RingleaderMemory) -> RingleaderMemory:
        empty: Table = (None,) * len(memory.table)
        return memory._replace(table=memory.following, following=empty, stepped=())


def _active(fit_state: FitState) -> list[int]:
    """Return the workers that can still send gradients."""
    return [worker for worker, n in enumerate(fit_state.shard_rows) if n and worker not in fit_state.lost]


def _added(table: Table, report: Report) -> Table:
    """Return a table with one more gradient."""
    before = table[report.worker]
    with np.errstate(over="ignore", invalid="ignore"):
        total = report.state if before is None else before + report.state
    return (*table[: report.worker], total, *table[report.worker + 1 :])


def _mean(table: Table, shard_rows: Sequence[int]) -> np.ndarray:
    """Return ``sum_i n_i G_i / M_i`` over the workers in the table, followed by ``sum_i n_i``."""
    total: np.ndarray | None = None
    with np.errstate(over="ignore", invalid="ignore"):
        for entry, n_rows in zip(table, shard_rows, strict=True):
            if entry is not None:
                share = entry * entry.dtype.type(n_rows / max(float(entry[-1]), 1.0))
                total = share if total is None else total + share
    assert total is not None
    return total
