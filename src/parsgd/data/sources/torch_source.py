"""PyTorch data sets as a source of rows, which each worker reads where it trains."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from parsgd.core import RowBlock, Rows, Shard
from parsgd.errors import DataFileError, IncompatiblePartsError

# Batches that are read ahead of their steps from an iterable data set.
_BATCHES_PER_BLOCK = 16
# Rows whose values represent the data in checkpoints.
_HASHED_ROWS = 16


@dataclass(frozen=True)
class TorchRows:
    """Rows of a data set; ``ends_epoch`` is True for the last block of an epoch."""

    data: Any
    collate: Callable[[list[Any]], Any]
    ends_epoch: bool = True

    def batch(self, indices: np.ndarray) -> Any:
        """Return the collated batch of the rows with these numbers."""
        data = self.data
        plain = self.collate is torch.utils.data.default_collate
        if plain and type(data) is torch.utils.data.TensorDataset:
            # the same values as one example after the other
            index = torch.from_numpy(np.asarray(indices, dtype=np.int64))
            return [tensor[index] for tensor in data.tensors]
        if hasattr(data, "__getitems__"):
            return self.collate(data.__getitems__(indices.tolist()))
        return self.collate([data[index] for index in indices.tolist()])


@dataclass(frozen=True)
class TorchSource:
    """A map-style data set with a length.

    Parameters
    ----------
    data : torch.utils.data.Dataset
    collate : callable
        Makes a batch from a list of examples.
    shuffle : bool
        A new order in every epoch: ``torch.randperm`` with the seed ``seed + epoch``, as ``DistributedSampler`` has.
    cost : float
        Work per example, in numbers that a linear model would read.
    drop_last_of : int
        If above 0, every epoch of a worker omits the rows after its last whole batch of this size.
    n_workers : int
        Number of workers, on which the number of omitted rows depends.
    numbers : ndarray of int or None
        Rows to train on; None: all.
    """

    data: Any
    collate: Callable[[list[Any]], Any]
    shuffle: bool = True
    cost: float = 1e5
    drop_last_of: int = 0
    n_workers: int = 1
    numbers: np.ndarray | None = None

    partitions: ClassVar[frozenset[str]] = frozenset({"shuffled", "contiguous", "common_order"})

    @property
    def n_rows(self) -> int:
        sizes = [len(part) for part in np.array_split(self._numbers, self.n_workers)]
        return sum(map(self._n_kept, sizes))

    @property
    def _numbers(self) -> np.ndarray:
        return np.arange(len(self.data)) if self.numbers is None else self.numbers

    def _n_kept(self, n_rows: int) -> int:
        """Return the rows of a shard that an epoch visits."""
        return n_rows - n_rows % self.drop_last_of if self.drop_last_of else n_rows

    def split(
        self, n_workers: int, seed: int, partition: str, shard_fractions: np.ndarray | None = None
    ) -> Sequence[Shard]:
        everything = self._numbers
        n = len(everything)
        if partition == "common_order" or n_workers == 1:
            return [self._shard(everything)] * n_workers
        order = everything if partition == "contiguous" else np.random.default_rng(seed).permutation(everything)
        if shard_fractions is None:
            parts = np.array_split(order, n_workers)
        else:
            parts = np.split(order, np.rint(np.cumsum(shard_fractions)[:-1] * n).astype(int))
        return [self._shard(np.sort(part)) for part in parts]

    def _shard(self, numbers: np.ndarray) -> TorchShard:
        return TorchShard(self.data, self.collate, numbers, self._n_kept(len(numbers)), self.shuffle, self.cost)

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, TorchSource]:
        """Draw rows at random: ``x`` are the collated inputs, and ``y`` the targets as an array."""
        chosen = np.sort(np.random.default_rng((seed, 1)).choice(self._numbers, n_rows, replace=False))
        inputs, target = TorchRows(self.data, self.collate).batch(chosen)
        rest = replace(self, numbers=np.setdiff1d(self._numbers, chosen))
        return Rows(inputs, target.numpy(), np.empty(0)), rest


@dataclass(frozen=True)
class TorchShard(Shard):
    """Rows ``numbers`` of a data set, of which an epoch visits ``n_rows``."""

    data: Any
    collate: Callable[[list[Any]], Any]
    numbers: np.ndarray
    n_rows: int
    shuffle: bool
    cost: float

    in_one_block: ClassVar[bool] = True

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[RowBlock]:
        order = self.numbers
        if self.shuffle:
            generator = torch.Generator()
            generator.manual_seed(seed + epoch)
            order = order[torch.randperm(len(order), generator=generator).numpy()]
        rows: Any = TorchRows(self.data, self.collate)
        yield RowBlock(rows, order[start : self.n_rows])

    def fingerprint(self) -> str:
        text = f"{type(self.data).__qualname__} of {len(self.data)}, {self.n_rows} rows"
        twice = [self._hash_first_rows(), self._hash_first_rows()]
        # rows that are random, such as augmented pictures, are not compared
        return f"{text}: {twice[0]}" if twice[0] == twice[1] else text

    def _hash_first_rows(self) -> str:
        """Hash the first examples, read with the same state of PyTorch's generator in every call."""
        digest = hashlib.sha256()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _add(TorchRows(self.data, self.collate).batch(self.numbers[:_HASHED_ROWS]), digest.update)
        return digest.hexdigest()[:16]


