"""Threads on cores of their own: where the system would leave two of them on one."""

from __future__ import annotations

import ctypes
import os

# The number of the core that the calling thread is on; None where the C library does not say.
_present_core = getattr(ctypes.CDLL(None), "sched_getcpu", None) if os.name == "posix" else None


def usable_cores() -> list[int]:
    """The numbers of the cores that the calling thread may use; empty where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def take_core(number: int, cores: list[int]) -> None:
    """Move the calling thread to the core ``number`` of ``cores`` now; it may go wherever it could before.

    Threads that one thread wakes one after the other are put where that one runs or ran last, and a system that
    balances its load every few milliseconds leaves them there for a whole round: two workers in rounds of 5 ms took
    turns on one of two cores, and a fit twice as long (covtype, 7 classes).  Who is there already is spared
    the calls, of some 0.1 ms each.
    """
    if len(cores) < 2:
        return
    core = cores[number % len(cores)]
    if _present_core is not None and _present_core() == core:
        return
    try:
        os.sched_setaffinity(0, {core})
        os.sched_setaffinity(0, cores)
    except OSError:  # a core may be taken away meanwhile, and a container may forbid it: then all stays as it is
        pass
