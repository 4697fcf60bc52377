"""Round deadlines, periods and shard sizes from the measurements of earlier rounds; pure functions.

AdaComm: Wang, Joshi, "Adaptive Communication Strategies to Achieve the Best Error-Runtime Trade-off in Local-Update
SGD", MLSys 2019 (arXiv 1810.08313).  :func:`next_period` is their rule for the next period, as we recall it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.core import Report

# A worker is late above the median by this many median absolute deviations (MAD), about two standard deviations for
# normal noise.  The second number times the median is a lower bound of the MAD, which is 0 for two equal workers.
_DEVIATIONS, _MIN_DEVIATION = 3.0, 0.1
# Relative change of some worker's share above which rows are repartitioned.
_MIN_SHARE_CHANGE = 0.1
_MIN_PERIOD = 1e-3


def next_period(first: float, present: float, first_loss: float, loss: float) -> float:
    """Return AdaComm's period: ``first sqrt(loss / first_loss)`` if below the present period, else half of that.

    Rare averages are fast at first.  As the loss falls, the divergence of the workers' states limits progress, so they
    average more often.

    >>> next_period(1.0, 1.0, 0.8, 0.2), next_period(1.0, 0.5, 0.8, 0.2)
    (0.5, 0.25)
    """
    shorter = first * float(np.sqrt(max(loss, 0.0) / first_loss)) if first_loss > 0.0 else present
    return max(shorter if shorter < present else present / 2.0, _MIN_PERIOD)


def deadline(seconds_per_example: np.ndarray, examples: np.ndarray) -> float:
    """Return the deadline of a round in seconds: ``median + 3 MAD`` of the workers' predicted durations.

    ``seconds_per_example`` are from each worker's last round; ``examples`` are those of a whole round.

    >>> deadline(np.array([0.01, 0.01, 0.01, 0.1]), np.array([100, 100, 100, 100]))
    1.3
    """
    seconds = np.asarray(seconds_per_example, dtype=float) * np.asarray(examples)
    median = float(np.median(seconds))
    deviation = float(np.median(np.abs(seconds - median)))
    return round(median + _DEVIATIONS * max(deviation, _MIN_DEVIATION * median), 12)


def shares_by_speed(seconds_per_example: np.ndarray, rows: Sequence[int]) -> np.ndarray | None:
    """Return shares of the rows proportional to speed, or None if the present shares are close enough.

    >>> shares_by_speed(np.array([0.01, 0.02]), [50, 50]).round(3)
    array([0.667, 0.333])
    """
    seconds_per_example, n_rows = np.asarray(seconds_per_example, dtype=float), np.asarray(rows, dtype=float)
    if not (np.isfinite(seconds_per_example).all() and (seconds_per_example > 0.0).all()):
        return None
    shares = (1.0 / seconds_per_example) / (1.0 / seconds_per_example).sum()
    present = n_rows / max(n_rows.sum(), 1.0)
    return shares if np.any(np.abs(shares - present) > _MIN_SHARE_CHANGE * shares) else None


def update_seconds_per_example(seconds_per_example: np.ndarray, reports: Sequence[Report]) -> np.ndarray:
    """Return each worker's seconds per example, updated from the reports; NaN for unmeasured workers."""
    seconds_per_example = seconds_per_example.copy()
    for report in reports:
        if report.examples:
            seconds_per_example[report.worker] = report.seconds / report.examples
    return seconds_per_example
