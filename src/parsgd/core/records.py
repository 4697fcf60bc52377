"""Records that travel between driver, workers and algorithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from parsgd.core.protocols import Model


class DenseRows(NamedTuple):
    """Rows of a C-contiguous matrix, seen as one long vector: row ``r`` is ``data[r * n_features:][:n_features]``."""

    data: np.ndarray
    n_features: int


class CsrRows(NamedTuple):
    """Rows in compressed sparse row form; indices and pointers may be 32 or 64 bits wide."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray


class Rows(NamedTuple):
    """Examples as a kernel reads them.

    ``y`` is ``(n_rows,)``: targets in the dtype of the data, or class numbers as int64 for several outputs.
    ``weight`` is ``(n_rows,)``, or empty when every example weighs 1.
    """

    x: DenseRows | CsrRows
    y: np.ndarray
    weight: np.ndarray


class RowBlock(NamedTuple):
    """Some rows in memory and the order, ``(n_visits,)`` row numbers, in which to visit them."""

    rows: Rows
    order: np.ndarray


@dataclass(frozen=True)
class Budget:
    """How much a worker may do in one round: so many examples or so many seconds, whichever ends first.

    ``stopping`` is given when the round is the whole fit (one-shot averaging): the worker then applies the rule to its
    own epochs, as serial SGD would.  An engine with a clock of its own says in examples how far the seconds reach, and
    ``seconds=inf``: a batch that is begun then is ended.
    """

    examples: int
    seconds: float | None = None
    stopping: Any = None


@dataclass(frozen=True)
class Task:
    """Driver to worker: continue from ``state``.

    ``cursor`` counts the examples this worker has visited so far in the fit, so that a task carries all that is needed
    to repeat it; ``schedule_step`` is the step at which the learning-rate schedule stands; ``lr_scale``
    ``(n_outputs,)`` multiplies the rate of each output (0: this output has converged); ``slowdown`` >= 1 makes the
    worker idle for ``slowdown - 1`` times the time it computes (fault injection); ``n_workers`` and ``source_rows`` say
    how many workers and how many rows there are in all; ``schedule_step_size`` is by how much one step of this worker
    moves the clock. ``owned``: nobody else needs ``state``, and the worker may write to it.
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
    owned: bool = False


class Totals(NamedTuple):
    """Sums over the examples of a stretch of descent; ``loss`` and ``objective`` are ``(n_outputs,)``."""

    examples: int
    steps: int
    loss: np.ndarray
    objective: np.ndarray


@dataclass(frozen=True)
class Report:
    """Worker to driver: where the worker arrived and what it took.  Only sums and counts, so reports can be reduced.

    ``state`` is what the algorithm sends: the state it arrived at, or summed gradients (``Algorithm.message``).  It may
    lie elsewhere: then ``numpy.asarray`` brings it, and its method ``weighted_sum(vectors, weights)`` adds up such
    states where they are (:func:`parsgd.algorithms.common.merge_weights.weighted_sum`).
    ``log_contraction`` says how far the steps pulled any two runs together, as the logarithm of a factor;
    ``epoch_log`` holds ``(examples, mean loss, score or None)`` at the end of each epoch that the round contained.
    ``diverged``: the run left the finite numbers, and ``state`` is that of its best epoch.
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


@dataclass(frozen=True)
class TaskFailed:
    """In place of a report: this task will not be answered, and why.

    ``replaced``: the worker's shard is in other hands, which read it anew, and can be sent the next task, or this one
    again.  Otherwise nobody is left to take it, and the worker is gone for the rest of the fit.
    """

    worker: int
    round: int
    why: str
    replaced: bool = False


@dataclass(frozen=True)
class FitState:
    """Where a fit stands between two rounds, as the driver knows it: all that an algorithm's decisions can rest on.

    ``state`` is what the search goes on from.  ``memory`` is what the algorithm chose to remember at the last merge, or
    when the fit began.  ``sample`` holds the rows it asked to see.  ``tasks`` holds the task that each worker was sent
    last, so that a report can be compared with what its worker set out from; ``cursors`` counts the examples that each
    worker has visited, ``shard_rows`` those that it owns.  ``round`` counts the merges so far.  ``schedule_step`` and
    ``lr_scale`` are those of a task that were sent now: with them the driver makes a step of its own.
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


class MergeResult(NamedTuple):
    """The outcome of ``merge``: the next state and the weight that each report had in it.

    ``memory`` comes back in the next :class:`FitState`.  ``answer`` is the state to hand out if the fit ended now,
    where that is not the one to go on from (the mean of many states is a better answer, and a worse start).
    """

    state: np.ndarray
    weights: np.ndarray
    memory: Any = None
    answer: np.ndarray | None = None
