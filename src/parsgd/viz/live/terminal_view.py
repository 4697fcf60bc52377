"""The live view on a terminal: a progress bar, the loss and speed, and a line per worker.

This module imports rich, which is optional, so other modules import it only when they create a view.
"""

from __future__ import annotations

import math
import threading
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from parsgd.training.reporting.progress import Progress, WorkerProgress
from parsgd.utils.streams import MessageStream
from parsgd.viz.live import progress_text

# Interval between two updates of the view.
_DRAW_SECONDS = 0.1


class LiveView:
    """An observer that draws the view on a terminal.

    With ``keep_table`` the table of workers remains after the fit.  Other output appears above the view.  ``close``
    restores the terminal and may be called at any time.
    """

    def __init__(self, console: Console | None = None, keep_table: bool = True):
        self.console: Console = Console(highlight=False, file=MessageStream("stdout")) if console is None else console
        self.keep_table = keep_table
        self.live: Live | None = None
        self.last_drawn: float = -math.inf
        # several fits may report progress from their threads
        self.lock: threading.Lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        if not progress.done and time.monotonic() - self.last_drawn < _DRAW_SECONDS:
            return
        with self.lock:
            self.last_drawn = time.monotonic()
            view = view_of(progress, table=self.keep_table or not progress.done)
            if self.live is None:
                # rich starts no refresh thread: the view is redrawn on each report
                self.live = Live(console=self.console, auto_refresh=False)
                self.live.start()
            # an empty last line, because the terminal echoes Ctrl-C as ^C, which would wrap a full line
            self.live.update(view if progress.done else Group(view, ""), refresh=True)
            if progress.done:
                # the next fit gets a new view below this one
                self._stop()

    def close(self) -> None:
        """Restore the terminal."""
        with self.lock:
            self._stop()

    def _stop(self) -> None:
        if self.live is not None:
            live, self.live = self.live, None
            live.stop()


def view_of(progress: Progress, table: bool = True) -> Group:
    """Return the view as a renderable of rich."""
    share = min(progress.examples / max(progress.planned, 1), 1.0)
    head = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=1.0, completed=share, width=30)
    head.add_row(bar, f"{share:4.0%}", _line(progress_text.passes(progress)))
    rounds = "1 round" if progress.rounds == 1 else f"{progress.rounds:,} rounds"
    facts = [*progress_text.speed(progress), rounds]
    parts: list[Table | Text] = [head, _line("   ".join(facts))]
    if table and 1 < len(progress.workers) <= progress_text.MAX_WORKERS:
        parts.append(_workers(progress.workers, progress.done))
    elif table and len(progress.workers) > progress_text.MAX_WORKERS:
        parts += map(_line, progress_text.summary(progress.workers))
    if table:
        parts += map(Text, progress_text.reasons(progress.workers))
    return Group(*parts)


def _line(text: str) -> Text:
    """Return one line of text, truncated to the width of the terminal."""
    return Text(text, overflow="ellipsis", no_wrap=True)


def _workers(workers: tuple[WorkerProgress, ...], done: bool) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    for name in ("worker", "examples", "steps", "examples/s", "weight"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    # the status column gets the remaining width
    for worker in workers:
        steps = f"{worker.steps:,}" if worker.steps else "-"
        weight = "-" if math.isnan(worker.weight) else f"{worker.weight:.3f}"
        rate = "-" if worker.lost else f"{worker.rate:,.0f}"
        style = "red" if worker.lost else "yellow" if worker.lost_tasks else None
        cells = (f"{worker.worker}", f"{worker.examples:,}", steps, rate, weight)
        table.add_row(*cells, "" if done and style is None else progress_text.status(worker), style=style)
    return table
