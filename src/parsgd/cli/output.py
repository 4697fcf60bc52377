"""Standard output for data, which is UTF-8 whatever the locale says, and the streams as a command finds them."""

from __future__ import annotations

import contextlib
import os
import sys

from parsgd.cli.cli_errors import FAILURE, CliExit


def write(text: str) -> None:
    """Write data and have them arrive; bytes that were no UTF-8 in the names of files come out as they were.

    Raises Ended if they cannot be written, and BrokenPipeError if the reader has left.
    """
    stream = sys.stdout
    if stream is None:
        raise CliExit("standard output: is closed; nothing was written to it.", FAILURE)
    try:
        stream.flush()
        stream.buffer.write(text.encode("utf-8", "surrogateescape"))
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CliExit(f"standard output: {why}; what was to be written to it is lost.", FAILURE) from error


def prepare() -> None:
    """Open what is closed of the standard files, and let no message fail for its letters.

    The numbers of files that are closed would be given to the next ones that are opened, such as a socket to a worker.
    """
    with contextlib.suppress(OSError):
        number = 0
        while number <= 2:
            number = os.open(os.devnull, os.O_RDWR)
        os.close(number)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")


def finish() -> None:
    """Write what is still held back, or let it go where that cannot be: at exit Python would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
