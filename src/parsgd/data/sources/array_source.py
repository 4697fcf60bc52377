"""Rows in memory (or mapped into it): dense and CSR arrays.  Shards are lists of row numbers; no row is copied.

With several workers the rows are dealt at random, so that a sorted file does not give each worker another world; with
one worker the shard is the data in its own order, so that one worker is serial SGD.

Where the data outgrow the processor's caches, several workers are dealt, and visit, runs of 8 neighbouring rows in
random order, not single rows: a row from anywhere in memory takes the time of several rows that lie side by side.  Not
so where neighbours have like targets, as in a sorted file: there a run would say the same eight times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parsgd.core import PARTITIONS, RowBlock, Rows, Shard
from parsgd.utils import first_use
from parsgd.utils.row_arrays import picked

# Sets the seed of dealing rows apart from the seeds of visiting them.
_DEALING = 0xDEA1
_DRAWING = 0xD4A3
_FEW = np.arange(4096, dtype=np.int32)
# To sort one number in so many takes as long as to mark it and look through all of them: 580,000 rows, 2 to 64 parts.
_SPARSELY = 16
# Data of more bytes than this are dealt in runs of so many rows: last caches have 32 MB for all cores.  Of 200k x 47k
# sparse rows one thread took 1.6 times as many a second with runs of 8 as with single rows, with runs of 64 1.7 times.
_CACHED_BYTES = 32 << 20
_NEIGHBOURS = 8
# From this correlation of neighbours' targets on they are alike, judged by so many pairs, whose noise is 0.007.  Sorted
# by target, one pass in runs of 8 by two workers left 1.3 to 1.9 times the test loss of one in single rows (adult,
# enron_spam); five passes left the same.
_ALIKE = 0.05
_PAIRS = 20_000
# Workers that keep step ask for the order of one epoch, and of the next one.
_TOLD_ORDERS = 2


def part_sizes(n_rows: int, shard_fractions: np.ndarray) -> list[int]:
    """``n_rows`` cut in proportion to ``shard_fractions``; of equal shard_fractions the first ones get what is left
    over.

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
    """Distinct ``numbers`` below ``n``, sorted; where they are many, by marking them among all.

    >>> ascending(np.array([4, 0, 3], dtype=np.int32), 5)
    array([0, 3, 4], dtype=int32)
    """
    if len(numbers) * _SPARSELY < n:
        return np.sort(numbers)
    marks = np.zeros(n, dtype=bool)
    marks[numbers] = True
    return np.flatnonzero(marks).astype(numbers.dtype)


def correlation_of_neighbours(y: np.ndarray) -> float:
    """Correlation of each number with the next one, on evenly spaced pairs; 0 where all numbers are the same.

    >>> round(correlation_of_neighbours(np.repeat([0.0, 1.0], 50)), 2), correlation_of_neighbours(np.ones(9))
    (0.98, 0.0)
    """
    places = np.linspace(0, len(y) - 2, min(len(y) - 1, _PAIRS)).astype(np.int64)
    first, second = y[places].astype(np.float64), y[places + 1].astype(np.float64)
    spread = first.std() * second.std()
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread > 0.0 else 0.0


def run_starts(places: np.ndarray, size: int) -> np.ndarray:
    """Where runs of neighbours begin in the sorted ``places``, and the end of the last one: ``size`` make a run.

    >>> run_starts(np.array([0, 1, 2, 3, 7, 8]), 3)
    array([0, 3, 4, 6])
    """
    runs = places // size
    inner = np.flatnonzero(runs[1:] != runs[:-1]) + 1
    return np.concatenate([[0], inner, [len(places)]]).astype(places.dtype)


