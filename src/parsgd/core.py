"""The contracts between the four axes, and the plain records that travel along them.

A fit is a conversation.  The driver (:mod:`parsgd.fitting`) sends each worker a :class:`Task`; the worker runs
stochastic gradient descent on its :class:`Shard` and answers with a :class:`Report`; an :class:`Algorithm` merges the
reports into the next state.  Who carries the messages is the :class:`Engine`'s business, what is fitted is the
:class:`Model`'s, and where the rows come from is the :class:`Source`'s.

A state is one flat, contiguous vector.  So a merge is a weighted sum, a message one buffer, a checkpoint one array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

# How a source deals its rows: each worker owns some of them, dealt at random; or owns those that lie together where
# they are stored; or draws from all of them with replacement; or sees all of them in one order common to all workers,
# of which an algorithm gives each its part.
SAMPLINGS = ("split", "stored", "whole", "shared")
# What a model may offer, whatever its kind; the rest of what an algorithm needs is the engine's to offer.
MODEL_OFFERS = frozenset({"shared_steps"})


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


class Block(NamedTuple):
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
    to repeat it; ``clock`` is the step at which the learning-rate schedule stands; ``gains`` ``(n_outputs,)``
    multiplies the rate of each output (0: this output has converged); ``slowdown`` >= 1 makes the worker idle for
    ``slowdown - 1`` times the time it computes (fault injection); ``n_workers`` and ``source_rows`` say how many
    workers and how many rows there are in all; ``pace`` is by how much one step of this worker moves the clock.
    ``owned``: nobody else needs ``state``, and the worker may write to it.
    """

    worker: int
    round: int
    state: np.ndarray
    seed: int
    budget: Budget
    cursor: int = 0
    clock: float = 1.0
    gains: np.ndarray = field(default_factory=lambda: np.ones(1))
    slowdown: float = 1.0
    n_workers: int = 1
    source_rows: int = 0
    pace: float = 1.0
    owned: bool = False


class Tally(NamedTuple):
    """Sums over the examples of a stretch of descent; ``loss`` and ``objective`` are ``(n_outputs,)``."""

    examples: int
    steps: int
    loss: np.ndarray
    objective: np.ndarray


