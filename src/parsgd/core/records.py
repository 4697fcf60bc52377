"""Records exchanged between driver, workers and algorithms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from parsgd.core.model_protocols import Model


class DenseRows(NamedTuple):
    """Rows of a C-contiguous matrix as one long vector: row ``r`` is ``data[r * n_features:][:n_features]``."""

    data: np.ndarray
    n_features: int


class CsrRows(NamedTuple):
    """Rows in compressed sparse row format, with indices and pointers of 32 or 64 bits."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray


class Rows(NamedTuple):
    """Examples in the form that kernels read.

    ``y`` is ``(n_rows,)``: targets in the dtype of the data, or int64 class numbers for several outputs.
    ``weight`` is ``(n_rows,)``, or empty if every example has weight 1.
    """

    x: DenseRows | CsrRows
    y: np.ndarray
    weight: np.ndarray


class RowBlock(NamedTuple):
    """Rows in memory and the order, ``(n_visits,)`` row numbers, in which to visit them."""

    rows: Rows
    order: np.ndarray


class StoppingCriterion(Protocol):
    """A stopping rule that a worker applies to its own epochs, with its memory.

    Attributes
    ----------
    monitor : callable or None
        Maps a state to scores ``(n_outputs,)``.  The state is finalized before a call of :meth:`update`.
    keeps_best : bool
        True if the state with the best score is kept in ``best_state``.
    scores : list of float
        Mean score of each epoch.
    best_state : ndarray or None
        State with the best score so far.
    """

    monitor: Callable[[np.ndarray], np.ndarray] | None
    keeps_best: bool
    scores: list[float]
    best_state: np.ndarray | None

    def fresh(self) -> StoppingCriterion:
        """Return the same rule with empty memory.  Called on the worker at the start of its task."""
        ...

    def update(self, objective: np.ndarray, state: np.ndarray, lr_scale: np.ndarray) -> bool:
        """Record an epoch's mean objective ``(n_outputs,)``, reduce ``lr_scale`` in place; return True if reduced."""
        ...


@dataclass(frozen=True)
class Budget:
    """Limit of a worker's work in one round: a number of examples or of seconds, whichever is reached first.

    ``stopping`` is the stopping rule of a one-shot fit, where one round is the whole fit.  The worker then applies the
    rule to its own epochs, as serial SGD does.

    An engine with a simulated clock converts the seconds to examples and sets ``seconds=inf``.  The worker then
    completes a batch that it has begun.
    """

    examples: int
    seconds: float | None = None
    stopping: StoppingCriterion | None = None


class AlgorithmTraits(NamedTuple):
    """Requirements and properties of an algorithm, as data.

    Attributes
    ----------
    requires : frozenset of str
        Capabilities that the engine or the model must offer.
    partition : str
        One of :data:`~parsgd.core.PARTITIONS`: the assignment of rows to workers.
    message : {"state", "gradient"}
        Content of ``Report.state``: the final state of the worker, or summed gradients.
    one_shot : bool
        True if one round is the whole fit.  Workers then apply the stopping rule themselves.  With one worker,
        ``merge`` must return the state of its report.
    common_schedule_step : bool
        True if all workers share one schedule step, which reports read.  Otherwise each worker has its own, and the
        driver averages them with the merge weights.
    ordered : bool
        True if reports are merged in the order in which their tasks were sent.
    holds_out : bool
        True if probe rows are excluded from the workers' shards.
    reports_visits : bool
        True if ``merge`` reads ``Report.visits``.  With several workers, tasks then ask for them.
    may_overwrite_start : bool
        True if ``run`` never reads the task's state after the SGD run has started.  A fit with one worker may then run
        on that array itself instead of a copy.
    planned : {"", "mean", "coordinate", "touched", "gradient"}
        Merge of a round whose budgets depend on the cursors alone, modulo the rows of the shards: an average of states
        with the weights that :meth:`PlannedAlgorithm.merge_weights` returns, or an average per coordinate, or a step
        along summed gradients.  Rounds can then be planned before they run.  With ``"gradient"``, a round is a batch of
        the common order, divided between the workers, one after the other, by their budgets.  Empty: rounds depend on
        earlier results.
    grace_s : float
        Seconds for which the driver waits for further reports after the quorum.
    fresh_quorum : bool
        True if only reports of tasks that were sent in the present round count for the quorum.
    outer_steps : bool
        True if the algorithm continues from planned merges, see :meth:`PlannedAlgorithm.merge_planned`.  Otherwise the
        next round starts from the merge.
    """

    requires: frozenset[str] = frozenset()
    partition: str = "shuffled"
    message: str = "state"
    one_shot: bool = False
    common_schedule_step: bool = False
    ordered: bool = False
    holds_out: bool = False
    reports_visits: bool = False
    may_overwrite_start: bool = False
    planned: str = ""
    outer_steps: bool = False
    grace_s: float = 0.0
    fresh_quorum: bool = False


