"""Fits as transactions: an estimator changes all at once when its fit has succeeded, and not at all when it fails.

A method that fits works on a copy of the estimator's attributes, which replace those of the estimator at its end.  So
another thread that predicts, scores or saves meanwhile sees the model of before, or the new one, and no mixture.  Two
fits of one estimator run one after the other.
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
    """The lock that a fit of the estimator holds."""
    lock = _locks.get(estimator)
    if lock is None:
        with _guard:
            lock = _locks.setdefault(estimator, threading.RLock())
    return lock


def snapshot(estimator: Any) -> Any:
    """An estimator with the same attributes, taken at one moment."""
    twin = object.__new__(type(estimator))
    twin.__dict__.update(estimator.__dict__)
    return twin


def transactional(method: Callable) -> Callable:
    """A method that fits: it works on a snapshot, whose attributes the estimator takes over when it returns."""

    @functools.wraps(method)
    def fit(self: Any, *arguments: Any, **settings: Any) -> Any:
        with lock_of(self):
            twin = snapshot(self)
            result = method(twin, *arguments, **settings)
            self.__dict__ = twin.__dict__
        return self if result is twin else result

    return fit


def _forget_locks() -> None:
    global _guard
    _guard = threading.Lock()
    _locks.clear()


# A forked process has one thread; another one may have held a lock at the fork.
os.register_at_fork(after_in_child=_forget_locks)
