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
from typing import Any

from parsgd.core import ProgressCallback, Report, Shard, Task, TaskFailed
from parsgd.engines.placement import Placement
from parsgd.engines.processes.error_transport import unpacked_error, warn_again
from parsgd.engines.processes.payload import FitPayload
from parsgd.engines.processes.shared_memory import PickledObject, loads
from parsgd.engines.processes.state_buffers import StateBuffers
from parsgd.engines.processes.worker_process import (
    ProcessCache,
    WorkerProcess,
    current_modules,
    end,
    import_path,
    start,
)

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
        progress: ProgressCallback,
        n_processes: int,
        cache: ProcessCache | None,
        heartbeat_timeout_s: float,
    ):
        self.payload, self.progress, self.cache, self.heartbeat_timeout_s = (
            payload,
            progress,
            cache,
            heartbeat_timeout_s,
        )
        self.hosts = start(n_processes) if cache is None else cache.take(n_processes)
        self.placement = Placement(payload.rows, range(n_processes))
        self.under_way: dict[int, _Sent] = {}
        self.arrived: deque[Report | TaskFailed | BaseException] = deque()
        self.states = StateBuffers()
        self.registry: dict = {}
        self.halted, self.closed = False, False
        self.last_exit_reason = ""
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
            host.send("work", self.payload.work.data, import_path(), current_modules(), os.getcwd())
        while any(not self.hosts[number].ready for number in self.placement.available):
            self._wait()

    # -- worker pool ---------------------------------------------------------------------------------------------------

    def send(self, task: Task) -> None:
        number = self.placement.host_of(task.worker)
        if number is None:
            self.arrived.append(TaskFailed(task.worker, task.round, f"no process is left: {self.last_exit_reason}"))
            return
        host, serial = self.hosts[number], next(_serials)
        packed, slot = self.states.pack(self.payload, task)
        self._send_arrays(host, packed)
        self._send_shard(host, task.worker)
        if slot is not None and slot not in host.slots:
            host.slots.add(slot)
            host.send("slot", slot, file=self.states.slots.files[slot])
        free = [host.free.popleft() for _ in range(len(host.free))]
        host.send("task", serial, task.worker, packed.data, free)
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
            host.send("set_shards", old)

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
            host.send("close", leaving)
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

    # -- sending
    # --------------------------------------------------------------------------------------------------------

    def _send_arrays(self, host: WorkerProcess, packed: PickledObject) -> None:
        """Send the array files to which an object refers, unless the process has them."""
        for number in sorted(packed.array_files - host.array_files):
            host.array_files.add(number)
            host.send("array_file", number, file=self.payload.file(number))

    def _send_shard(self, host: WorkerProcess, worker: int) -> None:
        if worker not in host.shards:
            host.shards.add(worker)
            self._send_arrays(host, self.payload.shards[worker])
            host.send("shard", worker, self.payload.shards[worker].data)

    def _halt(self) -> None:
        if not self.halted:
            self.halted = True
            for host in self.hosts:
                host.send("halt")

    # -- receiving
    # ------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait briefly for messages, and detect lost processes."""
        began = time.monotonic()
        active = self._exchange(_POLL_SECONDS)
        # a driver that was stopped did not receive heartbeats
        waited = min(time.monotonic() - began, 2.0 * _POLL_SECONDS)
        if not active:
            self._forward_progress(None, 0, math.nan)
        busy = {id(sent.host) for sent in self.under_way.values()} | {id(host) for host in self.hosts if not host.ready}
        for number, host in enumerate(self.hosts):
            if number not in self.placement.available:
                continue
            host.silent_s = 0.0 if host in active or id(host) not in busy else host.silent_s + waited
            if host.silent_s > (
                self.heartbeat_timeout_s if host.ready else max(self.heartbeat_timeout_s, _START_SECONDS)
            ):
                self._remove_host(
                    number, f"its process (pid {host.pid}) sent no heartbeat for {host.silent_s:.1f} s", True
                )

    def _exchange(self, timeout_s: float) -> list[WorkerProcess]:
        """Read and write messages for up to ``timeout_s``; return the processes that sent any."""
        poll = select.poll()
        by_file = {}
        for number, host in enumerate(self.hosts):
            if not host.channel.ended:
                by_file[host.channel.fileno()] = number, host
                poll.register(host.channel, select.POLLIN | (select.POLLOUT if host.channel.waiting else 0))
        active = []
        ready = poll.poll(1000.0 * timeout_s)
        for file, events in ready:
            number, host = by_file[file]
            if events & select.POLLOUT:
                host.channel.flush()
            if events & ~select.POLLOUT:
                active.append(host)
                self._read(number, host)
        if not ready:
            for number, host in by_file.values():
                if host.exited:
                    self._read(number, host)
                    if not host.channel.ended:
                        self._remove_host(number, host.exit_reason())
        return active

    def _read(self, number: int, host: WorkerProcess) -> None:
        for (kind, *args), file in host.channel.pull():
            getattr(self, f"_on_{kind}")(host, *args, *(() if file is None else (file,)))
        if host.channel.ended:
            self._remove_host(number, host.exit_reason())
        elif host.silent and not self.closed:
            host.silent = False
            self.placement.join(number)

    def _on_ready(self, host: WorkerProcess) -> None:
        host.ready = True

    def _on_heartbeat(self, host: WorkerProcess) -> None:
        """Do nothing: any message shows that the process is running."""

    def _on_closed(self, host: WorkerProcess) -> None:
        host.done = True

    def _on_slot(self, host: WorkerProcess, number: int, file: int) -> None:
        host.view.add(number, file)

    def _on_progress(self, host: WorkerProcess, serial: int, examples: int, loss: float) -> None:
        if serial in self.under_way:
            self._forward_progress(serial, examples, loss)

    def _on_answer(self, host: WorkerProcess, serial: int, data: bytes, warned: bytes | None) -> None:
        result = loads(data, lambda kind, *slot: host.view.array(*slot, host.free.append))
        sent = self._done(serial)
        if sent is None:
            return  # the task was given up
        unreported = getattr(result, "examples", 0) - sent.reported
        if unreported > 0:
            self._report_progress(sent.task.worker, unreported, math.nan)
        self.arrived.append(result)
        warn_again(warned, self.registry)

    def _on_error(
        self, host: WorkerProcess, serial: int, data: Any, message: str, traceback_text: str, warned: Any
    ) -> None:
        sent = self._done(serial)
        if sent is None:
            return
        who = f"worker {sent.task.worker} in round {sent.task.round}, process {host.pid}"
        self.arrived.append(unpacked_error(data, message, traceback_text, who))
        warn_again(warned, self.registry)

    def _done(self, serial: int) -> _Sent | None:
        sent = self.under_way.pop(serial, None)
        if sent is not None:
            self.states.release(sent.slot)
        return sent

    def _forward_progress(self, serial: int | None, examples: int, loss: float) -> None:
        """Forward the progress of a task.  Without a task number, call the callback only to check for a stop."""
        sent = self.under_way.get(serial) if serial is not None else next(iter(self.under_way.values()), None)
        if sent is not None:
            sent.reported += examples
            self._report_progress(sent.task.worker, examples, loss)

    def _report_progress(self, worker: int, examples: int, loss: float) -> None:
        if not self.progress(worker, examples, ReportedLoss(loss)):
            self._halt()

    # -- lost hosts ----------------------------------------------------------------------------------------------------

    def _remove_host(self, number: int, why: str, silent: bool = False) -> None:
        """Move the workers of a process to others, and report its tasks as failed."""
        host, self.last_exit_reason = self.hosts[number], why
        self.placement.remove(number)
        for serial in [serial for serial, sent in self.under_way.items() if sent.host is host]:
            task = self._done(serial).task
            self.arrived.append(TaskFailed(task.worker, task.round, why, replaced=bool(self.placement.available)))
            if silent:
                host.send("skip", serial)
        host.silent = silent
        if not silent:
            host.kill()

    def _closed_by(self, deadline: float) -> list[WorkerProcess]:
        """Return the processes that are ready for another pool, without lost ones."""
        open_hosts = [
            host for number, host in enumerate(self.hosts) if number in self.placement.available and host.ready
        ]
        while any(not host.done for host in open_hosts) and time.monotonic() < deadline:
            self._exchange(_POLL_SECONDS)
            open_hosts = [host for host in open_hosts if not host.channel.ended]
        return [host for host in open_hosts if host.done]


class ReportedLoss:
    """Stand-in for a run in another process: its last reported mean loss."""

    def __init__(self, loss: float):
        self.loss = loss

    def mean_loss(self) -> float:
        """Return the last reported mean loss, or NaN."""
        return self.loss
