"""Pool of worker processes: running tasks, results, and the replacement of lost processes."""

from __future__ import annotations

import itertools
import math
import os
import select
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from parsgd.core import Report, Shard, StoppableProgress, Task, TaskFailed
from parsgd.engines.placement import Placement
from parsgd.engines.processes import messages
from parsgd.engines.processes.error_transport import WarningRegistry, unpacked_error, warn_again
from parsgd.engines.processes.payload import FitPayload
from parsgd.engines.processes.shared_memory import InArrayFile, InSlot, PickledObject, loads
from parsgd.engines.processes.state_buffers import StateBuffers
from parsgd.engines.processes.worker_process import (
    ProcessCache,
    WorkerProcess,
    current_modules,
    end,
    import_path,
    start,
)
from parsgd.engines.reported_loss import ReportedLoss

# Maximum delay of Ctrl-C, and of the detection of an exited process with an inherited socket.
_POLL_SECONDS = 0.1
# Time limit for the imports of a new process, on a busy machine.
_START_SECONDS = 120.0
# Time limit for workers to exit; they first complete a call into compiled code.
_GRACE_SECONDS = 2.0
# Unique over all pools, so that late results are recognized.
_serials = itertools.count()


@dataclass
class _Sent:
    """A running task: its process, the slot of its state, and the number of examples reported so far."""

    task: Task
    host: WorkerProcess
    slot: int | None
    reported: int = 0


