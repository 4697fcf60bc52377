"""Prefetch: a background thread reads the next window while the current one is used for training.

Kernels and file decoders release the GIL, so that both run in parallel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from parsgd.data.sources.piece_reader import PosedRows
from parsgd.data.sources.shuffle_buffer import ShuffleBuffer
from parsgd.utils.background import Background


class WindowIndex(NamedTuple):
    """The index of a window within an epoch, in the order given by the seed."""

    seed: int
    epoch: int
    number: int


class _Cancelled(Exception):
    """Raised in the thread when the window being read is no longer needed."""


class ExampleStream:
    """A stream of examples that fills windows."""

    def __init__(self, examples: Generator[PosedRows]):
        self.examples = examples
        self.cancelled: threading.Event = threading.Event()
        self.part: PosedRows | None = None
        self.used: int = 0

    def fill(self, window: ShuffleBuffer, n_rows: int) -> ShuffleBuffer:
        """Fill the window with the next ``n_rows``; the rest of the last chunk is kept for the next window."""
        window.clear()
        while window.n < n_rows:
            if self.cancelled.is_set():
                raise _Cancelled
            if self.part is None:
                self.part, self.used = next(self.examples), 0
            taken = min(n_rows - window.n, len(self.part.y) - self.used)
            window.put(self.part, self.used, self.used + taken)
            self.used += taken
            if self.used == len(self.part.y):
                self.part = None
        return window


# A window that is being read.
Pending: TypeAlias = tuple[WindowIndex, Future[ShuffleBuffer]]


@dataclass(eq=False)
class Prefetcher:
    """The current window and the next one.

    ``open`` streams the examples from a window on. ``n_rows`` returns the size of a window, ``following`` the next
    index or None, and ``new_buffer`` an empty window. At most two windows exist. One thread, named ``parsgd-read``,
    does all reading; :meth:`window` raises the errors of the requested window.
    """

    open: Callable[[WindowIndex], Generator[PosedRows]]
    n_rows: Callable[[WindowIndex], int]
    following: Callable[[WindowIndex], WindowIndex | None]
    new_buffer: Callable[[], ShuffleBuffer]
    thread: Background = field(default_factory=lambda: Background(1, "parsgd-read"), init=False)
    stream: ExampleStream | None = field(default=None, init=False)
    here: tuple[WindowIndex, ShuffleBuffer] | None = field(default=None, init=False)
    coming: Pending | None = field(default=None, init=False)
    spare: list[ShuffleBuffer] = field(default_factory=list, init=False)

    def window(self, place: WindowIndex) -> ShuffleBuffer:
        """Return the window at ``place``, valid until the next one is requested."""
        if self.here is not None and self.here[0] == place:
            return self.here[1]
        coming = self.coming
        if coming is None or coming[0] != place:
            coming = self._restart(place)
        window = self._await(coming[1])
        if self.here is not None:
            self.spare.append(self.here[1])
        self.here = (place, window)
        then = self.following(place)
        if then is not None and self.stream is not None:
            self._begin(self.stream, then)
        return window

    def close(self) -> None:
        """End the thread, and release the windows and open files. Waits for at most one chunk."""
        self._cancel_pending()
        self.thread.close()
        self._close_stream()
        self.here, self.spare = None, []

    def _await(self, future: Future[ShuffleBuffer]) -> ShuffleBuffer:
        try:
            return future.result()
        finally:
            # after an error, the next request reads the window again; after an interrupt, reading may still run
            if future.done():
                self.coming = None

    def _begin(self, stream: ExampleStream, place: WindowIndex) -> Pending:
        future: Future[ShuffleBuffer] = Future()
        self.coming = coming = (place, future)
        self.thread.run(self._read_into, future, stream, place)
        return coming

    def _read_into(self, future: Future[ShuffleBuffer], stream: ExampleStream, place: WindowIndex) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self._read(stream, place))
        except BaseException as error:  # raised where the window is requested
            future.set_exception(error)

    def _read(self, stream: ExampleStream, place: WindowIndex) -> ShuffleBuffer:
        window = self.spare.pop() if self.spare else self.new_buffer()
        try:
            return stream.fill(window, self.n_rows(place))
        except BaseException:
            self.spare.append(window)
            raise

    def _restart(self, place: WindowIndex) -> Pending:
        """Start a new stream at ``place``."""
        self._cancel_pending()
        self._close_stream()
        self.stream = ExampleStream(self.open(place))
        return self._begin(self.stream, place)

    def _cancel_pending(self) -> None:
        """Cancel the pending window, read or not."""
        if self.stream is not None:
            self.stream.cancelled.set()
        if self.coming is not None:
            _, future = self.coming
            if not future.cancel() and future.exception() is None:
                self.spare.append(future.result())
            self.coming = None

    def _close_stream(self) -> None:
        if self.stream is not None:
            self.stream.examples.close()
            self.stream = None
