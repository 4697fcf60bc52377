"""The amount of work above which kernels release the GIL (:mod:`parsgd.kernels.lowlevel.gil`), per thread."""

from __future__ import annotations

import threading

# Calls that read fewer values keep the GIL: about 0.5 ms.
_MIN_VALUES = 1 << 18
# Threshold that keeps the GIL in every call.
NEVER = (1 << 63) - 1
# Per thread: True if kernels of several workers must run in parallel.
_thread = threading.local()


def get_gil_threshold() -> int:
    """Return the number of values from which a kernel in this thread releases the GIL; 0 with other workers."""
    return 0 if getattr(_thread, "has_other_workers", False) else _MIN_VALUES


def set_has_other_workers(value: bool) -> None:
    """Set whether other workers run beside this thread; its kernels then always release the GIL."""
    _thread.has_other_workers = value
