"""Worker pool on a Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from distributed import Client, Future, wait

from parsgd.core import ProgressCallback, Report, Shard, Task, TaskFailed, WorkFn
from parsgd.engines.dask import remote_tasks
from parsgd.engines.dask.liveness import Host, HostLostError, LivenessMonitor, host_errors, while_alive
from parsgd.engines.dask.remote_state import RemoteState
from parsgd.engines.dask.transfer import ScatterCache
from parsgd.engines.placement import Placement, assign_by_locality
from parsgd.errors import IncompatiblePartsError, MissingDependencyError, WorkersLostError

# Seconds between two checks for Ctrl-C and for the scheduler while waiting.
_POLL_S = 0.1
# Time limits for the request to stop, and for the cleanup.
_HALT_S, _CLOSE_S = 2.0, 5.0


def refuse_after_the_end(cause: BaseException | None = None) -> None:
    """Raise if the main thread has ended; from then on Dask accepts no work."""
    if not threading.main_thread().is_alive():
        raise IncompatiblePartsError(
            "engine='dask' was used by a thread that outlives the main thread, and Dask accepts no work while the"
            " interpreter shuts down. Join the thread in the main one, or use engine='processes'."
        ) from cause


class DaskWorkerPool:
    """Pool that runs each task as a coroutine in the client's event loop.

    The coroutine sends missing data to the host, submits a future bound to that host, and returns its report.  Keys are
    ``parsgd-RUN-ROUND-WORKER-NUMBER``.  If a host is lost, its coroutines return :class:`~parsgd.core.TaskFailed` after
    its workers have moved to other hosts.
    """

    def __init__(
        self,
        client: Client,
        closing: Callable[[], None],
        work: WorkFn,
        shards: Sequence[Shard],
        progress: ProgressCallback,
        *,
        in_tree: bool,
        direct: bool,
        heartbeat_timeout_s: float,
        worker_timeout_s: float,
    ):
        self.client, self.closing, self.shards, self.progress = client, closing, shards, progress
        self.in_tree, self.worker_timeout_s = in_tree, worker_timeout_s
        self.run = uuid.uuid4().hex[:12]
        self.results: SimpleQueue[Report | TaskFailed | BaseException] = SimpleQueue()
        self.pending = self.n_sent = self.n_submitted = 0
        self.halt_sent = False
        self.running: set[asyncio.Task] = set()
        # Futures of completed rounds.  Releasing them sends a message, and a client delays the next message by up to 10
        # ms. They are therefore released together with the next submission.
        self.releasable: list[Future] = []
        self.placement: Placement | None = None
        self.scatter_cache = ScatterCache(client, self.run, work, shards, direct)
        self.monitor = LivenessMonitor(client, heartbeat_timeout_s, self._joined, self._left)
        try:
            self.call(self._begin)
        except BaseException:
            self.close()
            raise

    # -- worker pool, in the caller's thread
    # ----------------------------------------------------------------------------

    def send(self, task: Task) -> None:
        self.pending += 1
        self.n_sent += 1
        self.client.loop.add_callback(self._start_task, task, self.n_sent)

    def receive(self, at_least: int) -> list[Report | TaskFailed]:
        results: list[Report | TaskFailed] = []
        while self.pending and (len(results) < at_least or not self.results.empty()):
            result = self._next()
            self.pending -= 1
            if isinstance(result, BaseException):
                refuse_after_the_end(result)
                raise result
            if isinstance(result, Report):
                self.progress(result.worker, result.examples, _Progress(result))
            results.append(result)
        return results

    def _next(self) -> Report | TaskFailed | BaseException:
        while True:
            try:
                return self.results.get(timeout=_POLL_S)
            except Empty:
                self._check_connection()

    def _check_connection(self) -> None:
        """Forward a request to stop; raise if the scheduler does not answer."""
        if getattr(self.progress, "halted", False) and not self.halt_sent:
            self.halt_sent = True
            self.client.loop.add_callback(self._halt)
        ended = self.client.status in ("closing", "closed")
        if ended or self.monitor.unanswered_s > self.worker_timeout_s:
            for_s = "" if ended else f" for {self.worker_timeout_s:g} s"
            raise WorkersLostError(
                f"The Dask scheduler does not answer{for_s}, so all workers are lost. If the cluster no longer"
                " runs, start it again, and fit again with Dask(address=...)."
            )

    def set_shards(self, shards: Sequence[Shard]) -> None:
        for shard in self.shards:
            shard.close()
        self.shards = shards
        self.client.loop.add_callback(self._place_shards, shards)

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        # the scheduler may have ended
        with contextlib.suppress(Exception):
            self.call(self._end, callback_timeout=_CLOSE_S)
        for shard in self.shards:
            shard.close()
        self.closing()

    def call(self, function: Callable[..., Awaitable], *arguments: Any, **settings: Any) -> Any:
        """Run a coroutine function in the event loop and wait for it."""
        return self.client.sync(function, *arguments, asynchronous=False, **settings)

    # -- tasks, in the event loop
    # -------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        end = time.monotonic() + self.worker_timeout_s
        await self.update_hosts()
        while not self.monitor.hosts:
            if time.monotonic() > end:
                address = self.client.scheduler.address
                raise WorkersLostError(
                    f"The Dask cluster at {address} has no workers, and none came within {self.worker_timeout_s:g} s."
                    f" Start some: dask worker {address}"
                )
            await asyncio.sleep(_POLL_S)
            await self.update_hosts()
        self.placement = self._new_placement(self.shards)
        self.monitor.start()

    async def _end(self) -> None:
        self.monitor.stop()
        busy = [running for running in self.running if not running.done()]
        for running in busy:
            running.cancel()
        try:
            if busy:
                await asyncio.wait(busy)
                await asyncio.wait_for(self._halt(), _HALT_S)
        finally:
            self.releasable.clear()
            self.scatter_cache.clear()

    async def _halt(self) -> None:
        """Request the running tasks to stop and report partial results; without any, this has no effect."""
        names = self.scatter_cache.keys_of_work()
        addresses = [host.address for host in names if not host.lost.done()]
        with contextlib.suppress(OSError, TimeoutError):
            await self.client.run(
                remote_tasks.halt, list(names.values()), workers=addresses, on_error="ignore", asynchronous=True
            )

    def _place_shards(self, shards: Sequence[Shard]) -> None:
        self.scatter_cache.set_shards(shards)
        if self.monitor.hosts:
            self.placement = self._new_placement(shards)
        else:
            self.placement.set_rows([shard.n_rows for shard in shards])

    def _new_placement(self, shards: Sequence[Shard]) -> Placement:
        """Assign workers to the present hosts, preferably to those that hold their rows (``LocatedShard.home``)."""
        hosts = self.monitor.hosts
        homes = assign_by_locality([hosts.get(getattr(shard, "home", None)) for shard in shards], list(hosts.values()))
        return Placement([shard.n_rows for shard in shards], list(hosts.values()), homes)

    def _start_task(self, task: Task, number: int) -> None:
        running = asyncio.ensure_future(self._run_task(task, number))
        self.running.add(running)
        running.add_done_callback(self.running.discard)

    async def _run_task(self, task: Task, number: int) -> None:
        try:
            result = await self._run_on_host(task)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # raised again by the driver
            result = error
        self.results.put(result)

    async def _run_on_host(self, task: Task) -> Report | TaskFailed:
        worker = task.worker
        host = await self._host_of(worker)
        if host is None:
            return TaskFailed(
                worker, task.round, f"no Dask worker came within {self.worker_timeout_s:g} s to take its rows"
            )
        try:
            return await self._try_task(task, host)
        except HostLostError as error:
            self.monitor.remove(host, str(error))
            replaced = await self._host_of(worker) is not None
            no_other = "" if replaced else f" No other came within {self.worker_timeout_s:g} s to take its rows."
            return TaskFailed(worker, task.round, (str(error) + no_other).rstrip("."), replaced)

    async def _host_of(self, worker: int) -> Host | None:
        """Return the host of a worker, or None if no host joins in time."""
        end = time.monotonic() + self.worker_timeout_s
        while self.placement.host_of(worker) is None:
            if time.monotonic() > end:
                return None
            await asyncio.sleep(_POLL_S)
        return self.placement.host_of(worker)

    async def _try_task(self, task: Task, host: Host) -> Report:
        """Run a task on a host.  Raises HostLostError if the host is lost, and errors of the task."""
        report = await self._submit_task(task, host)
        if not self.in_tree:
            found = await self.fetch(report, [host])
            self.releasable.append(report)
            return replace(found, state=remote_tasks.aligned(found.state))
        report_only, dtype, size = await self.fetch(self.submit(remote_tasks.without_state, report, host=host), [host])
        return replace(report_only, state=RemoteState(self, task, report, host, dtype, size))

    async def _submit_task(self, task: Task, host: Host) -> Future:
        """Return the future of a task's report."""
        with host_errors(host.address):
            packed = asyncio.gather(
                self.scatter_cache.work_on(host),
                self.scatter_cache.shard_on(host, task.worker),
                self.scatter_cache.state_on(host, task.state),
            )
            work, shard, state = await while_alive([host], packed)
        if isinstance(state, Future):
            self.releasable.append(state)
        bare = replace(task, state=np.empty(0))
        name = f"{task.round}-{task.worker}"
        return self.submit(remote_tasks.descend, work, shard, bare, state, host=host, name=name)

    # -- used by RemoteState
    # ------------------------------------------------------------------------------------------------

    def submit(self, function: Callable, *arguments: Any, host: Host, name: str = "sum") -> Future:
        """Return a future of ``function(*arguments)``, bound to one host."""
        self.n_submitted += 1
        future = self.client.submit(
            function,
            *arguments,
            key=f"parsgd-{self.run}-{name}-{self.n_submitted}",
            workers=[host.address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        self.releasable.clear()
        return future

    async def fetch(self, future: Future, hosts: Iterable[Host]) -> Any:
        """Return the result of a future while all involved hosts are available; raise the error of its task."""
        hosts = list(hosts)
        where = ", ".join(host.address for host in hosts)
        with host_errors(where):
            await while_alive(hosts, self._finished(future))
            if future.status != "error":
                return await while_alive(
                    hosts, self.client.gather(future, direct=self.scatter_cache.direct, asynchronous=True)
                )
            error = await future.exception()
        raise self._with_location(error, where)

    def _finished(self, future: Future) -> Awaitable:
        """Wait until a future has finished or failed."""
        with self.client.as_current():
            return wait([future])

    def _with_location(self, error: BaseException, where: str) -> BaseException:
        """Return an error of a task with a note that names its Dask worker."""
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "parsgd":
            return MissingDependencyError(f"The Dask worker at {where} has no parsgd: install the same version there.")
        error.add_note(f"(On the Dask worker at {where}.)")
        return error

    async def send_vector(self, vector: np.ndarray, host: Host) -> Future:
        """Send a vector to a host."""
        with host_errors(host.address):
            return await while_alive([host], self.scatter_cache.send(host, vector))

    async def rerun(self, task: Task) -> tuple[Future, Host]:
        """Run a task again on the worker's present host, to recover a lost state."""
        host = await self._host_of(task.worker)
        if host is None:
            raise WorkersLostError(
                f"worker {task.worker} is lost: no Dask worker came within {self.worker_timeout_s:g} s."
            )
        report = await self._submit_task(task, host)
        with host_errors(host.address):
            await while_alive([host], self._finished(report))
        return report, host

    async def update_hosts(self) -> None:
        """Update the hosts from the scheduler."""
        with contextlib.suppress(OSError, TimeoutError):
            await self.monitor.update()

    # -- hosts come and go ---------------------------------------------------------------------------------------------

    def _joined(self, host: Host) -> None:
        if self.placement is not None:
            self.placement.join(host)
            self.scatter_cache.keep(self.placement.workers_of)

    def _left(self, host: Host) -> None:
        if self.placement is not None:
            self.placement.remove(host)
        self.scatter_cache.drop(host)


class _Progress:
    """Stand-in for a run on the cluster, made from the report of a whole task."""

    def __init__(self, report: Report):
        self.report = report

    def mean_loss(self) -> float:
        return float(np.mean(self.report.loss)) / max(self.report.examples, 1)
