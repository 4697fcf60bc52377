"""Round lengths in examples, for rounds defined as a fraction of a shard."""

from __future__ import annotations

import numpy as np

from parsgd.core import Budget, FitState


def round_budget(fit_state: FitState, worker: int, sync_every: float, seconds: float | None = None) -> Budget:
    """Return the budget of a worker's next round: the rest of its current part, within ``seconds`` if set."""
    n_rows, cursor = fit_state.shard_rows[worker], fit_state.cursors[worker]
    return Budget(examples_in_round(n_rows, fit_state.model.batch_size, sync_every, cursor), seconds)


def examples_in_round(n_rows: int, batch_size: int, sync_every: float, cursor: int) -> int:
    """Return the examples from ``cursor`` to the end of the current part of the shard.

    An epoch of the shard has ``1 / sync_every`` parts of whole mini-batches, as equal as possible.  Each worker has its
    own cursor, so workers may be in different parts.

    >>> [examples_in_round(100, 8, 0.25, cursor) for cursor in (0, 24, 48, 72, 96, 100)]
    [24, 24, 24, 28, 4, 24]
    """
    if n_rows == 0:
        return 0
    n_batches = -(-n_rows // batch_size)
    parts = max(1, min(int(1.0 / sync_every + 0.5), n_batches))
    begin = cursor % n_rows
    # the first part that ends after the batch at the cursor
    part = -(-parts * (begin // batch_size + 1) // n_batches)
    return min(n_rows, n_batches * part // parts * batch_size) - begin


def longest_part(n_rows: np.ndarray, batch_size: int, sync_every: float) -> np.ndarray:
    """Return the examples in the longest part of each shard of ``n_rows`` rows.

    >>> longest_part(np.array([100, 7, 0]), 8, 0.25)
    array([32,  7,  0])
    """
    n_rows = np.asarray(n_rows)
    n_batches = -(-n_rows // batch_size)
    parts = np.clip(int(1.0 / sync_every + 0.5), 1, np.maximum(n_batches, 1))
    return np.minimum(n_rows, -(-n_batches // parts) * batch_size)
