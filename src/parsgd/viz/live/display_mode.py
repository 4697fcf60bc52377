"""Choose the progress display for ``verbose``: a live view on a terminal or in a notebook, otherwise log lines.

The environment variable ``PARSGD_PROGRESS`` overrides the choice: ``0`` (no display), ``lines`` or ``live``.  If ``CI``
is set, as on continuous-integration services, the default is no display.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from parsgd.errors import InvalidArgumentError
from parsgd.training.reporting import progress
from parsgd.utils.streams import MessageStream
from parsgd.viz.live.log_view import LogView
from parsgd.viz.live.notebook_view import NotebookView, in_notebook

_VARIABLE = "PARSGD_PROGRESS"
_MODES = ("", "0", "lines", "live")
# The lock of the live view; a terminal can show one at a time.
_terminal = threading.Lock()


class ProgressView(Protocol):
    """An observer of fits that displays their progress."""

    def __call__(self, progress: progress.Progress) -> None:
        """Display the progress."""

    def close(self) -> None:
        """Restore the terminal."""


def display_mode(is_terminal: bool) -> str:
    """Return the display mode of a stream: ``"live"``, ``"lines"`` or ``"0"`` for no display.

    Raises
    ------
    InvalidArgumentError
        If ``PARSGD_PROGRESS`` has another value.
    """
    requested = os.environ.get(_VARIABLE, "").strip().lower()
    if requested not in _MODES:
        raise InvalidArgumentError(
            f"The environment variable {_VARIABLE} must be 0, lines or live, or unset. Got {requested!r} instead."
        )
    if requested:
        return requested
    if os.environ.get("CI", "").strip().lower() not in ("", "0", "false"):
        return "0"
    return "live" if is_terminal and os.environ.get("TERM") != "dumb" else "lines"


def shown(verbose: bool | int) -> contextlib.AbstractContextManager[None]:
    """Display the fits inside the block; ``verbose``: 0 for no display, 1 for a view, 2 for one line per round."""
    if not verbose or sys.stdout is None:
        return contextlib.nullcontext()
    notebook = in_notebook()
    mode = display_mode(notebook or MessageStream("stdout").isatty())
    if mode == "0":
        return contextlib.nullcontext()
    # True is 1
    if int(verbose) > 1:
        return observing(lambda: LogView(every_round=True))
    if mode == "live" and notebook:
        return observing(NotebookView)
    if mode == "live" and importlib.util.find_spec("rich") and multiprocessing.parent_process() is None:
        return _observing_on_terminal()
    return observing(LogView)


def shows_lines(verbose: bool | int) -> bool:
    """Return True if ``verbose`` prints plain lines, not a view that is redrawn."""
    if not verbose or sys.stdout is None:
        return False
    notebook = in_notebook()
    mode = display_mode(notebook or MessageStream("stdout").isatty())
    if mode == "live" and int(verbose) == 1:
        return not notebook and importlib.util.find_spec("rich") is None
    return mode != "0"


@contextlib.contextmanager
def observing(make_view: Callable[[], ProgressView]) -> Iterator[None]:
    """Observe the fits inside the block with a new view, and close it at the end, also after an error."""
    view = make_view()
    try:
        with progress.observe_progress(view):
            yield
    finally:
        view.close()


@contextlib.contextmanager
def _observing_on_terminal() -> Iterator[None]:
    """Observe with the live view, or with log lines if another fit uses the terminal."""
    from parsgd.viz.live.terminal_view import LiveView

    free = _terminal.acquire(blocking=False)
    try:
        with observing(LiveView if free else LogView):
            yield
    finally:
        if free:
            _terminal.release()