@dataclass(frozen=True)
class Report:
    """Worker to driver: where the worker arrived and what it took.  Only sums and counts, so reports can be reduced.

    ``state`` is what the algorithm sends: the state it arrived at, or summed gradients (``Algorithm.sends``).  It may
    lie elsewhere: then ``numpy.asarray`` brings it, and its method ``weighted_sum(vectors, weights)`` adds up such
    states where they are (:func:`parsgd.algorithms.merging.weighted_sum`).
    ``log_contraction`` says how far the steps pulled any two runs together, as the logarithm of a factor;
    ``trace`` holds ``(examples, mean loss, score or None)`` at the end of each epoch that the round contained.
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
    clock: float
    gains: np.ndarray
    log_contraction: float = 0.0
    converged: bool = False
    trace: tuple[tuple[int, float, float | None], ...] = ()
    diverged: bool = False


@dataclass(frozen=True)
class Lost:
    """In place of a report: this task will not be answered, and why.

    ``replaced``: the worker's shard is in other hands, which read it anew, and can be sent the next task, or this one
    again.  Otherwise nobody is left to take it, and the worker is gone for the rest of the fit.
    """

    worker: int
    round: int
    why: str
    replaced: bool = False


class Descent(Protocol):
    """A run of many SGD steps on a state, in place.

    Between ``advance`` and ``settle`` the state may hold a scaled form; ``tally`` hands out the sums since the last
    one;
    ``clock`` is the step it stands at and ``mean_loss`` the mean loss since the last tally.  A descent may have a
    context manager ``shown``: inside it the state is settled, afterwards the run goes on as if it had not been.
    """

    def advance(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None: ...

    def tally(self) -> Tally: ...

    def settle(self) -> None: ...

    def mean_loss(self) -> float: ...

    @property
    def clock(self) -> float: ...


@runtime_checkable
class Model(Protocol):
    """What is fitted.

    ``n_outputs`` is the number of outputs that converge each by itself.  ``uses_blas``: whether its kernels call the
    BLAS, which is then kept to one thread a worker, as it always is where several workers train.  ``seed`` feeds what
    is random inside a step (dropout).

    ``slope`` gives the summed gradients of the examples ``batch[first:end]``, with their summed weight as the last
    element, and what they add to the batch's losses.  ``step`` takes one step along such sums of a whole batch.

    ``nonnegative`` is the part of a state whose numbers are never below 0 (second moments): an algorithm whose weights
    may be negative treats it apart.

    ``decision`` gives what the loss is a function of, ``(n_rows, n_out)``, of a matrix or of ``rows.x``; ``straight``
    says that it is linear in the state.  ``mean_loss`` gives the mean loss of decisions on rows, weighted, and its
    gradient in them; of the rows it looks at targets and weights alone.  ``penalty_at`` is what the objective has
    besides, at ``state + part (end - state)``.

    ``offers`` is compared with ``Algorithm.needs``, as an engine's is; ``withholds`` says of what it would offer but
    for its parameters which of them is in the way, and what to do.  A model that offers ``"shared_steps"`` is a
    :class:`SharedModel`.
    """

    n_outputs: int
    batch_size: int
    uses_blas: bool
    straight: bool
    nonnegative: slice
    offers: frozenset[str]
    withholds: Mapping[str, str]

    def init(self, seed: int) -> np.ndarray: ...

    def descent(
        self, state: np.ndarray, clock: float, gains: np.ndarray, seed: int, pace: float = 1.0
    ) -> Descent: ...

    def slope(
        self, state: np.ndarray, rows: Rows, batch: np.ndarray, first: int, end: int, clock: float, seed: int
    ) -> tuple[np.ndarray, Tally]: ...

    def step(self, state: np.ndarray, slopes: np.ndarray, clock: float, gains: np.ndarray) -> np.ndarray: ...

    def gradient(self, state: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]: ...

    def largest_gain(self, clock: float, n_workers: int) -> float: ...

    def decision(self, state: np.ndarray, x: Any) -> np.ndarray: ...

    def mean_loss(self, decision: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]: ...

    def penalty_at(self, state: np.ndarray, end: np.ndarray | None = None, part: float = 0.0) -> float: ...

    def total_loss(self, losses: np.ndarray) -> float: ...

    def log_contraction(self, clock: float, steps: int) -> float: ...

    def finite(self, state: np.ndarray) -> bool: ...


@runtime_checkable
class SharedModel(Model, Protocol):
    """A model whose runs can step on one state at the same time.

    What they share besides the state lies on a **board** of float64: ``board`` makes the one that a round begins with,
    ``descent`` takes it as its last argument, and ``settled`` makes a new state of both when all runs have ended.
    ``size`` is the number of elements of a state.
    """

    size: int

    def board(self, state: np.ndarray, clock: float, n_workers: int) -> np.ndarray: ...

    def settled(self, state: np.ndarray, board: np.ndarray) -> np.ndarray: ...


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

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[Block]: ...

    def portable(self) -> Shard:
        return self

    def close(self) -> None:
        return None


@runtime_checkable
class Source(Protocol):
    """Where rows come from, and how they split into shards.

    ``samplings`` are those of :data:`SAMPLINGS` that it offers.  ``split`` deals the rows to the workers, in proportion
    to ``shares (n_workers,)`` where they are given.  ``draw`` takes some rows at random into memory, for the driver to
    look at, and gives the source without them.
    """

    n_rows: int
    samplings: frozenset[str]

    def split(
        self, n_workers: int, seed: int, sampling: str, shares: np.ndarray | None = None
    ) -> Sequence[Shard]: ...

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, Source]: ...


class Pulse(Protocol):
    """A worker's line to its driver while a round runs: tell the progress, hear whether to go on."""

    def __call__(self, worker: int, examples: int, descent: Descent) -> bool: ...


Work = Callable[[Shard, Task, Pulse], Report]


@runtime_checkable
class Crew(Protocol):
    """Workers at work: three verbs, and the time.

    ``deal`` gives the workers other shards, while no task is under way.  ``receive`` waits for so many answers, or for
    as many as are under way; for a task that nobody will answer any more there is a :class:`Lost`, once.  An error that
    a worker meets in its work, in its rows for example, is raised by ``receive``.  ``now`` is the crew's time in
    seconds: the wall's, or a simulated one.  ``close`` ends the workers and closes the shards.
    """

    def send(self, task: Task) -> None: ...

    def receive(self, at_least: int) -> list[Report | Lost]: ...

    def deal(self, shards: Sequence[Shard]) -> None: ...

    def now(self) -> float: ...

    def close(self) -> None: ...


