"""Contract of a parallel SGD algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from parsgd.core.engine_protocols import ProgressCallback
from parsgd.core.model_protocols import Model
from parsgd.core.records import Budget, FitState, MergeResult, Report, Task
from parsgd.core.source_protocols import Shard


@runtime_checkable
class Algorithm(Protocol):
    """A parallel SGD algorithm: work per round, quorum and merge.  Immutable; its memory is passed in and returned.

    :class:`~parsgd.core.SynchronousAlgorithm` has defaults for most members.

    Attributes
    ----------
    name : str
        Name for the ``algorithm`` parameter and for messages.
    requires : frozenset of str
        Capabilities that the engine or the model must offer.
    partition : str
        One of :data:`~parsgd.core.PARTITIONS`: the assignment of rows to workers.
    message : {"state", "gradient"}
        Content of ``Report.state``: the final state of the worker, or summed gradients.
    one_shot : bool
        True if one round is the whole fit.  Workers then apply the stopping rule themselves.
    common_clock : bool
        True if all workers share one schedule step, which reports read.  Otherwise each worker has its own, and the
        driver averages them with the merge weights.
    ordered : bool
        True if reports are merged in the order in which their tasks were sent.
    holds_out : bool
        True if probe rows are excluded from the workers' shards.
    """

    name: str
    requires: frozenset[str]
    partition: str
    message: str
    one_shot: bool
    common_clock: bool
    ordered: bool
    holds_out: bool

    def n_probe_rows(self, n_rows: int) -> int:
        """Return the number of probe rows, on which the driver judges merges; 0 for none.

        Called on the driver before the split, if there are several workers.

        Arguments
        ---------
        n_rows : int
            Number of training rows.
        """

    def init_memory(self, fit_state: FitState) -> Any:
        """Return the memory of the algorithm before the first round.

        Called on the driver, once per fit, also before a snapshot replaces the memory.  The memory must be picklable.
        """

    def start_state(self, fit_state: FitState, worker: int) -> np.ndarray:
        """Return the state from which a worker starts its next task.

        Called on the driver for every task.  The worker does not modify the array, except in shared memory.
        """

    def lr_factor(self, fit_state: FitState) -> float:
        """Return a factor on the learning rates of the next tasks.

        Called on the driver once per round.
        """

    def schedule_step_size(self, n_workers: int) -> float:
        """Return the increase of the schedule step per SGD step of one worker.

        Called on the driver for every task.

        Arguments
        ---------
        n_workers : int
            Number of workers that can still be sent tasks.
        """

    def budget(self, fit_state: FitState, worker: int) -> Budget:
        """Return the length of a worker's next task in examples or seconds.

        Called on the driver for every task.
        """

    def shard_fractions(self, fit_state: FitState) -> np.ndarray | None:
        """Return new fractions of the rows per worker, ``(n_workers,)``, or None to keep the present shards.

        Called on the driver at the end of every epoch.
        """

    def quorum(self, n_workers: int) -> int:
        """Return the number of reports that a merge waits for.

        Called on the driver in every round.

        Arguments
        ---------
        n_workers : int
            Number of workers that can still be sent tasks.
        """

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
