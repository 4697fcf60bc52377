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
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
# Each library and the number of threads that it had before.
_before: list[tuple[Any, int]] = []


@functools.cache
def _libraries() -> list[Any]:
    # finding the libraries of a process takes a millisecond; those that we call are loaded by now
    import scipy.linalg.cython_blas  # noqa: F401

    return ThreadpoolController().select(user_api="blas").lib_controllers


def _set(library: Any, n_threads: int) -> None:
    """Whichever thread calls: since threadpoolctl 3.8 OpenBLAS obeys one thread of the process, the first that asked,
    for as long as it lives; here the last one out sets back what the first one in has set."""
    release = getattr(library, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    library.set_num_threads(n_threads)
    if release is not None:
        release(force=True)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep every BLAS of this process to one thread inside the block, in all of its threads."""
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
