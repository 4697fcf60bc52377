"""Ctrl-C during a fit: record it, end the fit with its work kept, and then act on it.

Before workers start, Ctrl-C raises KeyboardInterrupt at once, as usual in Python.  From then until the estimator has
its attributes it is deferred: the first press ends the round, a second one the wait for it.  After that the press takes
effect once.  A program that called ``fit`` directly gets the model and a warning, all other callers KeyboardInterrupt.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from parsgd.errors import FitInterruptedWarning
from parsgd.utils.callers import caller_of, warn

# The innermost is last; only the main thread, which receives signals, adds to it.
_holds: list[InterruptHold] = []
_scope: contextvars.ContextVar[FitScope | None] = contextvars.ContextVar("scope", default=None)
_returning: contextvars.ContextVar[InterruptHold | None] = contextvars.ContextVar("returning", default=None)


class InterruptHold:
    """Deferral of Ctrl-C from ``begin`` to ``end``.

    ``presses`` counts them, and ``on_press`` is called at each.  Those beyond ``n_deferred`` raise KeyboardInterrupt.
    If Ctrl-C is ignored, it remains ignored; outside the main thread, which receives no signals, none is recorded.
    """

    def __init__(self, n_deferred: float = math.inf):
        self.presses: int = 0
        self.n_deferred = n_deferred
        self.on_press: Callable[[], Any] = lambda: None
        self.before: Any = None

    def begin(self) -> InterruptHold:
        """Start recording presses."""
        if threading.current_thread() is threading.main_thread():
            self.before = signal.getsignal(signal.SIGINT)
            _holds.append(self)
            if self.before is not None and self.before is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, press)
        return self

    def end(self) -> None:
        """Restore the previous handler."""
        if self in _holds:
            if signal.getsignal(signal.SIGINT) is press:
                signal.signal(signal.SIGINT, self.before)
            _holds.remove(self)

    def press(self) -> None:
        """Record a press."""
        self.presses += 1
        self.on_press()
        if self.presses > self.n_deferred:
            raise KeyboardInterrupt


def press(signum: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """Do what Ctrl-C does; a signal handler."""
    if not _holds:
        raise KeyboardInterrupt
    _holds[-1].press()


@contextlib.contextmanager
def shielded() -> Iterator[InterruptHold]:
    """Complete the block before Ctrl-C takes effect."""
    hold = InterruptHold().begin()
    try:
        yield hold
    finally:
        hold.end()
        if hold.presses:
            # the user's handler is called; an outer hold records the presses itself
            (hold.before if callable(hold.before) else press)(signal.SIGINT, None)


class FitScope(InterruptHold):
    """Scope of one fit: Ctrl-C raises at first, and is deferred from the first round until the attributes are set.

    ``message`` is the text of the warning.
    """

    message = ""

    def hold(self, on_press: Callable[[], Any]) -> None:
        """Defer Ctrl-C from now on and call ``on_press`` at each press; a second press raises."""
        if self not in _holds:
            self.begin()
        self.on_press = on_press
        self.defer_next()

    def defer_next(self) -> None:
        """Record the next press as well; the one after it raises."""
        self.n_deferred = self.presses + 1

    def finalize(self) -> None:
        """Record all presses: the workers have ended, and the rest is short."""
        self.n_deferred = math.inf
        if (outer := _returning.get()) is not None:
            outer.n_deferred = math.inf


@contextlib.contextmanager
def scope() -> Iterator[FitScope]:
    """Yield the scope of the estimator's fit in this thread, or a new one."""
    running = _scope.get()
    if running is not None:
        yield running
        return
    running = FitScope()
    try:
        yield running
    finally:
        running.end()


@contextlib.contextmanager
def returning() -> Iterator[InterruptHold]:
    """Let a fit inside the block return its present result on Ctrl-C, for any caller.

    Until the fit has a result, Ctrl-C acts as in every fit.  From then to the end of the block it is only recorded;
    ``presses`` counts those that did not raise.
    """
    hold = InterruptHold(n_deferred=0).begin()
    token = _returning.set(hold)
    try:
        yield hold
    finally:
        _returning.reset(token)
        hold.end()


def interruptible(method: Callable, returns: bool) -> Callable:
    """Wrap a fitting method so that it acts on Ctrl-C after the estimator has its attributes.

    With ``returns`` a program that called it directly gets a warning; otherwise KeyboardInterrupt is raised.
    """

    @functools.wraps(method)
    def fit(self: Any, *arguments: Any, **settings: Any) -> Any:
        running = FitScope()
        token = _scope.set(running)
        try:
            result = method(self, *arguments, **settings)
        except Exception as error:
            if running.presses:
                raise KeyboardInterrupt from error
            raise
        finally:
            _scope.reset(token)
            running.end()
        if running.presses:
            _, name = caller_of(sys._getframe(1))
            outer = _returning.get()
            if outer is not None:
                outer.presses += running.presses
            if not (returns and (name == "__main__" or outer is not None)):
                raise KeyboardInterrupt
            warn(running.message, FitInterruptedWarning)
        return result

    return fit
