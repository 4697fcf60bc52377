"""Main loop of a worker process: receive shards and tasks from the driver, run them, send reports.

Messages received, and their contents::

    work        the work; the driver's import path, modules of its
                current folder, and that folder                            start of a fit
    array_file  its number; with a file                                    arrays of shards and work
    slot        its number; with a file                                    buffer for states
    shard       number of the worker, shard
    task        serial number, worker, task, numbers of own free slots
    skip        serial number of a task that was given up
    halt                                                                   end the round early
    set_shards  numbers of array files that are no longer needed           new shards follow
    close       True to exit                                               end of a fit

Messages sent: ``ready``, ``heartbeat``, ``progress``, ``slot``, ``answer``, ``error``, ``closed``.
"""

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
from collections import deque
from importlib.machinery import PathFinder
from typing import Any, NoReturn

import numpy as np

from parsgd.core import Report, RunningLoss
from parsgd.engines.processes.channel import Channel
from parsgd.engines.processes.error_transport import WarningRecorder, packed_error
from parsgd.engines.processes.shared_buffers import SharedBuffers, SharedBufferView
from parsgd.engines.processes.shared_memory import ArrayFile, dumps, is_shareable, loads
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
    channel = Channel(socket.socket(fileno=file))
    worker = Worker(channel)
    threading.Thread(target=_send_heartbeats, args=(worker, driver), name="parsgd-heartbeat", daemon=True).start()
    with blas_threads.one_thread():
        # import now, because it takes time, so that all workers start equally prepared
        first_use.kernels("shuffling")

        worker.send("ready")
        worker.run()


def _send_heartbeats(worker: Worker, driver: int) -> NoReturn:
    """Send two heartbeats per second while a task runs; exit when the driver has exited."""
    poll = select.poll()
    poll.register(worker.channel.sock, 0)  # poll always reports a broken connection
    while True:
        if poll.poll(1000 * _HEARTBEAT_SECONDS) or os.getppid() != driver:
            leave(1)
        if worker.busy:
            worker.send("heartbeat")


def leave(status: int) -> NoReturn:
    """Exit immediately, without waiting for any thread."""
    for stream in (sys.stdout, sys.stderr):
        # a closed or full stream must not prevent the exit
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


