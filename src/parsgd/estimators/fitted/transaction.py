"""Fits as transactions: a successful fit changes the estimator in one step, a failed one not at all.

A fitting method works on a copy of the estimator's attributes, which replace the originals at its end. Another thread
that predicts, scores or saves meanwhile uses the old model or the new one, never a mixture. Concurrent fits of one
estimator run one after the other.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

_locks: weakref.WeakKeyDictionary[Any, threading.RLock] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def lock_of(estimator: Any) -> threading.RLock:
    """Return the lock that a fit of the estimator holds."""
    lock = _locks.get(estimator)
    if lock is None:
        with _guard:
            lock = _locks.setdefault(estimator, threading.RLock())
    return lock


def snapshot(estimator: Any) -> Any:
    """Copy an estimator with its current attributes, without copying their values."""
    working_copy = object.__new__(type(estimator))
    working_copy.__dict__.update(estimator.__dict__)
    return working_copy


def forget(estimator: Any, *names: str) -> None:
    """Delete attributes of earlier fits, if they are set."""
    for name in names:
        vars(estimator).pop(name, None)


def transactional(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a fitting method to work on a snapshot, whose attributes the estimator takes at its return."""

    @functools.wraps(method)
    def fit(self: Any, *arguments: Any, **settings: Any) -> Any:
        with lock_of(self):
            working_copy = snapshot(self)
            result = method(working_copy, *arguments, **settings)
            self.__dict__ = working_copy.__dict__
        return self if result is working_copy else result

    return fit


def _forget_locks() -> None:
    global _guard
    _guard = threading.Lock()
    _locks.clear()


# A forked process has one thread; another thread may have held a lock at the fork.
os.register_at_fork(after_in_child=_forget_locks)
