"""Standard output and standard error for messages: closed, broken or full, they are no reason to lose work.

A terminal may be closed, a reader may leave, and the disk of a log may be full.  A message that cannot be written is
dropped, and characters that the stream's encoding lacks are written as escapes.
"""

from __future__ import annotations

import sys
from typing import Any


class MessageStream:
    """``sys.stdout`` or ``sys.stderr`` as it is now, as a file that raises no errors of its own.

    >>> MessageStream("stdout").write("said")
    said4
    """

    def __init__(self, name: str):
        self.name = name
        # a live view puts a stream of its own in its place, which writes to this one
        self.stream: Any = getattr(sys, name, None)

    @property
    def encoding(self) -> str:
        """Of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write what can be written."""
        stream = self.stream
        if stream is not None:
            try:
                try:
                    stream.write(text)
                except UnicodeEncodeError:
                    stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError):
                pass  # ValueError: it was closed
        return len(text)

    def flush(self) -> None:
        """Have it arrive, if it can."""
        try:
            if self.stream is not None:
                self.stream.flush()
        except (OSError, ValueError):
            pass

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        try:
            return self.stream is not None and self.stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """The number of the open file; raises OSError where there is none."""
        if self.stream is None:
            raise OSError(f"sys.{self.name} is None")
        return self.stream.fileno()
