"""Files written atomically: they contain the old or the new content, also after a crash."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from parsgd.utils import temporary

_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to ``path``, and rename it to ``path`` if the block succeeds.

    ``path`` contains the old or the new content, even after a power failure.  The content is synchronized to disk
    before the name, and the name before this function returns.  An existing file keeps its permissions.  A device or a
    pipe is written directly.

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
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist", str(path.parent))
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    written = path.with_name(f"{_TEMPORARY}{temporary.owner()}-{secrets.token_hex(4)}-{path.name}")
    with temporary.kept(written, _TEMPORARY, f"-{path.name}"):
        if mode is not None:
            # nobody else may read the content in the meantime
            os.close(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR))
        yield written
        with open(written, "rb+") as file:
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(written, mode)
        os.replace(written, path)
    sync_folder(path.parent)


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file from several parts in sequence."""
    with open(path, "wb") as file:
        file.writelines(parts)


def sync_folder(folder: Path) -> None:
    """Synchronize the names in a folder to disk, if its file system supports it."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    # some network file systems synchronize files only, and names later
    with contextlib.suppress(OSError):
        os.fsync(opened)
    os.close(opened)


def temporaries(folder: Path, ending: str) -> list[Path]:
    """Return the temporary files left by killed writers of files with this ending."""
    return sorted(folder.glob(f"{_TEMPORARY}*{ending}"))
