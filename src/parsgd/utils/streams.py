"""Standard output and standard error for messages, tolerant of closed, broken or full streams.

A terminal may be closed, a pipe's reader may exit, and the disk of a log may be full.  A message that cannot be written
is dropped.  Characters that the stream's encoding lacks are written as escapes.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any

# Errors of a stream that is broken, closed (ValueError) or missing (AttributeError: None).
_ignored = contextlib.suppress(OSError, ValueError, AttributeError)


class MessageStream:
    """File that writes to the present ``sys.stdout`` or ``sys.stderr`` and raises no errors.

    >>> MessageStream("stdout").write("text")
    text4
    """

    def __init__(self, name: str):
        self.name = name
        # a live view replaces sys.stdout by a stream that writes to this one
        self.stream: Any = getattr(sys, name, None)

    @property
    def encoding(self) -> str:
        """Encoding of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write the text as far as possible."""
        with _ignored:
            file = _file_of(self.stream)
            # in an encoding without all characters
            encoded = text.encode(self.encoding, "backslashreplace")
            if file is None:
                self.stream.write(encoded.decode(self.encoding))
                return len(text)
            # past the buffer: a text that stays in it makes the interpreter fail when it exits
            self.stream.flush()
            left = memoryview(encoded.replace(b"\n", os.linesep.encode()))
            while left:
                left = left[file.write(left) :]
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if possible."""
        with _ignored:
            self.stream.flush()

    def isatty(self) -> bool:
        """Return True if the stream is a terminal."""
        with _ignored:
            return self.stream.isatty()
        return False

    def fileno(self) -> int:
        """Return the file number; raises OSError if there is no stream."""
        if self.stream is None:
            raise OSError(f"sys.{self.name} is None")
        return self.stream.fileno()


def _file_of(stream: Any) -> io.FileIO | None:
    """Return the file of a stream that Python itself opened; None for any other object."""
    buffer = stream.buffer if type(stream) is io.TextIOWrapper else None
    return buffer.raw if isinstance(buffer, io.BufferedWriter) and isinstance(buffer.raw, io.FileIO) else None
