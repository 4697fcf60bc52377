"""Threads that run functions beside the caller for the length of a fit, also while the interpreter shuts down.

The executors of :mod:`concurrent.futures` refuse work as soon as the main thread has ended, and a fit in another thread
may outlive it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any


class Background:
    """Up to ``n_threads`` threads, started when they are first needed, that run functions in the order given.

    A function reports its own result and errors; it must not raise.  ``close`` ends the threads.

    >>> found = SimpleQueue()
    >>> threads = Background(1, "parsgd-example")
    >>> threads.run(found.put, 3)
    >>> found.get()
    3
    >>> threads.close()
    """

    def __init__(self, n_threads: int, name: str):
        self.n_threads, self.name = n_threads, name
        self.jobs: SimpleQueue[tuple | None] = SimpleQueue()
        self.idle = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call the function in a thread, as soon as one is idle."""
        self.jobs.put((function, arguments))
        if not self.idle.acquire(blocking=False) and len(self.threads) < self.n_threads:
            # a daemon, so that threads of an owner that was never closed do not keep the interpreter from ending
            thread = threading.Thread(
                target=_work, args=(self.jobs, self.idle), name=f"{self.name}_{len(self.threads)}", daemon=True
            )
            thread.start()
            self.threads.append(thread)

    def close(self) -> None:
        """Drop the functions that have not started, and wait for the others."""
        while True:
            try:
                self.jobs.get_nowait()
            except Empty:
                break
        self._dismiss()
        for thread in self.threads:
            thread.join()
        self.threads.clear()

    def _dismiss(self) -> None:
        for _ in self.threads:
            self.jobs.put(None)

    def __del__(self) -> None:
        self._dismiss()


def _work(jobs: SimpleQueue, idle: threading.Semaphore) -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        function, arguments = job
        function(*arguments)
        # what was worked on must not outlive it while this thread waits
        del job, function, arguments
        idle.release()
