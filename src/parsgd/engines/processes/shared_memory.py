"""Arrays that lie in memory which several processes see, and objects that are pickled around them.

Large arrays do not go through the pickle: they are written once into an anonymous file in memory (``memfd_create``;
else a temporary file without a name), which every process maps.  All see the same physical pages, and when the last
process is gone, however it ended, so is the file.  Arrays that are maps of a file on disk travel as its name and place.
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

# Smaller arrays are copied with the message: a file of their own would cost more.
LARGE_BYTES = 1 << 16
# Arrays begin on a cache line, two of which are fetched at a time.
_ALIGN = 128
# The system may write no more than 2 GiB at once.
_WRITE_BYTES = 1 << 30


def memory_file(name: str) -> int:
    """An open file in memory that has no name in any folder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(prefix=name) as file:
        return os.dup(file.fileno())


def write_array(file: int, offset: int, array: np.ndarray) -> None:
    """Write a contiguous array, byte by byte as it lies in memory."""
    left = memoryview(array.reshape(-1, order="A").view(np.uint8))
    while left:
        written = os.pwrite(file, left[:_WRITE_BYTES], offset)
        left, offset = left[written:], offset + written


class PickledObject(NamedTuple):
    """An object as bytes, and the numbers of the parcels in which its large arrays lie."""

    data: bytes
    parcels: frozenset[int]


class SharedPickler:
    """Pickles objects; their large arrays go to parcels, one for each call that meets new ones, and each only once.

    ``parcels`` maps numbers, drawn from ``numbers``, to open files.  It keeps the arrays alive, so that none is taken
    for another.
    """

    def __init__(self, numbers: Iterator[int]):
        self.numbers = numbers
        self.parcels: dict[int, int] = {}
        self.places: dict[tuple, tuple[int, int]] = {}
        self.kept: list[np.ndarray] = []

    def pack(
        self, value: Any, elsewhere: Callable[[np.ndarray], tuple | None] | None = None, by_value: bool = True
    ) -> PickledObject:
        """``value`` as bytes, by reference where it can be imported and by value where not (a notebook's classes).

        ``elsewhere`` is asked first where an array is to lie; ``by_value`` as in :func:`dumps`.
        """
        used: set[int] = set()
        fresh: list[tuple[int, np.ndarray]] = []
        size, number = 0, next(self.numbers)

        def place(array: np.ndarray) -> tuple | None:
            nonlocal size
            if not travels_apart(array):
                return None
            placed = None if elsewhere is None else elsewhere(array)
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
            parcel, offset = self.places[key]
            used.add(parcel)
            return ("parcel", parcel, offset, *_layout(array))

        data = dumps(value, place, by_value)
        if fresh:
            self._write(number, fresh, size)
        return PickledObject(data, frozenset(used))

    def _write(self, number: int, fresh: list[tuple[int, np.ndarray]], size: int) -> None:
        file = memory_file("parsgd")
        self.parcels[number] = file
        os.ftruncate(file, size)
        for offset, array in fresh:
            write_array(file, offset, _contiguous(array))
            self.kept.append(array)

    def close(self) -> None:
        """Let go of the files; who has mapped them keeps them."""
        for file in self.parcels.values():
            os.close(file)
        self.parcels.clear()
        self.places.clear()
        self.kept.clear()


class ArrayFile:
    """A file of arrays, mapped by the process that reads them; those that could be written to are, copied on write."""

    def __init__(self, file: int):
        self.file = file
        self.maps: dict[int, mmap.mmap] = {}

    def array(self, offset: int, dtype: np.dtype, shape: tuple, order: str, writable: bool) -> np.ndarray:
        """The array that was placed there."""
        access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
        if access not in self.maps:
            self.maps[access] = mmap.mmap(self.file, 0, access=access)
        return np.ndarray(shape, dtype, self.maps[access], offset, order=order)

    def close(self) -> None:
        """Let go of the file; arrays in it stay until nobody has them."""
        os.close(self.file)


def dumps(value: Any, place: Callable[[np.ndarray], tuple | None], by_value: bool = True) -> bytes:
    """Pickle ``value``; where ``place(array)`` is not None, that is written in the array's place.

    ``by_value=False`` is ten times quicker, and for objects of classes that everybody can import.
    """
    file = io.BytesIO()
    pickler = (_Placing if by_value else _PlacingPlain)(file, protocol=5)
    pickler.place = place
    pickler.dump(value)
    return file.getvalue()


def loads(data: bytes, find: Callable[..., np.ndarray]) -> Any:
    """The inverse of :func:`dumps`; ``find(*placed)`` gives back an array."""
    return _Finding(io.BytesIO(data), find).load()


class _Places:
    """What both picklers do with arrays."""

    place: Callable[[np.ndarray], tuple | None]

    def persistent_id(self, found: Any) -> Any:
        return self.place(found) if type(found) in (np.ndarray, np.memmap) else None


class _Placing(_Places, Pickler):
    """By reference, and by value what others cannot import."""


class _PlacingPlain(_Places, pickle.Pickler):
    """By reference."""


class _Finding(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, find: Any):
        super().__init__(file)
        self.find = find

    def persistent_load(self, placed: Any) -> np.ndarray:
        return open_on_disk(*placed[1:]) if placed[0] == "file" else self.find(*placed)


def travels_apart(array: np.ndarray) -> bool:
    """Whether an array is worth a place outside of the pickle, and can lie there."""
    return array.nbytes >= LARGE_BYTES and not array.dtype.hasobject and array.dtype.names is None


def _contiguous(array: np.ndarray) -> np.ndarray:
    return array if array.flags.forc else np.ascontiguousarray(array)


def _layout(array: np.ndarray) -> tuple:
    """What makes the array again: dtype, shape, order in memory, and whether it can be written to."""
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return array.dtype, array.shape, order, array.flags.writeable


def _on_disk(array: np.ndarray) -> tuple | None:
    """Where an array lies, if it is a map of a file that others can map as well, and is contiguous."""
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
    """The array at this place of a file; who could write to it gets a copy as soon as it does."""
    mapped = np.memmap(path, dtype, "c" if writable else "r", offset, shape, order)
    return np.asarray(mapped)
