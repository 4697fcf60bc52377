"""Training and validation data of a module: what may be passed, as a source of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from parsgd.core import Source
from parsgd.data.dataset import Dataset
from parsgd.data.sources.torch_source import IterableTorchSource, TorchRows, TorchSource
from parsgd.errors import InvalidArgumentError
from parsgd.models.torch.batch_loss import read_batch

_EXPECTED = (
    "a torch Dataset, an IterableDataset, a DataLoader, a tuple of arrays or tensors such as (X, y), or a parsgd"
    " Dataset"
)


@dataclass(frozen=True)
class BatchPlan:
    """Settings of batches: size, function, and whether to shuffle and to drop the last short batch."""

    batch_size: int
    shuffle: bool
    drop_last: bool
    collate: Callable[[list[Any]], Any] | None


@dataclass(frozen=True)
class TorchInput:
    """Data in one of the accepted forms; ``plan`` has the settings of a DataLoader in place of the trainer's."""

    data: Any
    plan: BatchPlan
    n_examples: int | None = None

    @property
    def n_rows(self) -> int:
        """Number of examples."""
        return self.n_examples if self.n_examples is not None else len(self.data)

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """The function that makes a batch of a list of examples."""
        return torch_data.default_collate if self.plan.collate is None else self.plan.collate

    def source(self, n_workers: int, cost: float) -> Source:
        """Return the source of the training rows."""
        plan = self.plan
        if isinstance(self.data, Dataset):
            return self.data.source(shuffle=plan.shuffle)
        if isinstance(self.data, torch_data.IterableDataset):
            return IterableTorchSource(self.data, self.collate, self.n_rows, plan.batch_size, cost)
        drop = plan.batch_size if plan.drop_last else 0
        return TorchSource(self.data, self.collate, plan.shuffle, cost, drop, n_workers)

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Yield the number of examples and the tensors of all batches in stored order."""
        size = self.plan.batch_size
        if isinstance(self.data, Dataset):
            (shard,) = self.data.source(shuffle=False).split(1, 0, "contiguous")
            try:
                for rows, order in shard.blocks(0, 0):
                    for at in range(0, len(order), size):
                        part = order[at : at + size]
                        yield len(part), read_batch(rows, part)
            finally:
                shard.close()
        elif isinstance(self.data, torch_data.IterableDataset):
            block: list[Any] = []
            for item in self.data:
                block.append(item)
                if len(block) == size:
                    yield len(block), self.collate(block)
                    block = []
            if block:
                yield len(block), self.collate(block)
        else:
            rows, order = TorchRows(self.data, self.collate), np.arange(len(self.data))
            for at in range(0, len(order), size):
                part = order[at : at + size]
                yield len(part), rows.batch(part)


def read_input(
    data: Any, plan: BatchPlan, argument: str, n_examples: int | None = None, *, counted: bool = False
) -> TorchInput:
    """Return data in one of the accepted forms; a DataLoader replaces settings of the plan.

    ``counted``: the number of examples must be known, also that of an iterable data set.

    Raises
    ------
    InvalidArgumentError
        For data of another form, without rows, and for a DataLoader with a sampler that cannot be divided.
    """
    if isinstance(data, torch_data.DataLoader):
        data, plan = data.dataset, _plan_of(data, plan, argument)
    if isinstance(data, list) and 0 < len(data) <= 3 and all(map(_is_array, data)):
        raise InvalidArgumentError(
            f"The {argument!r} data are a list of {len(data)} arrays. Pass a tuple of arrays, (X, y); a list is a data"
            " set of single examples."
        )
    if isinstance(data, tuple) and data:
        data = _tensors(data, argument)
    if isinstance(data, torch_data.IterableDataset) and not counted:
        return TorchInput(data, plan)
    if isinstance(data, torch_data.IterableDataset):
        if n_examples is None:
            try:
                n_examples = len(data)  # pyright: ignore[reportArgumentType]
            except TypeError:
                raise InvalidArgumentError(
                    f"The {argument!r} data are an IterableDataset without a length. Pass n_examples=the number of"
                    " examples per epoch."
                ) from None
    elif not (hasattr(data, "__getitem__") and hasattr(data, "__len__")) and not isinstance(data, Dataset):
        raise InvalidArgumentError(f"The {argument!r} data must be {_EXPECTED}. Got {type(data).__name__} instead.")
    elif isinstance(data, Dataset):
        n_examples = data.source(shuffle=False).n_rows
    else:
        n_examples = None
    found = TorchInput(data, plan, n_examples)
    if found.n_rows < 1:
        raise InvalidArgumentError(f"The {argument!r} data have no examples. Pass at least one.")
    return found


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and np.ndim(value) > 0


def _tensors(parts: tuple[Any, ...], argument: str) -> torch_data.TensorDataset:
    """Return arrays and tensors of equal length as a data set."""
    tensors: list[torch.Tensor] = []
    for part in parts:
        if isinstance(part, torch.Tensor):
            tensors.append(part)
            continue
        array = np.asarray(part)
        if array.dtype.kind not in "biuf":
            raise InvalidArgumentError(
                f"An array of the {argument!r} data has dtype {array.dtype}. Pass numbers; encode classes as integers"
                " from 0, as torch.nn.CrossEntropyLoss expects."
            )
        tensors.append(torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"])))
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) > 1:
        raise InvalidArgumentError(f"The arrays of the {argument!r} data must have the same length. Got {lengths}.")
    return torch_data.TensorDataset(*tensors)


def _plan_of(loader: torch_data.DataLoader[Any], plan: BatchPlan, argument: str) -> BatchPlan:
    """Return the settings of a DataLoader."""

    def refuse(what: str, instead: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"The {argument!r} DataLoader has {what}, which cannot be divided among workers. {instead}"
        )

    if loader.batch_size is None:
        if type(loader.batch_sampler) is not torch_data.BatchSampler and loader.batch_sampler is not None:
            raise refuse(
                f"the batch sampler {type(loader.batch_sampler).__name__}", "Pass its data set, and batch_size."
            )
        raise refuse("no batch size", "Pass its data set, and batch_size.")
    iterable = isinstance(loader.dataset, torch_data.IterableDataset)
    kind = type(loader.sampler)
    shuffle = False
    if kind is torch_data.RandomSampler:
        sampler: Any = loader.sampler
        if sampler.replacement or len(sampler) != len(sampler.data_source):
            raise refuse("a RandomSampler with replacement or num_samples", "Use shuffle=True without these.")
        shuffle = True
    elif kind is not torch_data.SequentialSampler and not iterable:
        raise refuse(
            f"the sampler {kind.__name__}",
            "Pass its data set: every worker shuffles its own rows. Weights per example belong into the loss.",
        )
    if loader.num_workers:
        warnings.warn(
            f"The {argument!r} DataLoader has num_workers={loader.num_workers}; parsgd's workers read their examples"
            " themselves, without processes for reading.",
            stacklevel=4,
        )
    collate = None if loader.collate_fn is torch_data.default_collate else loader.collate_fn
    return replace(
        plan, batch_size=loader.batch_size, shuffle=shuffle, drop_last=bool(loader.drop_last), collate=collate
    )
