"""How far a worker goes before it reports, where that is counted in parts of its shard."""

from __future__ import annotations

import numpy as np


def examples_in_round(n_rows: int, batch_size: int, sync_every: float, cursor: int) -> int:
    """Examples from ``cursor`` to the end of the present part of the shard.

    An epoch of the shard is cut into ``1 / sync_every`` parts of whole mini-batches, as equal as these allow; a part
    that ended within a mini-batch would cut it short.  The cursor is the worker's own, so that workers need not be in
    step.

    >>> [examples_in_round(100, 8, 0.25, cursor) for cursor in (0, 24, 48, 72, 96, 100)]
    [24, 24, 24, 28, 4, 24]
    """
    if n_rows == 0:
        return 0
    n_batches = -(-n_rows // batch_size)
    parts = max(1, min(int(1.0 / sync_every + 0.5), n_batches))
    begun = cursor % n_rows
    # the first part that ends behind the batch at the cursor
    part = -(-parts * (begun // batch_size + 1) // n_batches)
    return min(n_rows, n_batches * part // parts * batch_size) - begun


def longest_part(n_rows: np.ndarray, batch_size: int, sync_every: float) -> np.ndarray:
    """Examples in the longest of these parts, of shards of so many rows.

    >>> longest_part(np.array([100, 7, 0]), 8, 0.25)
    array([32,  7,  0])
    """
    n_rows = np.asarray(n_rows)
    n_batches = -(-n_rows // batch_size)
    parts = np.clip(int(1.0 / sync_every + 0.5), 1, np.maximum(n_batches, 1))
    return np.minimum(n_rows, -(-n_batches // parts) * batch_size)
