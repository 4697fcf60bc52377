"""From what was seen of short runs to how long a fit will take; pure functions on numbers.

A fit by K workers that needs ``P`` passes over ``n`` rows, and ``R`` rounds for them, takes::

    P n a c(K) / K  +  R o(K),       on threads       o(K) = wake(K) + combine
                                     on a cluster     o(K) = 2 latency + 2 bytes / bandwidth + K merge   (c = 1)

with ``a`` seconds a row of one worker alone, ``c(K)`` by how much longer a row takes when K of them share the memory,
``wake`` what a round of threads costs beside the work in it, ``combine`` the driver's time for a merge, step of the
algorithm included.  One worker has no rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# A loss that is no number, in a trend.
_NO_LOSS = 1e300


@dataclass(frozen=True)
class CostModel:
    """What work and talk cost, in seconds; see the module for the formula.

    ``contention`` and ``wake_s`` have an entry for each number of threads that this machine has cores for; more workers
    than that are on a cluster.  ``merge_s`` is the cluster driver's time for one report; None: what a merge of so many
    takes here.

    >>> costs = CostModel(1000, 1e-6, contention={2: 1.1}, wake_s={2: 2e-4}, latency_s=1e-3)
    >>> costs.pass_s, costs.on_threads(2), costs.on_threads(8)
    (0.001, True, False)
    """

    n_rows: int
    seconds_per_row: float
    state_bytes: int = 0
    contention: Mapping[int, float] = field(default_factory=dict)
    wake_s: Mapping[int, float] = field(default_factory=dict)
    latency_s: float = 0.0
    bandwidth_bytes_per_s: float = math.inf
    merge_s: float | None = None

    @property
    def pass_s(self) -> float:
        """One worker's time for a pass over the rows."""
        return self.n_rows * self.seconds_per_row

    def on_threads(self, n_workers: int) -> bool:
        """Whether so many workers are threads of this machine."""
        return n_workers == 1 or n_workers in self.wake_s


def round_seconds(costs: CostModel, n_workers: int, combine_s: float) -> float:
    """What a round costs beside the work in it; ``combine_s``: the driver's time for a merge of all reports.

    >>> round_seconds(CostModel(1000, 1e-6, wake_s={2: 2e-4}), 2, 1e-4)
    0.00030000000000000003
    """
    if n_workers == 1:
        return 0.0
    if costs.on_threads(n_workers):
        return costs.wake_s[n_workers] + combine_s
    merges = combine_s if costs.merge_s is None else n_workers * costs.merge_s
    return 2.0 * (costs.latency_s + costs.state_bytes / costs.bandwidth_bytes_per_s) + merges


def fit_seconds(
    costs: CostModel, n_workers: int, passes: float, rounds: float, combine_s: float = 0.0,
    seconds_per_row: float | None = None,
) -> float:  # fmt: skip
    """The time of a fit of so many passes and so many merges.

    ``seconds_per_row`` is that of a worker among the others, where the algorithm has one of its own (hogwild's workers
    write to one another's cache lines); else it is one worker's, times the contention.

    >>> round(fit_seconds(CostModel(1000, 1e-6, contention={2: 1.1}, wake_s={2: 2e-4}), 2, 3.0, 30.0), 6)
    0.00765
    """
    if seconds_per_row is None:
        seconds_per_row = costs.seconds_per_row * costs.contention.get(n_workers, 1.0)
    work = passes * costs.n_rows * seconds_per_row / n_workers
    return work + rounds * round_seconds(costs, n_workers, combine_s)


def trend(losses: Sequence[float]) -> np.ndarray:
    """The non-increasing sequence that is nearest in least squares: what a noisy curve says, lucky looks apart.

    Pool adjacent violators: Ayer, Brunk, Ewing, Reid, Silverman, "An Empirical Distribution Function for Sampling with
    Incomplete Information", 1955.

    >>> trend([4.0, 1.0, 3.0, 2.0]).tolist()
    [4.0, 2.0, 2.0, 2.0]
    """
    blocks: list[list[float]] = []  # mean, count
    for loss in losses:
        blocks.append([loss if math.isfinite(loss) else _NO_LOSS, 1])
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            mean, count = blocks.pop()
            total = blocks[-1][1] + count
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + mean * count) / total, total]
    return np.repeat([mean for mean, _ in blocks], [int(count) for _, count in blocks])


def reach(passes: Sequence[float], losses: Sequence[float], goal: float) -> float:
    """The passes after which the trend of a curve is at the goal, linear between looks; inf where it never is.

    >>> reach([1.0, 2.0, 3.0], [0.9, 0.5, 0.3], 0.4), reach([1.0], [0.9], 0.4)
    (2.5, inf)
    """
    smooth = trend(losses)
    at = int(np.searchsorted(-smooth, -goal))
    if at == len(smooth):
        return math.inf
    if at == 0:
        return float(passes[0])
    part = (smooth[at - 1] - goal) / (smooth[at - 1] - smooth[at])
    return float(passes[at - 1] + part * (passes[at] - passes[at - 1]))


def mean_passes(reached: Sequence[float]) -> float:
    """Of several runs, the passes to the goal at their mean speed (harmonic mean); inf where most never got there.

    >>> mean_passes([2.0, 4.0]), mean_passes([2.0, math.inf, math.inf])
    (2.6666666666666665, inf)
    """
    never = sum(1 for passes in reached if math.isinf(passes))
    if not reached or 2 * never > len(reached):
        return math.inf
    return len(reached) / sum(0.0 if math.isinf(passes) else 1.0 / max(passes, 1e-12) for passes in reached)


def carried_over(passes: float, rehearsed: float, planned: float) -> float:
    """Passes for a whole fit from those in a rehearsal of its beginning.

    If serial SGD's loss after ``rehearsed`` passes takes K workers ``passes``, its loss after ``planned`` passes is
    taken to need as many times more: ``passes planned / rehearsed``.  That holds where workers lose by a constant
    factor (few steps between averages), and not where they stall at a floor of bias that a short rehearsal does not
    see.

    >>> carried_over(0.6, 0.3, 5.0)
    10.0
    """
    return passes * planned / rehearsed
