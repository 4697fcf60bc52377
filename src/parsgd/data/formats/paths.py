"""Local paths and fsspec addresses: listing, opening, and detection of changed files."""

from __future__ import annotations

import builtins
import bz2
import contextlib
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeAlias

from parsgd.errors import DataFileError, MissingDependencyError, did_you_mean

# Size in bytes and, if available, modification time.
Stamp: TypeAlias = tuple[Any, ...]
# Endings of file names, and the formats that they mean.
ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv"}
ENDINGS |= dict.fromkeys((".svm", ".svmlight", ".libsvm"), "svmlight") | {".npy": "npy"}
UNPACKERS: dict[str, Callable[..., BinaryIO]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass(frozen=True)
class Address:
    """A file: ``path`` is local, or an address such as ``s3://bucket/part.csv``, opened by fsspec with ``options``."""

    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    # name in messages, if it differs from the path
    shown: str = ""

    def __str__(self) -> str:
        return self.shown or self.path

    @property
    def packed(self) -> bool:
        return PurePosixPath(self.path).suffix.lower() in UNPACKERS

    @property
    def format(self) -> str:
        """Suffix that determines the format: ``.csv`` of ``part.csv.gz``.

        >>> Address("data/Part.CSV.gz").format
        '.csv'
        """
        suffixes = [suffix.lower() for suffix in PurePosixPath(self.path).suffixes]
        if suffixes and suffixes[-1] in UNPACKERS:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    def stamp(self) -> Stamp:
        """Return the size in bytes and, if available, the modification time, to detect changes of the file."""
        if not is_address(self.path):
            info = os.stat(self.path)
            return info.st_size, info.st_mtime_ns
        system, inside = file_system(self.path, self.options)
        system.invalidate_cache()
        info = system.info(inside)
        marks = (info.get(key) for key in ("mtime", "LastModified", "created", "ETag"))
        return info["size"], next((str(mark) for mark in marks if mark is not None), None)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file, decompressed, as a context; raises DataFileError if it cannot be unpacked."""
        system, path = file_system(self.path, self.options) if is_address(self.path) else (builtins, self.path)
        unpack = UNPACKERS.get(PurePosixPath(self.path).suffix.lower())
        with system.open(path, "rb") as file:
            if unpack is None:
                yield file
                return
            try:
                with unpack(file, "rb") as unpacked:
                    yield unpacked
            except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
                raise DataFileError(f"{self.path}: cannot be unpacked: {error}. Is the file complete?") from error

    def check(self, stamp: Stamp) -> None:
        """Raise DataFileError if the file is missing, or has changed since it was opened."""
        try:
            now = self.stamp()
        except OSError as error:
            raise DataFileError(
                f"{self}: can no longer be read ({error.strerror or error}); it existed when the data were opened."
                " Put it back, and fit again."
            ) from error
        if now != stamp:
            raise DataFileError(
                f"{self}: has changed since the data were opened (size and time were {stamp}, now {now}). Open it"
                " again, and do not change it during the fit."
            )


def find_files(data: Any, options: Mapping[str, Any] | None, wanted: Sequence[str] = ()) -> list[Address]:
    """List the files of ``data``: a path, an address, a folder (sorted by name) or a list of these.

    In a folder, hidden files and names that begin with ``_`` are skipped, as are suffixes other than ``wanted``, if
    any.

    Raises DataFileError if there is no such file, or the folder has no such files.
    """
    if isinstance(data, (list, tuple)):
        return [address for item in data for address in find_files(item, options, wanted)]
    if isinstance(data, Address):
        return [data]
    path = os.fspath(data)
    found = _remote_files(path, options) if is_address(path) else _local_files(Path(path))
    if found is None:
        return [Address(path, options or {})]
    kept = [Address(name, options or {}) for name, inside in sorted(found) if not _hidden(inside)]
    if wanted:
        kept = [address for address in kept if address.format in wanted]
    if not kept:
        kinds = f" that ends in {', '.join(wanted)}" if wanted else ""
        raise DataFileError(f"{path}: the folder has no file{kinds}.")
    return kept


def _hidden(inside: str) -> bool:
    """Return True if a part of a path within a folder begins with ``.`` or ``_``."""
    return any(part.startswith((".", "_")) for part in PurePosixPath(inside).parts)


def _local_files(path: Path) -> list[tuple[str, str]] | None:
    """List ``(path, path within the folder)`` of the files of a folder; None for a file."""
    if path.is_dir():
        return [(str(file), file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_file()]
    if not path.exists():
        names = [near.name for near in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataFileError(f"{path}: there is no such file or folder.{did_you_mean(path.name, names)}")
    return None


def _remote_files(path: str, options: Mapping[str, Any] | None) -> list[tuple[str, str]] | None:
    system, inside = file_system(path, options or {})
    if system.isdir(inside):
        return [(system.unstrip_protocol(name), name[len(inside) :].lstrip("/")) for name in system.find(inside)]
    if not system.exists(inside):
        raise DataFileError(f"{path}: there is no such file or folder.")
    return None


def is_address(path: str) -> bool:
    """Return True if the path has a protocol, so that it is not local."""
    return "://" in path


def file_system(path: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path in it."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{path} needs fsspec: pip install 'parsgd[files]'") from error
    try:
        return fsspec.core.url_to_fs(path, **options)
    except ImportError as error:
        raise MissingDependencyError(f"{path} needs another package: {error}") from error
    except ValueError as error:
        raise DataFileError(f"{path}: {error}. Use a local path or an address that fsspec supports.") from error
