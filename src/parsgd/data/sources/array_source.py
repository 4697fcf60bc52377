"""In-memory or memory-mapped rows: dense and CSR arrays. Shards are lists of row indices; no row is copied.

Several workers get random shards, so that a sorted file does not give them different distributions. One worker gets the
data in stored order, so that it is serial SGD.

If the data exceed the CPU cache, the source shuffles runs of 8 neighboring rows instead of single rows, both among
workers and within an epoch. Reading one row from a random address takes as long as reading several adjacent rows. Runs
are not used if neighbors have correlated targets, as in a sorted file: the rows of a run would then be redundant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from parsgd.core import PARTITIONS, RowBlock, Rows, Shard
from parsgd.utils import first_use
from parsgd.utils.row_arrays import picked

# Separates the seed of the partition from the seeds of the visiting order.
_PARTITION_SEED = 0xDEA1
_DRAW_SEED = 0xD4A3
_FEW_INDICES = np.arange(4096, dtype=np.int32)
# Sorting one index out of this many takes as long as a mask over all of them: 580,000 rows, 2 to 64 parts.
_SORTING_RATIO = 16
# Larger data (in bytes) are shuffled in runs of _RUN_ROWS: last-level caches hold 32 MB for all cores. On 200k x 47k
# sparse rows one thread processed 1.6 times as many rows per second with runs of 8 as with single rows, with runs of 64
# 1.7 times.
_CACHED_BYTES = 32 << 20
_RUN_ROWS = 8
# Correlation of neighboring targets from which runs are not used, estimated from _PAIRS pairs (noise: 0.007). With rows
# sorted by target, one pass in runs of 8 by two workers gave 1.3 to 1.9 times the test loss of one in single rows
# (adult, enron_spam); after five passes the loss was the same.
_MAX_CORRELATION = 0.05
_PAIRS = 20_000
# Synchronous workers need the order of one epoch and of the next.
_KEPT_ORDERS = 2


def part_sizes(n_rows: int, shard_fractions: np.ndarray) -> list[int]:
    """Split ``n_rows`` in proportion to ``shard_fractions``; equal fractions give the remainder to the first parts.

    >>> part_sizes(10, np.ones(4)), part_sizes(9, np.array([2.0, 1.0]))
    ([3, 3, 2, 2], [6, 3])
    """
    if len(shard_fractions) == 1:
        return [n_rows]
    exact = n_rows * np.asarray(shard_fractions, dtype=float) / np.sum(shard_fractions)
    sizes = np.floor(exact + 1e-9).astype(int)
    left = np.argsort(-(exact - sizes), kind="stable")[: n_rows - sizes.sum()]
    sizes[left] += 1
    return sizes.tolist()


def ascending(numbers: np.ndarray, n: int) -> np.ndarray:
    """Sort distinct ``numbers`` below ``n``, with a mask if they are many.

    >>> ascending(np.array([4, 0, 3], dtype=np.int32), 5)
    array([0, 3, 4], dtype=int32)
    """
    if len(numbers) * _SORTING_RATIO < n:
        return np.sort(numbers)
    marks = np.zeros(n, dtype=bool)
    marks[numbers] = True
    return np.flatnonzero(marks).astype(numbers.dtype)


def correlation_of_neighbours(y: np.ndarray) -> float:
    """Compute the correlation of each number with the next, on evenly spaced pairs; 0 for constant input.

    >>> round(correlation_of_neighbours(np.repeat([0.0, 1.0], 50)), 2), correlation_of_neighbours(np.ones(9))
    (0.98, 0.0)
    """
    places = np.linspace(0, len(y) - 2, min(len(y) - 1, _PAIRS)).astype(np.int64)
    first, second = y[places].astype(np.float64), y[places + 1].astype(np.float64)
    spread = first.std() * second.std()
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread > 0.0 else 0.0


def run_starts(places: np.ndarray, size: int) -> np.ndarray:
    """Return the starts of the runs in sorted ``places``, then the end of the last run; ``size`` rows make a run.

    >>> run_starts(np.array([0, 1, 2, 3, 7, 8]), 3)
    array([0, 3, 4, 6])
    """
    runs = places // size
    inner = np.flatnonzero(runs[1:] != runs[:-1]) + 1
    return np.concatenate([[0], inner, [len(places)]]).astype(places.dtype)


@dataclass(frozen=True)
class ArraySource:
    """All of ``rows``, or those in ``subset``.

    ``shuffle``: each worker visits its rows in a new order per epoch instead of stored order. ``neighbours``: run
    length for partition and shuffle; None: chosen from the size of the data.
    """

    rows: Rows
    shuffle: bool = True
    subset: np.ndarray | None = None
    neighbours: int | None = None

    partitions: ClassVar[frozenset[str]] = frozenset(PARTITIONS)

    @property
    def n_rows(self) -> int:
        return len(self.rows.y) if self.subset is None else len(self.subset)

    def split(
        self, n_workers: int, seed: int, partition: str = "shuffled", shard_fractions: np.ndarray | None = None
    ) -> Sequence[ArrayShard]:
        """Split the rows into ``n_workers`` shards.

        Sizes differ by at most one, and are 0 if workers outnumber rows. With ``shard_fractions``, sizes are in
        proportion to these.
        """
        numbers = self._numbers
        sizes = part_sizes(len(numbers), np.ones(n_workers) if shard_fractions is None else shard_fractions)
        if partition == "common_order":
            common: dict[tuple[int, int], np.ndarray] = {}
            return [ArrayShard(self.rows, numbers, self.shuffle, share=size, _common=common) for size in sizes]
        if partition == "replicated":
            return [ArrayShard(self.rows, numbers, True, size) for size in sizes]
        if n_workers == 1:
            return [ArrayShard(self.rows, numbers, self.shuffle)]
        ends = np.cumsum(sizes)[:-1]
        if partition == "contiguous":
            return [ArrayShard(self.rows, part, self.shuffle) for part in np.split(numbers, ends)]
        size = self._run_length
        # stored order within a shard, so that shuffle=False holds for every worker
        places = [ascending(part, len(numbers)) for part in np.split(self._random_order(seed, size), ends)]
        return [
            ArrayShard(
                self.rows,
                part if self.subset is None else numbers[part],
                self.shuffle,
                _starts=None if size == 1 else run_starts(part, size),
            )
            for part in places
        ]

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, ArraySource]:
        """Return copies of ``n_rows`` random rows, and the source without them."""
        numbers = self._numbers
        chosen = np.zeros(len(numbers), dtype=bool)
        chosen[np.random.default_rng((seed, _DRAW_SEED)).choice(len(numbers), n_rows, replace=False)] = True
        return picked(self.rows, numbers[chosen]), replace(self, subset=numbers[~chosen])

    @property
    def _numbers(self) -> np.ndarray:
        if self.subset is None:
            n = len(self.rows.y)
            # np.arange releases the GIL, which slows small fits
            return _FEW_INDICES[:n] if n <= len(_FEW_INDICES) else np.arange(n, dtype=self._index_type)
        return np.asarray(self.subset, dtype=self._index_type)

    @property
    def _run_length(self) -> int:
        if self.neighbours is not None:
            return self.neighbours
        n_bytes = sum(part.nbytes for part in self.rows.x if isinstance(part, np.ndarray))
        large = n_bytes > _CACHED_BYTES and len(self.rows.y) > 1
        return _RUN_ROWS if large and correlation_of_neighbours(self.rows.y) < _MAX_CORRELATION else 1

    def _random_order(self, seed: int, size: int) -> np.ndarray:
        """Return a random order of rows in runs of ``size``, by the shuffle kernel, 10 times faster than NumPy's."""
        permute = first_use.kernels("shuffling").permute

        order = np.empty(-(-self.n_rows // size), dtype=self._index_type)
        # differs from the seed of the first worker's order, so that the two orders are independent
        permute(order, int(np.random.SeedSequence((seed, _PARTITION_SEED)).generate_state(1)[0]))
        if size == 1:
            return order
        rows = (order[:, None] * size + np.arange(size, dtype=order.dtype)).ravel()
        return rows[rows < self.n_rows]

    @property
    def _index_type(self) -> np.dtype[Any]:
        return np.dtype(np.int32 if len(self.rows.y) < 2**31 else np.int64)


@dataclass
class ArrayShard(Shard):
    """The rows ``numbers``; with ``draws``, that many draws per epoch from them, with replacement.

    With ``share``, all workers use one common order, and this one visits ``share`` rows per epoch. Workers in one
    process share the last orders in ``_common``, ``{(seed, epoch): order}``, to avoid one copy per worker. ``_starts``
    holds the starts of runs of ``numbers`` that stay together.
    """

    rows: Rows
    numbers: np.ndarray
    shuffle: bool
    draws: int | None = None
    share: int | None = None
    _starts: np.ndarray | None = field(default=None, repr=False)
    _seen: tuple[int, int, np.ndarray] | None = field(default=None, repr=False)
    _unfolded: tuple[int, int, np.ndarray] | None = field(default=None, repr=False)
    _permutation: np.ndarray | None = field(default=None, repr=False)
    _common: dict[tuple[int, int], np.ndarray] | None = field(default=None, repr=False)
    n_rows: int = field(init=False)
    cost: float = field(init=False)
    in_one_block: ClassVar[bool] = True

    def __post_init__(self) -> None:
        visits = len(self.numbers) if self.draws is None else self.draws
        self.n_rows = visits if self.share is None else self.share
        self.cost = self.rows.x.data.size / max(len(self.rows.y), 1)

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[RowBlock]:
        yield RowBlock(self.rows, self._order(seed, epoch)[start:])

    def portable(self) -> ArrayShard:
        """Copy only the rows of this shard; the visiting order is unchanged."""
        if len(self.numbers) == len(self.rows.y):
            return self
        numbers = np.arange(len(self.numbers), dtype=self.numbers.dtype)
        return replace(self, rows=picked(self.rows, self.numbers), numbers=numbers, _common=None)

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        if self.draws is not None:
            drawn = np.random.default_rng((seed, epoch)).integers(0, len(self.numbers), self.draws)
            return self.numbers[drawn]
        if not self.shuffle or len(self.numbers) == 0:
            return self.numbers
        if self._starts is None:
            return self._shuffled(self.numbers, seed, epoch)
        if self._unfolded is None or self._unfolded[:2] != (seed, epoch):
            self._unfolded = (seed, epoch, self._unfold(self._starts, seed, epoch))
        return self._unfolded[2]

    def _unfold(self, starts: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Expand the shuffled runs to rows."""
        gather_runs = first_use.kernels("shuffling").gather_runs

        runs = np.arange(len(starts) - 1, dtype=self.numbers.dtype)
        order = np.empty_like(self.numbers)
        gather_runs(self.numbers, starts, self._shuffled(runs, seed, epoch), order)
        return order

    def _shuffled(self, numbers: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Return the order of an epoch: that of the previous epoch, permuted once more.

        The last order is cached to save work.
        """
        shuffling = first_use.kernels("shuffling")
        gather, permute = shuffling.gather, shuffling.permute

        shared = None if self._common is None else self._common.get((seed, epoch))
        if shared is not None:
            self._seen, self._permutation = (seed, epoch, shared), None
            return shared
        if self._seen is None or self._seen[0] != seed or self._seen[1] > epoch:
            self._seen, self._permutation = (seed, -1, numbers), None
        if self._permutation is None:
            self._permutation = np.empty(len(numbers), dtype=numbers.dtype)
            permute(self._permutation, seed)
        _, at, order = self._seen
        while at < epoch:
            following = np.empty_like(order)
            gather(order, self._permutation, following)
            order, at = following, at + 1
        self._seen = (seed, epoch, order)
        self._publish(seed, epoch, order)
        return order

    def _publish(self, seed: int, epoch: int, order: np.ndarray) -> None:
        """Publish an order to the other workers; concurrent threads publish equal orders."""
        if self._common is not None:
            for old in list(self._common)[: 1 - _KEPT_ORDERS]:
                self._common.pop(old, None)
            self._common[seed, epoch] = order

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": None, "_unfolded": None, "_permutation": None, "_common": None}