def _add(value: Any, update: Callable[[bytes], None]) -> None:
    """Add all tensors and numbers of a batch to a hash."""
    if isinstance(value, torch.Tensor):
        update(f"{value.dtype}{tuple(value.shape)}".encode())
        update((value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy().tobytes())
    elif isinstance(value, Mapping):
        for name, part in value.items():
            update(str(name).encode())
            _add(part, update)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _add(part, update)
    else:
        update(repr(value).encode())


@dataclass(frozen=True)
class IterableTorchSource:
    """An iterable data set of ``n_rows`` examples; worker ``i`` of ``K`` takes every ``K``-th from number ``i`` on.

    If the data set has a method ``set_epoch``, it is called with the epoch before each.
    """

    data: Any
    collate: Callable[[list[Any]], Any]
    n_rows: int
    batch_size: int
    cost: float = 1e5

    partitions: ClassVar[frozenset[str]] = frozenset({"shuffled", "contiguous"})

    def split(
        self, n_workers: int, seed: int, partition: str, shard_fractions: np.ndarray | None = None
    ) -> Sequence[Shard]:
        if shard_fractions is not None:
            raise IncompatiblePartsError("An iterable data set cannot be divided by speed. Use balance=None.")
        sizes = [len(range(worker, self.n_rows, n_workers)) for worker in range(n_workers)]
        return [
            IterableTorchShard(self.data, self.collate, worker, n_workers, n_rows, self.batch_size, self.cost)
            for worker, n_rows in enumerate(sizes)
        ]

    def draw(self, n_rows: int, seed: int) -> tuple[Rows, IterableTorchSource]:
        """Refuse: probe rows are arrays."""
        raise IncompatiblePartsError(
            "A torch Dataset has no probe rows. Use an algorithm without them, such as 'local'."
        )


@dataclass(frozen=True)
class IterableTorchShard(Shard):
    """Every ``n_workers``-th example of an iterable data set, from number ``worker`` on."""

    data: Any
    collate: Callable[[list[Any]], Any]
    worker: int
    n_workers: int
    n_rows: int
    batch_size: int
    cost: float

    def blocks(self, seed: int, epoch: int, start: int = 0) -> Iterator[RowBlock]:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        items = itertools.islice(iter(self.data), self.worker + start * self.n_workers, None, self.n_workers)
        done = start
        while done < self.n_rows:
            wanted = min(self.batch_size * _BATCHES_PER_BLOCK, self.n_rows - done)
            block = list(itertools.islice(items, wanted))
            done += len(block)
            if len(block) < wanted:
                raise DataFileError(
                    f"The iterable data set ended after {done} of the {self.n_rows} examples of worker {self.worker} in"
                    f" epoch {epoch + 1}. Pass n_examples=the number that it yields per epoch."
                )
            rows: Any = TorchRows(block, self.collate, ends_epoch=done == self.n_rows)
            yield RowBlock(rows, np.arange(len(block)))

    def fingerprint(self) -> str:
        return f"{type(self.data).__qualname__}, {self.n_rows} rows"
