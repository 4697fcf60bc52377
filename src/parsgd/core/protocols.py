"""Contracts of the four axes: model, algorithm, engine and source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from parsgd.core.records import Budget, FitState, MergeResult, Report, RowBlock, Rows, Task, TaskFailed, Totals

# How a source deals its rows: each worker owns some of them, dealt at random; or owns those that lie together where
# they are stored; or draws from all of them with replacement; or sees all of them in one order common to all workers,
# of which an algorithm gives each its part.
PARTITIONS = ("shuffled", "contiguous", "replicated", "common_order")
# What a model may offer, whatever its kind; the rest of what an algorithm needs is the engine's to offer.
MODEL_OFFERS = frozenset({"shared_steps"})


class SGDRun(Protocol):
    """A run of many SGD steps on a state, in place.

    Between ``run`` and ``finalize`` the state may hold a scaled form; ``take_totals`` hands out the sums since the last
    one;
    ``schedule_step`` is the step it stands at and ``mean_loss`` the mean loss since the last totals.  A descent may
    have a context manager ``shown``: inside it the state is from_shared, afterwards the run goes on as if it had not
    been.
    """

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None: ...

    def take_totals(self) -> Totals: ...

    def finalize(self) -> None: ...

    def mean_loss(self) -> float: ...

    @property
    def schedule_step(self) -> float: ...


@runtime_checkable
class Model(Protocol):
    """What is fitted.

    ``n_outputs`` is the number of outputs that converge each by itself.  ``uses_blas``: whether its kernels call the
    BLAS, which is then kept to one thread a worker, as it always is where several workers train.  ``seed`` feeds what
    is random inside a step (dropout).

    ``gradient_sum`` gives the summed gradients of the examples ``batch[first:end]``, with their summed weight as the
    last element, and what they add to the batch's losses.  ``apply_gradient`` takes one step along such sums of a whole
    batch.

    ``nonnegative`` is the part of a state whose numbers are never below 0 (second moments): an algorithm whose weights
    may be negative treats it apart.

    ``decision`` gives what the loss is a function of, ``(n_rows, n_out)``, of a matrix or of ``rows.x``; ``is_linear``
    says that it is linear in the state.  ``mean_loss`` gives the mean loss of decisions on rows, weighted, and its
    gradient in them; of the rows it looks at targets and weights alone.  ``penalty_value`` is what the objective has
    besides, at ``state + part (end - state)``.

    ``capabilities`` is compared with ``Algorithm.requires``, as an engine's is; ``unavailable`` says of what it would
    offer but for its parameters which of them is in the way, and what to do.  A model that offers ``"shared_steps"`` is
    a :class:`SharedModel`.
    """

    n_outputs: int
    batch_size: int
    uses_blas: bool
    is_linear: bool
    nonnegative: slice
    capabilities: frozenset[str]
    unavailable: Mapping[str, str]

    def init(self, seed: int) -> np.ndarray: ...

    def sgd_run(
        self, state: np.ndarray, schedule_step: float, lr_scale: np.ndarray, seed: int, schedule_step_size: float = 1.0
    ) -> SGDRun: ...

    def gradient_sum(
        self, state: np.ndarray, rows: Rows, batch: np.ndarray, first: int, end: int, schedule_step: float, seed: int
    ) -> tuple[np.ndarray, Totals]: ...

    def apply_gradient(
        self, state: np.ndarray, slopes: np.ndarray, schedule_step: float, lr_scale: np.ndarray
    ) -> np.ndarray: ...

    def gradient(self, state: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]: ...

    def max_lr_factor(self, schedule_step: float, n_workers: int) -> float: ...

    def decision(self, state: np.ndarray, x: Any) -> np.ndarray: ...

    def mean_loss(self, decision: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]: ...

    def penalty_value(self, state: np.ndarray, end: np.ndarray | None = None, part: float = 0.0) -> float: ...

    def total_loss(self, losses: np.ndarray) -> float: ...

    def log_contraction(self, schedule_step: float, steps: int) -> float: ...

    def finite(self, state: np.ndarray) -> bool: ...


@runtime_checkable
class SharedModel(Model, Protocol):
    """A model whose runs can step on one state at the same time.

    What they share besides the state lies on a **shared_scalars** of float64: ``shared_scalars`` makes the one that a
    round begins with, ``sgd_run`` takes it as its last argument, and ``from_shared`` makes a new state of both when all
    runs have ended. ``size`` is the number of elements of a state.
    """

    size: int

    def shared_scalars(self, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray: ...

    def from_shared(self, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray: ...


@runtime_checkable
class Shard(Protocol):
    """One worker's share of the rows.  Picklable; opens where it runs.  An empty shard has weight 0 and is no error.

    ``cost`` is the number of stored values a row.  ``blocks`` yields what an epoch visits, from visit ``start`` on: in
    which order, the seed and the epoch alone decide.  ``portable`` is the shard as it should travel to another machine;
    ``close`` ends what it began in the background and lets go of what it holds open: the crew calls it when the fit
    ends, and ``blocks`` may be asked for again.
    """

    n_rows: int
    cost: float

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[RowBlock]: ...

    def portable(self) -> Shard:
        return self

    def close(self) -> None:
        return None


@runtime_checkable
class Source(Protocol):
    """Where rows come from, and how they split into shards.

    ``partitions`` are those of :data:`PARTITIONS` that it offers.  ``shuffled`` deals the rows to the workers, in
    proportion to ``shard_fractions (n_workers,)`` where they are given.  ``draw`` takes some rows at random into
    memory, for the driver to look at, and gives the source without them.
    """

    n_rows: int
    partitions: frozenset[str]

    def split(
        self, n_workers: int, seed: int, partition: str, shard_fractions: np.ndarray | None = None
    ) -> Sequence[Shard]: ...

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, Source]: ...


class ProgressCallback(Protocol):
    """A worker's line to its driver while a round runs: tell the progress, hear whether to go on."""

    def __call__(self, worker: int, examples: int, sgd_run: SGDRun) -> bool: ...


