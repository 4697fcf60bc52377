"""Round lengths in examples, for rounds defined as a fraction of a shard or in steps."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from parsgd.core import Budget, FitState
from parsgd.errors import InvalidArgumentError, check_between


def check_round_length(sync_every: Any, owner: str) -> None:
    """Raise unless a round is a fraction of an epoch, or a whole number of steps above 1."""
    if steps_of(sync_every):
        return
    try:
        check_between(sync_every, 0, 1, "sync_every", owner)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{error} A whole number above 1 is a number of SGD steps.") from None


def steps_of(sync_every: Any) -> int:
    """Return the length of a round in steps, or 0 if it is a fraction of an epoch.

    >>> steps_of(500), steps_of(0.5), steps_of(1)
    (500, 0, 0)
    """
    if isinstance(sync_every, bool) or not isinstance(sync_every, Integral):
        return 0
    return int(sync_every) if int(sync_every) > 1 else 0


def round_budget(fit_state: FitState, worker: int, sync_every: float, seconds: float | None = None) -> Budget:
    """Return the budget of a worker's next round: the rest of its current part, within ``seconds`` if set."""
    n_rows, cursor = fit_state.shard_rows[worker], fit_state.cursors[worker]
    return Budget(examples_in_round(n_rows, fit_state.model.batch_size, sync_every, cursor), seconds)


def step_budget(
    fit_state: FitState, worker: int, steps: int, seconds: float | None = None, *, waits: bool = True
) -> Budget:
    """Return the budget of a worker's next round of ``steps`` steps, within ``seconds`` if set.

    A round ends with the last epoch of the worker.  A worker that has completed it makes no steps while others have
    part of a round left.  It continues if one has more, as after a deadline or a lost task.  If not ``waits``, a worker
    that has completed its last epoch continues, in rounds of at most one epoch of its rows.
    """
    n_rows, cursor, size = fit_state.shard_rows[worker], fit_state.cursors[worker], fit_state.model.batch_size
    examples = examples_in_steps(n_rows, size, steps, cursor)
    left = n_rows * fit_state.max_epochs - cursor
    if not waits:
        return Budget(min(examples, max(left, n_rows)), seconds)
    if left <= 0 and 0 < _most_left(fit_state) < steps * size:
        return Budget(0, seconds)
    return Budget(min(examples, left) if left > 0 else examples, seconds)


def _most_left(fit_state: FitState) -> int:
    """Return the largest number of examples that a worker has left until the end of its last epoch."""
    pairs = enumerate(zip(fit_state.cursors, fit_state.shard_rows, strict=True))
    return max(rows * fit_state.max_epochs - cursor for worker, (cursor, rows) in pairs if worker not in fit_state.lost)


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


def examples_in_steps(n_rows: int, batch_size: int, steps: int, cursor: int) -> int:
    """Return the examples of ``steps`` batches from ``cursor``, the begin of a batch; an epoch's last one may be short.

    >>> [examples_in_steps(10, 4, steps, 0) for steps in (1, 2, 3, 4)], examples_in_steps(10, 4, 2, 8)
    ([4, 8, 10, 14], 6)
    """
    if n_rows == 0:
        return 0
    begin = cursor % n_rows
    epochs, batch = divmod(begin // batch_size + steps, -(-n_rows // batch_size))
    return epochs * n_rows + min(batch * batch_size, n_rows) - begin


def longest_part(n_rows: np.ndarray, batch_size: int, sync_every: float) -> np.ndarray:
    """Return the examples in the longest part of each shard of ``n_rows`` rows.

    >>> longest_part(np.array([100, 7, 0]), 8, 0.25)
    array([32,  7,  0])
    """
    n_rows = np.asarray(n_rows)
    n_batches = -(-n_rows // batch_size)
    parts = np.clip(int(1.0 / sync_every + 0.5), 1, np.maximum(n_batches, 1))
    return np.minimum(n_rows, -(-n_batches // parts) * batch_size)
