"""Rows in memory (or mapped into it): dense and CSR arrays.  Shards are lists of row numbers; no row is copied.

With several workers the rows are dealt at random, so that a sorted file does not give each worker another world; with
one worker the shard is the data in its own order, so that one worker is serial SGD.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parsgd.core import Block, CsrRows, DenseRows, Rows

# Sets the seed of dealing rows apart from the seeds of visiting them.
_DEALING = 0xDEA1


def rows_of(x: Any, y: np.ndarray, weight: np.ndarray | None = None) -> Rows:
    """See a C-contiguous matrix or a CSR matrix, with its targets, as kernels do; nothing is copied.

    >>> rows_of(np.ones((2, 3)), np.zeros(2)).x.n_features
    3
    """
    weight = np.zeros(0, dtype=x.dtype) if weight is None else weight
    if hasattr(x, "indptr"):
        part = CsrRows(_read_only(x.data), _read_only(x.indices), _read_only(x.indptr))
    else:
        part = DenseRows(_read_only(x.reshape(-1)), x.shape[1])
    return Rows(part, _read_only(y), _read_only(weight))


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to.

    No kernel may touch the user's data; and numba compiles anew for arrays that happen to be read-only (memory maps,
    joblib's workers), so all of them are.
    """
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class ArraySource:
    """``rows``, or those of them that ``subset`` numbers.

    ``shuffle``: whether each worker visits its rows in a new order every epoch, or in stored order.
    """

    rows: Rows
    shuffle: bool = True
    subset: np.ndarray | None = None

    @property
    def n_rows(self) -> int:
        return len(self.rows.y) if self.subset is None else len(self.subset)

    def split(self, n_workers: int, seed: int, sampling: str = "split") -> Sequence[ArrayShard]:
        """Deal the rows to ``n_workers``; sizes differ by at most one, and are 0 where workers outnumber rows."""
        numbers = np.arange(len(self.rows.y), dtype=self._index_type) if self.subset is None else self.subset
        numbers = np.asarray(numbers, dtype=self._index_type)
        sizes = [len(part) for part in np.array_split(np.empty(len(numbers), dtype=bool), n_workers)]
        if sampling == "shared":
            return [ArrayShard(self.rows, numbers, self.shuffle, share=size) for size in sizes]
        if sampling == "whole":
            return [ArrayShard(self.rows, numbers, True, size) for size in sizes]
        if n_workers == 1:
            return [ArrayShard(self.rows, numbers, self.shuffle)]
        numbers = numbers[self._deal(seed)]
        parts = np.split(numbers, np.cumsum(sizes)[:-1])
        # in stored order within a shard: shuffle=False then means what it says for every worker
        return [ArrayShard(self.rows, np.sort(part), self.shuffle) for part in parts]

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
class ArrayShard:
    """The rows numbered ``numbers``; or, given ``draws``, that many draws an epoch from them, with replacement.

    Given ``share``, all workers see the same rows in the same order, and this one takes so many of them an epoch.
    """

    rows: Rows
    numbers: np.ndarray
    shuffle: bool
    draws: int | None = None
    share: int | None = None
    _seen: tuple[int, int, np.ndarray] | None = field(default=None, repr=False)
    _permutation: np.ndarray | None = field(default=None, repr=False)

    @property
    def n_rows(self) -> int:
        if self.share is not None:
            return self.share
        return len(self.numbers) if self.draws is None else self.draws

    @property
    def cost(self) -> float:
        """Stored values a row."""
        return self.rows.x.data.size / max(len(self.rows.y), 1)

    def blocks(self, seed: int, epoch: int) -> Iterator[Block]:
        yield Block(self.rows, self._order(seed, epoch))

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

        if self._seen is None or self._seen[0] != seed or self._seen[1] > epoch:
            self._permutation = np.empty(len(self.numbers), dtype=self.numbers.dtype)
            permute(self._permutation, seed)
            self._seen = (seed, -1, self.numbers)
        _, at, order = self._seen
        while at < epoch:
            following = np.empty_like(order)
            gather(order, self._permutation, following)
            order, at = following, at + 1
        self._seen = (seed, epoch, order)
        return order

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_seen": None, "_permutation": None}
