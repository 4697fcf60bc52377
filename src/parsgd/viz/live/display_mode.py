"""What ``verbose`` shows: the live view on a terminal, the same in a notebook, plain lines elsewhere.

The environment variable ``PARSGD_PROGRESS`` overrides where it is shown: ``0`` (nowhere), ``lines`` or ``live``.  Where
``CI`` is set, as services for continuous integration do, nothing is shown unless it asks for something.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from parsgd.errors import InvalidArgumentError
from parsgd.training import progress
from parsgd.utils.streams import MessageStream
from parsgd.viz.live.log_view import Lines
from parsgd.viz.live.notebook_view import NotebookView, in_notebook

_VARIABLE = "PARSGD_PROGRESS"
_WAYS = ("", "0", "lines", "live")
# Held by the one live view that there can be on a terminal.
_terminal = threading.Lock()


def way(is_terminal: bool) -> str:
    """How to show progress on a stream: ``"live"``, ``"lines"`` or ``"0"``, not at all.

    Raises
    ------
    InvalidArgumentError
        If ``PARSGD_PROGRESS`` says none of them.
    """
    asked = os.environ.get(_VARIABLE, "").strip().lower()
    if asked not in _WAYS:
        raise InvalidArgumentError(
            f"The environment variable {_VARIABLE} must be 0, lines or live, or unset. Got {asked!r} instead."
        )
    if asked:
        return asked
    if os.environ.get("CI", "").strip().lower() not in ("", "0", "false"):
        return "0"
    return "live" if is_terminal and os.environ.get("TERM") != "dumb" else "lines"


def shown(verbose: Any) -> contextlib.AbstractContextManager:
    """Show the fits inside the block as ``verbose`` asks for: 0 not at all, 1 as a view, 2 with a line every round."""
    if not verbose or sys.stdout is None:
        return contextlib.nullcontext()
    notebook = in_notebook()
    how = way(notebook or MessageStream("stdout").isatty())
    if how == "0":
        return contextlib.nullcontext()
    # True is 1
    if int(verbose) > 1:
        return watched(lambda: Lines(every_round=True))
    if how == "live" and notebook:
        return watched(NotebookView)
    if how == "live" and importlib.util.find_spec("rich") and multiprocessing.parent_process() is None:
        return _on_terminal()
    return watched(Lines)


def shows_lines(verbose: Any) -> bool:
    """Whether ``verbose`` prints plain lines, not a view that is drawn again and again."""
    if not verbose or sys.stdout is None:
        return False
    notebook = in_notebook()
    how = way(notebook or MessageStream("stdout").isatty())
    if how == "live" and int(verbose) == 1:
        return not notebook and importlib.util.find_spec("rich") is None
    return how != "0"


@contextlib.contextmanager
def watched(make: Callable[[], Any]) -> Iterator[None]:
    """Let a view watch the fits inside the block, and close it in any case."""
    view = make()
    try:
        with progress.observe_progress(view):
            yield
    finally:
        view.close()


@contextlib.contextmanager
def _on_terminal() -> Iterator[None]:
    """The live view; plain lines where another fit has the terminal."""
    from parsgd.viz.live.terminal_view import LiveView

    free = _terminal.acquire(blocking=False)
    try:
        with watched(LiveView if free else Lines):
            yield
    finally:
        if free:
            _terminal.release()
