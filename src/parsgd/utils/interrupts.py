"""Ctrl-C while a fit runs: note it, let the fit come to an end that keeps its work, and then act on it.

Until workers start, Ctrl-C raises KeyboardInterrupt at once, as everywhere in Python.  From then until the estimator
has its attributes it is held: the first press ends the round, a second one the wait for it.  After that the press takes
effect, once: a program that called ``fit`` itself gets the model and a warning, all other callers KeyboardInterrupt.
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

# The innermost is the last; only the main thread, where signals arrive, adds to it.
_holds: list[InterruptHold] = []
_scope: contextvars.ContextVar[FitScope | None] = contextvars.ContextVar("scope", default=None)
_returning: contextvars.ContextVar[InterruptHold | None] = contextvars.ContextVar("returning", default=None)


class InterruptHold:
    """Presses of Ctrl-C from ``begin`` to ``end``, during which nothing is to break off anywhere.

    ``presses`` counts them, and ``heard`` is called at each.  Those beyond ``patience`` raise KeyboardInterrupt.  Where
    Ctrl-C is ignored it stays ignored; outside the main thread, where no signal arrives, nothing is noted.
    """

    def __init__(self, patience: float = math.inf):
        self.presses = 0
        self.patience = patience
        self.heard: Callable[[], Any] = _nothing
        self.before: Any = None

    def begin(self) -> InterruptHold:
        """Note presses from now on."""
        if threading.current_thread() is threading.main_thread():
            self.before = signal.getsignal(signal.SIGINT)
            _holds.append(self)
            if self.before is not None and self.before is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, press)
        return self

    def end(self) -> None:
        """Let Ctrl-C be what it was before."""
        if self in _holds:
            if signal.getsignal(signal.SIGINT) is press:
                signal.signal(signal.SIGINT, self.before)
            _holds.remove(self)

    def press(self) -> None:
        """Note a press."""
        self.presses += 1
        self.heard()
        if self.presses > self.patience:
            raise KeyboardInterrupt


def _nothing() -> None:
    """Listen to nothing."""


def press(signum: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """Do what Ctrl-C does; a handler of signals."""
    if not _holds:
        raise KeyboardInterrupt
    _holds[-1].press()


@contextlib.contextmanager
def shielded() -> Iterator[InterruptHold]:
    """Finish the block whatever is pressed, and only then let it take effect."""
    hold = InterruptHold().begin()
    try:
        yield hold
    finally:
        hold.end()
        if hold.presses:
            # a handler of the user's own does what it does; the presses of an outer hold are noted there
            (hold.before if callable(hold.before) else press)(signal.SIGINT, None)


class FitScope:
    """One fit: from its start, when Ctrl-C still raises at once, through the rounds to the attributes it leaves.

    ``said`` is the sentence for the warning.
    """

    def __init__(self) -> None:
        self.current: InterruptHold | None = None
        self.said = ""

    def hold(self, heard: Callable[[], Any]) -> None:
        """From now on note Ctrl-C, and call ``heard`` at each press; a second press raises."""
        if self.current is None:
            self.current = InterruptHold().begin()
        self.current.heard = heard
        self.one_more()

    def one_more(self) -> None:
        """Let one press more be noted, and the one after it raise."""
        if self.current is not None:
            self.current.patience = self.current.presses + 1

    def finalize(self) -> None:
        """Note all presses: the workers have ended, and what is left takes no time."""
        if self.current is not None:
            self.current.patience = math.inf
        if (outer := _returning.get()) is not None:
            outer.patience = math.inf

    def end(self) -> None:
        """Let Ctrl-C be what it was before the fit."""
        if self.current is not None:
            self.current.end()

    @property
    def pressed(self) -> bool:
        """Whether Ctrl-C was pressed since the workers started."""
        return self.current is not None and self.current.presses > 0


@contextlib.contextmanager
def scope() -> Iterator[FitScope]:
    """The scope of the estimator's fit that runs in this thread, or else a new one."""
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
    """Let a fit inside the block return what it has when Ctrl-C is pressed, whoever calls it.

    Until the fit has a result Ctrl-C does what it does to every fit.  From then to the end of the block it is noted
    only; ``presses`` has all that did not raise.
    """
    hold = InterruptHold(patience=0).begin()
    token = _returning.set(hold)
    try:
        yield hold
    finally:
        _returning.reset(token)
        hold.end()


def interruptible(method: Callable, returns: bool) -> Callable:
    """A method that fits, and that acts on Ctrl-C when the estimator has its attributes.

    ``returns``: whether a program that called it directly gets a warning; otherwise KeyboardInterrupt is raised.
    """

    @functools.wraps(method)
    def fit(self: Any, *arguments: Any, **settings: Any) -> Any:
        running = FitScope()
        token = _scope.set(running)
        try:
            result = method(self, *arguments, **settings)
        except Exception as error:
            if running.pressed:
                raise KeyboardInterrupt from error
            raise
        finally:
            _scope.reset(token)
            running.end()
        if running.pressed:
            _, name = caller_of(sys._getframe(1))
            outer = _returning.get()
            if outer is not None:
                outer.presses += running.current.presses
            if not (returns and (name == "__main__" or outer is not None)):
                raise KeyboardInterrupt
            warn(running.said, FitInterruptedWarning)
        return result

    return fit
