"""Reusable buffers in shared memory for the large states of tasks and reports; the driver owns all of them."""

from __future__ import annotations

import mmap
import weakref

import numpy as np

from parsgd.engines.processes.shared_memory import MemoryFile, Place


class SharedBuffer:
    """A buffer with a number of ``users``: tasks that start from its state, a task that may write there, an array.

    ``content`` is the state that was written, and its round: the same array may have other values in another round.
    """

    def __init__(self, size: int):
        self.size = size
        self.file: MemoryFile = MemoryFile()
        self.map: mmap.mmap = self.file.map(size)
        self.place: Place = Place(self.file.path, 0, np.dtype(np.uint8), (size,), "C", mmap.ACCESS_WRITE)
        self.users: int = 0
        self.content: tuple[np.ndarray, int] | None = None

    def release(self) -> None:
        """Record that a task or an array no longer uses the buffer."""
        self.users -= 1
        if self.users == 0:
            self.content = None


class SharedBuffers:
    """All buffers of a pool."""

    def __init__(self) -> None:
        self.buffers: list[SharedBuffer] = []

    def with_state(self, state: np.ndarray, round: int) -> SharedBuffer:
        """Return a buffer that contains the state; it is written once for all tasks that start from it."""
        for buffer in self.buffers:
            if buffer.content is not None and buffer.content[0] is state and buffer.content[1] == round:
                buffer.users += 1
                return buffer
        buffer = self.take(state.nbytes)
        buffer.content = state, round
        buffer.place.holding(state).within(buffer.map)[...] = state
        return buffer

    def take(self, n_bytes: int) -> SharedBuffer:
        """Return the smallest free buffer of at least this size, or a new one."""
        fitting = [buffer for buffer in self.buffers if not buffer.users and buffer.size >= n_bytes]
        if fitting:
            buffer = min(fitting, key=lambda buffer: buffer.size)
        else:
            buffer = SharedBuffer(-(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE)
            self.buffers.append(buffer)
        buffer.users = 1
        return buffer

    def array(self, place: Place) -> np.ndarray:
        """Return the array at a place in one of the buffers, which is in use as long as the array is referenced."""
        (buffer,) = (buffer for buffer in self.buffers if buffer.place.path == place.path)
        base = _BufferArray(place.within(buffer.map))
        buffer.users += 1
        weakref.finalize(base, buffer.release).atexit = False
        return np.asarray(base)

    def close(self) -> None:
        """Close the files; arrays in the buffers remain valid."""
        for buffer in self.buffers:
            buffer.file.close()
        self.buffers.clear()


class _BufferArray:
    """Base object of all views of an array in a buffer; it is deleted with the last view."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__
