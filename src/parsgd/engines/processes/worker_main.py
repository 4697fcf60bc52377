"""What a worker process does: take shards and tasks from the line to its driver, work, answer.

Messages that come, and what belongs to them::

    work      the work; the driver's path of imports, modules of its
              current folder, and that folder                            a crew begins
    parcel    its number; with a file                                    arrays that shards and work refer to
    slot      its number; with a file                                    room for states
    shard     the worker's number, the shard
    task      serial number, worker, the task, slots of ours that are free again
    skip      serial number of a task that nobody waits for any more
    halt                                                                 end the round early
    set_shards numbers of parcels that are not needed any more            other shards will come
    close     whether to leave                                           the crew's end

and those that go: ``hello``, ``beat`` (still there), ``pulse``, ``slot``, ``answer``, ``error``, ``closed``.
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

from parsgd.core import Report, SGDRun
from parsgd.engines.processes.channel import Channel
from parsgd.engines.processes.error_transport import WarningRecorder, packed_error
from parsgd.engines.processes.shared_buffers import SharedBuffers, SharedBufferView
from parsgd.engines.processes.shared_memory import ArrayFile, dumps, loads, travels_apart
from parsgd.utils import blas_threads, first_use

# Progress is told no more often than that.
_TELL_SECONDS = 0.05
_BEAT_SECONDS = 0.5
# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def main(file: int, driver: int, tied: bool) -> NoReturn:
    """Work for the process ``driver`` at the other end of the socket ``file`` until it says so, or is gone.

    ``tied``: be killed with the thread that started this process.
    """
    # Ctrl-C is the driver's to hear
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if tied and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_inheritable(file, False)
    channel = Channel(socket.socket(fileno=file))
    worker = Worker(channel)
    threading.Thread(target=_live, args=(worker, driver), name="parsgd-heart", daemon=True).start()
    with blas_threads.one_thread():
        # all workers are to be equally ready, and this takes a while
        first_use.kernels("shuffling")

        worker.say("hello")
        worker.run()


def _live(worker: Worker, driver: int) -> NoReturn:
    """Say twice a second that work goes on; end when the driver is gone, whatever the work is doing."""
    poll = select.poll()
    poll.register(worker.channel.sock, 0)  # a broken line is always told
    while True:
        if poll.poll(1000 * _BEAT_SECONDS) or os.getppid() != driver:
            leave(1)
        if worker.busy:
            worker.say("beat")


def leave(status: int) -> NoReturn:
    """End at once, without waiting for threads of anybody."""
    for stream in (sys.stdout, sys.stderr):
        # what was closed or is full must not keep it
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


class CurrentFolder:
    """Finds modules that the driver imported from its current folder, which is the last on the path of a worker."""

    names: frozenset[str] = frozenset()
    folder = ""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As :mod:`importlib.abc` asks for it."""
        return PathFinder.find_spec(name, [self.folder], target) if name in self.names else None


_current = CurrentFolder()