@runtime_checkable
class Engine(Protocol):
    """Where workers run.  What it and the model offer is compared with ``Algorithm.needs`` before any worker starts.

    An engine that has so many workers and no others says how many in ``n_workers``; one that can have any number, but
    knows which one suits the machines that it runs on, in ``default_workers()``.  Neither need exist.
    """

    name: str
    offers: frozenset[str]

    def open(self, work: Work, shards: Sequence[Shard], pulse: Pulse) -> Crew: ...


@dataclass(frozen=True)
class Standing:
    """Where a fit stands between two rounds, as the driver knows it: all that an algorithm's decisions can rest on.

    ``state`` is what the search goes on from.  ``memory`` is what the algorithm chose to remember at the last merge, or
    when the fit began.  ``sample`` holds the rows it asked to see.  ``tasks`` holds the task that each worker was sent
    last, so that a report can be compared with what its worker set out from; ``cursors`` counts the examples that each
    worker has visited, ``shard_rows`` those that it owns.  ``round`` counts the merges so far.  ``clock`` and ``gains``
    are those of a task that were sent now: with them the driver makes a step of its own.
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
    clock: float = 1.0
    gains: np.ndarray = field(default_factory=lambda: np.ones(1))


class Merge(NamedTuple):
    """The outcome of ``combine``: the next state and the weight that each report had in it.

    ``memory`` comes back in the next :class:`Standing`.  ``answer`` is the state to hand out if the fit ended now,
    where that is not the one to go on from (the mean of many states is a better answer, and a worse start).
    """

    state: np.ndarray
    weights: np.ndarray
    memory: Any = None
    answer: np.ndarray | None = None


@runtime_checkable
class Algorithm(Protocol):
    """What a worker does, how many reports to wait for, how reports merge.

    ``sends``: whether a report carries the ``"state"`` that the worker arrived at, or the ``"slope"`` where it stands.
    ``one_shot``: one round is the whole fit.  ``common_clock``: all workers move one clock, and reports are readings of
    it; otherwise each has its own, and they are merged as the parameters are.  ``in_turn``: reports are taken in the
    order in which their tasks were sent, one that comes earlier waits.  ``looks_at`` says on how many rows the driver
    wants to judge merges (0: none), ``holds_back`` whether these are kept from the workers.  ``begin`` is what it
    remembers before the first round, ``outset`` the state that a worker's next task begins from, ``gain`` a factor on
    its learning rate, ``pace`` what one of its steps moves the clock by.  ``shares`` is asked at the end of an epoch:
    how to deal the rows anew, or None to leave them where they are.
    """

    name: str
    needs: frozenset[str]
    sampling: str
    sends: str
    one_shot: bool
    common_clock: bool
    in_turn: bool
    holds_back: bool

    def looks_at(self, n_rows: int) -> int: ...

    def begin(self, standing: Standing) -> Any: ...

    def outset(self, standing: Standing, worker: int) -> np.ndarray: ...

    def gain(self, standing: Standing) -> float: ...

    def pace(self, n_workers: int) -> float: ...

    def budget(self, standing: Standing, worker: int) -> Budget: ...

    def shares(self, standing: Standing) -> np.ndarray | None: ...

    def quorum(self, n_workers: int) -> int: ...

    def work(self, model: Model, shard: Shard, task: Task, pulse: Pulse) -> Report: ...

    def combine(self, standing: Standing, reports: Sequence[Report]) -> Merge: ...


class Synchronous:
    """What most algorithms have in common: nothing special is needed, all workers set out from the same state and all
    are waited for.  An algorithm that does otherwise says so in its own file."""

    needs: frozenset[str] = frozenset()
    sampling = "split"
    sends = "state"
    one_shot = False
    common_clock = False
    in_turn = False
    holds_back = False
    # whether its work never reads the task's state after the run, so that a worker alone may write to it
    frees_start = False

    def looks_at(self, n_rows: int) -> int:
        return 0

    def begin(self, standing: Standing) -> Any:
        return None

    def outset(self, standing: Standing, worker: int) -> np.ndarray:
        return standing.state

    def gain(self, standing: Standing) -> float:
        return 1.0

    def pace(self, n_workers: int) -> float:
        return 1.0

    def shares(self, standing: Standing) -> np.ndarray | None:
        return None

    def quorum(self, n_workers: int) -> int:
        return n_workers


def silent(worker: int, examples: int, descent: Descent) -> bool:
    """The pulse of an engine that has no line back to its driver: nothing is told, and the worker goes on."""
    return True
