"""The folder of one fit's checkpoints: who may write to it, what is in it, and what is taken away."""

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
    """A folder that is ours to write to; see :func:`opened`."""

    def __init__(self, path: Path):
        self.path = path

    def rounds(self) -> list[int]:
        """The rounds of which there are checkpoints, in order."""
        found = (_NAME.fullmatch(name) for name in os.listdir(self.path))
        return sorted(int(match[1]) for match in found if match)

    def file(self, number: int) -> Path:
        """Where the checkpoint of a round lies.

        >>> CheckpointStore(Path("run")).file(12).name
        'round-00000012.parsgd-checkpoint'
        """
        return self.path / f"round-{number:08d}{ENDING}"

    def write(self, number: int, content: Sequence[bytes | memoryview], keep: int) -> None:
        """Write a round's checkpoint, and then take away all but the last ``keep``, and what is said to come later: it
        is damaged, or this fit would not have come back to here."""
        with write_atomically(self.file(number)) as temporary:
            write_parts(temporary, content)
        earlier = [known for known in self.rounds() if known <= number]
        for known in set(self.rounds()) - set(earlier[-keep:]):
            self.file(known).unlink(missing_ok=True)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[CheckpointStore]:
    """The folder, made if need be, locked against other fits, and without what killed writers left in it.

    The lock ends with the process that holds it, however that ends.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
        for left in temporaries(path, ENDING):
            left.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{path}: checkpoints cannot be kept here: {error.strerror or error}. Name a folder that you may write to."
        ) from error
    try:
        yield CheckpointStore(path)
    finally:
        # while it is still locked; whoever has opened it and waits finds out that it is gone
        with contextlib.suppress(OSError):
            (path / _LOCK).unlink(missing_ok=True)
        os.close(lock)


def _locked(path: Path) -> int:
    """An open file that holds the folder's lock."""
    while True:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace") or "unknown"
            os.close(lock)
            raise CheckpointError(
                f"{path}: another fit keeps its checkpoints here at this moment (process {holder}). Every fit needs a"
                " folder of its own; if it is the same fit, started twice, end one of them."
            ) from None
        except OSError:
            pass  # a file system without locks; that two fits write here then goes unnoticed
        if _is_there(lock, path / _LOCK):
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            return lock
        os.close(lock)


def _is_there(lock: int, path: Path) -> bool:
    """Whether the open file is the one by that name, and not one that its holder has taken away since."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False