@dataclass(frozen=True)
class Task:
    """Message from the driver to a worker: continue from ``state``.  It contains all that is needed to repeat the work.

    Attributes
    ----------
    worker, round : int
        Numbers of the worker and the round.
    state : ndarray
        Start state.
    seed : int
        Seed of the worker: order of its rows, and random operations inside a step.
    budget : Budget
        Length of the task.
    cursor : int
        Examples that this worker has visited in the fit before the task.
    schedule_step : float
        Step of the learning-rate schedule at the start.
    lr_scale : ndarray, (n_outputs,)
        Factors on the learning rate; 0 for an output that has converged.
    slowdown : float
        At least 1.  The worker idles for ``slowdown - 1`` times its computing time (fault injection).
    n_workers, source_rows : int
        Number of workers and of rows in the whole fit.
    schedule_step_size : float
        Increase of the schedule step per SGD step of this worker.
    counts_visits : bool
        True if the report must contain ``visits``.
    owned : bool
        True if the worker may modify ``state``, because nothing else reads it.
    last_round : int
        Round of this worker's last task with a report; -1 if there is none.
    worker_state : object
        State of the worker after that task (:class:`WorkerStateModel`), if the driver has it.
    returns_worker_state : bool
        True if the report must contain the worker's state.
    """

    worker: int
    round: int
    state: np.ndarray
    seed: int
    budget: Budget
    cursor: int = 0
    schedule_step: float = 1.0
    lr_scale: np.ndarray = field(default_factory=lambda: np.ones(1))
    slowdown: float = 1.0
    n_workers: int = 1
    source_rows: int = 0
    schedule_step_size: float = 1.0
    counts_visits: bool = False
    owned: bool = False
    last_round: int = -1
    worker_state: Any = None
    returns_worker_state: bool = False


class Totals(NamedTuple):
    """Sums over the examples of a part of a run; ``loss`` and ``objective`` are ``(n_outputs,)``.

    ``tokens`` is 0 for a model that counts none.
    """

    examples: int
    steps: int
    loss: np.ndarray
    objective: np.ndarray
    tokens: int = 0


