"""Contracts of a source of rows and of the shards it is split into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol, runtime_checkable

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

    An empty shard is valid; its reports have weight 0.  A subclass has defaults for all members but ``n_rows``,
    ``cost`` and :meth:`blocks`.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    cost : float
        Stored values per row, a measure of the work per row.
    home : str or None
        Address of the machine of a cluster that holds most of its rows in memory; None if there is none.
    in_one_block : bool
        True if :meth:`blocks` yields one block per epoch, with the same rows in every epoch.
    """

    n_rows: int
    cost: float
    home: str | None = None
    in_one_block: ClassVar[bool] = False

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

    def futures(self) -> Sequence[object]:
        """Return the futures of data on a cluster that the shard needs where it is read.

        Called by the driver of a cluster, which has them computed there.
        """
        return ()

    def filled(self, values: Sequence[object]) -> Shard:
        """Return the shard with ``values``, the results of its futures, in their place.  Called on the worker."""
        return self

    def fingerprint(self) -> str | None:
        """Return a text by which checkpoints recognize the rows; None: they use the contents.

        Called by the driver before the first round of a fit with checkpoints.
        """
        return None

    def close(self) -> None:
        """Stop background work and close files.

        Called by the worker pool when the fit ends or the shards change.  :meth:`blocks` may be called again.
        """
        return


@runtime_checkable
class Source(Protocol):
    """The training rows and the ways to split them into shards.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    partitions : frozenset of str
        The supported members of :data:`PARTITIONS`.
    """

    @property
    def n_rows(self) -> int: ...

    @property
    def partitions(self) -> frozenset[str]: ...

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
