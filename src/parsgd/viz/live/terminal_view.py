"""The live view: a bar, where the fit stands, and a line for every worker, drawn anew several times a second.

The only file that imports rich, which is an optional package; it is imported when a view is wanted.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from parsgd.training.progress import Progress, WorkerProgress
from parsgd.utils.streams import MessageStream
from parsgd.viz.live import progress_text

# The eye reads no faster.
_DRAW_SECONDS = 0.1


class LiveView:
    """An observer that draws on a terminal.

    ``keeps_table``: whether the workers stay on the screen when the fit is over.  What is printed meanwhile appears
    above the view.  ``close`` gives the terminal back, and may be called at any time.
    """

    def __init__(self, console: Console | None = None, keeps_table: bool = True):
        self.console = Console(highlight=False, file=MessageStream("stdout")) if console is None else console
        self.keeps_table = keeps_table
        self.live: Live | None = None
        self.drawn = -math.inf
        # several fits may tell of themselves from threads of their own
        self.lock = threading.Lock()

    def __call__(self, told: Progress) -> None:
        if not told.done and time.monotonic() - self.drawn < _DRAW_SECONDS:
            return
        with self.lock:
            self.drawn = time.monotonic()
            view = picture(told, table=self.keeps_table or not told.done)
            if self.live is None:
                # without a thread of its own: it is drawn when there is news
                self.live = Live(console=self.console, auto_refresh=False)
                self.live.start()
            # the terminal echoes Ctrl-C as two letters, which must not break a full line in two
            self.live.update(view if told.done else Group(view, ""), refresh=True)
            if told.done:
                # the next fit gets a view below this one
                self._stop()

    def close(self) -> None:
        """Give the terminal back."""
        with self.lock:
            self._stop()

    def _stop(self) -> None:
        if self.live is not None:
            live, self.live = self.live, None
            live.stop()


def picture(told: Progress, table: bool = True) -> Any:
    """The view as rich draws it."""
    share = min(told.examples / max(told.planned, 1), 1.0)
    head = Table.grid(padding=(0, 1))
    head.add_row(ProgressBar(total=1.0, completed=share, width=30), f"{share:4.0%}", _line(progress_text.passes(told)))
    rounds = "1 round" if told.rounds == 1 else f"{told.rounds:,} rounds"
    facts = (progress_text.loss(told), progress_text.speed(told), progress_text.remaining(told), rounds)
    parts: list[Any] = [head, _line("   ".join(fact for fact in facts if fact))]
    if table and 1 < len(told.workers) <= progress_text.MOST_WORKERS:
        parts.append(_workers(told.workers, told.done))
    elif table and len(told.workers) > progress_text.MOST_WORKERS:
        parts += map(_line, progress_text.summary(told.workers))
    if table:
        parts += map(Text, progress_text.reasons(told.workers))
    return Group(*parts)


def _line(text: str) -> Text:
    """Cut off where the terminal ends."""
    return Text(text, overflow="ellipsis", no_wrap=True)


def _workers(workers: tuple[WorkerProgress, ...], done: bool) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    for name in ("worker", "examples", "steps", "examples/s", "weight"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    # what is said last has the room that is left
    for worker in workers:
        steps = f"{worker.steps:,}" if worker.steps else "-"
        weight = "-" if math.isnan(worker.weight) else f"{worker.weight:.3f}"
        rate = "-" if worker.gone else f"{worker.rate:,.0f}"
        style = "red" if worker.gone else "yellow" if worker.losses else None
        cells = (f"{worker.worker}", f"{worker.examples:,}", steps, rate, weight)
        table.add_row(*cells, "" if done and style is None else progress_text.fate(worker), style=style)
    return table
