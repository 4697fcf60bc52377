"""Worker pool on a Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import cast

import numpy as np

from parsgd.core import Report, Shard, StoppableProgress, Task, TaskFailed, WorkFn
from parsgd.engines import remote_reports
from parsgd.engines.dask import remote_tasks
from parsgd.engines.dask.cluster import Cluster, RemoteData
from parsgd.engines.dask.liveness import Host, HostLostError, LivenessMonitor, host_errors, while_alive
from parsgd.engines.dask.remote_state import RemoteState
from parsgd.engines.dask.transfer import ScatterCache
from parsgd.engines.placement import Placement, assign_by_locality
from parsgd.engines.reported_loss import ReportedLoss
from parsgd.errors import IncompatiblePartsError, WorkersLostError

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

    The coroutine sends missing data to the host, submits a future bound to that host, and returns its report.  If a
    host is lost, its coroutines return :class:`~parsgd.core.TaskFailed` after its workers have moved to other hosts.
    """

    def __init__(
        self,
        cluster: Cluster,
        closing: Callable[[], object],
        work: WorkFn,
        shards: Sequence[Shard],
        progress: StoppableProgress,
        *,
        in_tree: bool,
        heartbeat_timeout_s: float,
        worker_timeout_s: float,
    ):
        self.cluster: Cluster = cluster
        self.closing: Callable[[], object] = closing
        self.shards: Sequence[Shard] = shards
        self.progress: StoppableProgress = progress
        self.in_tree: bool = in_tree
        self.worker_timeout_s: float = worker_timeout_s
        self.results: SimpleQueue[Report | TaskFailed | BaseException] = SimpleQueue()
        self.pending: int = 0
        self.halt_sent: bool = False
        self.running: set[asyncio.Task[None]] = set()
        # Futures of completed rounds.  Releasing them sends a message, and a client delays the next message by up to 10
        # ms. They are therefore released together with the next submission.
        self.releasable: list[RemoteData] = []
        self.scatter_cache: ScatterCache = ScatterCache(cluster, work, shards)
        self.monitor: LivenessMonitor = LivenessMonitor(cluster.workers, heartbeat_timeout_s, self._joined, self._left)
        try:
            cluster.call(self._begin)
        except BaseException:
            self.close()
            raise

    # -- worker pool, in the caller's thread ---------------------------------------------------------------------------

    def send(self, task: Task) -> None:
        self.pending += 1
        self.cluster.start(self._start_task, task)

    def receive(self, at_least: int, within_s: float = 0.0) -> list[Report | TaskFailed]:
        results: list[Report | TaskFailed] = []
        while self.pending and (len(results) < at_least or not self.results.empty()):
            self._add_next(results)
        until = time.perf_counter() + within_s
        while self.pending and time.perf_counter() < until and not self.progress.halted:
            self._add_next(results, until)
        return results

    def _add_next(self, results: list[Report | TaskFailed], until: float = math.inf) -> None:
        """Add the next result, if it arrives before the time ``until``."""
        result = self._next(until)
        if result is not None:
            self.pending -= 1
            if isinstance(result, BaseException):
                refuse_after_the_end(result)
                raise result
            if isinstance(result, Report):
                loss = float(np.mean(result.loss)) / max(result.examples, 1)
                self.progress(result.worker, result.examples, ReportedLoss(loss))
            results.append(result)

    def _next(self, until: float) -> Report | TaskFailed | BaseException | None:
        while (left := until - time.perf_counter()) > 0.0:
            try:
                return self.results.get(timeout=min(left, _POLL_S))
            except Empty:
                self._check_connection()
        return None

    def _check_connection(self) -> None:
        """Forward a request to stop; raise if the scheduler does not answer."""
        if self.progress.halted and not self.halt_sent:
            self.halt_sent = True
            self.cluster.start(self._halt)
        ended = self.cluster.closed
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
        self.cluster.start(self._place_shards, shards)

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        # the scheduler may have ended
        with contextlib.suppress(Exception):
            self.cluster.call(self._end, timeout_s=_CLOSE_S)
        for shard in self.shards:
            shard.close()
        self.closing()

    # -- tasks, in the event loop --------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        end = time.monotonic() + self.worker_timeout_s
        await self._update_hosts()
        while not self.monitor.hosts:
            if time.monotonic() > end:
                address = self.cluster.address
                raise WorkersLostError(
                    f"The Dask cluster at {address} has no workers, and none came within {self.worker_timeout_s:g} s."
                    f" Start some: dask worker {address}"
                )
            await asyncio.sleep(_POLL_S)
            await self._update_hosts()
        self.placement: Placement[Host] = self._new_placement(self.shards)
        self.monitor.start()

    async def _update_hosts(self) -> None:
        if not await self.monitor.update():
            raise WorkersLostError("The Dask client was closed during the fit. Keep it open until the fit ends.")

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
            await self.cluster.run_everywhere(addresses, remote_tasks.halt, list(names.values()))

    def _place_shards(self, shards: Sequence[Shard]) -> None:
        self.scatter_cache.set_shards(shards)
        if self.monitor.hosts:
            self.placement = self._new_placement(shards)
        else:
            self.placement.set_rows([shard.n_rows for shard in shards])

    def _new_placement(self, shards: Sequence[Shard]) -> Placement[Host]:
        """Assign workers to the present hosts, preferably to those that hold their rows (``Shard.home``)."""
        hosts = self.monitor.hosts
        preferred = [None if shard.home is None else hosts.get(shard.home) for shard in shards]
        homes = assign_by_locality(preferred, list(hosts.values()))
        return Placement([shard.n_rows for shard in shards], list(hosts.values()), homes)

    def _start_task(self, task: Task) -> None:
        running = asyncio.ensure_future(self._run_task(task))
        self.running.add(running)
        running.add_done_callback(self.running.discard)

    async def _run_task(self, task: Task) -> None:
        try:
            result = await self._run_on_host(task)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # raised again by the driver
            result = error
        self.results.put(result)

    async def _run_on_host(self, task: Task) -> Report | TaskFailed:
        worker, none_came = task.worker, f"came within {self.worker_timeout_s:g} s to take its rows"
        host = await self._host_of(worker)
        if host is None:
            return TaskFailed(worker, task.round, f"no Dask worker {none_came}")
        try:
            return await self._try_task(task, host)
        except HostLostError as error:
            self.monitor.remove(host, str(error))
            replaced = await self._host_of(worker) is not None
            no_other = "" if replaced else f" No other {none_came}."
            return TaskFailed(worker, task.round, (str(error) + no_other).rstrip("."), replaced)

    async def _host_of(self, worker: int) -> Host | None:
        """Return the host of a worker, or None if no host joins in time."""
        end = time.monotonic() + self.worker_timeout_s
        while True:
            host = self.placement.host_of(worker)
            if host is not None or time.monotonic() > end:
                return host
            await asyncio.sleep(_POLL_S)

    async def _try_task(self, task: Task, host: Host) -> Report:
        """Run a task on a host.  Raises HostLostError if the host is lost, and errors of the task."""
        future = await self._submit_task(task, host)
        if not self.in_tree:
            report: Report = await self.cluster.fetch(future, [host])
            self.releasable.append(future)
            return remote_reports.aligned_report(report)
        without_state = self._submit(host, "sum", remote_reports.without_state, future)
        fetched: tuple[Report, np.dtype, int] = await self.cluster.fetch(without_state, [host])
        report, dtype, size = fetched
        report = remote_reports.aligned_report(report)
        if report.sparse_state is not None:
            self.releasable += [future, without_state]
            return report
        state = RemoteState(dtype, size, self.cluster, self._recover, task, future, host)
        # ``Report.state`` may be such a state, which acts as an array
        return replace(report, state=cast("np.ndarray", state))

    async def _submit_task(self, task: Task, host: Host) -> RemoteData:
        """Return the future of a task's report."""
        with host_errors(host.address):
            packed = asyncio.gather(
                self.scatter_cache.work_on(host),
                self.scatter_cache.shard_on(host, task.worker),
                self.scatter_cache.state_on(host, task.state),
            )
            work, shard, state = await while_alive([host], packed)
        if not isinstance(state, np.ndarray):
            self.releasable.append(state)
        bare = replace(task, state=np.empty(0))
        name = f"{task.round}-{task.worker}"
        return self._submit(host, name, remote_tasks.descend, work, shard, bare, state)

    def _submit(self, host: Host, name: str, function: Callable[..., object], *arguments: object) -> RemoteData:
        future = self.cluster.submit(host, name, function, *arguments)
        self.releasable.clear()
        return future

    async def _recover(self, states: Sequence[RemoteState]) -> None:
        """Run the tasks of lost states again, on the present hosts of their workers."""
        await self._update_hosts()
        for state in states:
            if not state.lost:
                continue
            host = await self._host_of(state.task.worker)
            if host is None:
                raise WorkersLostError(
                    f"worker {state.task.worker} is lost: no Dask worker came within {self.worker_timeout_s:g} s."
                )
            report = await self._submit_task(state.task, host)
            with host_errors(host.address):
                await while_alive([host], self.cluster.finished(report))
            state.report, state.host = report, host

    # -- hosts come and go ---------------------------------------------------------------------------------------------

    def _joined(self, host: Host) -> None:
        self.placement.join(host)
        self.scatter_cache.keep(self.placement.workers_of)

    def _left(self, host: Host) -> None:
        self.placement.remove(host)
        self.scatter_cache.drop(host)
