"""Temporary files and folders that do not outlive the process that made them, however it ends.

They are removed when they are closed, at the end of the interpreter, and before SIGTERM or SIGHUP end the process, if
these signals do what they do by default.  Names hold the machine and the process, so that whoever makes the next one
can remove those of processes that were killed.
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
# What there is, and the process that made it: a process that was forked removes nothing of its parent's.
_there: dict[Path, int] = {}


class TemporaryFolder:
    """A temporary folder named ``parsgd-KIND-...``; removed by ``close``, or with this object."""

    def __init__(self, kind: str):
        _remove_left(Path(tempfile.gettempdir()), f"parsgd-{kind}-")
        self.path = Path(tempfile.mkdtemp(prefix=f"parsgd-{kind}-{owner()}-"))
        _add(self.path)
        self.close = weakref.finalize(self, _remove, self.path)


def owner() -> str:
    """The machine and the process, as they stand in names of temporary files.

    >>> owner().endswith(f"-{os.getpid()}")
    True
    """
    return f"{_machine()}-{os.getpid()}"


@contextlib.contextmanager
def kept(path: Path, start: str, end: str) -> Iterator[None]:
    """Remove the file ``path`` after the block, if it is still there.

    Before the block remove files beside it that processes which were killed have left: those whose names are ``start``,
    an owner, and something that ends with ``end``.
    """
    _remove_left(path.parent, start, end)
    _add(path)
    try:
        yield
    finally:
        _remove(path)


@functools.cache
def _machine() -> str:
    """Digits that differ between machines, and between containers that count their processes apart."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def _remove_left(folder: Path, start: str, end: str = "") -> None:
    """Remove what processes of this machine that are gone have left."""
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
        return True  # somebody else's
    return True


def _add(path: Path) -> None:
    _there[path] = os.getpid()
    if threading.current_thread() is not threading.main_thread():
        return
    for signum in _ENDING:
        if signal.getsignal(signum) is signal.SIG_DFL:
            signal.signal(signum, _end)


def _remove(path: Path) -> None:
    if _there.pop(path, None) != os.getpid():
        return
    _delete(path)
    if not _there and threading.current_thread() is threading.main_thread():
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
    """Remove what there is, and let the signal do what it would have done."""
    for path, process in list(_there.items()):
        if process == os.getpid():
            _delete(path)
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
