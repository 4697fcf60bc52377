"""Signals that end a command: SIGTERM as Ctrl-C does, with an exit code of its own; SIGHUP not at all.

When a terminal is closed, the system sends SIGHUP to what runs in it.  A command that writes a file goes on, as with
``nohup``, and what it would have said is lost.
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
    """``terminated``: SIGTERM came."""

    terminated = False


@contextmanager
def handled(writes: bool) -> Iterator[ReceivedSignals]:
    """Handle the signals inside the block; ``writes``: the command writes a file."""
    received = ReceivedSignals()

    def terminate(signum: int, frame: FrameType | None) -> None:
        received.terminated = True
        interrupts.press()

    handlers: dict[int, Any] = {signal.SIGTERM: terminate}
    if writes and hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = signal.SIG_IGN
    if threading.current_thread() is not threading.main_thread():
        handlers = {}
    before = {signum: signal.getsignal(signum) for signum in handlers}
    # what whoever started the command has settled stays as it is
    ours = [signum for signum in handlers if before[signum] is signal.SIG_DFL]
    for signum in ours:
        signal.signal(signum, handlers[signum])
    try:
        yield received
    finally:
        for signum in ours:
            signal.signal(signum, before[signum])
