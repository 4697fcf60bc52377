"""The worker's side: an actor that keeps work, shards and worker states in its memory, and runs tasks."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np

from parsgd.core import Report, RunningLoss, Shard, Task, WorkFn
from parsgd.engines import remote_reports
from parsgd.engines.error_transport import PackedError, packed_error, packed_warnings
from parsgd.engines.ray.ray_api import ray
from parsgd.engines.remote_reports import aligned
from parsgd.utils import blas_threads


class ActorPlace(NamedTuple):
    """Process and node of an actor."""

    process: int
    node: str
    address: str


class TaskPulse(NamedTuple):
    """Examples of the running task so far, and their mean loss; ``serial`` is -1 if no task runs."""

    serial: int
    examples: int
    loss: float


class SentShard(NamedTuple):
    """The pickled shard of a worker, and the ``others`` whose shards the actor keeps."""

    data: bytes
    others: frozenset[int]


class TaskAnswer(NamedTuple):
    """The report of a task, or its error, and its pickled warnings.

    With the state in an object of its own, ``form`` has the dtype and the size of the state.
    """

    result: Report | PackedError
    warned: bytes | None
    form: tuple[np.dtype, int] | None = None


class WorkerActor:
    """Process of a Ray cluster that runs the tasks of one fit at a time.

    Tasks run in the concurrency group ``tasks`` of one thread; the group ``control`` answers while they run.
    """

    def __init__(self) -> None:
        self.fit: int = -1
        # the fit that was requested to stop; a request may arrive after the end of its fit
        self.halted: int = -1
        self._reset()

    def _reset(self) -> None:
        self.work: WorkFn | None = None
        self.shards: dict[int, Shard] = {}
        self.skipped: set[int] = set()
        self.latest: TaskPulse = TaskPulse(-1, 0, 0.0)

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def begin(self, fit: int, path: Sequence[str], work: bytes) -> ActorPlace | PackedError:
        """Prepare for a fit; the answer shows that the process is ready.

        ``path`` is the import path of the driver; Ray itself passes on two of its folders.
        """
        try:
            sys.path.extend(folder for folder in path if folder not in sys.path)
            self._end_fit()
            self.fit = fit
            self.work = pickle.loads(work)
        except BaseException as error:  # raised again by the driver
            return packed_error(error)
        return place()

    def run(
        self, serial: int, task: Task, state: np.ndarray, shard: SentShard | None, apart: bool, *parts: object
    ) -> TaskAnswer | tuple[TaskAnswer, np.ndarray]:
        """Run one task on a state that was sent separately.

        A ``shard`` is sent with the first task of a worker on this actor, with ``parts``, the results of its futures.
        With ``apart`` the state of the report is returned as a second object, which remains on this node.
        """
        self.latest = TaskPulse(serial, 0, 0.0)
        warned: list[warnings.WarningMessage] = []
        try:
            with warnings.catch_warnings(record=True, action="default") as warned, blas_threads.one_thread():
                if shard is not None:
                    self._take_shard(task.worker, shard, parts)
                work = cast("WorkFn", self.work)
                result = work(self.shards[task.worker], replace(task, state=aligned(state)), self.progress)
        except BaseException as error:  # raised again by the driver
            result = packed_error(error)
        self.latest = TaskPulse(-1, 0, 0.0)
        if not apart:
            return TaskAnswer(result, packed_warnings(warned))
        if isinstance(result, PackedError) or result.sparse_state is not None:
            return TaskAnswer(result, packed_warnings(warned)), np.empty(0)
        bare, dtype, size = remote_reports.without_state(result)
        return TaskAnswer(bare, packed_warnings(warned), (dtype, size)), result.state

    def _take_shard(self, worker: int, sent: SentShard, parts: Sequence[object]) -> None:
        self._keep_shards(sent.others)
        shard: Shard = pickle.loads(sent.data)
        self.shards[worker] = shard.filled(parts) if parts else shard

    def _keep_shards(self, workers: Collection[int]) -> None:
        """Close all other shards."""
        for worker in [worker for worker in self.shards if worker not in workers]:
            self.shards.pop(worker).close()

    def end(self) -> bool:
        """End a fit: close all shards.  Waits for the running task, which the driver has requested to stop."""
        self._end_fit()
        return True

    def _end_fit(self) -> None:
        self._keep_shards(())
        self._reset()

    def progress(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        """Record the progress of a task; return False if the driver requested a stop."""
        serial = self.latest.serial
        self.latest = TaskPulse(serial, self.latest.examples + examples, float(sgd_run.mean_loss()))
        return self.halted != self.fit and serial not in self.skipped

    # -- control -------------------------------------------------------------------------------------------------------

    def pulse(self) -> TaskPulse:
        """Return the progress of the running task: the heartbeat of the actor."""
        return self.latest

    def halt(self, fit: int) -> None:
        """Request the tasks of a fit, the running and all further ones, to stop and to report partial results."""
        self.halted = fit

    def skip(self, serial: int) -> None:
        """Request a task that the driver has given up to stop."""
        self.skipped.add(serial)

    def add(self, function: Callable[..., np.ndarray], arguments: tuple[object, ...], *vectors: np.ndarray) -> Any:
        """Return the sum of vectors; Ray brings them to this node."""
        return function(vectors, *arguments)


def place() -> ActorPlace:
    """Return the place of this process."""
    context = ray.get_runtime_context()
    address = ""
    # a cluster may be about to end
    with contextlib.suppress(Exception):
        address = ray.util.get_node_ip_address()
    return ActorPlace(os.getpid(), context.get_node_id(), address)


def remote_class() -> Any:
    """Return the class of actors: the driver replaces lost ones, and decides what to do about lost tasks.

    Without ``num_cpus``, an actor needs a free core to start and reserves none, so that one that waits for the next fit
    does not stop other work, for example of Ray Data.
    """
    groups = {"tasks": 1, "control": 1}
    return ray.remote(max_restarts=0, max_task_retries=0, concurrency_groups=groups)(WorkerActor)
