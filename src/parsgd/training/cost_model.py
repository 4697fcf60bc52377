"""Predicted duration of a fit from measurements of short runs; pure functions on numbers.

A fit with K workers that needs ``P`` passes over ``n`` rows in ``R`` rounds takes::

    P n a c(K) / K  +  start  +  R o(K),     in compiled code   o(K) = compiled(K) + combine
                                             on threads         o(K) = wake(K) + combine
                                             on a cluster       o(K) = 2 latency + 2 bytes / bandwidth + K merge

``a`` is the seconds per row of a single worker.  ``c(K)`` is the factor on it when K workers share the memory; 1 on a
cluster.  ``start`` is the time to start threads.  ``compiled`` is a round in compiled code with its merge, ``wake`` the
overhead of a round that returns to Python.  ``combine`` is the driver's time per round: the merge, except in compiled
code, and the algorithm's step.  A single worker has no rounds.

``algorithm="auto"`` uses the formula with estimates (:mod:`parsgd.estimators.cost_estimates`), :func:`parsgd.plan` with
measurements for clusters.  On this machine's threads a plan times whole fits (:mod:`parsgd.planning.measure_costs`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from parsgd.core import CostModel

# Replacement for NaN and infinite losses.
_NO_LOSS = 1e300


def round_seconds(costs: CostModel, n_workers: int, combine_s: float, compiled: bool = False) -> float:
    """Return the overhead of a round; ``combine_s`` is the driver's time, ``compiled``: in compiled code on threads.

    >>> costs = CostModel(1000, 1e-6, wake_s={2: 2e-4}, compiled_round_s={2: 2e-5})
    >>> round(round_seconds(costs, 2, 1e-4), 6), round(round_seconds(costs, 2, 0.0, compiled=True), 6)
    (0.0003, 2e-05)
    """
    if n_workers == 1:
        return 0.0
    if costs.on_threads(n_workers):
        if compiled:
            return costs.compiled_round_s[n_workers] + combine_s
        return costs.wake_s[n_workers] + combine_s
    merges = combine_s if costs.merge_s is None else n_workers * costs.merge_s
    return 2.0 * (costs.latency_s + costs.state_bytes / costs.bandwidth_bytes_per_s) + merges


def fit_seconds(
    costs: CostModel,
    n_workers: int,
    passes: float,
    rounds: float,
    combine_s: float = 0.0,
    seconds_per_row: float | None = None,
    compiled: bool = False,
) -> float:
    """Return the duration of a fit with the given numbers of passes and rounds.

    ``seconds_per_row`` is the cost per row when all workers run.  It is given for algorithms that change it, such as
    Hogwild, where workers write to shared cache lines.  Default: the cost with one worker times the contention.

    >>> round(fit_seconds(CostModel(1000, 1e-6, contention={2: 1.1}, wake_s={2: 2e-4}), 2, 3.0, 30.0), 6)
    0.00765
    """
    if seconds_per_row is None:
        seconds_per_row = costs.seconds_per_row * costs.contention.get(n_workers, 1.0)
    work = passes * costs.n_rows * seconds_per_row / n_workers
    start_s = costs.start_s if n_workers > 1 and costs.on_threads(n_workers) else 0.0
    return work + start_s + rounds * round_seconds(costs, n_workers, combine_s, compiled)


def trend(losses: Sequence[float]) -> np.ndarray:
    """Return the non-increasing sequence nearest in least squares: a noisy loss curve without chance minima.

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
    """Return the passes after which the trend of a loss curve reaches the goal; infinite if it never does.

    Interpolation between measurements is linear.

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
    """Return the harmonic mean of the passes that several runs needed; infinite if most never reached the goal.

    >>> mean_passes([2.0, 4.0]), mean_passes([2.0, math.inf, math.inf])
    (2.6666666666666665, inf)
    """
    never = sum(1 for passes in reached if math.isinf(passes))
    if not reached or 2 * never > len(reached):
        return math.inf
    return len(reached) / sum(0.0 if math.isinf(passes) else 1.0 / max(passes, 1e-12) for passes in reached)


def carried_over_bounds(low: float, high: float, rehearsed: float, planned: float) -> tuple[float, float]:
    """Return the bounds of the passes of a whole fit, from those of a short trial.

    They contain proportional passes, as :func:`carried_over`, and a lead or a lag that stays as many passes as it is.

    >>> carried_over_bounds(0.25, 0.5, 0.25, 5.0), carried_over_bounds(0.125, 0.5, 0.5, 4.0)
    ((5.0, 10.0), (1.0, 4.0))
    """
    ends = [carried_over(each, rehearsed, planned) for each in (low, high)]
    lags = [planned + each - rehearsed for each in (low, high)]
    return min(*ends, *lags), max(*ends, *lags)


def carried_over(passes: float, rehearsed: float, planned: float) -> float:
    """Extrapolate the passes of a short trial to a whole fit: ``passes planned / rehearsed``.

    K workers need ``passes`` to reach serial SGD's loss after ``rehearsed`` passes.  They are assumed to reach its loss
    after ``planned`` passes in proportion.  This holds if workers are slower by a constant factor (few steps between
    averages).  It fails if they stall at a bias that a short trial does not reveal.

    >>> carried_over(0.6, 0.3, 5.0)
    10.0
    """
    return passes * planned / rehearsed
