"""Which rehearsals are made, in which order, and which are not needed because others tell what they would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from parsgd.planning import trial_budget
from parsgd.planning.candidates import Candidate, cell, inferred
from parsgd.planning.independent_runs import RunVariance
from parsgd.planning.samples import TrialSample
from parsgd.planning.strategies import Strategy
from parsgd.planning.trial_budget import TrialBudget
from parsgd.planning.trial_runs import SerialRun, TrialRun, run_trial
from parsgd.training.cost_model import CostModel

# A loss this far above the goal is not there for want of luck.
_CLEARLY = 1.02
# A rehearsal is not begun unless this part of what it is likely to take is left; to repeat one, more.
_ENOUGH, _PLENTY = 0.7, 2.0


@dataclass
class TrialSchedule:
    """The rehearsals of a plan; ``runs`` has those of each number of workers and way."""

    estimator: Any
    sample: TrialSample
    costs: CostModel
    serial: SerialRun
    ways: Mapping[int, Sequence[Strategy]]
    runs: dict[tuple[int, str], list[TrialRun]] = field(default_factory=dict)

    def make(self, seeds: Sequence[int], time: TrialBudget) -> None:
        """All once, and then again with other seeds, as long as there is time."""
        for seed in seeds:
            for n_workers, way in self.order():
                if time.left < (_ENOUGH if seed == seeds[0] else _PLENTY) * self._price(n_workers, way):
                    continue
                runs = self.runs.setdefault((n_workers, way.label), [])
                if _worth_repeating(runs) if seed != seeds[0] else not self.hopeless(n_workers, way):
                    until = time.until(self._price(n_workers, way))
                    run = run_trial(self.estimator, self.sample, way, n_workers, self.costs, self.serial, seed, until)
                    runs += [] if run is None else [run]

    def order(self) -> list[tuple[int, Strategy]]:
        """What costs nothing; for every number of workers the cheaper adaptive way, which is likely to be the best;
        then the cheapest first, so that little is left over if time runs out."""
        first = {}
        for n, several in self.ways.items():
            first[n] = min((way for way in several if way.adaptive), key=partial(self._price, n))
        order = [(n, way) for n, several in self.ways.items() for way in several]
        return sorted(order, key=lambda item: (item[1].share > 0, item[1] is not first[item[0]], self._price(*item)))

    def _price(self, n_workers: int, way: Strategy) -> float:
        return trial_budget.price(self.costs, n_workers, way, self.serial.passes * self.sample.share)

    def hopeless(self, n_workers: int, way: Strategy) -> bool:
        """Whether others fail that should do better: of plain means fewer workers, or as many that average more often;
        of adaptive ones fewer workers, where still fewer did better.

        A mean of more workers has less noise, and its workers have gone less far.  Those that fail because they have
        not gone far enough fail all the more, the more of them share the rows.
        """
        if way.rounds_a_pass == 0 and n_workers == min(self.ways):
            # one of them has to be seen, to take it apart into noise and bias
            return False
        if way.adaptive:
            fewer = [self.runs.get((n, way.label)) for n in self.ways if n < n_workers]
            seen = [runs[0] for runs in fewer if runs and runs[0].reached is not None]
            return len(seen) > 1 and math.isinf(seen[-1].reached) and seen[-1].last >= seen[-2].last
        better = [
            self.runs.get((n, other.label))
            for n, several in self.ways.items()
            for other in several
            if way.means and other.means and n <= n_workers and other.rounds_a_pass >= way.rounds_a_pass
            if (n, other.label) != (n_workers, way.label)
        ]
        return any(runs and runs[0].reached == math.inf and self._clearly(runs[0]) for runs in better)

    def _clearly(self, run: TrialRun) -> bool:
        return run.last > _CLEARLY * self.serial.goal

    def cells(self, whole: float) -> list[Candidate]:
        """A cell of each; ``whole``: the passes of the serial fit, of which it may be the beginning that was seen."""
        return [self._cell(n, way, whole) for n, several in self.ways.items() for way in several]

    def _cell(self, n_workers: int, way: Strategy, whole: float) -> Candidate:
        runs = self.runs.get((n_workers, way.label), [])
        if not runs and self.hopeless(n_workers, way):
            return inferred(self.costs, way, n_workers)
        if not any(run.reached is not None for run in runs) and (alike := self._alike(n_workers, way)):
            found = cell(self.costs, way, n_workers, alike, self.serial, whole)
            return replace(found, basis="alike")
        return cell(self.costs, way, n_workers, runs, self.serial, whole)

    def _alike(self, n_workers: int, way: Strategy) -> list[TrialRun]:
        """Runs that a way for which there was no time is likely to resemble.

        On a quadratic objective it makes no difference how often plain means are taken; and workers on shared memory do
        what one does, as long as they seldom meet.
        """
        if way.curve == "threads":
            return [TrialRun(self.serial.reached, self.serial.final)]
        others = [other for other in self.ways[n_workers] if way.means and other.means and other is not way]
        for other in sorted(others, key=lambda other: abs(other.rounds_a_pass - way.rounds_a_pass)):
            known = [run for run in self.runs.get((n_workers, other.label), []) if run.reached is not None]
            if known:
                return [replace(run, seconds_per_row=None) for run in known]
        return []

    def spread(self) -> RunVariance | None:
        """Of the most workers that were seen to go without an average until the end."""
        found = [run.spread for runs in self.runs.values() for run in runs if run.spread is not None]
        return max(found, key=lambda spread: spread.n_workers, default=None)


def _worth_repeating(runs: Sequence[TrialRun]) -> bool:
    return bool(runs) and runs[-1].reached is not None and math.isfinite(runs[-1].reached)
