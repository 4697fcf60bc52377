"""Files that hold the old content or the new, and never half of it, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from parsgd.utils import temporary

_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[Path]:
    """Hand out a temporary path beside ``path``, and move it there if the block ends well.

    So ``path`` holds the old content or the new, never half of it, even if the power fails: the content is on the disk
    before the name is, and the name before this returns.  A device or a pipe is written to directly.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_atomically(f"{folder}/note") as path:
    ...         _ = path.write_text("whole")
    ...     print(*os.listdir(folder))
    note
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    written = path.with_name(f"{_TEMPORARY}{temporary.owner()}-{secrets.token_hex(4)}-{path.name}")
    with temporary.kept(written, _TEMPORARY, f"-{path.name}"):
        yield written
        with open(written, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(written, path)
    sync_folder(path.parent)


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file of several parts, one after the other."""
    with open(path, "wb") as file:
        file.writelines(parts)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can do that."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    # some network file systems sync files only; the name then comes to the disk when they see fit
    with contextlib.suppress(OSError):
        os.fsync(opened)
    os.close(opened)


def temporaries(folder: Path, ending: str) -> list[Path]:
    """What writers that were killed have left of files whose names have this ending."""
    return sorted(folder.glob(f"{_TEMPORARY}*{ending}"))