class Worker:
    """One process's side of the line; works for one crew at a time."""

    def __init__(self, channel: Channel):
        self.channel = channel
        self.talking = threading.Lock()
        self.backlog: deque[tuple[tuple, int | None]] = deque()
        self.busy = False
        self._begin()

    def _begin(self) -> None:
        """As it is between two crews."""
        self.work: Any = None
        self.shards: dict[int, Any] = {}
        self.parcels: dict[int, ArrayFile] = {}
        self.theirs, self.ours, self.told = SharedBufferView(), SharedBuffers(), set()
        self.skipped: set[int] = set()
        self.halted = False
        self.serial = -1
        self.examples, self.told_at = 0, 0.0

    def run(self) -> NoReturn:
        """One message after the other."""
        while True:
            (kind, *args), file = self._next()
            getattr(self, f"on_{kind}")(*args, *(() if file is None else (file,)))

    def say(self, *message: Any, file: int | None = None) -> None:
        """A message to the driver; both threads may speak."""
        with self.talking:
            self.channel.put(message, file)
            self.channel.flush()

    def _next(self) -> tuple[tuple, int | None]:
        if not self.backlog:
            self._pull()
        return self.backlog.popleft()

    def _pull(self) -> None:
        """Wait for messages; orders to stop are obeyed before their turn, also those that came with a task."""
        came = self.channel.pull()
        if not came:
            leave(0)  # the driver is gone
        self.backlog.extend(came)
        for (kind, *args), _ in came:
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

    def on_parcel(self, number: int, file: int) -> None:
        self.parcels[number] = ArrayFile(file)

    def on_slot(self, number: int, file: int) -> None:
        self.theirs.add(number, file)

    def on_shard(self, worker: int, data: bytes) -> None:
        self.shards[worker] = data

    def on_skip(self, serial: int) -> None:
        self.skipped.add(serial)

    def on_halt(self) -> None:
        self.halted = True

    def on_set_shards(self, parcels: list[int]) -> None:
        self._close_shards()
        for number in parcels:
            if number in self.parcels:
                self.parcels.pop(number).close()

    def on_close(self, leaving: bool) -> None:
        self._close_shards()
        if leaving:
            leave(0)
        for parcel in self.parcels.values():
            parcel.close()
        self.ours.close()
        self._begin()
        self.say("closed")

    def on_task(self, serial: int, worker: int, data: bytes, free: list[int]) -> None:
        for number in free:
            self.ours.release(number)
        self._hear()
        if serial in self.skipped:
            return
        self.busy, self.serial, self.examples = True, serial, 0
        caught = WarningRecorder()
        try:
            with caught:
                answer = self._opened(worker)(loads(data, self._find), self.pulse)
                data = dumps(answer, self._placing(answer), by_value=type(answer) is not Report)
            self.say("answer", serial, data, caught.packed())
        except BaseException as error:  # whatever it is, it is the driver's to raise
            self.say("error", serial, *packed_error(error), caught.packed())
        finally:
            self.busy, self.serial = False, -1

    def _opened(self, worker: int) -> Any:
        """The work on a worker's shard; both are unpickled by the first task, whose error it is if they cannot be."""
        if isinstance(self.work, bytes):
            self.work = loads(self.work, self._find)
        if isinstance(self.shards[worker], bytes):
            self.shards[worker] = loads(self.shards[worker], self._find)
        return lambda task, pulse: self.work(self.shards[worker], task, pulse)

    def _find(self, kind: str, number: int, *layout: Any) -> np.ndarray:
        return self.theirs.array(number, *layout) if kind == "slot" else self.parcels[number].array(*layout)

    def _placing(self, answer: Any) -> Any:
        """Where arrays of an answer lie: a large state in a slot of ours."""
        state = getattr(answer, "state", None)

        def place(array: np.ndarray) -> tuple | None:
            if array is not state or not travels_apart(array) or not array.flags.c_contiguous:
                return None
            number = self.ours.put(array)
            if number not in self.told:
                self.told.add(number)
                self.say("slot", number, file=self.ours.files[number])
            return ("slot", number, array.dtype, array.shape, "C")

        return place

    # -- a running task ------------------------------------------------------------------------------------------------

    def pulse(self, worker: int, examples: int, sgd_run: SGDRun) -> bool:
        """Tell the progress, not too often; hear whether to go on."""
        self.examples += examples
        now = time.perf_counter()
        if now - self.told_at > _TELL_SECONDS:
            self.say("pulse", self.serial, self.examples, float(sgd_run.mean_loss()))
            self.examples, self.told_at = 0, now
        self._hear()
        return not self.halted and self.serial not in self.skipped

    def _hear(self) -> None:
        """Read what has come."""
        while self.channel.readable():
            self._pull()

    def _close_shards(self) -> None:
        for shard in self.shards.values():
            if not isinstance(shard, bytes):
                shard.close()
        self.shards.clear()
