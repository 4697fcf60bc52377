"""Signal handling: SIGTERM acts as Ctrl-C but has a different exit code, and SIGHUP is ignored.

The system sends SIGHUP to the processes of a terminal when it is closed.  A command that writes a file continues, as
with ``nohup``; its messages are dropped.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from parsgd.utils import interrupts

TERMINATED = 128 + signal.SIGTERM


class ReceivedSignals:
    """The signals received; ``terminated`` is True after SIGTERM."""

    terminated = False


@contextmanager
def handle_signals(writes: bool) -> Iterator[ReceivedSignals]:
    """Handle signals inside the block; ``writes`` is True for a command that writes a file."""
    received = ReceivedSignals()

    def terminate(signum: int, frame: FrameType | None) -> None:
        received.terminated = True
        interrupts.press()

    handlers: dict[int, Any] = {signal.SIGTERM: terminate}
    if writes and hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = signal.SIG_IGN
    main_thread = threading.current_thread() is threading.main_thread()
    # keep handlers that the parent process has set, such as those of nohup
    replaced = [signum for signum in handlers if main_thread and signal.getsignal(signum) is signal.SIG_DFL]
    for signum in replaced:
        signal.signal(signum, handlers[signum])
    try:
        yield received
    finally:
        for signum in replaced:
            signal.signal(signum, signal.SIG_DFL)
