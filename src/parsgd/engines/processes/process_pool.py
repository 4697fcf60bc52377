"""A crew of processes: who has which task, what comes back, and what happens when one of them is gone."""

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

# Ctrl-C is heard after so long at most, and so is the end of a process whose line somebody else holds open.
_LISTEN_SECONDS = 0.1
# A process that has not spoken yet is importing; on a busy machine that takes its time.
_START_SECONDS = 120.0
# Workers are asked to leave; a call into compiled code ends first.
_GRACE_SECONDS = 2.0
# Of all crews, so that a late answer is not taken for another.
_serials = itertools.count()


@dataclass
class _Sent:
    """A task under way: with whom, in which slot its state lies, and how many examples were told of."""

    task: Task
    host: WorkerProcess
    slot: int | None
    told: int = 0


class ProcessWorkerPool:
    """The driver's side of some processes; opened by :class:`~parsgd.engines.processes.process_engine.Processes`.

    ``pool`` is where processes come from and go to, or None if they live as long as the crew.
    """

    def __init__(
        self,
        parcels: FitPayload,
        pulse: ProgressCallback,
        n_processes: int,
        pool: ProcessCache | None,
        heartbeat_timeout_s: float,
    ):
        self.parcels, self.pulse, self.pool, self.heartbeat_timeout_s = parcels, pulse, pool, heartbeat_timeout_s
        self.hosts = start(n_processes) if pool is None else pool.take(n_processes)
        self.placement = Placement(parcels.rows, range(n_processes))
        self.under_way: dict[int, _Sent] = {}
        self.arrived: deque[Report | TaskFailed | BaseException] = deque()
        self.states = StateBuffers()
        self.registry: dict = {}
        self.halted, self.closed = False, False
        self.last_words = ""
        try:
            self._begin()
        except BaseException:
            end(self.hosts)
            self.states.close()
            raise

    def _begin(self) -> None:
        """Send the work; wait until everybody is there: who comes early would do the work of those that are late."""
        for host in self.hosts:
            self._give(host, self.parcels.work)
            host.say("work", self.parcels.work.data, import_path(), current_modules(), os.getcwd())
        while any(not self.hosts[number].met for number in self.placement.up):
            self._listen()

    # -- the three verbs -----------------------------------------------------------------------------------------------

    def send(self, task: Task) -> None:
        number = self.placement.host_of(task.worker)
        if number is None:
            self.arrived.append(TaskFailed(task.worker, task.round, f"no process is left: {self.last_words}"))
            return
        host, serial = self.hosts[number], next(_serials)
        packed, slot = self.states.pack(self.parcels, task)
        self._give(host, packed)
        self._give_shard(host, task.worker)
        if slot is not None and slot not in host.slots:
            host.slots.add(slot)
            host.say("slot", slot, file=self.states.slots.files[slot])
        free = [host.free.popleft() for _ in range(len(host.free))]
        host.say("task", serial, task.worker, packed.data, free)
        host.silence = 0.0
        self.under_way[serial] = _Sent(task, host, slot)

    def receive(self, at_least: int) -> list[Report | TaskFailed]:
        came: list[Report | TaskFailed] = []
        while self.arrived or self.under_way:
            while self.arrived:
                answer = self.arrived.popleft()
                if isinstance(answer, BaseException):
                    raise answer
                came.append(answer)
            if len(came) >= at_least:
                break
            self._listen()
        return came

    def set_shards(self, shards: Sequence[Shard]) -> None:
        old = self.parcels.set_shards(shards)
        self.placement.weigh(self.parcels.rows)
        for host in self.hosts:
            host.shards.clear()
            host.parcels.difference_update(old)
            host.say("set_shards", old)

    def now(self) -> float:
        return time.perf_counter()

    def close(self) -> None:
        """Ask the processes to leave, or to be ready for another crew, and end those that do not."""
        if self.closed:
            return
        self.closed = True
        leaving = self.pool is None
        self.under_way.clear()
        self._halt()
        for host in self.hosts:
            host.say("close", leaving)
        try:
            kept = [] if leaving else self._closed_by(time.monotonic() + _GRACE_SECONDS)
            end([host for host in self.hosts if host not in kept], _GRACE_SECONDS if leaving else 0.0)
            if self.pool is not None:
                for host in kept:
                    host.begin()
                self.pool.give_back(kept)
        except BaseException:
            end(self.hosts)
            raise
        finally:
            self.arrived.clear()
            self.states.close()
            self.parcels.close()

    # -- what is sent --------------------------------------------------------------------------------------------------

    def _give(self, host: WorkerProcess, packed: PickledObject) -> None:
        """Send the parcels that an object refers to, if the process has not got them."""
        for number in sorted(packed.parcels - host.parcels):
            host.parcels.add(number)
            host.say("parcel", number, file=self.parcels.file(number))

    def _give_shard(self, host: WorkerProcess, worker: int) -> None:
        if worker not in host.shards:
            host.shards.add(worker)
            self._give(host, self.parcels.shards[worker])
            host.say("shard", worker, self.parcels.shards[worker].data)

    def _halt(self) -> None:
        if not self.halted:
            self.halted = True
            for host in self.hosts:
                host.say("halt")

    # -- what comes ----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Wait for a while for whatever comes, and see who is gone or silent."""
        began = time.monotonic()
        heard = self._exchange(_LISTEN_SECONDS)
        # a driver that was itself stopped has not listened
        waited = min(time.monotonic() - began, 2.0 * _LISTEN_SECONDS)
        if not heard:
            self._tell(None, 0, math.nan)
        busy = {id(sent.host) for sent in self.under_way.values()} | {id(host) for host in self.hosts if not host.met}
        for number, host in enumerate(self.hosts):
            if number not in self.placement.up:
                continue
            host.silence = 0.0 if host in heard or id(host) not in busy else host.silence + waited
            if host.silence > (self.heartbeat_timeout_s if host.met else max(self.heartbeat_timeout_s, _START_SECONDS)):
                self._lose(number, f"its process (pid {host.pid}) has been silent for {host.silence:.1f} s", True)

    def _exchange(self, timeout_s: float) -> list[WorkerProcess]:
        """Read what processes say and write what they take; give those that were heard."""
        poll = select.poll()
        by_file = {}
        for number, host in enumerate(self.hosts):
            if not host.channel.ended:
                by_file[host.channel.fileno()] = number, host
                poll.register(host.channel, select.POLLIN | (select.POLLOUT if host.channel.waiting else 0))
        heard = []
        ready = poll.poll(1000.0 * timeout_s)
        for file, events in ready:
            number, host = by_file[file]
            if events & select.POLLOUT:
                host.channel.flush()
            if events & ~select.POLLOUT:
                heard.append(host)
                self._read(number, host)
        if not ready:
            for number, host in by_file.values():
                if host.gone:
                    self._read(number, host)
                    if not host.channel.ended:
                        self._lose(number, host.epitaph())
        return heard

    def _read(self, number: int, host: WorkerProcess) -> None:
        for (kind, *args), file in host.channel.pull():
            getattr(self, f"_on_{kind}")(host, *args, *(() if file is None else (file,)))
        if host.channel.ended:
            self._lose(number, host.epitaph())
        elif host.silent and not self.closed:
            host.silent = False
            self.placement.join(number)

    def _on_hello(self, host: WorkerProcess) -> None:
        host.met = True

    def _on_beat(self, host: WorkerProcess) -> None:
        """It is still there."""

    def _on_closed(self, host: WorkerProcess) -> None:
        host.done = True

    def _on_slot(self, host: WorkerProcess, number: int, file: int) -> None:
        host.view.add(number, file)

    def _on_pulse(self, host: WorkerProcess, serial: int, examples: int, loss: float) -> None:
        if serial in self.under_way:
            self._tell(serial, examples, loss)

    def _on_answer(self, host: WorkerProcess, serial: int, data: bytes, warned: bytes | None) -> None:
        answer = loads(data, lambda kind, *slot: host.view.array(*slot, host.free.append))
        sent = self._done(serial)
        if sent is None:
            return  # too late
        left = getattr(answer, "examples", 0) - sent.told
        if left > 0:
            self._tell_of(sent.task.worker, left, math.nan)
        self.arrived.append(answer)
        warn_again(warned, self.registry)

    def _on_error(self, host: WorkerProcess, serial: int, data: Any, words: str, where: str, warned: Any) -> None:
        sent = self._done(serial)
        if sent is None:
            return
        who = f"worker {sent.task.worker} in round {sent.task.round}, process {host.pid}"
        self.arrived.append(unpacked_error(data, words, where, who))
        warn_again(warned, self.registry)

    def _done(self, serial: int) -> _Sent | None:
        sent = self.under_way.pop(serial, None)
        if sent is not None:
            self.states.release(sent.slot)
        return sent

    def _tell(self, serial: int | None, examples: int, loss: float) -> None:
        """Pass on what a worker tells, or, where nobody does, ask whether to go on."""
        sent = self.under_way.get(serial) if serial is not None else next(iter(self.under_way.values()), None)
        if sent is not None:
            sent.told += examples
            self._tell_of(sent.task.worker, examples, loss)

    def _tell_of(self, worker: int, examples: int, loss: float) -> None:
        if not self.pulse(worker, examples, ReportedLoss(loss)):
            self._halt()

    # -- who is gone ---------------------------------------------------------------------------------------------------

    def _lose(self, number: int, why: str, silent: bool = False) -> None:
        """Give a process's workers to others, and up on the tasks that it had."""
        host, self.last_words = self.hosts[number], why
        self.placement.lose(number)
        for serial in [serial for serial, sent in self.under_way.items() if sent.host is host]:
            task = self._done(serial).task
            self.arrived.append(TaskFailed(task.worker, task.round, why, replaced=bool(self.placement.up)))
            if silent:
                host.say("skip", serial)
        host.silent = silent
        if not silent:
            host.kill()

    def _closed_by(self, deadline: float) -> list[WorkerProcess]:
        """The processes that are ready for another crew, of those that were not lost."""
        waited_for = [host for number, host in enumerate(self.hosts) if number in self.placement.up and host.met]
        while any(not host.done for host in waited_for) and time.monotonic() < deadline:
            self._exchange(_LISTEN_SECONDS)
            waited_for = [host for host in waited_for if not host.channel.ended]
        return [host for host in waited_for if host.done]


class ReportedLoss:
    """What is known here of a descent that goes on elsewhere: its mean loss when it last told of it."""

    def __init__(self, loss: float):
        self.loss = loss

    def mean_loss(self) -> float:
        """The mean loss lately, or NaN."""
        return self.loss
