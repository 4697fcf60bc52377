"""States on their way between two processes: rooms in memory that both map, used again and again.

Who sends owns the slots: it copies a state into a free one and sends the slot's number (and once its file).  Who
receives looks at the state where it lies, and says when it has done with it.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from parsgd.engines.processes.shared_memory import memory_file, write_array


class SharedBuffers:
    """The sender's side."""

    def __init__(self) -> None:
        self.files: list[int] = []
        self.sizes: list[int] = []
        self.free: set[int] = set()

    def put(self, array: np.ndarray) -> int:
        """Copy an array into a slot that is free and large enough; its number."""
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
        """The receiver has done with it."""
        self.free.add(number)

    def close(self) -> None:
        """Let go of the files; who has mapped them keeps them."""
        for file in self.files:
            os.close(file)
        self.files.clear()
        self.sizes.clear()
        self.free.clear()


class SharedBufferView:
    """The receiver's side: slots that another process owns, mapped when they first come."""

    def __init__(self) -> None:
        self.maps: dict[int, mmap.mmap] = {}

    def add(self, number: int, file: int) -> None:
        """Map a slot; the file is closed."""
        try:
            self.maps[number] = mmap.mmap(file, 0)
        finally:
            os.close(file)

    def array(
        self, number: int, dtype: np.dtype, shape: tuple, order: str, released: Callable[[int], Any] | None = None
    ) -> np.ndarray:  # fmt: skip
        """The array in a slot; when nobody has it any more, ``released`` is told the number."""
        return np.asarray(_Lent(self.maps[number], number, dtype, shape, order, released))

    def close(self) -> None:
        """Forget the slots; arrays in them stay until nobody has them."""
        self.maps.clear()


class _Lent:
    """Lies under all views of an array in a slot, and so is gone when the last of them is."""

    def __init__(
        self, room: mmap.mmap, number: int, dtype: np.dtype, shape: tuple, order: str, released: Any
    ) -> None:  # fmt: skip
        inside = np.ndarray(shape, dtype, room, order=order)
        self.room = inside
        self.__array_interface__ = inside.__array_interface__
        if released is not None:
            weakref.finalize(self, released, number).atexit = False
