"""Background threads that run functions for the duration of a fit, also during interpreter shutdown.

The executors of :mod:`concurrent.futures` reject work once the main thread has ended, and a fit in another thread may
run longer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any


class Background:
    """Up to ``n_threads`` threads, started when first needed, that run functions in the order given.

    A function handles its results and errors; it must not raise.  ``close`` ends the threads.

    >>> found = SimpleQueue()
    >>> threads = Background(1, "parsgd-example")
    >>> threads.run(found.put, 3)
    >>> found.get()
    3
    >>> threads.close()
    """

    def __init__(self, n_threads: int, name: str):
        self.n_threads: int = n_threads
        self.name: str = name
        self.jobs: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self.idle: threading.Semaphore = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call the function in a thread, as soon as one is idle."""
        self.jobs.put((function, arguments))
        if not self.idle.acquire(blocking=False) and len(self.threads) < self.n_threads:
            # daemon threads, so that an owner that was not closed does not block the interpreter's exit
            thread = threading.Thread(
                target=_work, args=(self.jobs, self.idle), name=f"{self.name}_{len(self.threads)}", daemon=True
            )
            thread.start()
            self.threads.append(thread)

    def close(self) -> None:
        """Drop functions that have not started, and wait for the others."""
        with contextlib.suppress(Empty):
            while True:
                self.jobs.get_nowait()
        self._dismiss()
        for thread in self.threads:
            thread.join()
        self.threads.clear()

    def _dismiss(self) -> None:
        for _ in self.threads:
            self.jobs.put(None)

    def __del__(self) -> None:
        # Ctrl-C may have ended __init__
        if "threads" in vars(self):
            self._dismiss()


def _work(jobs: SimpleQueue, idle: threading.Semaphore) -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        function, arguments = job
        function(*arguments)
        # release the function's objects while this thread waits
        del job, function, arguments
        idle.release()
