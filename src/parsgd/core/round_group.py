"""The arrays that the workers of one process share while they make several rounds in compiled code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Rows of the control array, one per flag and one per worker; a row fills two cache lines.
(
    HALT,  # the driver asks the workers to end their rounds where they are
    PAUSE,  # the driver asks the workers to return after the next merge
    FAILED,  # a worker cannot take part; the others leave the barrier
    ENDED,  # worker 0 has decided after a merge that this was the last round
    FIRST_WORKER,
) = range(5)
ROW = 16
# Columns of a worker's row: barriers passed, and examples visited.
BARRIERS, EXAMPLES = 0, 8
# Rows of `RoundGroup.totals`: summed loss = LOSS + log(LOSS_FACTOR), summed objective = summed loss + PENALTY_SUM.
LOSS, LOSS_FACTOR, PENALTY_SUM = range(3)


class RoundGroup(NamedTuple):
    """Plan and results of the rounds of ``K`` workers: ``R`` rounds at most.

    Attributes
    ----------
    states : ndarray, (K, pitch)
        One state per worker, in the first ``size`` numbers of its row.
    size : int
        Length of a state.
    spans : ndarray of int64, (K, R, 2)
        Start and end of each round in the worker's order.
    schedule_steps : ndarray, (R,)
        Schedule step at the start of each round.
    weights : ndarray, (R, K)
        Merge weights; each row sums to 1.
    visited : ndarray of int64, (K, R)
        Result: examples of each round.
    totals : ndarray, (K, R, 3, n_outputs)
        Result: sums over these examples.
    times : ndarray of int64, (K, R, 2)
        Result: nanoseconds of the steps, and the clock after the merge.
    finite : ndarray of int64, (K, R)
        Result: 0 if parameters became NaN or infinite.
    control : ndarray of int64, (FIRST_WORKER + K, ROW)
        Flags, and a row of counters per worker.
    chunk, batch_size : int
        Examples of the first call of the steps, and of a batch.
    spins : int
        Readings of a counter at a barrier before the core is offered to other threads.
    """

    states: np.ndarray
    size: int
    spans: np.ndarray
    schedule_steps: np.ndarray
    weights: np.ndarray
    visited: np.ndarray
    totals: np.ndarray
    times: np.ndarray
    finite: np.ndarray
    control: np.ndarray
    chunk: int
    batch_size: int
    spins: int


def make_states(state: np.ndarray, n_workers: int) -> np.ndarray:
    """Return an uninitialized array with a row for the state of each worker, two cache lines apart.

    >>> make_states(np.zeros(5), 2).shape
    (2, 32)
    """
    padding = 256 // state.itemsize
    return np.empty((n_workers, (state.size - 1) // padding * padding + padding), dtype=state.dtype)


def make_round_group(
    states: np.ndarray,
    size: int,
    n_outputs: int,
    spans: np.ndarray,
    weights: np.ndarray,
    chunk: int,
    batch_size: int,
    spins: int,
) -> RoundGroup:
    """Allocate the results of a group with these states and this plan."""
    n_workers, n_rounds = spans.shape[:2]
    return RoundGroup(
        states=states,
        size=size,
        spans=spans,
        schedule_steps=np.zeros(n_rounds),
        weights=weights,
        visited=np.zeros((n_workers, n_rounds), dtype=np.int64),
        totals=np.zeros((n_workers, n_rounds, 3, n_outputs)),
        times=np.zeros((n_workers, n_rounds, 2), dtype=np.int64),
        finite=np.ones((n_workers, n_rounds), dtype=np.int64),
        control=np.zeros((FIRST_WORKER + n_workers, ROW), dtype=np.int64),
        chunk=chunk,
        batch_size=batch_size,
        spins=spins,
    )