@dataclass(frozen=True)
class ArraySource:
    """``rows``, or those of them that ``subset`` numbers.

    ``shuffle``: whether each worker visits its rows in a new order every epoch, or in stored order.  ``neighbours``:
    how many rows stay together when they are dealt to several workers and shuffled; None for as many as the size of the
    data asks for.
    """

    rows: Rows
    shuffle: bool = True
    subset: np.ndarray | None = None
    neighbours: int | None = None

    partitions = frozenset(PARTITIONS)

    @property
    def n_rows(self) -> int:
        return len(self.rows.y) if self.subset is None else len(self.subset)

    def split(
        self, n_workers: int, seed: int, partition: str = "shuffled", shard_fractions: np.ndarray | None = None
    ) -> Sequence[ArrayShard]:
        """Deal the rows to ``n_workers``; sizes differ by at most one, and are 0 where workers outnumber rows.  With
        ``shard_fractions`` they are in proportion to these."""
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
        # in stored order within a shard: shuffle=False then means what it says for every worker
        places = [ascending(part, len(numbers)) for part in np.split(self._deal(seed, size), ends)]
        return [
            ArrayShard(
                self.rows, part if self.subset is None else numbers[part], self.shuffle,
                _starts=None if size == 1 else run_starts(part, size),
            )
            for part in places
        ]  # fmt: skip

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, ArraySource]:
        """``n_rows`` rows at random, copied, and the source without them."""
        numbers = self._numbers
        chosen = np.zeros(len(numbers), dtype=bool)
        chosen[np.random.default_rng((seed, _DRAWING)).choice(len(numbers), n_rows, replace=False)] = True
        return picked(self.rows, numbers[chosen]), replace(self, subset=numbers[~chosen])

    @property
    def _numbers(self) -> np.ndarray:
        if self.subset is None:
            n = len(self.rows.y)
            # making a range gives the GIL away, which small fits are to keep
            return _FEW[:n] if n <= len(_FEW) else np.arange(n, dtype=self._index_type)
        return np.asarray(self.subset, dtype=self._index_type)

    @property
    def _run_length(self) -> int:
        if self.neighbours is not None:
            return self.neighbours
        n_bytes = sum(part.nbytes for part in self.rows.x if isinstance(part, np.ndarray))
        large = n_bytes > _CACHED_BYTES and len(self.rows.y) > 1
        return _NEIGHBOURS if large and correlation_of_neighbours(self.rows.y) < _ALIKE else 1

    def _deal(self, seed: int, size: int) -> np.ndarray:
        """The order in which rows are dealt, ``size`` neighbours at a time: by the shuffle's own generator, which is 10
        times faster than numpy's."""
        permute = first_use.kernels("shuffling").permute

        dealt = np.empty(-(-self.n_rows // size), dtype=self._index_type)
        # not the seed that orders the rows of the first worker: the two orders are to have nothing in common
        permute(dealt, int(np.random.SeedSequence((seed, _DEALING)).generate_state(1)[0]))
        if size == 1:
            return dealt
        rows = (dealt[:, None] * size + np.arange(size, dtype=dealt.dtype)).ravel()
        return rows[rows < self.n_rows]

    @property
    def _index_type(self) -> type:
        return np.int32 if len(self.rows.y) < 2**31 else np.int64


@dataclass
class ArrayShard(Shard):
    """The rows numbered ``numbers``; or, given ``draws``, that many draws an epoch from them, with replacement.

    Given ``share``, all workers see the same rows in the same order, and this one takes so many of them an epoch; those
    in one process tell one another the last orders in ``_common``, ``{(seed, epoch): order}``, so that a thousand
    workers do not keep a thousand copies.  Given ``_starts``, the runs of ``numbers`` that begin there stay together.
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

    @property
    def n_rows(self) -> int:
        if self.share is not None:
            return self.share
        return len(self.numbers) if self.draws is None else self.draws

    @property
    def cost(self) -> float:
        """Stored values a row."""
        return self.rows.x.data.size / max(len(self.rows.y), 1)

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[RowBlock]:
        yield RowBlock(self.rows, self._order(seed, epoch)[start:])

    def portable(self) -> ArrayShard:
        """With no rows but those that it visits, which are copied; they are visited in the same order."""
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
            self._unfolded = (seed, epoch, self._unfold(seed, epoch))
        return self._unfolded[2]

    def _unfold(self, seed: int, epoch: int) -> np.ndarray:
        """The rows in the order of the shuffled runs."""
        gather_runs = first_use.kernels("shuffling").gather_runs

        runs = np.arange(len(self._starts) - 1, dtype=self.numbers.dtype)
        order = np.empty_like(self.numbers)
        gather_runs(self.numbers, self._starts, self._shuffled(runs, seed, epoch), order)
        return order

    def _shuffled(self, numbers: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """The order of an epoch is the last one's, permuted once more; it is remembered only to save that work."""
        shuffling = first_use.kernels("shuffling")
        gather, permute = shuffling.gather, shuffling.permute

        told = None if self._common is None else self._common.get((seed, epoch))
        if told is not None:
            self._seen, self._permutation = (seed, epoch, told), None
            return told
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
        self._tell(seed, epoch, order)
        return order

    def _tell(self, seed: int, epoch: int, order: np.ndarray) -> None:
        """Whoever is first tells the others; threads may be first together, and then tell the same."""
        if self._common is not None:
            for old in list(self._common)[: 1 - _TOLD_ORDERS]:
                self._common.pop(old, None)
            self._common[seed, epoch] = order

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_seen": None, "_unfolded": None, "_permutation": None, "_common": None}
