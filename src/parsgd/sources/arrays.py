"""Rows in memory (or mapped into it): dense and CSR arrays.  Shards are lists of row numbers; no row is copied.

With several workers the rows are dealt at random, so that a sorted file does not give each worker another world; with
one worker the shard is the data in its own order, so that one worker is serial SGD.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parsgd.core import SAMPLINGS, Block, Rows, Shard
from parsgd.rows import picked

# Sets the seed of dealing rows apart from the seeds of visiting them.
_DEALING = 0xDEA1
_DRAWING = 0xD4A3
# To sort one number in so many takes as long as to mark it and look through all of them: 580,000 rows, 2 to 64 parts.
_SPARSELY = 16
# Workers that keep step ask for the order of one epoch, and of the next one.
_TOLD_ORDERS = 2


def part_sizes(n_rows: int, shares: np.ndarray) -> list[int]:
    """``n_rows`` cut in proportion to ``shares``; of equal shares the first ones get what is left over.

    >>> part_sizes(10, np.ones(4)), part_sizes(9, np.array([2.0, 1.0]))
    ([3, 3, 2, 2], [6, 3])
    """
    exact = n_rows * np.asarray(shares, dtype=float) / np.sum(shares)
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


@dataclass(frozen=True)
class ArraySource:
    """``rows``, or those of them that ``subset`` numbers.

    ``shuffle``: whether each worker visits its rows in a new order every epoch, or in stored order.
    """

    rows: Rows
    shuffle: bool = True
    subset: np.ndarray | None = None

    samplings = frozenset(SAMPLINGS)

    @property
    def n_rows(self) -> int:
        return len(self.rows.y) if self.subset is None else len(self.subset)

    def split(
        self, n_workers: int, seed: int, sampling: str = "split", shares: np.ndarray | None = None
    ) -> Sequence[ArrayShard]:
        """Deal the rows to ``n_workers``; sizes differ by at most one, and are 0 where workers outnumber rows.  With
        ``shares`` they are in proportion to these."""
        numbers = self._numbers
        sizes = part_sizes(len(numbers), np.ones(n_workers) if shares is None else shares)
        if sampling == "shared":
            common: dict[tuple[int, int], np.ndarray] = {}
            return [ArrayShard(self.rows, numbers, self.shuffle, share=size, _common=common) for size in sizes]
        if sampling == "whole":
            return [ArrayShard(self.rows, numbers, True, size) for size in sizes]
        if n_workers == 1:
            return [ArrayShard(self.rows, numbers, self.shuffle)]
        ends = np.cumsum(sizes)[:-1]
        if sampling == "stored":
            return [ArrayShard(self.rows, part, self.shuffle) for part in np.split(numbers, ends)]
        # in stored order within a shard: shuffle=False then means what it says for every worker
        places = [ascending(part, len(numbers)) for part in np.split(self._deal(seed), ends)]
        return [ArrayShard(self.rows, part if self.subset is None else numbers[part], self.shuffle) for part in places]

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, ArraySource]:
        """``n_rows`` rows at random, copied, and the source without them."""
        numbers = self._numbers
        chosen = np.zeros(len(numbers), dtype=bool)
        chosen[np.random.default_rng((seed, _DRAWING)).choice(len(numbers), n_rows, replace=False)] = True
        return picked(self.rows, numbers[chosen]), replace(self, subset=numbers[~chosen])

    @property
    def _numbers(self) -> np.ndarray:
        numbers = np.arange(len(self.rows.y)) if self.subset is None else self.subset
        return np.asarray(numbers, dtype=self._index_type)

    def _deal(self, seed: int) -> np.ndarray:
        """The order in which rows are dealt: by the shuffle's own generator, which is 10 times faster than numpy's."""
        from parsgd.kernels.shuffling import permute

        dealt = np.empty(self.n_rows, dtype=self._index_type)
        # not the seed that orders the rows of the first worker: the two orders are to have nothing in common
        permute(dealt, int(np.random.SeedSequence((seed, _DEALING)).generate_state(1)[0]))
        return dealt

    @property
    def _index_type(self) -> type:
        return np.int32 if len(self.rows.y) < 2**31 else np.int64


@dataclass
class ArrayShard(Shard):
    """The rows numbered ``numbers``; or, given ``draws``, that many draws an epoch from them, with replacement.

    Given ``share``, all workers see the same rows in the same order, and this one takes so many of them an epoch; those
    in one process tell one another the last orders in ``_common``, ``{(seed, epoch): order}``, so that a thousand
    workers do not keep a thousand copies.
    """

    rows: Rows
    numbers: np.ndarray
    shuffle: bool
    draws: int | None = None
    share: int | None = None
    _seen: tuple[int, int, np.ndarray] | None = field(default=None, repr=False)
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

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[Block]:
        yield Block(self.rows, self._order(seed, epoch)[start:])

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
        return self._shuffled(seed, epoch)

    def _shuffled(self, seed: int, epoch: int) -> np.ndarray:
        """The order of an epoch is the last one's, permuted once more; it is remembered only to save that work."""
        from parsgd.kernels.shuffling import gather, permute

        told = None if self._common is None else self._common.get((seed, epoch))
        if told is not None:
            self._seen, self._permutation = (seed, epoch, told), None
            return told
        if self._seen is None or self._seen[0] != seed or self._seen[1] > epoch:
            self._seen, self._permutation = (seed, -1, self.numbers), None
        if self._permutation is None:
            self._permutation = np.empty(len(self.numbers), dtype=self.numbers.dtype)
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
        return {**self.__dict__, "_seen": None, "_permutation": None, "_common": None}
