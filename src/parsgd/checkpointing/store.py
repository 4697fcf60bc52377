"""Checkpoint folder of one fit: its lock, its files, and the deletion of old ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from parsgd.errors import CheckpointError
from parsgd.utils.atomic_io import temporaries, write_atomically, write_parts

ENDING = ".parsgd-checkpoint"
_LOCK = ".lock"
_NAME = re.compile(r"round-(\d{8,})" + re.escape(ENDING))


class CheckpointStore:
    """A locked checkpoint folder; see :func:`opened`."""

    def __init__(self, path: Path):
        self.path = path

    def rounds(self) -> list[int]:
        """Return the rounds with a checkpoint, in ascending order."""
        found = (_NAME.fullmatch(name) for name in os.listdir(self.path))
        return sorted(int(match[1]) for match in found if match)

    def file(self, number: int) -> Path:
        """Return the path of a round's checkpoint.

        >>> CheckpointStore(Path("run")).file(12).name
        'round-00000012.parsgd-checkpoint'
        """
        return self.path / f"round-{number:08d}{ENDING}"

    def write(self, number: int, content: Sequence[bytes | memoryview], keep: int) -> None:
        """Write a round's checkpoint, then delete all but the last ``keep`` and those of later rounds.

        Checkpoints of later rounds are damaged: otherwise this fit would have resumed from them.
        """
        with write_atomically(self.file(number)) as temporary:
            write_parts(temporary, content)
        earlier = [known for known in self.rounds() if known <= number]
        for known in set(self.rounds()) - set(earlier[-keep:]):
            self.file(known).unlink(missing_ok=True)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[CheckpointStore]:
    """Create the folder if missing, lock it, remove temporary files of killed writers, and yield it.

    The lock ends with the process that holds it, even if the process is killed.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        for left in temporaries(path, ENDING):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{path}: checkpoints cannot be kept here: {error.strerror or error}. Name a writable folder."
        ) from error
    try:
        yield CheckpointStore(path)
    finally:
        # delete the file before unlocking it; a process that waits for it detects that it was deleted
        with contextlib.suppress(OSError):
            (path / _LOCK).unlink(missing_ok=True)
        os.close(lock)


def _lock(path: Path) -> int:
    """Return an open file that holds the folder's lock."""
    while True:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace") or "unknown"
            os.close(lock)
            raise CheckpointError(
                f"{path}: another fit is writing checkpoints to this folder (process {holder}). Every fit needs a"
                " separate folder; if both are the same fit, end one of them."
            ) from None
        except OSError:
            pass  # a file system without locks cannot detect two fits in one folder
        if _is_current(lock, path / _LOCK):
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            return lock
        os.close(lock)


def _is_current(lock: int, path: Path) -> bool:
    """Return True if the open file still has this name, and was not deleted by its holder."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False
