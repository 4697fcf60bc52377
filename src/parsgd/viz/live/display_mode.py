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
from collections.abc import Iterator

from parsgd.errors import InvalidArgumentError
from parsgd.training.reporting import progress
from parsgd.utils.streams import MessageStream
from parsgd.viz.live.log_view import LogView
from parsgd.viz.live.notebook_view import NotebookView, in_notebook

_VARIABLE = "PARSGD_PROGRESS"
_MODES = ("", "0", "lines", "live")
# The lock of the live view; a terminal can show one at a time.
_terminal = threading.Lock()


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


def _kind_of_view(verbose: bool | int) -> str:
    """Return the view for ``verbose``: ``none``, ``rounds``, ``notebook``, ``terminal`` or ``lines``."""
    if not verbose or sys.stdout is None:
        return "none"
    notebook = in_notebook()
    mode = display_mode(notebook or MessageStream("stdout").isatty())
    if mode == "0":
        return "none"
    # True is 1
    if int(verbose) > 1:
        return "rounds"
    if mode == "live" and notebook:
        return "notebook"
    return "terminal" if mode == "live" and importlib.util.find_spec("rich") else "lines"


@contextlib.contextmanager
def shown(verbose: bool | int) -> Iterator[None]:
    """Display the fits inside the block; ``verbose``: 0 for no display, 1 for a view, 2 for one line per round."""
    kind = _kind_of_view(verbose)
    if kind == "none":
        yield
        return
    with contextlib.ExitStack() as stack:
        if kind == "notebook":
            view = NotebookView()
        # a second fit at the same time has log lines
        elif kind == "terminal" and multiprocessing.parent_process() is None and _terminal.acquire(blocking=False):
            stack.callback(_terminal.release)
            from parsgd.viz.live.terminal_view import LiveView

            view = stack.enter_context(contextlib.closing(LiveView()))
        else:
            view = LogView(every_round=True) if kind == "rounds" else LogView()
        stack.enter_context(progress.observe_progress(view))
        yield


def shows_lines(verbose: bool | int) -> bool:
    """Return True if ``verbose`` prints plain lines, not a view that is redrawn."""
    return _kind_of_view(verbose) in ("lines", "rounds")
