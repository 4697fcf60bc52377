"""Torch data sets as sources: every row belongs to one worker, and orders depend on seed and epoch only."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import data as torch_data
from torch_modules import batches

from parsgd.algorithms.common.round_length import examples_in_steps
from parsgd.data.sources.torch_source import IterableTorchSource, TorchSource

SIZES = {"n_rows": st.integers(1, 60), "n_workers": st.integers(1, 5), "seed": st.integers(0, 9)}


def make_source(n_rows, **settings):
    data = torch_data.TensorDataset(torch.arange(n_rows))
    return TorchSource(data, torch_data.default_collate, **settings)


def visited(shard, seed, epoch, start=0):
    """The rows of an epoch in the order of their visits."""
    (block,) = shard.blocks(seed, epoch, start)
    return block.rows.batch(block.order)[0].tolist()


@given(**SIZES, partition=st.sampled_from(["shuffled", "contiguous"]))
def test_every_row_belongs_to_one_worker(n_rows, n_workers, seed, partition):
    shards = make_source(n_rows).split(n_workers, seed, partition)
    rows = [row for shard in shards for row in visited(shard, seed, 0)]
    assert sorted(rows) == list(range(n_rows))
    sizes = [shard.n_rows for shard in shards]
    assert max(sizes) - min(sizes) <= 1


@given(**SIZES, size=st.integers(1, 9))
def test_dropped_rows_are_those_after_the_last_whole_batch(n_rows, n_workers, seed, size):
    source = make_source(n_rows, drop_last_of=size, n_workers=n_workers)
    shards = source.split(n_workers, seed, "shuffled")
    assert all(shard.n_rows % size == 0 for shard in shards)
    assert sum(shard.n_rows for shard in shards) == source.n_rows
    assert all(len(visited(shard, seed, 0)) == shard.n_rows for shard in shards)


@given(n_rows=st.integers(1, 60), seed=st.integers(0, 9), epoch=st.integers(0, 3), start=st.integers(0, 59))
def test_an_order_can_be_entered_anywhere(n_rows, seed, epoch, start):
    (shard,) = make_source(n_rows).split(1, seed, "shuffled")
    whole = visited(shard, seed, epoch)
    documented = [row for index, _ in list(batches(n_rows, n_rows, seed + epoch, 1)) for row in index.tolist()]
    assert whole == documented
    assert visited(shard, seed, epoch, min(start, n_rows)) == whole[start:]


@given(n_rows=st.integers(5, 60), n_workers=st.integers(1, 4), start=st.integers(0, 3))
def test_examples_of_an_iterable_data_set_are_dealt_out(n_rows, n_workers, start):
    class Numbers(torch_data.IterableDataset):
        def __iter__(self):
            return iter(range(n_rows))

    def read(shard, first):
        blocks = list(shard.blocks(0, 0, first))
        assert [block.rows.ends_epoch for block in blocks] == [False] * (len(blocks) - 1) + [True] * bool(blocks)
        return [row for block in blocks for row in block.rows.batch(block.order).tolist()]

    source = IterableTorchSource(Numbers(), torch.tensor, n_rows, batch_size=2)
    shards = source.split(n_workers, 0, "shuffled")
    assert sorted(row for shard in shards for row in read(shard, 0)) == list(range(n_rows))
    for shard in shards:
        assert read(shard, min(start, shard.n_rows)) == read(shard, 0)[start:]


@given(n_rows=st.integers(1, 50), size=st.integers(1, 9), lengths=st.lists(st.integers(1, 20), max_size=9))
def test_rounds_in_steps_have_that_many_batches(n_rows, size, lengths):
    per_epoch = -(-n_rows // size)
    cursor = steps = 0
    for length in lengths:
        cursor += examples_in_steps(n_rows, size, length, cursor)
        steps += length
        epochs, batch = divmod(steps, per_epoch)
        assert cursor == epochs * n_rows + min(batch * size, n_rows)


def test_shares_by_speed():
    shards = make_source(100).split(2, 0, "shuffled", np.array([0.75, 0.25]))
    assert [shard.n_rows for shard in shards] == [75, 25]
