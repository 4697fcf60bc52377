"""Standard output for data, always in UTF-8, and the repair of closed standard streams."""

from __future__ import annotations

import contextlib
import os
import sys

from parsgd.cli.cli_errors import FAILURE, CliExit


def write(text: str) -> None:
    """Write text to standard output and flush it; bytes of file names that are not valid UTF-8 stay unchanged.

    Raises CliExit if writing fails, and BrokenPipeError if the reader has closed the pipe.
    """
    stream = sys.stdout
    if stream is None:
        raise CliExit("standard output is closed; nothing was written to it.", FAILURE)
    try:
        stream.flush()
        stream.buffer.write(text.encode("utf-8", "surrogateescape"))
        stream.buffer.flush()
    except (OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        why = getattr(error, "strerror", None) or error
        raise CliExit(f"standard output: {why}; the output was not written.", FAILURE) from error


def prepare() -> None:
    """Open closed standard streams on the null device, and escape characters that a stream cannot encode.

    Otherwise the next file or socket would get the file descriptor of a closed stream.
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
    """Flush the streams; discard output that cannot be written, because Python would report it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
