"""Arrays in memory shared by several processes, and pickles of objects that refer to them.

Large arrays are not pickled.  They are written once into an anonymous file in memory (``memfd_create``; otherwise a
temporary file without a name), which every process maps.  All processes share the same physical pages.  The file is
deleted when the last process exits.  For arrays that map a file on disk, the file's path and the offset are sent.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from cloudpickle import Pickler

# Smaller arrays are copied with the message, which is cheaper than a file.
LARGE_BYTES = 1 << 16
# Alignment of arrays: two cache lines, which are fetched together.
_ALIGN = 128
# The system may limit a write to 2 GiB.
_WRITE_BYTES = 1 << 30


def memory_file(name: str) -> int:
    """Return an open file in memory that has no name in any folder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(prefix=name) as file:
        return os.dup(file.fileno())


def write_array(file: int, offset: int, array: np.ndarray) -> None:
    """Write the bytes of a contiguous array in memory order."""
    left = memoryview(array.reshape(-1, order="A").view(np.uint8))
    while left:
        written = os.pwrite(file, left[:_WRITE_BYTES], offset)
        left, offset = left[written:], offset + written


class PickledObject(NamedTuple):
    """An object as bytes, and the numbers of the files that contain its large arrays."""

    data: bytes
    array_files: frozenset[int]


class SharedPickler:
    """Pickler that stores large arrays in files, one file per call with new arrays, and each array once.

    ``array_files`` maps numbers, drawn from ``numbers``, to open files.  The arrays are kept alive, so that a new array
    at the same address is not mistaken for an old one.
    """

    def __init__(self, numbers: Iterator[int]):
        self.numbers = numbers
        self.array_files: dict[int, int] = {}
        self.places: dict[tuple, tuple[int, int]] = {}
        self.kept: list[np.ndarray] = []

    def pack(
        self, value: Any, place_first: Callable[[np.ndarray], tuple | None] | None = None, by_value: bool = True
    ) -> PickledObject:
        """Pickle ``value``: by reference if it can be imported, otherwise by value (a notebook's classes).

        ``place_first`` may return a place for an array, before files are used; ``by_value`` as in :func:`dumps`.
        """
        used: set[int] = set()
        fresh: list[tuple[int, np.ndarray]] = []
        size, number = 0, next(self.numbers)

        def place(array: np.ndarray) -> tuple | None:
            nonlocal size
            if not is_shareable(array):
                return None
            placed = None if place_first is None else place_first(array)
            if placed is not None:
                return placed
            on_disk = _on_disk(array)
            if on_disk is not None:
                return on_disk
            key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
            if key not in self.places:
                self.places[key] = number, size
                fresh.append((size, array))
                size += -(-array.nbytes // _ALIGN) * _ALIGN
            array_file, offset = self.places[key]
            used.add(array_file)
            return ("array_file", array_file, offset, *_layout(array))

        data = dumps(value, place, by_value)
        if fresh:
            self._write(number, fresh, size)
        return PickledObject(data, frozenset(used))

    def _write(self, number: int, fresh: list[tuple[int, np.ndarray]], size: int) -> None:
        file = memory_file("parsgd")
        self.array_files[number] = file
        os.ftruncate(file, size)
        for offset, array in fresh:
            write_array(file, offset, _contiguous(array))
            self.kept.append(array)

    def close(self) -> None:
        """Close the files; processes that have mapped them keep the memory."""
        for file in self.array_files.values():
            os.close(file)
        self.array_files.clear()
        self.places.clear()
        self.kept.clear()


class ArrayFile:
    """A file of arrays, mapped by the process that reads it; arrays that were writable are mapped copy-on-write."""

    def __init__(self, file: int):
        self.file = file
        self.maps: dict[int, mmap.mmap] = {}

    def array(self, offset: int, dtype: np.dtype, shape: tuple, order: str, writable: bool) -> np.ndarray:
        """Return the array at an offset."""
        access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
        if access not in self.maps:
            self.maps[access] = mmap.mmap(self.file, 0, access=access)
        return np.ndarray(shape, dtype, self.maps[access], offset, order=order)

    def close(self) -> None:
        """Close the file; arrays in it remain valid while referenced."""
        os.close(self.file)


def dumps(value: Any, place: Callable[[np.ndarray], tuple | None], by_value: bool = True) -> bytes:
    """Pickle ``value``; if ``place(array)`` is not None, it is stored instead of the array.

    ``by_value=False`` is ten times faster, and requires that all processes can import the classes.
    """
    file = io.BytesIO()
    pickler = (_ArrayPickler if by_value else _PlainArrayPickler)(file, protocol=5)
    pickler.place = place
    pickler.dump(value)
    return file.getvalue()


def loads(data: bytes, find: Callable[..., np.ndarray]) -> Any:
    """Unpickle the result of :func:`dumps`; ``find(*placed)`` returns an array."""
    return _ArrayUnpickler(io.BytesIO(data), find).load()


class _PlacesArrays:
    """Mixin of both picklers: replaces arrays by their places."""

    place: Callable[[np.ndarray], tuple | None]

    def persistent_id(self, found: Any) -> Any:
        return self.place(found) if type(found) in (np.ndarray, np.memmap) else None


class _ArrayPickler(_PlacesArrays, Pickler):
    """Pickler by reference, and by value for objects that cannot be imported."""


class _PlainArrayPickler(_PlacesArrays, pickle.Pickler):
    """Pickler by reference."""


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, find: Any):
        super().__init__(file)
        self.find = find

    def persistent_load(self, placed: Any) -> np.ndarray:
        return open_on_disk(*placed[1:]) if placed[0] == "file" else self.find(*placed)


def is_shareable(array: np.ndarray) -> bool:
    """Return True if an array is large enough to be stored outside of the pickle, and can be."""
    return array.nbytes >= LARGE_BYTES and not array.dtype.hasobject and array.dtype.names is None


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.forc else np.ascontiguousarray(array)


def _layout(array: np.ndarray) -> tuple:
    """Return the arguments that recreate the array: dtype, shape, memory order and writability."""
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return array.dtype, array.shape, order, array.flags.writeable


def _on_disk(array: np.ndarray) -> tuple | None:
    """Return the file and offset of an array that is a contiguous map of a file on disk; otherwise None."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    if not isinstance(base, np.memmap) or base.mode == "c" or base.filename is None or not array.flags.forc:
        return None
    while isinstance(base.base, np.memmap):
        base = base.base
    begin, first = (one.__array_interface__["data"][0] for one in (base, array))
    offset = base.offset + first - begin
    if not 0 <= first - begin <= base.nbytes - array.nbytes:
        return None
    return ("file", os.path.abspath(base.filename), offset, *_layout(array))


def open_on_disk(path: str, offset: int, dtype: np.dtype, shape: tuple, order: str, writable: bool) -> np.ndarray:
    """Return the array at an offset of a file; an array that was writable is copied on write."""
    mapped = np.memmap(path, dtype, "c" if writable else "r", offset, shape, order)
    return np.asarray(mapped)
