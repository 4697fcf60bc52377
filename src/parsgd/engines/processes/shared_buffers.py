"""Reusable buffers in shared memory for states sent between two processes.

The sender owns the buffers (slots).  It copies a state into a free slot and sends the slot number, and once the file.
The receiver reads the state in place and returns the number when it no longer needs the state.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable

import numpy as np

from parsgd.engines.processes.shared_memory import InSlot, Layout, memory_file, write_array


class SharedBuffers:
    """Slots of the sender."""

    def __init__(self) -> None:
        self.files: list[int] = []
        self.sizes: list[int] = []
        self.free: set[int] = set()

    def put(self, array: np.ndarray) -> int:
        """Copy an array into a free slot that is large enough; return its number."""
        fitting = [number for number in self.free if self.sizes[number] >= array.nbytes]
        number = min(fitting, key=lambda number: (self.sizes[number], number), default=None)
        if number is None:
            number = self._new(array.nbytes)
        self.free.discard(number)
        write_array(self.files[number], 0, array)
        return number

    def _new(self, n_bytes: int) -> int:
        size = -(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        file = memory_file("parsgd-state")
        self.files.append(file)
        self.sizes.append(size)
        os.ftruncate(file, size)
        return len(self.files) - 1

    def release(self, number: int) -> None:
        """Mark a slot as free."""
        self.free.add(number)

    def close(self) -> None:
        """Close the files; processes that have mapped them keep the memory."""
        for file in self.files:
            os.close(file)
        self.files.clear()
        self.sizes.clear()
        self.free.clear()


class SharedBufferView:
    """Slots of another process, mapped by the receiver on first use."""

    def __init__(self) -> None:
        self.maps: dict[int, mmap.mmap] = {}

    def add(self, number: int, file: int) -> None:
        """Map a slot and close its file."""
        try:
            self.maps[number] = mmap.mmap(file, 0)
        finally:
            os.close(file)

    def array(self, place: InSlot, released: Callable[[int], object] | None = None) -> np.ndarray:
        """Return the array in a slot; ``released`` is called with its number when the array is no longer referenced."""
        base = _BufferArray(self.maps[place.number], place.layout)
        if released is not None:
            weakref.finalize(base, released, place.number).atexit = False
        return np.asarray(base)

    def close(self) -> None:
        """Drop the slots; arrays in them remain valid while referenced."""
        self.maps.clear()


class _BufferArray:
    """Base object of all views of an array in a slot; it is deleted with the last view."""

    def __init__(self, buffer: mmap.mmap, layout: Layout) -> None:
        self.array = np.ndarray(layout.shape, layout.dtype, buffer, order=layout.order)
        self.__array_interface__ = self.array.__array_interface__
