"""How much of a fit a plan can afford to rehearse, and when it has to stop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parsgd.planning.samples import TrialSample
from parsgd.planning.strategies import Strategy
from parsgd.training.cost_model import CostModel

# A plan may cost this share of a serial fit, or so many seconds, whichever is more.
SHARE, SECONDS = 0.1, 2.0
# A rehearsal that takes more than this part of the budget has to wait for the others.
_DEAR = 0.2
# Of beginnings: passes that a promising rehearsal makes for each of the serial run's, and the part of the time that
# goes into steps and not into merges and looks.
_PASSES_OF_ONE, _USED = 1.4, 0.8
# Of what is left, what one rehearsal may take; or so many times what it is likely to take.
_MOST_OF_WHAT_IS_LEFT, _GENEROUS = 0.35, 2.0
# Where the rule of stopping decides, a guess.
_LIKELY_PASSES = 8.0
# What a simulated worker's task costs besides its steps, and each byte of its state: copied, checked, merged.
_SECONDS_A_TASK, _SECONDS_A_BYTE = 0.12e-3, 1e-9
# A part of the budget that serial SGD may have for further seeds.
SERIAL_SHARE = 0.18
# Fewer rows than this, or than so many batches, show nothing.
_LEAST_ROWS, _LEAST_BATCHES = 1000, 40


@dataclass
class TrialBudget:
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

    def until(self, likely: float) -> float:
        """When a rehearsal that is likely to take so long has to end: none is to leave the others without time."""
        share = max(_MOST_OF_WHAT_IS_LEFT * self.left, min(_GENEROUS * likely, self.left))
        return time.perf_counter() + share


def allowed(costs: CostModel, passes: float | None, given: float | None) -> float:
    """Seconds for a plan: those given, or a share of a serial fit of so many passes, where their number is known.

    >>> allowed(CostModel(10**6, 1e-5), 5, None), allowed(CostModel(1000, 1e-5), None, None)
    (5.0, 2.0)
    >>> allowed(CostModel(1, 1.0), 5, 0.5)
    0.5
    """
    if given is not None:
        return given
    return max(SECONDS, SHARE * costs.pass_s * (1.0 if passes is None else passes))


def price(costs: CostModel, n_workers: int, way: Strategy, passes: float) -> float:
    """Roughly the seconds that a rehearsal takes, of as many rows as ``passes`` passes have."""
    tasks = max(way.rounds_a_pass, 1.0) * n_workers
    return way.share * passes * (costs.pass_s + tasks * (_SECONDS_A_TASK + costs.state_bytes * _SECONDS_A_BYTE))


def rehearsal(
    sample: TrialSample,
    costs: CostModel,
    passes: float | None,
    ways: Mapping[int, Sequence[Strategy]],
    batch_size: int,
    seconds: float,
) -> tuple[TrialSample, float | None]:
    """The rows to rehearse on and the passes of the serial run over them: all if there is time for it.

    Where there is not, it is the beginning of the fit that is rehearsed: the serial run visits so many rows that the
    most promising way, for every number of workers, fits into the time; the sample has twice as many, so that nobody
    has to see a row much more often than in a fit to all of them.
    """
    whole = (_LIKELY_PASSES if passes is None else passes) * sample.share
    prices = [price(costs, n, way, whole) for n, several in ways.items() for way in several]
    # what is too dear is left out in either case
    alone = whole * (costs.pass_s + 10.0 * _SECONDS_A_TASK)
    if alone + sum(p for p in prices if p <= _DEAR * seconds) <= seconds:
        return sample, passes
    # ten looks a pass, as many tasks
    beside = 10.0 * _SECONDS_A_TASK / len(sample.y)
    rows = _USED * seconds / (costs.seconds_per_row + beside)
    least = max(_LEAST_ROWS, _LEAST_BATCHES * batch_size)
    visits = max(rows / (1.0 + _PASSES_OF_ONE * (len(ways) + 1)), least)
    if visits >= whole * sample.n_rows:
        return sample, passes
    part = sample.first(min(int(2.0 * visits), len(sample.y)))
    return part, visits / len(part.y)
