"""The contracts between the four axes, and the plain records that travel along them.

A fit is a conversation.  The driver (:mod:`parsgd.fitting`) sends each worker a :class:`Task`; the worker runs
stochastic gradient descent on its :class:`Shard` and answers with a :class:`Report`; an :class:`Algorithm` merges the
reports into the next state.  Who carries the messages is the :class:`Engine`'s business, what is fitted is the
:class:`Model`'s, and where the rows come from is the :class:`Source`'s.

A state is one flat, contiguous vector.  So a merge is a weighted sum, a message one buffer, a checkpoint one array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

# How a source deals its rows: each worker owns some of them, or draws from all of them with replacement, or sees all of
# them in one order common to all workers, of which an algorithm gives each its part.
SAMPLINGS = ("split", "whole", "shared")


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
    own epochs, as serial SGD would.
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
    ``slowdown - 1`` times the time it computes (fault injection and simulation); ``n_workers`` and ``source_rows`` say
    how many workers and how many rows there are in all.
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


class Tally(NamedTuple):
    """Sums over the examples of a stretch of descent; ``loss`` and ``objective`` are ``(n_outputs,)``."""

    examples: int
    steps: int
    loss: np.ndarray
    objective: np.ndarray


@dataclass(frozen=True)
class Report:
    """Worker to driver: where the worker arrived and what it took.  Only sums and counts, so reports can be reduced.

    ``state`` is what the algorithm sends: the state it arrived at, or summed gradients (``Algorithm.sends``).
    ``log_contraction`` says how far the steps pulled any two runs together, as the logarithm of a factor;
    ``trace`` holds ``(examples, mean loss, score or None)`` at the end of each epoch that the round contained.
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


class Descent(Protocol):
    """A run of many SGD steps on a state, in place.

    Between ``advance`` and ``settle`` the state may hold a scaled form; ``tally`` hands out the sums since the last
    one;
    ``clock`` is the step it stands at and ``mean_loss`` the mean loss since the last tally.
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
    BLAS, which is then kept to one thread a worker.  ``seed`` feeds what is random inside a step (dropout).

    ``slope`` gives the summed gradients of the examples ``batch[first:end]``, with their summed weight as the last
    element, and what they add to the batch's losses.  ``step`` takes one step along such sums of a whole batch.
    """

    n_outputs: int
    batch_size: int
    uses_blas: bool

    def init(self, seed: int) -> np.ndarray: ...

    def descent(self, state: np.ndarray, clock: float, gains: np.ndarray, seed: int) -> Descent: ...

    def slope(
        self, state: np.ndarray, rows: Rows, batch: np.ndarray, first: int, end: int, clock: float, seed: int
    ) -> tuple[np.ndarray, Tally]: ...

    def step(self, state: np.ndarray, slopes: np.ndarray, clock: float, gains: np.ndarray) -> np.ndarray: ...

    def gradient(self, state: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]: ...

    def decision(self, state: np.ndarray, x: Any) -> np.ndarray: ...

    def total_loss(self, losses: np.ndarray) -> float: ...

    def log_contraction(self, clock: float, steps: int) -> float: ...

    def finite(self, state: np.ndarray) -> bool: ...


@runtime_checkable
class Shard(Protocol):
    """One worker's share of the rows.  Picklable; opens where it runs.  An empty shard has weight 0 and is no error."""

    n_rows: int
    cost: float

    def blocks(self, seed: int, epoch: int) -> Iterator[Block]: ...


@runtime_checkable
class Source(Protocol):
    """Where rows come from, and how they split into shards."""

    n_rows: int

    def split(self, n_workers: int, seed: int, sampling: str) -> Sequence[Shard]: ...


class Pulse(Protocol):
    """A worker's line to its driver while a round runs: tell the progress, hear whether to go on."""

    def __call__(self, worker: int, examples: int, descent: Descent) -> bool: ...


Work = Callable[[Shard, Task, Pulse], Report]


@runtime_checkable
class Crew(Protocol):
    """Workers at work: three verbs."""

    def send(self, task: Task) -> None: ...

    def receive(self, at_least: int) -> list[Report]: ...

    def close(self) -> None: ...


@runtime_checkable
class Engine(Protocol):
    """Where workers run.  ``offers`` is compared with ``Algorithm.needs`` before any worker starts."""

    name: str
    offers: frozenset[str]

    def open(self, work: Work, shards: Sequence[Shard], pulse: Pulse) -> Crew: ...


class Merge(NamedTuple):
    """The outcome of ``combine``: the next state and the weight that each report had in it."""

    state: np.ndarray
    weights: np.ndarray


@runtime_checkable
class Algorithm(Protocol):
    """What a worker does, how many reports to wait for, how reports merge.

    ``sends``: whether a report carries the ``"state"`` that the worker arrived at, or the ``"slope"`` where it stands.
    """

    name: str
    needs: frozenset[str]
    sampling: str
    sends: str
    one_shot: bool

    def budget(self, round: int, n_rows: int, epochs: int, stopping: Any, batch_size: int) -> Budget: ...

    def quorum(self, n_workers: int) -> int: ...

    def work(self, model: Model, shard: Shard, task: Task, pulse: Pulse) -> Report: ...

    def combine(self, model: Model, state: np.ndarray, reports: Sequence[Report]) -> Merge: ...


def silent(worker: int, examples: int, descent: Descent) -> bool:
    """The pulse of an engine that has no line back to its driver: nothing is told, and the worker goes on."""
    return True