WorkFn = Callable[[Shard, Task, ProgressCallback], Report]


@runtime_checkable
class WorkerPool(Protocol):
    """Workers at work: three verbs, and the time.

    ``set_shards`` gives the workers other shards, while no task is under way.  ``receive`` waits for so many answers,
    or for as many as are under way; for a task that nobody will answer any more there is a :class:`TaskFailed`, once.
    An error that a worker meets in its work, in its rows for example, is raised by ``receive``.  ``now`` is the crew's
    time in seconds: the wall's, or a simulated one.  ``close`` ends the workers and closes the shards.
    """

    def send(self, task: Task) -> None: ...

    def receive(self, at_least: int) -> list[Report | TaskFailed]: ...

    def set_shards(self, shards: Sequence[Shard]) -> None: ...

    def now(self) -> float: ...

    def close(self) -> None: ...


@runtime_checkable
class Engine(Protocol):
    """Where workers run.  What it and the model offer is compared with ``Algorithm.requires`` before any worker starts.

    An engine that has so many workers and no others says how many in ``n_workers``; one that can have any number, but
    knows which one suits the machines that it runs on, in ``default_workers()``.  Neither need exist.
    """

    name: str
    capabilities: frozenset[str]

    def open(self, work: WorkFn, shards: Sequence[Shard], pulse: ProgressCallback) -> WorkerPool: ...


@runtime_checkable
class Algorithm(Protocol):
    """What a worker does, how many reports to wait for, how reports merge.

    ``message``: whether a report carries the ``"state"`` that the worker arrived at, or the ``"gradient"`` where it
    stands. ``one_shot``: one round is the whole fit.  ``common_clock``: all workers move one clock, and reports are
    readings of it; otherwise each has its own, and they are merged as the parameters are.  ``ordered``: reports are
    taken in the order in which their tasks were sent, one that comes earlier waits.  ``n_probe_rows`` says on how many
    rows the driver wants to judge merges (0: none), ``holds_out`` whether these are kept from the workers.
    ``init_memory`` is what it remembers before the first round, ``start_state`` the state that a worker's next task
    begins from, ``lr_factor`` a factor on its learning rate, ``schedule_step_size`` what one of its steps moves the
    clock by.  ``shard_fractions`` is asked at the end of an epoch: how to deal the rows anew, or None to leave them
    where they are.
    """

    name: str
    requires: frozenset[str]
    partition: str
    message: str
    one_shot: bool
    common_clock: bool
    ordered: bool
    holds_out: bool

    def n_probe_rows(self, n_rows: int) -> int: ...

    def init_memory(self, standing: FitState) -> Any: ...

    def start_state(self, standing: FitState, worker: int) -> np.ndarray: ...

    def lr_factor(self, standing: FitState) -> float: ...

    def schedule_step_size(self, n_workers: int) -> float: ...

    def budget(self, standing: FitState, worker: int) -> Budget: ...

    def shard_fractions(self, standing: FitState) -> np.ndarray | None: ...

    def quorum(self, n_workers: int) -> int: ...

    def run(self, model: Model, shard: Shard, task: Task, pulse: ProgressCallback) -> Report: ...

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult: ...
