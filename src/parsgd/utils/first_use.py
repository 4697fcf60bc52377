"""One lock for imports and compilation at first use, from several threads.

parsgd imports modules when they are needed, and compiles kernels at the first call.  Two threads that do so at the same
time could access half-initialized modules, also of other packages.  The lock is reentrant: compiling a kernel may
import a module.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

_lock = threading.RLock()
# Announce a long compilation even if standard error is not a terminal; set by the command line.
announce_always = False


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Exclude all other threads that import parts of parsgd or compile kernels."""
    with _lock:
        yield


def load(name: str) -> ModuleType:
    """Import a module, or return it if it is complete; safe in several threads.

    >>> load("parsgd.errors").__name__
    'parsgd.errors'
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        return module
    with _lock:
        return importlib.import_module(name)


def kernels(name: str) -> ModuleType:
    """Import a module of compiled kernels, ``parsgd.kernels.<name>``."""
    return load(f"parsgd.kernels.{name}")


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


# A forked process has one thread; another one may have held the lock at the fork.
os.register_at_fork(after_in_child=_renew_lock)
