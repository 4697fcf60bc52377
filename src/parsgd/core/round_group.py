"""The arrays that the workers of one process share while they make several rounds in compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from parsgd.core.padded import padded_zeros

# Rows of the control array, one per flag and one per worker; a row fills two cache lines.
(
    HALT,  # the driver asks the workers to end their rounds where they are
    PAUSE,  # the driver asks the workers to return after the next merge
    FAILED,  # a worker cannot take part; the others leave the barrier
    ENDED,  # worker 0 has decided after a merge that this was the last round
    FIRST_WORKER,
) = range(5)
ROW = 16
# Adjacent features that the same worker merges: two cache lines of float64.
OWNED_TOGETHER = 16
# Column of the visited examples in a worker's row; column 0 is the number of the last barrier that it reached.
EXAMPLES = 8
# Rows of `RoundGroup.totals`: summed loss = LOSS + log(LOSS_FACTOR), summed objective = summed loss + PENALTY_SUM.
LOSS, LOSS_FACTOR, PENALTY_SUM = range(3)


class Coordinates(NamedTuple):
    """Arrays of merges per coordinate beside the states; all are empty for other merges.

    Attributes
    ----------
    rule : int
        0: average states.  1: average per coordinate by visits.  2: by whether there were any.
    visits : ndarray of int32 or int64, (K, n_features)
        Visits of each feature in the round.  For sparse rows 1 more, and 0 for a feature that is not listed.
    listed : ndarray of int32 or int64, (K, n_features + 1)
        For sparse rows: the features of the worker's rows in the round, ``n_listed[k, 0]`` of them.
    sent, counts : ndarray of int32 or int64, (K, K, n_owned)
        For sparse rows: the listed features by the worker that merges them, and their visits.  There are
        ``n_listed[k, 1 + m]`` for worker ``m``.
    values : ndarray, (K, K, n_owned * n_values)
        For sparse rows: the values of these features in each part, one part after the other.
    n_listed : ndarray of int64, (K, ROW * n)
        For sparse rows: numbers of features.
    shrinkage : ndarray, (K, n_outputs)
        For sparse rows: factor of the weights of features that are not listed; with AdaGrad their pending penalty.
    sums : ndarray, (K, R)
        Result: visits of all features in each round, or with rule 2 visited features.
    base : ndarray, (size,)
        The state at the start of the round.
    parts : ndarray of int64, (P, 3)
        ``FeatureModel.feature_parts``: start, width and whether the values are sums.
    rests : ndarray of int64, (Q, 3)
        Start and end of the other parts of a state, and whether their values are sums.
    nonnegative : ndarray of int64, (2,)
        Start and end of the part that must not become negative.
    """

    rule: int
    visits: np.ndarray
    listed: np.ndarray
    sent: np.ndarray
    counts: np.ndarray
    values: np.ndarray
    n_listed: np.ndarray
    shrinkage: np.ndarray
    sums: np.ndarray
    base: np.ndarray
    parts: np.ndarray
    rests: np.ndarray
    nonnegative: np.ndarray


class RoundGroup(NamedTuple):
    """Plan and results of the rounds of ``K`` workers: ``R`` rounds at most.

    Attributes
    ----------
    states : ndarray, (K, pitch)
        One state per worker, in the first ``size`` numbers of its row; or one summed gradient, if workers send these.
    size : int
        Length of a state, or of a summed gradient.
    spans : ndarray of int64, (K, R, 2)
        Start and end of each round in the worker's order.
    schedule_steps : ndarray, (R,)
        Schedule step at the start of each round.
    lr_factors : ndarray, (R,)
        Factors on the learning rates.
    weights : ndarray, (R, K)
        Merge weights; each row sums to 1.
    answer : ndarray, (size,) or (0,)
        Running mean of the merged states, if the algorithm has one.
    answer_weights : ndarray, (R,)
        Weight of each merged state in it when it is added; 0: not added.
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
    coordinates : Coordinates
        Arrays of merges per coordinate.
    """

    states: np.ndarray
    size: int
    spans: np.ndarray
    schedule_steps: np.ndarray
    lr_factors: np.ndarray
    weights: np.ndarray
    answer: np.ndarray
    answer_weights: np.ndarray
    visited: np.ndarray
    totals: np.ndarray
    times: np.ndarray
    finite: np.ndarray
    control: np.ndarray
    chunk: int
    batch_size: int
    spins: int
    coordinates: Coordinates


def make_round_group(
    states: np.ndarray,
    size: int,
    n_outputs: int,
    spans: np.ndarray,
    weights: np.ndarray,
    answer: np.ndarray,
    chunk: int,
    batch_size: int,
    spins: int,
    coordinates: Coordinates,
) -> RoundGroup:
    """Allocate the results of a group with these states and this plan."""
    n_workers, n_rounds = spans.shape[:2]
    return RoundGroup(
        states=states,
        size=size,
        spans=spans,
        schedule_steps=np.zeros(n_rounds),
        lr_factors=np.ones(n_rounds),
        weights=weights,
        answer=answer,
        answer_weights=np.zeros(n_rounds),
        visited=np.zeros((n_workers, n_rounds), dtype=np.int64),
        totals=np.zeros((n_workers, n_rounds, 3, n_outputs)),
        times=np.zeros((n_workers, n_rounds, 2), dtype=np.int64),
        finite=np.ones((n_workers, n_rounds), dtype=np.int64),
        control=padded_zeros((FIRST_WORKER + n_workers, ROW), np.int64),
        chunk=chunk,
        batch_size=batch_size,
        spins=spins,
        coordinates=coordinates,
    )


def make_coordinates(
    rule: int,
    state: np.ndarray,
    n_workers: int,
    n_rounds: int,
    n_features: int = 0,
    n_outputs: int = 1,
    most_visits: int = 0,
    is_sparse: bool = False,
    parts: Sequence[tuple[int, int, int]] = (),
    rests: Sequence[tuple[int, int, int]] = (),
    nonnegative: tuple[int, int] = (0, 0),
) -> Coordinates:
    """Allocate the arrays of merges per coordinate, which are empty for ``rule`` 0.

    ``most_visits``: examples of a worker in a round, at most.  ``is_sparse``: workers list the features of their rows.
    """
    n_groups, n_values = n_workers if rule else 0, sum(width for _, width, _ in parts)
    n_lists = n_groups if is_sparse else 0
    small = max(n_features, most_visits + 1) < 2**31
    integer = np.int32 if small else np.int64
    n_owned = -(-n_features // (OWNED_TOGETHER * n_workers)) * OWNED_TOGETHER
    return Coordinates(
        rule=rule,
        visits=np.zeros((n_groups, n_features), dtype=integer),
        listed=np.empty((n_lists, n_features + 1), dtype=integer),
        sent=np.empty((n_lists, n_lists, n_owned), dtype=integer),
        counts=np.empty((n_lists, n_lists, n_owned), dtype=integer),
        values=np.empty((n_lists, n_lists, n_owned * n_values), dtype=state.dtype),
        n_listed=padded_zeros((n_lists, (n_workers // ROW + 1) * ROW), np.int64),
        shrinkage=np.ones((n_groups, n_outputs)),
        sums=np.zeros((n_workers, n_rounds)),
        base=np.empty(state.size if rule else 0, dtype=state.dtype),
        parts=np.array(parts, dtype=np.int64).reshape(-1, 3),
        rests=np.array(rests, dtype=np.int64).reshape(-1, 3),
        nonnegative=np.array(nonnegative, dtype=np.int64),
    )