class ProcessWorkerPool:
    """Driver's side of the worker processes; opened by :class:`~parsgd.engines.processes.process_engine.Processes`.

    ``cache`` provides the processes and takes them back; None if they end with the pool.
    """

    def __init__(
        self,
        payload: FitPayload,
        progress: StoppableProgress,
        n_processes: int,
        cache: ProcessCache | None,
        heartbeat_timeout_s: float,
    ):
        self.payload: FitPayload = payload
        self.progress: StoppableProgress = progress
        self.cache: ProcessCache | None = cache
        self.heartbeat_timeout_s = heartbeat_timeout_s
        self.hosts: list[WorkerProcess] = start(n_processes) if cache is None else cache.take(n_processes)
        self.placement: Placement[WorkerProcess] = Placement(payload.rows, self.hosts)
        self.under_way: dict[int, _Sent] = {}
        self.arrived: deque[Report | TaskFailed | BaseException] = deque()
        self.states: StateBuffers = StateBuffers()
        self.registry: WarningRegistry = {}
        self.halted: bool = False
        self.closed: bool = False
        self.last_exit_reason: str = ""
        try:
            self._start()
        except BaseException:
            end(self.hosts)
            self.states.close()
            raise

    def _start(self) -> None:
        """Send the work, and wait until all processes are ready, so that none takes the work of late ones."""
        for host in self.hosts:
            self._send_arrays(host, self.payload.work)
            host.send(messages.StartFit(self.payload.work.data, import_path(), current_modules(), os.getcwd()))
        while not all(host.ready for host in self.placement.available):
            self._wait()

    # -- worker pool ---------------------------------------------------------------------------------------------------

    def send(self, task: Task) -> None:
        host, serial = self.placement.host_of(task.worker), next(_serials)
        if host is None:
            self.arrived.append(TaskFailed(task.worker, task.round, f"no process is left: {self.last_exit_reason}"))
            return
        packed, slot = self.states.pack(self.payload, task)
        self._send_arrays(host, packed)
        self._send_shard(host, task.worker)
        if slot is not None and slot not in host.slots:
            host.slots.add(slot)
            host.send(messages.SendSlot(slot), self.states.slots.files[slot])
        free = [host.free.popleft() for _ in range(len(host.free))]
        host.send(messages.RunTask(serial, task.worker, packed.data, free))
        host.silent_s = 0.0
        self.under_way[serial] = _Sent(task, host, slot)

    def receive(self, at_least: int) -> list[Report | TaskFailed]:
        results: list[Report | TaskFailed] = []
        while self.arrived or self.under_way:
            while self.arrived:
                result = self.arrived.popleft()
                if isinstance(result, BaseException):
                    raise result
                results.append(result)
            if len(results) >= at_least:
                break
            self._wait()
        return results

    def set_shards(self, shards: Sequence[Shard]) -> None:
        old = self.payload.set_shards(shards)
        self.placement.set_rows(self.payload.rows)
        for host in self.hosts:
            host.shards.clear()
            host.array_files.difference_update(old)
            host.send(messages.DropShards(old))

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        """Ask the processes to exit, or to prepare for another pool, and kill those that do not."""
        if self.closed:
            return
        self.closed = True
        leaving = self.cache is None
        self.under_way.clear()
        self._halt()
        for host in self.hosts:
            host.send(messages.EndFit(leaving))
        try:
            kept = [] if leaving else self._closed_by(time.monotonic() + _GRACE_SECONDS)
            end([host for host in self.hosts if host not in kept], _GRACE_SECONDS if leaving else 0.0)
            if self.cache is not None:
                for host in kept:
                    host.reset()
                self.cache.give_back(kept)
        except BaseException:
            end(self.hosts)
            raise
        finally:
            self.arrived.clear()
            self.states.close()
            self.payload.close()

    # -- sending -------------------------------------------------------------------------------------------------------

    def _send_arrays(self, host: WorkerProcess, packed: PickledObject) -> None:
        """Send the array files to which an object refers, unless the process has them."""
        for number in sorted(packed.array_files - host.array_files):
            host.array_files.add(number)
            host.send(messages.SendArrays(number), self.payload.file(number))

    def _send_shard(self, host: WorkerProcess, worker: int) -> None:
        if worker not in host.shards:
            host.shards.add(worker)
            self._send_arrays(host, self.payload.shards[worker])
            host.send(messages.SendShard(worker, self.payload.shards[worker].data))

    def _halt(self) -> None:
        if not self.halted:
            self.halted = True
            for host in self.hosts:
                host.send(messages.Halt())

    # -- receiving -----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait briefly for messages, and detect lost processes."""
        began = time.monotonic()
        active = self._exchange(_POLL_SECONDS)
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
        by_file = {host.channel.fileno(): host for host in self.hosts if not host.channel.ended}
        for file, host in by_file.items():
            poll.register(file, select.POLLIN | (select.POLLOUT if host.channel.waiting else 0))
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
        for message, file in host.channel.pull():
            self._handle(host, message, file)
        if host.channel.ended:
            self._remove_host(host, host.exit_reason())
        elif host.silent and not self.closed:
            host.silent = False
            self.placement.join(host)

    def _handle(self, host: WorkerProcess, message: messages.FromWorker, file: int) -> None:
        match message:
            case messages.Ready():
                host.ready = True
            case messages.Heartbeat():
                pass  # any message shows that the process is running
            case messages.SendSlot(number):
                host.view.add(number, file)
            case messages.TaskProgress(serial, examples, loss):
                if serial in self.under_way:
                    self._report_progress(self.under_way[serial], examples, loss)
            case messages.TaskDone(serial, data, warned):
                # unpickled also for a task that was given up: the slot of its state is then free again
                report = cast("Report", loads(data, lambda place: _in_slot(host, place)))
                sent = self._done(serial)
                if sent is not None:
                    if report.examples > sent.reported:
                        self._report_progress(sent, report.examples - sent.reported, math.nan)
                    self._add_result(report, warned)
            case messages.TaskRaised(serial, error, warned):
                sent = self._done(serial)
                if sent is not None:
                    who = f"worker {sent.task.worker} in round {sent.task.round}, process {host.pid}"
                    self._add_result(unpacked_error(error, who), warned)
            case messages.FitEnded():
                host.done = True

    def _add_result(self, result: Report | BaseException, warned: bytes | None) -> None:
        self.arrived.append(result)
        warn_again(warned, self.registry)

    def _done(self, serial: int) -> _Sent | None:
        """Return the task that has ended; None if it was given up."""
        sent = self.under_way.pop(serial, None)
        if sent is not None:
            self.states.release(sent.slot)
        return sent

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
                self._done(serial)
                task, replaced = sent.task, bool(self.placement.available)
                self.arrived.append(TaskFailed(task.worker, task.round, why, replaced))
                if silent:
                    host.send(messages.SkipTask(serial))
        host.silent = silent
        if not silent:
            host.kill()

    def _closed_by(self, deadline: float) -> list[WorkerProcess]:
        """Return the processes that are ready for another pool, without lost ones."""
        open_hosts = [host for host in self.placement.available if host.ready]
        while any(not host.done for host in open_hosts) and time.monotonic() < deadline:
            self._exchange(_POLL_SECONDS)
            open_hosts = [host for host in open_hosts if not host.channel.ended]
        return [host for host in open_hosts if host.done]


def _in_slot(host: WorkerProcess, place: InSlot | InArrayFile) -> np.ndarray:
    """Return an array in a slot of a process, which may use the slot again when the array is no longer referenced."""
    assert isinstance(place, InSlot), "a worker process has no files with arrays"
    return host.view.array(place, host.free.append)
