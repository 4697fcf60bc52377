"""Progress in a notebook: one cell output that is updated."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

from parsgd.training.reporting.progress import Progress
from parsgd.viz.live import progress_text

_DRAW_SECONDS = 0.25
_WIDTH = 90


def in_notebook() -> bool:
    """Return True inside a notebook kernel; this imports nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


class NotebookView:
    """An observer that updates a plain-text output of the cell."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.last_drawn: float = 0.0

    def __call__(self, progress: Progress) -> None:
        if not progress.done and time.monotonic() - self.last_drawn < _DRAW_SECONDS:
            return
        from IPython.display import display

        self.last_drawn = time.monotonic()
        bundle = {"text/plain": view_text(progress)}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)
        if progress.done:
            # the next fit gets a new output
            self.handle = None


def view_text(progress: Progress) -> str:
    """Return the live view as plain text, or one line if rich is not installed."""
    try:
        from rich.console import Console

        from parsgd.viz.live.terminal_view import view_of
    except ImportError:
        return progress_text.line(progress)
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, force_jupyter=False)
    console.print(view_of(progress))
    return console.file.getvalue().rstrip()
