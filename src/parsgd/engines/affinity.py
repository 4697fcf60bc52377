"""Assignment of worker threads to separate cores."""

from __future__ import annotations

import ctypes
import os

# Function that returns the core of the calling thread; None if the C library has none.
_present_core = getattr(ctypes.CDLL(None), "sched_getcpu", None) if os.name == "posix" else None


def usable_cores() -> list[int]:
    """Return the numbers of the cores that the calling thread may use; empty if the system does not provide them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def take_core(number: int, cores: list[int]) -> None:
    """Move the calling thread to core ``number`` of ``cores`` now, without restricting it later.

    The system places threads that one thread wakes in sequence on that thread's core.  It balances its load only every
    few milliseconds, so they can share the core for a whole round.  In rounds of 5 ms two workers used one of two
    cores, and a fit took twice as long (covtype, 7 classes).  A thread already on its core skips the system calls, of
    some 0.1 ms each.
    """
    if len(cores) < 2:
        return
    core = cores[number % len(cores)]
    if _present_core is not None and _present_core() == core:
        return
    try:
        os.sched_setaffinity(0, {core})
        os.sched_setaffinity(0, cores)
    except OSError:  # the core may have been removed, or a container may forbid the call; nothing changes then
        pass
