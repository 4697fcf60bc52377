"""On which host each logical worker lives: as few on each as can be, moved when a host is lost or a new one joins.

Pure bookkeeping: it knows hosts by name and talks to none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Placement:
    """The hosts of ``n_workers`` logical workers, ``threads`` says which hosts there are and how many threads each has.

    ``homes`` names for a worker the host that holds its rows already, or None; it is taken where there is such a host
    and it is not given more than its share of workers.  ``of[worker]`` is a worker's host, None while there is none.

    >>> placement = Placement(4, {"a": 1, "b": 1})
    >>> placement.of
    ['a', 'b', 'a', 'b']
    >>> placement.lose("a")
    [0, 2]
    >>> placement.of
    ['b', 'b', 'b', 'b']
    >>> placement.join("c", 1)
    >>> [placement.balance(worker) for worker in range(4)], placement.of
    ([True, True, False, False], ['c', 'c', 'b', 'b'])
    """

    def __init__(self, n_workers: int, threads: Mapping[str, int], homes: Sequence[str | None] = ()):
        self.threads = dict(threads)
        self.of: list[str | None] = [None] * n_workers
        share = -(-n_workers // max(sum(self.threads.values()), 1))
        for worker, home in enumerate(homes):
            if home in self.threads and self.load(home) < share:
                self.of[worker] = home
        self._place_all()

    def load(self, host: str, more: int = 0) -> float:
        """Workers a thread, were there ``more`` of them."""
        return (self.of.count(host) + more) / self.threads[host]

    def lose(self, host: str) -> list[int]:
        """Take a host away; its workers, which are returned, move to the others, or wait for one to join."""
        self.threads.pop(host, None)
        moved = [worker for worker, on in enumerate(self.of) if on == host]
        for worker in moved:
            self.of[worker] = None
        self._place_all()
        return moved

    def join(self, host: str, threads: int) -> None:
        """Take in a host; it gets the workers that have none, and others by :meth:`balance`."""
        self.threads[host] = max(1, threads)
        self._place_all()

    def balance(self, worker: int) -> bool:
        """Move a worker to the host with the fewest, where it is better off there; whether it was moved."""
        host = self.of[worker]
        if host is None:
            return False
        there = self._emptiest()
        if not self.load(there, 1) < self.load(host):
            return False
        self.of[worker] = there
        return True

    def _place_all(self) -> None:
        for worker, host in enumerate(self.of):
            if host is None and self.threads:
                self.of[worker] = self._emptiest()

    def _emptiest(self) -> str:
        # of equals the one that joined first
        return min(self.threads, key=lambda host: self.load(host, 1))
