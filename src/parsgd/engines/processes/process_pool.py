"""Pool of worker processes: running tasks, results, and the replacement of lost processes."""

from __future__ import annotations

import itertools
import math
import mmap
import os
import select
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from parsgd.core import Report, Shard, StoppableProgress, Task, TaskFailed
from parsgd.engines.error_transport import PackedError, WarningRegistry, unpacked_error, warn_again
from parsgd.engines.placement import Placement
from parsgd.engines.processes import messages
from parsgd.engines.processes.payload import FitPayload
from parsgd.engines.processes.shared_buffers import SharedBuffer, SharedBuffers
from parsgd.engines.processes.shared_memory import is_shareable, loads
from parsgd.engines.processes.worker_process import ProcessCache, WorkerProcess, current_modules, end, import_path
from parsgd.engines.reported_loss import ReportedLoss

# Maximum delay of Ctrl-C, and of the detection of an exited process with an inherited socket.
_POLL_SECONDS = 0.1
# Time limit for the imports of a new process, on a busy machine.
_START_SECONDS = 120.0
# Time limit for workers to end a fit; they first complete a call into compiled code.
_GRACE_SECONDS = 2.0
# Unique over all pools, so that late results are recognized.
_serials = itertools.count()


@dataclass
class _Sent:
    """A running task: its process, the buffers of its state and its report, and the examples reported so far."""

    task: Task
    host: WorkerProcess
    start: SharedBuffer | None = None
    end: SharedBuffer | None = None
    reported: int = 0


