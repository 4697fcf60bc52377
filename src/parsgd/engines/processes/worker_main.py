"""Main loop of a worker process: receive shards and tasks from the driver, run them, send reports."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import NoReturn, cast

import numpy as np

from parsgd.core import Report, RunningLoss, Shard, Task, WorkFn
from parsgd.engines.error_transport import packed_error, packed_warnings
from parsgd.engines.processes import messages
from parsgd.engines.processes.channel import Channel
from parsgd.engines.processes.shared_memory import MappedFiles, Place, Placer, dumps, is_shareable, loads
from parsgd.utils import blas_threads, first_use

# Minimum seconds between two progress messages.
_PROGRESS_SECONDS = 0.05
_HEARTBEAT_SECONDS = 0.5
# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def main(file: int, driver: int, tied: bool) -> NoReturn:
    """Work for the process ``driver`` at the other end of the socket ``file`` until it closes the connection or exits.

    With ``tied`` the system kills this process with the thread that started it.
    """
    # only the driver handles Ctrl-C
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if tied and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_inheritable(file, False)
    worker = Worker(Channel(socket.socket(fileno=file)))
    threading.Thread(target=_send_heartbeats, args=(worker, driver), name="parsgd-heartbeat", daemon=True).start()
    first_use.kernels("lowlevel.compiling").mute_cache_warning()
    with blas_threads.one_thread():
        # import now, because it takes time, so that all workers start equally prepared
        first_use.kernels("shuffling")

        worker.send(messages.Ready())
        worker.run()


def _send_heartbeats(worker: Worker, driver: int) -> NoReturn:
    """Send two heartbeats per second while a task runs; exit when the driver has exited."""
    poll = select.poll()
    poll.register(worker.channel.sock, 0)  # poll always reports a broken connection
    while True:
        if poll.poll(1000 * _HEARTBEAT_SECONDS) or os.getppid() != driver:
            leave(1)
        if worker.busy:
            worker.send(messages.Heartbeat())


def leave(status: int) -> NoReturn:
    """Exit immediately, without waiting for any thread."""
    _flush()
    os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # a closed or full stream must not prevent the exit
        with contextlib.suppress(Exception):
            stream.flush()


class CurrentFolder:
    """Import finder for modules that the driver imported from its current folder, last on a worker's path."""

    names: frozenset[str] = frozenset()
    folder = ""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Implement :mod:`importlib.abc`."""
        return PathFinder.find_spec(name, [self.folder], target) if name in self.names else None


_current = CurrentFolder()


class Worker:
    """Worker side of the connection; serves one pool at a time."""

    def __init__(self, channel: Channel[messages.FromDriver]):
        self.channel = channel
        self.send_lock: threading.Lock = threading.Lock()
        self.backlog: deque[messages.FromDriver] = deque()
        self.busy: bool = False
        self._reset()

    def _reset(self) -> None:
        """Reset the data of a fit."""
        # pickled until the first task, so that errors in unpickling are reported for it
        self.work: bytes | WorkFn = b""
        self.shards: dict[int, bytes | Shard] = {}
        self.files: MappedFiles = MappedFiles()
        self.skipped: set[int] = set()
        self.halted: bool = False
        self.serial: int = -1
        self.examples: int = 0
        self.progress_at: float = 0.0

    def run(self) -> NoReturn:
        """Handle messages one by one."""
        while True:
            if not self.backlog:
                self._wait_for_messages()
            self._handle(self.backlog.popleft())

    def send(self, message: messages.FromWorker) -> None:
        """Send a message to the driver; the main and the heartbeat thread may call it."""
        with self.send_lock:
            self.channel.send(message)

    def _wait_for_messages(self) -> None:
        """Wait for messages, and handle requests to stop before all others."""
        received = self.channel.pull()
        if not received:
            leave(0)  # the driver has exited
        self.backlog.extend(received)
        for message in received:
            if isinstance(message, (messages.Halt, messages.SkipTask)):
                self._handle(message)

    def _read_available(self) -> None:
        """Read the messages that have arrived, without waiting."""
        while self.channel.readable():
            self._wait_for_messages()

    # -- messages ------------------------------------------------------------------------------------------------------

    def _handle(self, message: messages.FromDriver) -> None:
        match message:
            case messages.StartFit():
                self._start_fit(message)
            case messages.RunTask():
                self._run_task(message)
            case messages.SkipTask(serial):
                self.skipped.add(serial)
            case messages.Halt():
                self.halted = True
            case messages.DropShards():
                self._close_shards()
            case messages.EndFit():
                self._close_shards()
                self._reset()
                _flush()
                self.send(messages.Ready())

    def _start_fit(self, fit: messages.StartFit) -> None:
        sys.path[:] = fit.path
        os.chdir(fit.folder)
        _current.names, _current.folder = frozenset(fit.modules), fit.folder
        if _current not in sys.meta_path:
            sys.meta_path.insert(0, _current)
        self.work = fit.work

    def _close_shards(self) -> None:
        for shard in self.shards.values():
            if not isinstance(shard, bytes):
                shard.close()
        self.shards.clear()
        self.files.clear()  # the driver reuses the paths of closed files

    # -- a task --------------------------------------------------------------------------------------------------------

    def _run_task(self, message: messages.RunTask) -> None:
        if message.shard is not None:
            self.shards[message.worker] = message.shard
        self._read_available()
        serial = message.serial
        if serial in self.skipped:
            return
        self.busy, self.serial, self.examples = True, serial, 0
        warned: list[warnings.WarningMessage] = []
        try:
            with warnings.catch_warnings(record=True, action="default") as warned:
                work, shard = self._unpickled(message.worker)
                report = work(shard, cast("Task", loads(message.task, self.files.array)), self.progress)
                # a subclass of Report may be one that the driver cannot import
                result = dumps(report, self._placer(report.state, message.buffer), by_value=type(report) is not Report)
        except BaseException as error:  # raised again by the driver
            result = packed_error(error)
        self.send(messages.TaskEnded(serial, result, packed_warnings(warned)))
        self.busy, self.serial = False, -1

    def _unpickled(self, worker: int) -> tuple[WorkFn, Shard]:
        """Return the work and the shard of a worker."""
        if isinstance(self.work, bytes):
            self.work = cast("WorkFn", loads(self.work, self.files.array))
        shard = self.shards[worker]
        if isinstance(shard, bytes):
            shard = self.shards[worker] = cast("Shard", loads(shard, self.files.array))
        return self.work, shard

    def _placer(self, state: np.ndarray, buffer: Place | None) -> Placer:
        """Return the function that places a large state of a report in the task's buffer, if it fits."""

        def place(array: np.ndarray) -> Place | None:
            if array is not state or not is_shareable(array) or buffer is None or array.nbytes > buffer.shape[0]:
                return None
            placed = buffer.holding(array)
            self.files.array(placed)[...] = array
            return placed

        return place

    def progress(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        """Send progress at most every 0.05 s, and return False if the driver requested a stop."""
        self.examples += examples
        now = time.perf_counter()
        if now - self.progress_at > _PROGRESS_SECONDS:
            self.send(messages.TaskProgress(self.serial, self.examples, float(sgd_run.mean_loss())))
            self.examples, self.progress_at = 0, now
        self._read_available()
        return not self.halted and self.serial not in self.skipped
