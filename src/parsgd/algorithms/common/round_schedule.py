"""How long a round lasts and who gets how many rows, from what rounds have shown so far; pure functions.

AdaComm: Wang, Joshi, "Adaptive Communication Strategies to Achieve the Best Error-Runtime Trade-off in Local-Update
SGD", MLSys 2019 (arXiv 1810.08313).  Their rule for the next period, as we recall it, is in :func:`next_period`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.core import Report

# A worker is late when it takes longer than the median by so many median absolute deviations; for workers alike but
# for noise that is about two standard deviations.  Deviations below a part of the median are not worth noticing: two
# equal workers have none.
_DEVIATIONS, _LEAST_DEVIATION = 3.0, 0.1
# Rows are dealt anew when some worker's share is off by more than this part.
_WORTH_DEALING = 0.1
_SHORTEST_PERIOD = 1e-3


def next_period(first: float, present: float, first_loss: float, loss: float) -> float:
    """AdaComm: ``first sqrt(loss / first_loss)`` where that is shorter than the present period, else half of it.

    Rare averages go fast at first; as the loss falls it is the workers' parting that holds it up, and they average more
    often.

    >>> next_period(1.0, 1.0, 0.8, 0.2), next_period(1.0, 0.5, 0.8, 0.2)
    (0.5, 0.25)
    """
    shorter = first * float(np.sqrt(max(loss, 0.0) / first_loss)) if first_loss > 0.0 else present
    return max(shorter if shorter < present else present / 2.0, _SHORTEST_PERIOD)


def deadline(seconds_per_example: np.ndarray, examples: np.ndarray) -> float:
    """Seconds after which who has not ended its round is late: ``median + 3 MAD`` of what the workers need for it.

    ``seconds_per_example``: each worker's seconds an example in its last round; ``examples``: how many it has to visit
    in a whole one.

    >>> deadline(np.array([0.01, 0.01, 0.01, 0.1]), np.array([100, 100, 100, 100]))
    1.3
    """
    seconds = np.asarray(seconds_per_example, dtype=float) * np.asarray(examples)
    median = float(np.median(seconds))
    deviation = float(np.median(np.abs(seconds - median)))
    return round(median + _DEVIATIONS * max(deviation, _LEAST_DEVIATION * median), 12)


def shares_by_speed(seconds_per_example: np.ndarray, rows: Sequence[int]) -> np.ndarray | None:
    """Shares of the rows in proportion to speed, or None where the present ones are near enough.

    >>> shares_by_speed(np.array([0.01, 0.02]), [50, 50]).round(3)
    array([0.667, 0.333])
    """
    seconds_per_example, rows = np.asarray(seconds_per_example, dtype=float), np.asarray(rows, dtype=float)
    if not (np.isfinite(seconds_per_example).all() and (seconds_per_example > 0.0).all()):
        return None
    shares = (1.0 / seconds_per_example) / (1.0 / seconds_per_example).sum()
    present = rows / max(rows.sum(), 1.0)
    return shares if np.any(np.abs(shares - present) > _WORTH_DEALING * shares) else None


def update_seconds_per_example(seconds_per_example: np.ndarray, reports: Sequence[Report]) -> np.ndarray:
    """Each worker's seconds an example, those of the reports renewed; NaN where nothing is known yet."""
    seconds_per_example = seconds_per_example.copy()
    for report in reports:
        if report.examples:
            seconds_per_example[report.worker] = report.seconds / report.examples
    return seconds_per_example
