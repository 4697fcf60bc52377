"""Progress as plain lines for pipes and log files."""

from __future__ import annotations

import time
from collections.abc import Callable

from parsgd.training.reporting.progress import Progress
from parsgd.utils.streams import MessageStream
from parsgd.viz.live import progress_text


def to_stdout(text: str) -> None:
    """Print a line and flush it; errors of the stream are ignored."""
    print(text, flush=True, file=MessageStream("stdout"))


class LogView:
    """An observer that writes one line per ``seconds``, or per round with ``every_round``, and one at the end."""

    def __init__(self, write: Callable[[str], None] = to_stdout, seconds: float = 1.0, every_round: bool = False):
        self.write: Callable[[str], None] = write
        self.seconds: float = seconds
        self.every_round: bool = every_round
        self.last_written: float = time.monotonic()
        self.rounds: int = 0

    def __call__(self, progress: Progress) -> None:
        if progress.done or (not self.every_round and time.monotonic() - self.last_written >= self.seconds):
            self.last_written = time.monotonic()
            self.write(progress_text.line(progress))
        elif self.every_round and progress.rounds != self.rounds:
            self.write(progress_text.round_line(progress))
        # the rounds of the next fit start at 0
        self.rounds = 0 if progress.done else progress.rounds
