"""The BLAS at one thread while workers run: parallelism is across workers.

Threads inside a small product cost more than they bring, and with more of them than cores everybody waits; a product
by one thread also has the same bits wherever it runs.  The number of threads belongs to the process, so it is lowered
for as long as any fit runs and set back by the last one.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limits = None


@functools.cache
def _controller() -> ThreadpoolController:
    # finding the libraries of a process takes a millisecond; those that we call are loaded by now
    import scipy.linalg.cython_blas  # noqa: F401

    return ThreadpoolController()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep every BLAS of this process to one thread inside the block, in all of its threads."""
    global _inside, _limits
    with _lock:
        if _inside == 0:
            _limits = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limits.restore_original_limits()
                _limits = None