class CurrentFolder:
    """Import finder for modules that the driver imported from its current folder, last on a worker's path."""

    names: frozenset[str] = frozenset()
    folder = ""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Implement :mod:`importlib.abc`."""
        return PathFinder.find_spec(name, [self.folder], target) if name in self.names else None


_current = CurrentFolder()


class Worker:
    """Worker side of the connection; serves one pool at a time."""

    def __init__(self, channel: Channel):
        self.channel = channel
        self.send_lock = threading.Lock()
        self.backlog: deque[tuple[tuple, int | None]] = deque()
        self.busy = False
        self._reset()

    def _reset(self) -> None:
        """Reset the data of a fit."""
        self.work: Any = None
        self.shards: dict[int, Any] = {}
        self.array_files: dict[int, ArrayFile] = {}
        self.driver_buffers, self.own_buffers, self.announced = SharedBufferView(), SharedBuffers(), set()
        self.skipped: set[int] = set()
        self.halted = False
        self.serial = -1
        self.examples, self.progress_at = 0, 0.0

    def run(self) -> NoReturn:
        """Handle messages one by one."""
        while True:
            (kind, *args), file = self._next()
            getattr(self, f"on_{kind}")(*args, *(() if file is None else (file,)))

    def send(self, *message: Any, file: int | None = None) -> None:
        """Send a message to the driver; the main and the heartbeat thread may call it."""
        with self.send_lock:
            self.channel.put(message, file)
            self.channel.flush()

    def _next(self) -> tuple[tuple, int | None]:
        if not self.backlog:
            self._wait_for_messages()
        return self.backlog.popleft()

    def _wait_for_messages(self) -> None:
        """Wait for messages, and handle requests to stop before all others."""
        results = self.channel.pull()
        if not results:
            leave(0)  # the driver has exited
        self.backlog.extend(results)
        for (kind, *args), _ in results:
            if kind in ("halt", "skip"):
                getattr(self, f"on_{kind}")(*args)

    # -- messages ------------------------------------------------------------------------------------------------------

    def on_work(self, data: bytes, path: list[str], current: list[str], folder: str) -> None:
        sys.path[:] = path
        os.chdir(folder)
        _current.names, _current.folder = frozenset(current), folder
        if _current not in sys.meta_path:
            sys.meta_path.insert(0, _current)
        self.work = data

    def on_array_file(self, number: int, file: int) -> None:
        self.array_files[number] = ArrayFile(file)

    def on_slot(self, number: int, file: int) -> None:
        self.driver_buffers.add(number, file)

    def on_shard(self, worker: int, data: bytes) -> None:
        self.shards[worker] = data

    def on_skip(self, serial: int) -> None:
        self.skipped.add(serial)

    def on_halt(self) -> None:
        self.halted = True

    def on_set_shards(self, array_files: list[int]) -> None:
        self._close_shards()
        for number in array_files:
            if number in self.array_files:
                self.array_files.pop(number).close()

    def on_close(self, leaving: bool) -> None:
        self._close_shards()
        if leaving:
            leave(0)
        for array_file in self.array_files.values():
            array_file.close()
        self.own_buffers.close()
        self._reset()
        self.send("closed")

    def on_task(self, serial: int, worker: int, data: bytes, free: list[int]) -> None:
        for number in free:
            self.own_buffers.release(number)
        self._read_available()
        if serial in self.skipped:
            return
        self.busy, self.serial, self.examples = True, serial, 0
        caught = WarningRecorder()
        try:
            with caught:
                report = self._opened(worker)(loads(data, self._find), self.progress)
                data = dumps(report, self._placement_of(report), by_value=type(report) is not Report)
            self.send("answer", serial, data, caught.packed())
        except BaseException as error:  # raised again by the driver
            self.send("error", serial, *packed_error(error), caught.packed())
        finally:
            self.busy, self.serial = False, -1

    def _opened(self, worker: int) -> Any:
        """Return a function that runs a task on a worker's shard.

        Work and shard are unpickled by the first task, so that errors are reported for it.
        """
        if isinstance(self.work, bytes):
            self.work = loads(self.work, self._find)
        if isinstance(self.shards[worker], bytes):
            self.shards[worker] = loads(self.shards[worker], self._find)
        return lambda task, progress: self.work(self.shards[worker], task, progress)

    def _find(self, kind: str, number: int, *layout: Any) -> np.ndarray:
        return self.driver_buffers.array(number, *layout) if kind == "slot" else self.array_files[number].array(*layout)

    def _placement_of(self, report: Any) -> Any:
        """Return the function that places a large state of a report in a slot."""
        state = getattr(report, "state", None)

        def place(array: np.ndarray) -> tuple | None:
            if array is not state or not is_shareable(array) or not array.flags.c_contiguous:
                return None
            number = self.own_buffers.put(array)
            if number not in self.announced:
                self.announced.add(number)
                self.send("slot", number, file=self.own_buffers.files[number])
            return ("slot", number, array.dtype, array.shape, "C")

        return place

    # -- a running task ------------------------------------------------------------------------------------------------

    def progress(self, worker: int, examples: int, sgd_run: RunningLoss) -> bool:
        """Send progress at most every 0.05 s, and return False if the driver requested a stop."""
        self.examples += examples
        now = time.perf_counter()
        if now - self.progress_at > _PROGRESS_SECONDS:
            self.send("progress", self.serial, self.examples, float(sgd_run.mean_loss()))
            self.examples, self.progress_at = 0, now
        self._read_available()
        return not self.halted and self.serial not in self.skipped

    def _read_available(self) -> None:
        """Read the messages that have arrived, without waiting."""
        while self.channel.readable():
            self._wait_for_messages()

    def _close_shards(self) -> None:
        for shard in self.shards.values():
            if not isinstance(shard, bytes):
                shard.close()
        self.shards.clear()
