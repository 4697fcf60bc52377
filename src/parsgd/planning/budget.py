"""How much of a fit a plan can afford to rehearse, and when it has to stop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from parsgd.planning.samples import Sample
from parsgd.prediction import Costs

# A plan may cost this share of a serial fit, or so many seconds, whichever is more.
SHARE, SECONDS = 0.1, 2.0
# Of a serial fit's work, what a rehearsal costs on the whole: some end early, some make twice the passes; and how many
# of them there should be time for where there is not for all.
_COST_OF_ONE, _PROMISING = 0.7, 2
# What is left for what cannot be known before: merges, looks, and the last rehearsal's overrun.
_KEPT = 0.3
# A part of the budget that serial SGD may have for further seeds.
SERIAL_SHARE = 0.2
# Fewer rows than this, or than so many batches, show nothing.
_LEAST_ROWS, _LEAST_BATCHES = 1000, 40


@dataclass
class Budget:
    """``seconds`` since it was made; ``inf``: no end."""

    seconds: float

    def __post_init__(self) -> None:
        self.began = time.perf_counter()

    @property
    def spent(self) -> float:
        return time.perf_counter() - self.began

    @property
    def left(self) -> float:
        return self.seconds - self.spent

    @property
    def deadline(self) -> float:
        return self.began + self.seconds


def allowed(costs: Costs, passes: float | None, given: float | None) -> float:
    """Seconds for a plan: those given, or a share of a serial fit of so many passes, where their number is known.

    >>> allowed(Costs(10**6, 1e-5), 5, None), allowed(Costs(1000, 1e-5), None, None), allowed(Costs(1, 1.0), 5, 0.5)
    (5.0, 2.0, 0.5)
    """
    if given is not None:
        return given
    return max(SECONDS, SHARE * costs.pass_s * (1.0 if passes is None else passes))


def rehearsal(
    sample: Sample, costs: Costs, passes: float | None, n_counts: int, n_ways: int, batch_size: int, seconds: float
) -> tuple[Sample, float | None]:
    """The rows to rehearse on and the passes of the serial run over them: all if there is time for it.

    Where there is not, it is the beginning of the fit that is rehearsed: the serial run visits so many rows that the
    two most promising ways, for every number of workers, fit into the time; the sample has twice as many, so that
    nobody has to see a row much more often than in a fit to all of them.
    """
    if math.isinf(seconds):
        return sample, passes
    rows = (1.0 - _KEPT) * seconds / costs.seconds_per_row
    whole = 1.0 if passes is None else passes
    if whole * len(sample.y) * (1.0 + _COST_OF_ONE * n_counts * n_ways) <= rows:
        return sample, passes
    least = max(_LEAST_ROWS, _LEAST_BATCHES * batch_size)
    visits = max(rows / (1.0 + 2.0 * _COST_OF_ONE * n_counts * min(n_ways, _PROMISING)), least)
    if visits >= whole * len(sample.y):
        return sample, passes
    part = sample.first(min(int(2.0 * visits), len(sample.y)))
    return part, visits / len(part.y)
