"""Which host works on the rows of which worker: a worker's rows outlive the process or machine that reads them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def assign_by_locality(wishes: Sequence[Hashable | None], hosts: Sequence[Hashable]) -> list[Hashable]:
    """A host for each worker: the one it wishes for, unless that has its share of workers already.

    Without wishes they are dealt in turn.

    >>> assign_by_locality([None, "a", "a", None], ["a", "b"])
    ['b', 'a', 'a', 'b']
    >>> assign_by_locality(["a", "a", "a", "gone"], ["a", "b"])
    ['a', 'a', 'b', 'b']
    """
    share = -(-len(wishes) // len(hosts))
    count = dict.fromkeys(hosts, 0)
    seats: list[Hashable | None] = [None] * len(wishes)
    for worker, wish in enumerate(wishes):
        if wish in count and count[wish] < share:
            seats[worker] = wish
            count[wish] += 1
    for worker, seat in enumerate(seats):
        if seat is None:
            seats[worker] = min(count, key=count.get)
            count[seats[worker]] += 1
    return seats


class Placement:
    """Workers on hosts, shared out by their rows.

    A host that is lost leaves its workers, one after the other, to whoever has least to do; if it comes back they
    return to it.  Which host works on a worker's rows changes no bit of what is found.

    Parameters
    ----------
    rows : sequence of int
        Of each worker.
    hosts : sequence
        Names of hosts, at least one.
    homes : sequence, optional
        The host that each worker begins on; not given: they are dealt in turn.  :func:`assign_by_locality` makes it of
        wishes.

    Examples
    --------
    >>> placement = Placement([10, 10, 10], ["a", "b", "c"])
    >>> placement.lose("b")
    >>> placement.host_of(1)
    'a'
    >>> placement.join("b")
    >>> placement.host_of(1)
    'b'
    """

    def __init__(self, rows: Sequence[int], hosts: Sequence[Hashable], homes: Sequence[Hashable] | None = None):
        self.up = list(hosts)
        self.homes = [self.up[i % len(self.up)] for i in range(len(rows))] if homes is None else list(homes)
        self.at: list[Hashable | None] = list(self.homes)
        self.weigh(rows)

    def weigh(self, rows: Sequence[int]) -> None:
        """Take note of how many rows each worker has now."""
        # one more each, so that empty shards are shared out, too
        self.weights = [n_rows + 1 for n_rows in rows]
        self.loads: dict[Hashable | None, int] = dict.fromkeys(self.up, 0)
        for worker, host in enumerate(self.at):
            self.loads[host] = self.loads.get(host, 0) + self.weights[worker]

    def host_of(self, worker: int) -> Hashable | None:
        """Who works on this worker's rows; None where nobody is left."""
        return self.at[worker]

    def workers_of(self, host: Hashable) -> list[int]:
        """Whose rows a host works on."""
        return [worker for worker, at in enumerate(self.at) if at == host]

    def load(self, host: Hashable) -> int:
        """How much a host has to do: its rows, and one for each of its workers."""
        return self.loads.get(host, 0)

    def lose(self, host: Hashable) -> None:
        """Take a host's workers from it and give each to the least loaded of the others; of equals, to the first."""
        if host not in self.up:
            return
        self.up.remove(host)
        for worker in sorted(self.workers_of(host), key=lambda worker: -self.weights[worker]):
            self._move(worker, min(self.up, key=self.load, default=None))

    def join(self, host: Hashable) -> None:
        """Take in a host that comes, or comes back.

        Workers that began there return; a new host takes workers from who has most to do, as long as neither ends up
        with more than that.
        """
        if host in self.up:
            return
        self.up.append(host)
        for worker, home in enumerate(self.homes):
            if home == host or self.at[worker] is None:
                self._move(worker, host)
        if host not in self.homes:
            self._relieve(host)

    def _relieve(self, host: Hashable) -> None:
        while True:
            busiest = max(self.up, key=self.load)
            most = self.load(busiest) - self.load(host)
            movable = [worker for worker in self.workers_of(busiest) if self.weights[worker] < most]
            if not movable:
                return
            self._move(max(movable, key=lambda worker: self.weights[worker]), host)

    def _move(self, worker: int, host: Hashable | None) -> None:
        self.loads[self.at[worker]] -= self.weights[worker]
        self.at[worker] = host
        self.loads[host] = self.loads.get(host, 0) + self.weights[worker]
