"""Contracts of a source of rows and of the shards it is split into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from parsgd.core.records import RowBlock, Rows

# Ways to assign rows to shards:
# shuffled: each worker owns rows drawn at random, without replacement;
# contiguous: each worker owns rows that are stored next to each other;
# replicated: each worker draws from all rows with replacement;
# common_order: all workers visit all rows in the same order, and the algorithm assigns each a slice of every batch.
PARTITIONS = ("shuffled", "contiguous", "replicated", "common_order")


@runtime_checkable
class Shard(Protocol):
    """The rows of one worker.  Picklable; files are opened where it is read.

    An empty shard is valid; its reports have weight 0.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    cost : float
        Stored values per row, a measure of the work per row.
    """

    n_rows: int
    cost: float

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[RowBlock]:
        """Yield the rows of an epoch in the order of their visits.

        Called on the worker, once per epoch and once per round that starts inside an epoch.

        Arguments
        ---------
        seed, epoch : int
            Together they determine the order.
        start : int
            Number of visits to skip.

        Returns
        -------
        iterator of RowBlock
            A block is valid until the next one is requested.
        """
        ...

    def portable(self) -> Shard:
        """Return the shard in the form to pickle for another process or machine.

        Called by the driver before it sends a shard.
        """
        return self

    def close(self) -> None:
        """Stop background work and close files.

        Called by the worker pool when the fit ends or the shards change.  :meth:`blocks` may be called again.
        """
        return


class LocatedShard(Shard, Protocol):
    """A shard with rows that may already be in the memory of a cluster.

    Only the Dask engine reads these members, and only if a shard has them.

    Attributes
    ----------
    home : str or None
        Address of the machine that holds most of its rows; None if the rows are read from files.
    """

    home: str | None

    def futures(self) -> list[Any]:
        """Return the futures of data on the cluster that the shard needs where it is read."""
        ...

    def filled(self, values: Sequence[Any]) -> Shard:
        """Return the shard with ``values``, the results of its futures, in their place."""
        ...


@runtime_checkable
class Source(Protocol):
    """The training rows and the ways to split them into shards.

    A shard of a source may have a method ``fingerprint() -> str``, which checkpoints use to recognize the rows.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    partitions : frozenset of str
        The supported members of :data:`PARTITIONS`.
    """

    n_rows: int
    partitions: frozenset[str]

    def split(
        self, n_workers: int, seed: int, partition: str, shard_fractions: np.ndarray | None = None
    ) -> Sequence[Shard]:
        """Split the rows into one shard per worker.

        Called by the driver at the start of a fit, and between epochs when an algorithm changes the fractions.

        Arguments
        ---------
        n_workers : int
            Number of shards.
        seed : int
            Seed of the random assignment.
        partition : str
            One of :attr:`partitions`.
        shard_fractions : ndarray, (n_workers,), optional
            Fractions of the rows per worker, for ``"shuffled"``.  Default: equal.
        """
        ...

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, Source]:
        """Draw probe rows at random into memory.

        Called by the driver before the split, if the algorithm uses probe rows.

        Returns
        -------
        rows : Rows
            The drawn rows.
        rest : Source
            The source without them.
        """
        ...
