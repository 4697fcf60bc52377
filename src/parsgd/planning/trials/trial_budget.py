"""Trial budget: the time for trials, and the number of rows that fit into it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from parsgd.core import CostModel
from parsgd.planning.strategies import Strategy
from parsgd.planning.trials.samples import TrialSample

# Time of a plan: this fraction of a serial fit, or this many seconds, the larger of the two.
SHARE, SECONDS = 0.1, 4.0
# A trial that takes more than this fraction of the budget runs after the others.
_EXPENSIVE = 0.2
# For trials of the first passes: passes of a promising trial per pass of the serial run, and the fraction of the time
# spent in steps rather than in merges and loss evaluations.
_TRIAL_PASSES, _STEP_FRACTION = 1.4, 0.8
# Limits on one trial: a fraction of the remaining time, or a multiple of its expected time.
_MAX_FRACTION_LEFT, _MAX_EXPECTED = 0.35, 2.0
# Guess for fits that end by their stopping rule.
_LIKELY_PASSES = 8.0
# Overhead of a simulated worker's task, and per byte of its state: copied, checked, merged.
_SECONDS_PER_TASK, _SECONDS_PER_BYTE = 0.12e-3, 1e-9
# Fraction of the budget for the serial run with further seeds.
SERIAL_FRACTION = 0.18
# Smallest informative trial, in rows and in batches.
_LEAST_ROWS, _MIN_BATCHES = 1000, 40


@dataclass
class TrialBudget:
    """Time budget of ``seconds`` from construction; may be ``inf``."""

    seconds: float

    def __post_init__(self) -> None:
        self.started: float = time.perf_counter()

    @property
    def spent(self) -> float:
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        return self.seconds - self.spent

    def until(self, likely: float) -> float:
        """Return the deadline of a trial with the given expected time, leaving time for the others."""
        share = max(_MAX_FRACTION_LEFT * self.left, min(_MAX_EXPECTED * likely, self.left))
        return time.perf_counter() + share


def allowed(costs: CostModel, passes: float | None, given: float | None) -> float:
    """Return the seconds for a plan: ``given``, or a fraction of a serial fit of ``passes`` passes if known.

    >>> allowed(CostModel(10**6, 1e-5), 5, None), allowed(CostModel(1000, 1e-5), None, None)
    (5.0, 4.0)
    >>> allowed(CostModel(1, 1.0), 5, 0.5)
    0.5
    """
    if given is not None:
        return given
    return max(SECONDS, SHARE * costs.pass_s * (1.0 if passes is None else passes))


def expected_seconds(costs: CostModel, strategy: Strategy, passes: float) -> float:
    """Estimate the seconds of a trial over the rows of ``passes`` passes."""
    tasks = max(strategy.rounds_per_pass, 1.0) * strategy.n_workers
    return (
        strategy.share * passes * (costs.pass_s + tasks * (_SECONDS_PER_TASK + costs.state_bytes * _SECONDS_PER_BYTE))
    )


def trial_size(
    sample: TrialSample,
    costs: CostModel,
    passes: float | None,
    strategies: Sequence[Strategy],
    batch_size: int,
    seconds: float,
) -> tuple[TrialSample, float | None]:
    """Return the rows for the trials and the passes of the serial run: all of them if time permits.

    Otherwise trials cover the first passes of the fit.  The serial run visits only as many rows as leave time for the
    most promising strategy at every number of workers.  The sample has twice as many rows, so that no row is visited
    much more often than in a fit to all rows.
    """
    whole = (_LIKELY_PASSES if passes is None else passes) * sample.share
    expected = [expected_seconds(costs, strategy, whole) for strategy in strategies]
    # strategies above the limit are skipped in either case
    alone = whole * (costs.pass_s + 10.0 * _SECONDS_PER_TASK)
    if alone + sum(p for p in expected if p <= _EXPENSIVE * seconds) <= seconds:
        return sample, passes
    # ten loss evaluations per pass, and as many tasks
    overhead = 10.0 * _SECONDS_PER_TASK / len(sample.y)
    rows = _STEP_FRACTION * seconds / (costs.seconds_per_row + overhead)
    least = max(_LEAST_ROWS, _MIN_BATCHES * batch_size)
    n_counts = len({strategy.n_workers for strategy in strategies})
    visits = max(rows / (1.0 + _TRIAL_PASSES * (n_counts + 1)), least)
    if visits >= whole * sample.n_rows:
        return sample, passes
    part = sample.first(min(int(2.0 * visits), len(sample.y)))
    return part, visits / len(part.y)