class SparseState(NamedTuple):
    """Final state of a task that visited few features, without the values that follow from the start state.

    Attributes
    ----------
    features : ndarray of int, (n_visited,)
        Sorted numbers of the features with visits.
    visits : ndarray of int, (n_visited,)
        Their visits, as in ``Report.visits``.
    values : tuple of ndarray, (n_visited * width,) each
        Their values in each of ``FeatureModel.feature_parts``.
    rest : ndarray
        The values outside of the feature parts, in the order of the state.
    shrinkage : ndarray, (width,), or None
        Factors from the start values to the final values of all other features in the first feature part.  None: they
        are unchanged.  Those in the other feature parts always are.
    """

    features: np.ndarray
    visits: np.ndarray
    values: tuple[np.ndarray, ...]
    rest: np.ndarray
    shrinkage: np.ndarray | None

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.features, self.visits, self.rest, *self.values)
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True)
class Report:
    """Message from a worker to the driver: the result of a task.  It contains sums and counts, so reports can be added.

    Attributes
    ----------
    worker, round : int
        Those of the task.
    state : ndarray or remote state
        Final state or summed gradients, according to ``AlgorithmTraits.message``.  A remote state stays on its machine.
        ``numpy.asarray`` fetches it, and its method ``weighted_sum(vectors, weights)`` adds such states remotely
        (:func:`parsgd.algorithms.merging.merge_weights.weighted_sum`).
    steps, examples : int
        SGD steps and examples of the task.
    loss, objective : ndarray, (n_outputs,)
        Sums over the examples.
    seconds : float
        Duration of the task on the worker.
    schedule_step : float
        Step of the learning-rate schedule at the end.
    lr_scale : ndarray, (n_outputs,)
        Factors on the learning rate at the end, after the worker's stopping rule.
    log_contraction : float
        Log of the factor by which the steps contracted the distance of two runs (``Model.log_contraction``).
    converged : bool
        True if the worker's stopping rule ended the run.
    epoch_log : tuple
        ``(examples, mean loss, score or None)`` at the end of each epoch in the round.
    diverged : bool
        True if parameters became non-finite; ``state`` is then that of the best epoch.
    visits : ndarray of int, (n_features,), or None
        Number of visited examples in which each feature is not zero.  None unless the task asks for it; a merge then
        assumes that every example has every feature.
    sparse_state : SparseState or None
        Final state and visits of a task that asked for visits and made few.  ``state`` is then empty.
    worker_state : object
        State of the worker after the task, if the task asks for it.
    tokens : int
        Tokens in the examples, for models that count them.
    """

    worker: int
    round: int
    state: np.ndarray
    steps: int
    examples: int
    loss: np.ndarray
    objective: np.ndarray
    seconds: float
    schedule_step: float
    lr_scale: np.ndarray
    log_contraction: float = 0.0
    converged: bool = False
    epoch_log: tuple[tuple[int, float, float | None], ...] = ()
    diverged: bool = False
    visits: np.ndarray | None = None
    sparse_state: SparseState | None = None
    worker_state: Any = None
    tokens: int = 0

    @property
    def n_bytes(self) -> int:
        """Bytes of the state and of the visits."""
        dense = self.state.nbytes + (0 if self.visits is None else self.visits.nbytes)
        return dense + (0 if self.sparse_state is None else self.sparse_state.n_bytes)


@dataclass(frozen=True)
class TaskFailed:
    """Result returned instead of a Report when a task is lost, with the reason ``why``.

    ``replaced`` is True if another host has the worker's shard and accepts its next task or a repetition of this one.
    Otherwise the worker is lost for the rest of the fit.
    """

    worker: int
    round: int
    why: str
    replaced: bool = False


@dataclass(frozen=True)
class FitState:
    """State of a fit between two rounds on the driver: the input of all decisions of an algorithm.

    Attributes
    ----------
    model : Model
        The model.
    state : ndarray
        Current state, from which training continues.
    n_workers, n_rows, max_epochs : int
        Number of workers at the start, of training rows, and of epochs at most.
    round, examples : int
        Merges and visited examples so far.
    memory : object
        Memory of the algorithm: from the last merge, or from ``init_memory``.
    sample : Rows or None
        Probe rows.
    tasks : sequence of Task or None
        Last task sent to each worker; a merge compares a report with the state its worker started from.
    cursors, shard_rows : sequence of int
        Examples visited by each worker, and rows in its shard.
    schedule_step, lr_scale
        The values the next task would get.  Gradient algorithms make the driver's step with them.
    lost : frozenset of int
        Workers that can no longer be sent tasks.
    derived : dict
        Values that an algorithm has computed once for the tasks of all workers, by name; initially empty.
    """

    model: Model
    state: np.ndarray
    n_workers: int = 1
    n_rows: int = 0
    max_epochs: int = 1
    round: int = 0
    examples: int = 0
    memory: Any = None
    sample: Rows | None = None
    tasks: Sequence[Task | None] = ()
    cursors: Sequence[int] = ()
    shard_rows: Sequence[int] = ()
    schedule_step: float = 1.0
    lr_scale: np.ndarray = field(default_factory=lambda: np.ones(1))
    lost: frozenset[int] = frozenset()
    derived: dict[str, Any] = field(init=False, default_factory=dict[str, Any], repr=False, compare=False)

    def task_of(self, worker: int) -> Task:
        """Return the last task of a worker that was sent one."""
        task = self.tasks[worker]
        assert task is not None
        return task

    @property
    def n_active(self) -> int:
        """Number of workers that can still be sent tasks.

        >>> from parsgd.testing.contracts._fixtures import small_model
        >>> FitState(small_model(), np.zeros(6), n_workers=3, lost=frozenset({1})).n_active
        2
        """
        return self.n_workers - len(self.lost)
