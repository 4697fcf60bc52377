"""Contract of a parallel SGD algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np

from parsgd.core.engine_protocols import ProgressCallback
from parsgd.core.model_protocols import Model
from parsgd.core.records import AlgorithmTraits, Budget, FitState, Report, Task
from parsgd.core.source_protocols import Shard


class TaskSpec(NamedTuple):
    """An algorithm's part of a task: the budget, and what differs from a run at serial rates from the current state.

    ``state`` is the start state; None means ``FitState.state``.  The worker does not modify it, except in shared
    memory.  ``lr_factor`` is a factor on the learning rates.  ``schedule_step_size`` is the increase of the schedule
    step per SGD step of the worker.
    """

    budget: Budget
    state: np.ndarray | None = None
    lr_factor: float = 1.0
    schedule_step_size: float = 1.0


class MergeResult(NamedTuple):
    """Result of ``Algorithm.merge``: the next state and the merge weight of each report.

    ``memory`` is passed back in the next :class:`FitState`.  ``answer`` is the state to return if the fit ended now;
    None means ``state``.  The two differ where a mean of many states is a better model but a worse start.
    ``shard_fractions (n_workers,)`` are new fractions of the rows per worker, which take effect if an epoch ends with
    this merge; None keeps the present shards.  ``work`` are the shares of the work by which the workers' schedule
    steps are averaged; None means ``weights``.  ``schedule_advance`` is the increase of the schedule step; None means
    that of the reports.  ``restarts`` are workers whose tasks are to be canceled, so that they start again from
    ``state``; the algorithm then requires the capability ``"cancel"``.
    """

    state: np.ndarray
    weights: np.ndarray
    memory: Any = None
    answer: np.ndarray | None = None
    shard_fractions: np.ndarray | None = None
    work: np.ndarray | None = None
    schedule_advance: float | None = None
    restarts: tuple[int, ...] = ()


@runtime_checkable
class Algorithm(Protocol):
    """A parallel SGD algorithm: tasks, quorum and merge.  Immutable; its memory is passed in and returned.

    :class:`~parsgd.core.SynchronousAlgorithm` has defaults for most members.

    Attributes
    ----------
    name : str
        Name for the ``algorithm`` parameter and for messages.
    traits : AlgorithmTraits
        Requirements and properties, the same for the whole fit.
    """

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> AlgorithmTraits: ...

    def n_probe_rows(self, n_rows: int) -> int:
        """Return the number of probe rows, on which the driver judges merges; 0 for none.

        Called on the driver before the split, if there are several workers.

        Arguments
        ---------
        n_rows : int
            Number of training rows.
        """
        ...

    def rows_per_step(self, model: Model) -> int:
        """Return the rows per SGD step, which may differ from ``model.batch_size`` if messages are gradients.

        Called by estimators of networks, where a decaying schedule counts epochs.
        """
        ...

    def init_memory(self, fit_state: FitState) -> Any:
        """Return the memory of the algorithm before the first round.

        Called on the driver, once per fit, also before a snapshot replaces the memory.  The memory must be picklable.
        """
        ...

    def next_task(self, fit_state: FitState, worker: int) -> TaskSpec:
        """Return start state, length and learning-rate factor of a worker's next task.

        Called on the driver for every task.
        """
        ...

    def quorum(self, n_workers: int) -> int:
        """Return the number of reports that a merge waits for.

        Called on the driver in every round.

        Arguments
        ---------
        n_workers : int
            Number of workers that can still be sent tasks.
        """
        ...

    def run(self, model: Model, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        """Carry out a task on a worker.

        Called on the worker, once per task.  Equal arguments give equal bits, unless the budget is in seconds.

        Arguments
        ---------
        model : Model
            The model.
        shard : Shard
            The rows of the worker.
        task : Task
            Start state, budget, cursor and schedule step.
        progress : ProgressCallback
            To call between chunks; the run ends early when it returns False.

        Returns
        -------
        Report
        """
        ...

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        """Combine the reports of a round into the next state.

        Called on the driver, once per round.  It must be pure: it does not modify its arguments.

        Arguments
        ---------
        fit_state : FitState
            The fit before this round was merged.
        reports : sequence of Report
            At least a quorum of reports, sorted by worker, each from a different worker.

        Returns
        -------
        MergeResult
        """
        ...


@runtime_checkable
class PlannedAlgorithm(Algorithm, Protocol):
    """An algorithm with a trait ``planned``."""

    def merge_weights(self, fit_state: FitState, reports: Sequence[Report]) -> np.ndarray:
        """Return the weights ``(n_reports,)`` of :meth:`Algorithm.merge`, which sum to 1, or are all 0.

        Of a merge per coordinate they are the shares of the work, ``MergeResult.work``.  Called on the driver before
        the round, with reports that have counts of steps and examples only.
        """
        ...


@runtime_checkable
class OuterStepsAlgorithm(PlannedAlgorithm, Protocol):
    """A planned algorithm with the trait ``outer_steps``: it continues from some of its merges."""

    def is_due(self, fit_state: FitState, examples: int) -> bool:
        """Return True if a merge of this many examples has to pass through :meth:`merge_planned` before the next round.

        If False, the next round starts from the merge itself.
        """
        ...

    def answer_weight(self, fit_state: FitState, examples: int) -> float:
        """Return the weight of the merged state in ``MergeResult.answer``, for a merge that is not due.

        The rest is the weight of the previous answer.
        """
        ...

    def merge_planned(self, fit_state: FitState, reports: Sequence[Report], merged: MergeResult) -> MergeResult:
        """Return what :meth:`Algorithm.merge` returns, from its mean or merge per coordinate ``merged``.

        Called for the last of the rounds that were made together.  Reports have
        counts and rates only.  ``merged.answer`` is the answer after the last round that is not due, if there was one
        before the rounds.
        """
        ...

    def skip_rounds(self, fit_state: FitState, steps: int) -> Any:
        """Return the memory after merges that were not due, in which all workers together made ``steps`` steps.

        ``fit_state`` is that before the first of these merges.  Called before :meth:`merge_planned` of the
        next one.
        """
        ...


@dataclass(frozen=True)
class Work:
    """The algorithm and the model of a fit; called with a shard, a task and a progress callback, it runs the task.

    The training loop passes it to an engine, which sends it to its workers.
    """

    algorithm: Algorithm
    model: Model

    def __call__(self, shard: Shard, task: Task, progress: ProgressCallback) -> Report:
        return self.algorithm.run(self.model, shard, task, progress)


def is_planned(algorithm: Algorithm) -> TypeGuard[PlannedAlgorithm]:
    """Return True if the rounds of the algorithm can be planned."""
    return algorithm.traits.planned != ""


def has_outer_steps(algorithm: Algorithm) -> TypeGuard[OuterStepsAlgorithm]:
    """Return True if the algorithm continues from planned merges."""
    return algorithm.traits.outer_steps
