"""Progress in a notebook: one output that is written anew."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

from parsgd.training.progress import Progress
from parsgd.viz.live import progress_text

_DRAW_SECONDS = 0.25
_WIDTH = 90


def in_notebook() -> bool:
    """Whether a notebook runs this; nothing is imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


class NotebookView:
    """An observer that writes to an output of the cell, as plain text."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.drawn = 0.0

    def __call__(self, told: Progress) -> None:
        if not told.done and time.monotonic() - self.drawn < _DRAW_SECONDS:
            return
        from IPython.display import display

        self.drawn = time.monotonic()
        shown = {"text/plain": drawn(told)}
        if self.handle is None:
            self.handle = display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)
        if told.done:
            # the next fit gets an output of its own
            self.handle = None

    def close(self) -> None:
        """There is nothing to put back."""


def drawn(told: Progress) -> str:
    """The live view in letters, or a line where rich is not installed."""
    try:
        from rich.console import Console

        from parsgd.viz.live.terminal_view import picture
    except ImportError:
        return progress_text.line(told)
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, force_jupyter=False)
    console.print(picture(told))
    return console.file.getvalue().rstrip()
