"""Contract suite for sources."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import chain, product

import numpy as np

from parsgd import core
from parsgd.core import CsrRows, RowBlock
from parsgd.testing.contracts._assert import SEED, must, must_have_members
from parsgd.utils.row_arrays import picked


def check_source(source: core.Source, max_workers: int = 4) -> None:
    """Check a source of few rows: for any split, each row is visited once per epoch, reproducibly."""
    must_have_members(source, core.Source, "Source")
    must(source.n_rows > 0, "A source to be checked must have rows.")
    (whole,) = source.split(1, SEED, "shuffled")
    must_have_members(whole, core.Shard, "Shard")
    rows = sorted(_visits(whole, 0))
    must(len(rows) == source.n_rows, f"An epoch must visit every row once: {source.n_rows}, not {len(rows)}.")
    for n_workers in (*range(1, max_workers + 1), source.n_rows + 2):
        shards = source.split(n_workers, SEED, "shuffled")
        must(len(shards) == n_workers, "There must be one shard per worker, even without rows for it.")
        must(sum(s.n_rows for s in shards) == source.n_rows, "The shards' rows must add up to the source's.")
        for epoch in (0, 1, 3):
            visits = [_visits(shard, epoch) for shard in shards]
            must(
                all(len(d) == s.n_rows for d, s in zip(visits, shards, strict=True)), "A shard must visit n_rows rows."
            )
            must(sorted(chain(*visits)) == rows, "All shards together must visit every row once per epoch.")
        again = pickle.loads(pickle.dumps(source.split(n_workers, SEED, "shuffled")))
        must(_all_visits(again) == _all_visits(shards), "The same seed must give the same shards, pickled or not.")
    _check_starts(whole)
    for shard in source.split(2, SEED, "contiguous"):
        pickled = pickle.loads(pickle.dumps(shard.portable()))
        must(_visits(pickled, 1) == _visits(shard, 1), "A shard must visit the same rows after pickling.")
    for shard in source.split(2, SEED, "common_order") if "common_order" in source.partitions else ():
        must(sorted(_visits(shard, 1)) == rows, "With common_order, each worker must visit every row once per epoch.")
    for shard in source.split(2, SEED, "replicated") if "replicated" in source.partitions else ():
        drawn = _visits(shard, 1)
        must(len(drawn) == shard.n_rows and set(drawn) <= set(rows), "Rows drawn must be rows of the source.")
        must(drawn == _visits(shard, 1), "Draws must depend only on the seed and the epoch.")


def _check_starts(shard: core.Shard) -> None:
    """Check that an epoch can start at any visit, repeatedly, and after the shard was closed."""
    visited = _visits(shard, 1)
    starts = (0, len(visited) // 2, 1, len(visited) - 1, len(visited))
    for start, closing in product(starts, (False, True)):
        must(
            _visits(shard, 1, start, closing) == visited[start:],
            f"blocks(start={start}) must continue the same epoch from that visit.",
        )


def _all_visits(shards: Sequence[core.Shard]) -> list[list[bytes]]:
    # the later epoch first: its order must not depend on which epochs were requested before
    return [_visits(shard, epoch) for shard in shards for epoch in (2, 0)]


def _visits(shard: core.Shard, epoch: int, start: int = 0, closing: bool = True) -> list[bytes]:
    """Return the rows of an epoch in order of visits, each as bytes."""
    visited = [_row(block, number) for block in shard.blocks(SEED, epoch, start) for number in block.order]
    if closing:
        shard.close()
    return visited


def _row(block: RowBlock, number: int) -> bytes:
    x, y, weight = picked(block.rows, np.array([number]))
    indices = x.indices.astype(np.int64).tobytes() if isinstance(x, CsrRows) else b""
    return x.data.tobytes() + indices + y.tobytes() + weight.tobytes()
