"""Arrays in memory shared by several processes, and pickles of objects that refer to them.

Large arrays are not pickled.  They are written once into a file in memory, and the pickle has the file's path and the
array's place in it.  All processes that map the file share its physical pages.  For an array that maps a file on disk,
the pickle has the path of that file.
"""

from __future__ import annotations

import functools
import io
import mmap
import os
import pickle
from collections.abc import Callable
from typing import Literal, NamedTuple, cast

import numpy as np
from cloudpickle import Pickler  # pyright: ignore[reportMissingTypeStubs]  (it has no stubs)

from parsgd.utils import temporary

# Smaller arrays are copied with the message, which is cheaper than a file.
LARGE_BYTES = 1 << 16
# Alignment of arrays: two cache lines, which are fetched together.
_ALIGN = 128


class Place(NamedTuple):
    """Place of an array in a file; ``access`` is a constant of :mod:`mmap`."""

    path: str
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    access: int

    @classmethod
    def of(cls, array: np.ndarray, path: str, offset: int = 0, access: int | None = None) -> Place:
        """Return the place of an array or of its contiguous copy; by default a writable one is copied on write."""
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        if access is None:
            access = mmap.ACCESS_COPY if array.flags.writeable else mmap.ACCESS_READ
        return cls(path, offset, array.dtype, array.shape, order, access)

    def holding(self, array: np.ndarray) -> Place:
        """Return the place of an array that is written here."""
        return Place.of(array, self.path, self.offset, self.access)

    def within(self, buffer: mmap.mmap) -> np.ndarray:
        """Return the array in a map of the file."""
        return np.ndarray(self.shape, self.dtype, buffer, self.offset, order=self.order)


Placer = Callable[[np.ndarray], Place | None]


class MemoryFile:
    """A file in memory, mapped by other processes by its ``path``; the system deletes it with its last map.

    It is a temporary file if the system has no files in memory, or does not let other processes open them.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create") and _has_open_paths():
            self.number: int = os.memfd_create("parsgd", os.MFD_CLOEXEC)
            self.path: str = f"/proc/{os.getpid()}/fd/{self.number}"
        else:
            self.folder = temporary.TemporaryFolder("arrays")
            self.path = str(self.folder.path / "file")
            self.number = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)

    def map(self, n_bytes: int) -> mmap.mmap:
        """Set the size of the file and return a map of it."""
        os.ftruncate(self.number, n_bytes)
        return mmap.mmap(self.number, n_bytes)

    def close(self) -> None:
        """Close the file; processes that have mapped it keep the memory."""
        os.close(self.number)


@functools.cache
def _has_open_paths() -> bool:
    """Return True if the user's other processes can open files of this process by number."""
    try:
        return os.stat("/proc/self/fd").st_uid == os.geteuid()
    except OSError:
        return False


class MappedFiles:
    """Files that this process has mapped, each once per kind of access."""

    def __init__(self) -> None:
        self.maps: dict[tuple[str, int], mmap.mmap] = {}

    def array(self, place: Place) -> np.ndarray:
        """Return the array at a place."""
        key = place.path, place.access
        if key not in self.maps:
            with open(place.path, "r+b" if place.access == mmap.ACCESS_WRITE else "rb") as file:
                self.maps[key] = mmap.mmap(file.fileno(), 0, access=place.access)
        return place.within(self.maps[key])

    def clear(self) -> None:
        """Drop the maps; arrays in them remain valid while referenced."""
        self.maps.clear()


class SharedPickler:
    """Pickler that stores large arrays in files, one file per call with new arrays, and each array once.

    The arrays are kept alive, so that a new array at the same address is not mistaken for an old one.
    """

    def __init__(self) -> None:
        self.files: list[MemoryFile] = []
        self.places: dict[object, Place] = {}
        self.kept: list[np.ndarray] = []

    def pack(self, value: object, place_first: Placer | None = None, by_value: bool = True) -> bytes:
        """Pickle ``value``: by reference if it can be imported, otherwise by value (a notebook's classes).

        ``place_first`` may return a place for an array, before files are used; ``by_value`` as in :func:`dumps`.
        """
        fresh: list[tuple[Place, np.ndarray]] = []
        size = 0

        def place(array: np.ndarray) -> Place | None:
            nonlocal size
            if not is_shareable(array):
                return None
            placed = (None if place_first is None else place_first(array)) or _on_disk(array)
            if placed is not None:
                return placed
            key = (array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str)
            if key not in self.places:
                if not fresh:
                    self.files.append(MemoryFile())
                self.places[key] = Place.of(array, self.files[-1].path, size)
                fresh.append((self.places[key], array))
                size += -(-array.nbytes // _ALIGN) * _ALIGN
            return Place.of(array, self.places[key].path, self.places[key].offset)

        data = dumps(value, place, by_value)
        if fresh:
            buffer = self.files[-1].map(size)
            for at, array in fresh:
                at.within(buffer)[...] = array
                self.kept.append(array)
        return data

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()
        self.files.clear()
        self.places.clear()
        self.kept.clear()


def dumps(value: object, place: Placer | None = None, by_value: bool = True) -> bytes:
    """Pickle ``value``; where ``place(array)`` is not None, the place is stored instead of the array.

    ``by_value=False`` is ten times faster, and requires that all processes can import the classes.
    """
    file = io.BytesIO()
    pickler = cast("type[pickle.Pickler]", Pickler if by_value else pickle.Pickler)(file, protocol=5)
    if place is not None:
        pickler.persistent_id = lambda obj: place(obj) if type(obj) in (np.ndarray, np.memmap) else None
    pickler.dump(value)
    return file.getvalue()


def loads(data: bytes, find: Callable[[Place], np.ndarray]) -> object:
    """Unpickle the result of :func:`dumps`; ``find`` returns the array at a place."""
    unpickler = pickle.Unpickler(io.BytesIO(data))
    unpickler.persistent_load = find
    return unpickler.load()


def is_shareable(array: np.ndarray) -> bool:
    """Return True if an array is large enough to be stored outside of the pickle, and can be."""
    return array.nbytes >= LARGE_BYTES and not array.dtype.hasobject and array.dtype.names is None


def _on_disk(array: np.ndarray) -> Place | None:
    """Return the place of an array that is a contiguous map of a file on disk; otherwise None."""
    base: object = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    if not isinstance(base, np.memmap) or base.mode == "c" or base.filename is None or not array.flags.forc:
        return None
    while isinstance(base.base, np.memmap):
        base = base.base
    begin, first = (one.__array_interface__["data"][0] for one in (base, array))
    if not 0 <= first - begin <= base.nbytes - array.nbytes:
        return None
    return Place.of(array, os.path.abspath(str(base.filename)), base.offset + first - begin)
