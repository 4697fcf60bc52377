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
from typing import Literal, NamedTuple, cast

import numpy as np
from cloudpickle import Pickler  # pyright: ignore[reportMissingTypeStubs]  (it has no stubs)

# Smaller arrays are copied with the message, which is cheaper than a file.
LARGE_BYTES = 1 << 16
# Alignment of arrays: two cache lines, which are fetched together.
_ALIGN = 128
# The system may limit a write to 2 GiB.
_WRITE_BYTES = 1 << 30


class Layout(NamedTuple):
    """Dtype, shape and memory order, which recreate an array from its bytes."""

    dtype: np.dtype
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    writable: bool

    @classmethod
    def of(cls, array: np.ndarray) -> Layout:
        """Return the layout of a contiguous array, or of its contiguous copy."""
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        return cls(array.dtype, array.shape, order, array.flags.writeable)


class OnDisk(NamedTuple):
    """Place of an array in a file on disk."""

    path: str
    offset: int
    layout: Layout

    def array(self) -> np.ndarray:
        """Return the array; one that was writable is copied on write."""
        dtype, shape, order, writable = self.layout
        return np.asarray(np.memmap(self.path, dtype, "c" if writable else "r", self.offset, shape, order))


class InArrayFile(NamedTuple):
    """Place of an array in a numbered file in memory."""

    number: int
    offset: int
    layout: Layout


class InSlot(NamedTuple):
    """Place of an array at the start of a numbered slot (:mod:`parsgd.engines.processes.shared_buffers`)."""

    number: int
    layout: Layout


Place = OnDisk | InArrayFile | InSlot
Placer = Callable[[np.ndarray], Place | None]
Finder = Callable[[InArrayFile | InSlot], np.ndarray]


def memory_file(name: str) -> int:
    """Return an open file in memory that has no name in any folder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(prefix=name) as file:
        return os.dup(file.fileno())


def write_array(file: int, offset: int, array: np.ndarray) -> None:
    """Write the bytes of a contiguous array in memory order."""
    left = array.reshape(-1, order="A").view(np.uint8).data
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
        self.places: dict[object, InArrayFile] = {}
        self.kept: list[np.ndarray] = []

    def pack(self, value: object, place_first: Placer | None = None, by_value: bool = True) -> PickledObject:
        """Pickle ``value``: by reference if it can be imported, otherwise by value (a notebook's classes).

        ``place_first`` may return a place for an array, before files are used; ``by_value`` as in :func:`dumps`.
        """
        used: set[int] = set()
        fresh: list[tuple[int, np.ndarray]] = []
        size, number = 0, next(self.numbers)

        def place(array: np.ndarray) -> Place | None:
            nonlocal size
            if not is_shareable(array):
                return None
            placed = (None if place_first is None else place_first(array)) or _on_disk(array)
            if placed is not None:
                return placed
            key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
            if key not in self.places:
                self.places[key] = InArrayFile(number, size, Layout.of(array))
                fresh.append((size, array))
                size += -(-array.nbytes // _ALIGN) * _ALIGN
            found = self.places[key]._replace(layout=Layout.of(array))
            used.add(found.number)
            return found

        data = dumps(value, place, by_value)
        if fresh:
            self._write(number, fresh, size)
        return PickledObject(data, frozenset(used))

    def _write(self, number: int, fresh: list[tuple[int, np.ndarray]], size: int) -> None:
        file = memory_file("parsgd")
        self.array_files[number] = file
        os.ftruncate(file, size)
        for offset, array in fresh:
            write_array(file, offset, array if array.flags.forc else np.ascontiguousarray(array))
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
        self.maps: dict[bool, mmap.mmap] = {}

    def array(self, offset: int, layout: Layout) -> np.ndarray:
        """Return the array at an offset."""
        dtype, shape, order, writable = layout
        if writable not in self.maps:
            access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
            self.maps[writable] = mmap.mmap(self.file, 0, access=access)
        return np.ndarray(shape, dtype, self.maps[writable], offset, order=order)

    def close(self) -> None:
        """Close the file; arrays in it remain valid while referenced."""
        os.close(self.file)


def dumps(value: object, place: Placer | None = None, by_value: bool = True) -> bytes:
    """Pickle ``value``; where ``place(array)`` is not None, the place is stored instead of the array.

    ``by_value=False`` is ten times faster, and requires that all processes can import the classes.
    """
    file = io.BytesIO()
    pickler = (_ArrayPickler if by_value else _PlainArrayPickler)(file, protocol=5)
    pickler.place = place
    cast("pickle.Pickler", pickler).dump(value)
    return file.getvalue()


def loads(data: bytes, find: Finder) -> object:
    """Unpickle the result of :func:`dumps`; ``find`` returns the array at a place."""
    return _ArrayUnpickler(io.BytesIO(data), find).load()


class _PlacesArrays:
    """Mixin of both picklers: replaces arrays by their places."""

    place: Placer | None

    def persistent_id(self, obj: object, /) -> Place | None:
        if self.place is None or type(obj) not in (np.ndarray, np.memmap):
            return None
        return self.place(cast("np.ndarray", obj))


class _ArrayPickler(_PlacesArrays, Pickler):
    """Pickler by reference, and by value for objects that cannot be imported."""


class _PlainArrayPickler(_PlacesArrays, pickle.Pickler):
    """Pickler by reference."""


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, find: Finder):
        super().__init__(file)
        self.find = find

    def persistent_load(self, pid: Place) -> np.ndarray:
        return pid.array() if isinstance(pid, OnDisk) else self.find(pid)


def is_shareable(array: np.ndarray) -> bool:
    """Return True if an array is large enough to be stored outside of the pickle, and can be."""
    return array.nbytes >= LARGE_BYTES and not array.dtype.hasobject and array.dtype.names is None


def _on_disk(array: np.ndarray) -> OnDisk | None:
    """Return the place of an array that is a contiguous map of a file on disk; otherwise None."""
    base = _memmap_below(array)
    if base is None or base.mode == "c" or base.filename is None or not array.flags.forc:
        return None
    while isinstance(base.base, np.memmap):
        base = base.base
    begin, first = (one.__array_interface__["data"][0] for one in (base, array))
    if not 0 <= first - begin <= base.nbytes - array.nbytes:
        return None
    return OnDisk(os.path.abspath(str(base.filename)), base.offset + first - begin, Layout.of(array))


def _memmap_below(array: np.ndarray) -> np.memmap | None:
    """Return the nearest map of a file of which the array is a view."""
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return base
        base = base.base
    return None
