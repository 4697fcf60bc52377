"""Temporary files and folders that are removed when the process that made them ends.

They are removed when closed, at interpreter exit, and before SIGTERM or SIGHUP end the process, if these signals have
their default handlers.  Names contain the machine and the process, so that later processes can remove the files of
killed ones.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import signal
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
# Path -> process that made it; a forked process removes no files of its parent.
_paths: dict[Path, int] = {}


class TemporaryFolder:
    """A temporary folder named ``parsgd-KIND-...``; removed by ``close``, or with this object.

    It is in the ``parent`` folder, or in that of the system for temporary files.
    """

    def __init__(self, kind: str, parent: Path | None = None):
        parent = parent or Path(tempfile.gettempdir())
        _remove_left(parent, f"parsgd-{kind}-")
        self.path: Path = Path(tempfile.mkdtemp(prefix=f"parsgd-{kind}-{owner()}-", dir=parent))
        _add(self.path)
        self.close: weakref.finalize[[Path], TemporaryFolder] = weakref.finalize(self, _remove, self.path)


def owner() -> str:
    """Return the machine and the process as used in names of temporary files.

    >>> owner().endswith(f"-{os.getpid()}")
    True
    """
    return f"{_machine()}-{os.getpid()}"


@contextlib.contextmanager
def kept(path: Path, start: str, end: str) -> Iterator[None]:
    """Remove the file ``path`` after the block, if it still exists.

    Before the block, remove similar files left by killed processes: names that consist of ``start``, an owner, and text
    that ends with ``end``.
    """
    _remove_left(path.parent, start, end)
    _add(path)
    try:
        yield
    finally:
        _remove(path)


@functools.cache
def _machine() -> str:
    """Return digits that differ between machines and between containers with separate process numbers."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def _remove_left(folder: Path, start: str, end: str = "") -> None:
    """Remove files left by processes of this machine that no longer run."""
    begin = f"{start}{_machine()}-"
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if not (entry.name.startswith(begin) and entry.name.endswith(end)):
                continue
            number = entry.name[len(begin) :].partition("-")[0]
            if number.isdigit() and not _runs(int(number)):
                _delete(Path(entry.path))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's process
    return True


def _add(path: Path) -> None:
    _paths[path] = os.getpid()
    if threading.current_thread() is not threading.main_thread():
        return
    for signum in _ENDING:
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, _end)


def _remove(path: Path) -> None:
    if _paths.pop(path, None) != os.getpid():
        return
    _delete(path)
    if not _paths and threading.current_thread() is threading.main_thread():
        for signum in _ENDING:
            if signal.getsignal(signum) is _end:
                signal.signal(signum, signal.SIG_DFL)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _end(signum: int, frame: FrameType | None) -> None:
    """Remove all temporary files, then apply the signal's default action."""
    for path, process in list(_paths.items()):
        if process == os.getpid():
            _delete(path)
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