class ProcessWorkerPool:
    """Driver's side of the worker processes; opened by :class:`~parsgd.engines.processes.process_engine.Processes`.

    ``cache`` provides the processes and takes them back.
    """

    def __init__(
        self,
        payload: FitPayload,
        progress: StoppableProgress,
        n_processes: int,
        cache: ProcessCache,
        heartbeat_timeout_s: float,
    ):
        self.payload: FitPayload = payload
        self.progress: StoppableProgress = progress
        self.cache: ProcessCache = cache
        self.heartbeat_timeout_s = heartbeat_timeout_s
        self.hosts: list[WorkerProcess] = cache.take(n_processes)
        self.placement: Placement[WorkerProcess] = Placement(payload.rows, self.hosts)
        self.under_way: dict[int, _Sent] = {}
        self.arrived: deque[Report | TaskFailed | BaseException] = deque()
        self.buffers: SharedBuffers = SharedBuffers()
        self.registry: WarningRegistry = {}
        self.halted: bool = False
        self.closed: bool = False
        self.last_exit_reason: str = ""
        try:
            self._start()
        except BaseException:
            end(self.hosts)
            self.buffers.close()
            raise

    def _start(self) -> None:
        """Send the work, and wait until all processes are ready, so that none takes the work of late ones."""
        for host in self.hosts:
            host.shards.clear()
            host.channel.send(messages.StartFit(self.payload.work, import_path(), current_modules(), os.getcwd()))
        while not all(host.ready for host in self.placement.available):
            self._wait()

    # -- worker pool ---------------------------------------------------------------------------------------------------

    def send(self, task: Task) -> None:
        host, serial = self.placement.host_of(task.worker), next(_serials)
        if host is None:
            self.arrived.append(TaskFailed(task.worker, task.round, f"no process is left: {self.last_exit_reason}"))
            return
        shard = None if task.worker in host.shards else self.payload.shards[task.worker]
        host.shards.add(task.worker)
        sent, start_place, end_place = _Sent(task, host), None, None
        if is_shareable(task.state):
            sent.start = self.buffers.with_state(task.state, task.round)
            # a gradient has one element more than the state
            sent.end = self.buffers.take(task.state.nbytes + mmap.PAGESIZE)
            start_place, end_place = sent.start.place.holding(task.state), sent.end.place
        packed = self.payload.pack_task(task, lambda array: start_place if array is task.state else None)
        host.channel.send(messages.RunTask(serial, task.worker, packed, shard, end_place))
        host.silent_s = 0.0
        self.under_way[serial] = sent

    def receive(self, at_least: int, within_s: float = 0.0) -> list[Report | TaskFailed]:
        results: list[Report | TaskFailed] = []
        until = math.inf
        while self.arrived or self.under_way:
            while self.arrived:
                result = self.arrived.popleft()
                if isinstance(result, BaseException):
                    raise result
                results.append(result)
            if len(results) >= at_least:
                until = min(until, time.perf_counter() + within_s)
            left = until - time.perf_counter()
            if left <= 0.0 or (until < math.inf and self.halted):
                break
            self._wait(min(left, _POLL_SECONDS))
        return results

    def set_shards(self, shards: Sequence[Shard]) -> None:
        self.payload.set_shards(shards)
        self.placement.set_rows(self.payload.rows)
        for host in self.hosts:
            host.shards.clear()
            host.channel.send(messages.DropShards())

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        """Ask the processes to prepare for another pool, and kill those that do not."""
        if self.closed:
            return
        self.closed = True
        self.under_way.clear()
        self._halt()
        try:
            kept = self._ready_again(time.monotonic() + _GRACE_SECONDS)
            end([host for host in self.hosts if host not in kept])
            self.cache.give_back(kept)
        except BaseException:
            end(self.hosts)
            raise
        finally:
            self.arrived.clear()
            self.buffers.close()
            self.payload.close()

    def _halt(self) -> None:
        if not self.halted:
            self.halted = True
            for host in self.hosts:
                host.channel.send(messages.Halt())

    # -- receiving -----------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float = _POLL_SECONDS) -> None:
        """Wait briefly for messages, and detect lost processes."""
        began = time.monotonic()
        active = self._exchange(seconds)
        # a driver that was stopped did not receive heartbeats
        waited = min(time.monotonic() - began, 2.0 * _POLL_SECONDS)
        if not active and self.under_way:
            # the callback may request a stop
            self._report_progress(next(iter(self.under_way.values())), 0, math.nan)
        busy = {sent.host for sent in self.under_way.values()}
        for host in list(self.placement.available):
            waits = host not in active and (host in busy or not host.ready)
            host.silent_s = host.silent_s + waited if waits else 0.0
            limit_s = self.heartbeat_timeout_s if host.ready else max(self.heartbeat_timeout_s, _START_SECONDS)
            if host.silent_s > limit_s:
                why = f"its process (pid {host.pid}) sent no heartbeat for {host.silent_s:.1f} s"
                self._remove_host(host, why, silent=True)

    def _exchange(self, timeout_s: float) -> list[WorkerProcess]:
        """Read and write messages for up to ``timeout_s``; return the processes that sent any."""
        poll = select.poll()
        by_file = {host.channel.sock.fileno(): host for host in self.hosts if not host.channel.ended}
        for file, host in by_file.items():
            poll.register(file, select.POLLIN | (select.POLLOUT if host.channel.outgoing else 0))
        active: list[WorkerProcess] = []
        ready = poll.poll(1000.0 * timeout_s)
        for file, events in ready:
            host = by_file[file]
            if events & select.POLLOUT:
                host.channel.flush()
            if events & ~select.POLLOUT:
                active.append(host)
                self._read(host)
        if not ready:
            for host in by_file.values():
                if host.exited:
                    self._read(host)
                    if not host.channel.ended:
                        self._remove_host(host, host.exit_reason())
        return active

    def _read(self, host: WorkerProcess) -> None:
        for message in host.channel.pull():
            self._handle(host, message)
        if host.channel.ended:
            self._remove_host(host, host.exit_reason())
        elif host.silent and not self.closed:
            host.silent = False
            self.placement.join(host)

    def _handle(self, host: WorkerProcess, message: messages.FromWorker) -> None:
        match message:
            case messages.Ready():
                host.ready = True
            case messages.Heartbeat():
                pass  # any message shows that the process is running
            case messages.TaskProgress(serial, examples, loss):
                if serial in self.under_way:
                    self._report_progress(self.under_way[serial], examples, loss)
            case messages.TaskEnded(serial, result, warned):
                if serial in self.under_way:
                    self._end_task(serial, result)
                    warn_again(warned, self.registry)

    def _end_task(self, serial: int, result: bytes | PackedError) -> None:
        """Add the report or the error of a task to the results."""
        sent = self.under_way[serial]
        if isinstance(result, PackedError):
            who = f"worker {sent.task.worker} in round {sent.task.round}, process {sent.host.pid}"
            self.arrived.append(unpacked_error(result, who))
        else:
            report = cast("Report", loads(result, self.buffers.array))
            if report.examples > sent.reported:
                self._report_progress(sent, report.examples - sent.reported, math.nan)
            self.arrived.append(report)
        self._remove_task(serial)

    def _remove_task(self, serial: int) -> Task:
        """Return a task that has ended or is given up."""
        sent = self.under_way.pop(serial)
        for buffer in (sent.start, sent.end):
            if buffer is not None:
                buffer.release()
        return sent.task

    def _report_progress(self, sent: _Sent, examples: int, loss: float) -> None:
        sent.reported += examples
        if not self.progress(sent.task.worker, examples, ReportedLoss(loss)):
            self._halt()

    # -- lost hosts ----------------------------------------------------------------------------------------------------

    def _remove_host(self, host: WorkerProcess, why: str, silent: bool = False) -> None:
        """Move the workers of a process to others, and report its tasks as failed."""
        self.last_exit_reason = why
        self.placement.remove(host)
        for serial, sent in list(self.under_way.items()):
            if sent.host is host:
                if silent:
                    sent.end = None  # the process may still write to it
                    host.channel.send(messages.SkipTask(serial))
                task = self._remove_task(serial)
                self.arrived.append(TaskFailed(task.worker, task.round, why, bool(self.placement.available)))
        host.silent = silent
        if not silent:
            host.kill()

    def _ready_again(self, deadline: float) -> list[WorkerProcess]:
        """Return the processes that are ready for another pool, without lost ones."""
        kept = [host for host in self.placement.available if host.ready]
        for host in kept:
            host.channel.send(messages.EndFit())
            host.ready = False
        while any(not host.ready for host in kept) and time.monotonic() < deadline:
            self._exchange(_POLL_SECONDS)
            kept = [host for host in kept if not host.channel.ended]
        return [host for host in kept if host.ready]
