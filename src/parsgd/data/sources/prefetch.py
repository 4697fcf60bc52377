"""Reading ahead: the next window is read on a thread of its own, while the present one is trained on.

Kernels hold no GIL, and neither do those who decode files, so the two run side by side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

from parsgd.data.sources.piece_reader import PosedRows
from parsgd.data.sources.shuffle_buffer import ShuffleBuffer
from parsgd.utils.background import Background


class WindowIndex(NamedTuple):
    """Which window of which epoch, in the order that the seed gives."""

    seed: int
    epoch: int
    number: int


class _Halted(Exception):
    """Nobody wants the window any more that is being read."""


class ExampleStream:
    """Examples one after the other, poured into windows."""

    def __init__(self, examples: Iterator[PosedRows]):
        self.examples = examples
        self.halted = threading.Event()
        self.part: PosedRows | None = None
        self.used = 0

    def fill(self, window: ShuffleBuffer, n_rows: int) -> ShuffleBuffer:
        """Put the next ``n_rows`` into the window; what is left of the last chunk stays for the next one."""
        window.clear()
        while window.n < n_rows:
            if self.halted.is_set():
                raise _Halted
            if self.part is None:
                self.part, self.used = next(self.examples), 0
            taken = min(n_rows - window.n, len(self.part.y) - self.used)
            window.put(self.part, self.used, self.used + taken)
            self.used += taken
            if self.used == len(self.part.y):
                self.part = None
        return window


class Prefetcher:
    """The window that is asked for, and the one that will be.

    ``open`` gives the examples from a place on, ``n_rows`` how many a window has, ``following`` the place after it or
    None, ``room`` an empty window; there are at most two.  One thread, named ``parsgd-read``, does all reading; what
    goes wrong there is raised by :meth:`window` for the window in which it did.
    """

    def __init__(
        self,
        open: Callable[[WindowIndex], Iterator[PosedRows]],
        n_rows: Callable[[WindowIndex], int],
        following: Callable[[WindowIndex], WindowIndex | None],
        room: Callable[[], ShuffleBuffer],
    ):
        self.open, self.n_rows, self.following, self.room = open, n_rows, following, room
        self.thread = Background(1, "parsgd-read")
        self.stream: ExampleStream | None = None
        self.here: tuple[WindowIndex, ShuffleBuffer] | None = None
        self.coming: tuple[WindowIndex, Future[ShuffleBuffer]] | None = None
        self.spare: list[ShuffleBuffer] = []

    def window(self, place: WindowIndex) -> ShuffleBuffer:
        """The window at ``place``; until another one is asked for, nobody writes to it."""
        if self.here is not None and self.here[0] == place:
            return self.here[1]
        if self.coming is None or self.coming[0] != place:
            self._turn_to(place)
        window = self._arrived()
        if self.here is not None:
            self.spare.append(self.here[1])
        self.here = (place, window)
        then = self.following(place)
        if then is not None:
            self._begin(then)
        return window

    def close(self) -> None:
        """End the thread, let go of the windows and of what is open.  Waits for no more than a chunk."""
        self._halt()
        self.thread.close()
        self._leave()
        self.here, self.spare = None, []

    def _arrived(self) -> ShuffleBuffer:
        _, future = self.coming
        try:
            return future.result()
        finally:
            # after an error, whoever asks again has it read anew; after an interrupt, it may still be being read
            if future.done():
                self.coming = None

    def _begin(self, place: WindowIndex) -> None:
        future: Future[ShuffleBuffer] = Future()
        self.coming = (place, future)
        self.thread.run(self._read_into, future, self.stream, place)

    def _read_into(self, future: Future[ShuffleBuffer], stream: ExampleStream, place: WindowIndex) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self._read(stream, place))
        except BaseException as error:  # raised where the window is asked for
            future.set_exception(error)

    def _read(self, stream: ExampleStream, place: WindowIndex) -> ShuffleBuffer:
        window = self.spare.pop() if self.spare else self.room()
        try:
            return stream.fill(window, self.n_rows(place))
        except BaseException:
            self.spare.append(window)
            raise

    def _turn_to(self, place: WindowIndex) -> None:
        """Leave the stream for another one, which begins at ``place``."""
        self._halt()
        self._leave()
        self.stream = ExampleStream(self.open(place))
        self._begin(place)

    def _halt(self) -> None:
        """Whatever is being read, or has been and nobody asked for, is not wanted."""
        if self.stream is not None:
            self.stream.halted.set()
        if self.coming is not None:
            _, future = self.coming
            if not future.cancel() and future.exception() is None:
                self.spare.append(future.result())
            self.coming = None

    def _leave(self) -> None:
        if self.stream is not None:
            self.stream.examples.close()
            self.stream = None
