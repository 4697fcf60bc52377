"""Assignment of workers to hosts (processes or machines); a worker's rows outlive the host that reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

H = TypeVar("H", bound=Hashable)


def assign_by_locality(preferred: Sequence[H | None], hosts: Sequence[H]) -> list[H]:
    """Assign a host to each worker: the preferred one if it has fewer than its share of workers.

    Workers without a preference go to the host with the fewest workers.

    >>> assign_by_locality([None, "a", "a", None], ["a", "b"])
    ['b', 'a', 'a', 'b']
    >>> assign_by_locality(["a", "a", "a", "gone"], ["a", "b"])
    ['a', 'a', 'b', 'b']
    """
    share = -(-len(preferred) // len(hosts))
    count = dict.fromkeys(hosts, 0)
    assigned: dict[int, H] = {}
    for worker, host in enumerate(preferred):
        if host is not None and count.get(host, share) < share:
            assigned[worker] = host
            count[host] += 1
    for worker in range(len(preferred)):
        if worker not in assigned:
            assigned[worker] = min(hosts, key=lambda host: count[host])
            count[assigned[worker]] += 1
    return [assigned[worker] for worker in range(len(preferred))]


class Placement(Generic[H]):
    """Assignment of workers to hosts, balanced by rows.

    When a host is lost, its workers move one by one to the least loaded host; if it returns, they move back.  The
    assignment does not change the bits of the result.

    Parameters
    ----------
    rows : sequence of int
        Rows of each worker.
    hosts : sequence
        Names of hosts, at least one.
    homes : sequence, optional
        Initial host of each worker, for example from :func:`assign_by_locality`.  Default: round-robin.

    Examples
    --------
    >>> placement = Placement([10, 10, 10], ["a", "b", "c"])
    >>> placement.remove("b")
    >>> placement.host_of(1)
    'a'
    >>> placement.join("b")
    >>> placement.host_of(1)
    'b'
    """

    def __init__(self, rows: Sequence[int], hosts: Sequence[H], homes: Sequence[H] | None = None):
        self.available: list[H] = list(hosts)
        self.homes: list[H] = (
            [self.available[i % len(self.available)] for i in range(len(rows))] if homes is None else list(homes)
        )
        self.hosts: list[H | None] = list(self.homes)
        self.set_rows(rows)

    def set_rows(self, rows: Sequence[int]) -> None:
        """Set the number of rows of each worker."""
        # plus one, so that empty shards are distributed, too
        self.weights: list[int] = [n_rows + 1 for n_rows in rows]

    def host_of(self, worker: int) -> H | None:
        """Return the host of a worker; None if no host is left."""
        return self.hosts[worker]

    def workers_of(self, host: H) -> list[int]:
        """Return the workers of a host."""
        return [worker for worker, at in enumerate(self.hosts) if at == host]

    @property
    def loads(self) -> Counter[H | None]:
        """Load of each host: its rows, plus one per worker."""
        loads: Counter[H | None] = Counter()
        for host, weight in zip(self.hosts, self.weights, strict=True):
            loads[host] += weight
        return loads

    def remove(self, host: H) -> None:
        """Remove a host and move each of its workers to the least loaded other host; ties go to the first."""
        if host not in self.available:
            return
        self.available.remove(host)
        for worker in sorted(self.workers_of(host), key=lambda worker: -self.weights[worker]):
            loads = self.loads
            self.hosts[worker] = min(self.available, key=lambda host: loads[host], default=None)

    def join(self, host: H) -> None:
        """Add a host that is new or has returned.

        Its original workers move back.  A new host takes workers from the most loaded hosts, as long as this reduces
        the larger of the two loads.
        """
        if host in self.available:
            return
        self.available.append(host)
        for worker, home in enumerate(self.homes):
            if home == host or self.hosts[worker] is None:
                self.hosts[worker] = host
        if host not in self.homes:
            self._take_from_busiest(host)

    def _take_from_busiest(self, host: H) -> None:
        while True:
            loads = self.loads
            busiest = max(self.available, key=lambda host: loads[host])
            most = loads[busiest] - loads[host]
            movable = [worker for worker in self.workers_of(busiest) if self.weights[worker] < most]
            if not movable:
                return
            self.hosts[max(movable, key=lambda worker: self.weights[worker])] = host
