"""Limit of the BLAS to one thread while workers run; workers already run in parallel.

Threads inside a small product cost more time than they save, especially with more threads than cores.  A product in one
thread also has the same bits on every engine.  The limit applies to the whole process: the first fit sets it, and the
last one restores the previous number.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
# Each library and its previous number of threads.
_before: list[tuple[Any, int]] = []


@functools.cache
def _libraries() -> list[Any]:
    # finding the libraries of a process takes a millisecond; those in use are loaded by now
    import scipy.linalg.cython_blas  # noqa: F401

    return ThreadpoolController().select(user_api="blas").lib_controllers


def _set(library: Any, n_threads: int) -> None:
    """Set a library's number of threads from any thread.

    Since threadpoolctl 3.8 OpenBLAS accepts the limit only from the first thread that sets it.  Here another thread may
    restore the number, so the controlling thread is cleared.
    """
    release = getattr(library, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    library.set_num_threads(n_threads)
    if release is not None:
        release(force=True)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit every BLAS of this process to one thread inside the block, in all of its threads."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = [(library, library.get_num_threads()) for library in _libraries()]
            for library, _ in _before:
                _set(library, 1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                for library, n_threads in _before:
                    _set(library, n_threads)
