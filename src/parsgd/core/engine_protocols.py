"""Contracts of an engine, of its pool of workers and of the progress callback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from parsgd.core.costs import CostModel
from parsgd.core.records import Report, Task, TaskFailed
from parsgd.core.sgd_run import RunningLoss
from parsgd.core.source_protocols import Shard


class ProgressCallback(Protocol):
    """A callback from a worker to its driver while a task runs."""

    def __call__(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        """Report progress and return True to continue the task.

        Called on the worker after every chunk of examples (about 0.02 s).

        Arguments
        ---------
        worker : int
            Number of the worker.
        examples : int
            Examples visited since the previous call.
        sgd_run : RunningLoss
            The run in progress.

        Returns
        -------
        bool
            False if the worker should stop and report its partial result.
        """
        ...


class StoppableProgress(ProgressCallback, Protocol):
    """A progress callback on the driver that can stop the workers.

    Attributes
    ----------
    halted : bool
        True if all workers should stop.  Pools with workers on other machines check it while they wait.
    """

    @property
    def halted(self) -> bool: ...


# Run one task on a shard and return its report: ``Algorithm.run`` with the model bound.
WorkFn = Callable[[Shard, Task, ProgressCallback], Report]


@runtime_checkable
class WorkerPool(Protocol):
    """Running workers, created by ``Engine.open`` for one fit.  The training loop calls all methods."""

    def send(self, task: Task) -> None:
        """Send a task to the worker ``task.worker``.  Called once per worker and round; does not wait."""
        ...

    def receive(self, at_least: int, within_s: float = 0.0) -> list[Report | TaskFailed]:
        """Wait for reports and return them.  Called after the tasks of a round were sent, until the quorum is reached.

        Arguments
        ---------
        at_least : int
            Number of results to wait for; fewer if fewer tasks are running.
        within_s : float
            Seconds to wait for further results after these.  The training loop passes it only for an algorithm with a
            trait ``grace_s``.

        Returns
        -------
        list of Report and TaskFailed
            All available results; empty only if no task is running.  A lost task yields one :class:`TaskFailed`.

        Raises
        ------
        Exception
            Any error that a worker raised in a task, for example while it read its rows.
        """
        ...

    def set_shards(self, shards: Sequence[Shard]) -> None:
        """Replace the shards of all workers and close the old ones.  Called between epochs, while no task runs."""
        ...

    def now(self) -> float:
        """Return the time in seconds, from the wall clock or a simulated clock."""
        ...

    def close(self) -> None:
        """End the workers and close the shards.  Called once, after success or failure, possibly while tasks run."""
        ...


@runtime_checkable
class CancelingPool(WorkerPool, Protocol):
    """A pool of an engine with the capability ``"cancel"``."""

    def cancel(self, worker: int) -> bool:
        """Cancel the task of a worker, which can then be sent another one.

        Called by the training loop between rounds, for ``MergeResult.restarts``.

        Returns
        -------
        bool
            False if the worker has no task, or its result has been received.
        """
        ...


@runtime_checkable
class GroupPool(WorkerPool, Protocol):
    """A pool whose workers can run functions at the same time, in the memory of the driver.

    Attributes
    ----------
    progress : StoppableProgress
        The callback that the engine was opened with.  The functions' progress is reported to it, and it can stop them.
    """

    progress: StoppableProgress

    def run_together(
        self, functions: Sequence[Callable[[], Callable[[], object]]], poll: Callable[[], None], brief: bool = False
    ) -> None:
        """Run ``functions[i]()()`` on worker ``i``, all at the same time, and wait for them.

        Called by the training loop while no task runs.

        Arguments
        ---------
        functions : sequence of callable
            One per worker.  Each prepares, and returns the function that works; the workers may wait for each other
            only in the latter.
        poll : callable
            Called several times per second on the driver while the functions run.
        brief : bool
            True if the functions take so little time that the driver may run one itself and need not call ``poll``.

        Raises
        ------
        Exception
            The first error that a function raised, after all of them have ended.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """A place where workers run: threads, processes, a cluster.

    :class:`~parsgd.core.EngineDefaults` has defaults for all members but ``name``, ``capabilities`` and ``open``.

    Attributes
    ----------
    name : str
        Name for the ``engine`` parameter and for messages.
    capabilities : frozenset of str
        Capabilities compared with ``AlgorithmTraits.requires`` before a worker starts, for example ``"shared_memory"``
        or ``"cancel"`` (:class:`CancelingPool`).
    n_workers : int or None
        Fixed number of workers; None if the engine accepts any.  Estimators read it to resolve ``n_jobs``.
    in_calling_thread : bool
        True if workers run in the thread of the driver.  A one-shot fit with one worker then bypasses the pool.
    on_cluster : bool
        True if workers run on machines of a cluster, whose memory may hold more rows than this machine's.
    """

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    @property
    def n_workers(self) -> int | None: ...

    @property
    def in_calling_thread(self) -> bool: ...

    @property
    def on_cluster(self) -> bool: ...

    def default_workers(self) -> int:
        """Return the number of workers that can run at the same time.

        Called by estimators for ``n_jobs=None`` and for a negative ``n_jobs``.
        """
        ...

    def message_costs(self, n_parameters: int) -> tuple[float, float] | None:
        """Return the latency in seconds per message and the bandwidth in bytes per second; None: shared memory.

        Called by estimators when they choose an algorithm and a number of workers.
        """
        ...

    def costs(self, n_rows: int, n_parameters: int) -> CostModel | None:
        """Return the complete cost model of a fit if the engine has one, such as a simulated engine; otherwise None.

        Called by estimators before ``message_costs``.
        """
        ...

    def open(self, work: WorkFn, shards: Sequence[Shard], progress: StoppableProgress) -> WorkerPool:
        """Start one worker per shard.

        Called by the training loop, once per fit.

        Arguments
        ---------
        work : callable
            The function that runs a task: a :class:`~parsgd.core.Work`, or a function that wraps one.
        shards : sequence of Shard
            The shard of each worker.
        progress : StoppableProgress
            Callback for the running tasks.

        Returns
        -------
        WorkerPool
        """
        ...
