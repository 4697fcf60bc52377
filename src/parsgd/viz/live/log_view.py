"""Progress as plain lines, for pipes and logs."""

from __future__ import annotations

import time
from collections.abc import Callable

from parsgd.training.progress import Progress
from parsgd.utils.streams import MessageStream
from parsgd.viz.live import progress_text


def to_stdout(text: str) -> None:
    """Print, and have it arrive if it can."""
    print(text, flush=True, file=MessageStream("stdout"))


class Lines:
    """An observer that says a line every so many ``seconds``, and one at the end of a fit; or one every round."""

    def __init__(
        self, say: Callable[[str], None] = to_stdout, seconds: float = 1.0, every_round: bool = False
    ):  # fmt: skip
        self.say, self.seconds, self.every_round = say, seconds, every_round
        self.said = time.monotonic()
        self.rounds = 0

    def __call__(self, told: Progress) -> None:
        if self.every_round:
            self._rounds(told)
        elif told.done or time.monotonic() - self.said >= self.seconds:
            self.said = time.monotonic()
            self.say(progress_text.line(told))

    def _rounds(self, told: Progress) -> None:
        if told.done:
            self.say(progress_text.line(told))
        elif told.rounds != self.rounds:
            self.say(progress_text.round_line(told))
        # the next fit counts anew
        self.rounds = 0 if told.done else told.rounds

    def close(self) -> None:
        """There is nothing to put back."""
