"""Trial schedule: the order of the trials, and the ones that others make less promising."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from parsgd.core import CostModel
from parsgd.planning.strategies import Strategy
from parsgd.planning.trials import trial_budget
from parsgd.planning.trials.candidates import Candidate, FitTimes, candidate, without_prediction
from parsgd.planning.trials.independent_runs import RunVariance
from parsgd.planning.trials.samples import TrialSample
from parsgd.planning.trials.trial_budget import TrialBudget
from parsgd.planning.trials.trial_runs import SerialRun, TrialRun, run_trial

# Fraction of a trial's expected time that must be left to start it, and to repeat it.
_START_FRACTION, _REPEAT_FRACTION = 0.7, 2.0


@dataclass
class TrialSchedule:
    """Trials of a plan; ``times`` are timed fits, ``runs`` has the trial runs of each strategy."""

    estimator: Any
    sample: TrialSample
    costs: CostModel
    serial: SerialRun
    strategies: Sequence[Strategy]
    times: FitTimes
    runs: dict[Strategy, list[TrialRun]] = field(default_factory=dict)

    def make(self, seeds: Sequence[int], time: TrialBudget) -> None:
        """Run every trial once, those without hope last, and then repeat them with other seeds while time permits."""
        without_hope: list[Strategy] = []
        for strategy in self.order():
            if self.hopeless(strategy):
                without_hope.append(strategy)
            else:
                self._run(strategy, seeds[0], time, _START_FRACTION)
        for strategy in without_hope:
            self._run(strategy, seeds[0], time, _START_FRACTION)
        for seed in seeds[1:]:
            for strategy in self.order():
                if _worth_repeating(self.runs.get(strategy, [])):
                    self._run(strategy, seed, time, _REPEAT_FRACTION)

    def _run(self, strategy: Strategy, seed: int, time: TrialBudget, fraction: float) -> None:
        """Run a trial if this fraction of its expected time is left."""
        expected = self._expected_seconds(strategy)
        if time.left >= fraction * expected:
            until = time.until(expected)
            run = run_trial(self.estimator, self.sample, strategy, self.costs, self.serial, seed, until)
            if run is not None:
                self.runs.setdefault(strategy, []).append(run)

    def order(self) -> list[Strategy]:
        """Return the trials in order.

        Those of a number of workers begin with the ones without cost and the cheaper adaptive one, which is likely to
        be the best.  The others follow by cost.  The first trials of all numbers come first, then the second ones.
        """
        by_cost = sorted(self.strategies, key=self._expected_seconds)
        cheapest = {strategy.n_workers: strategy for strategy in reversed(by_cost) if strategy.adaptive}
        by_count: dict[int, list[Strategy]] = {}
        for strategy in sorted(by_cost, key=lambda each: (each.share > 0, each != cheapest[each.n_workers])):
            by_count.setdefault(strategy.n_workers, []).append(strategy)
        place = {strategy: at for mine in by_count.values() for at, strategy in enumerate(mine)}
        return sorted(by_cost, key=lambda strategy: place[strategy])

    def _expected_seconds(self, strategy: Strategy) -> float:
        return trial_budget.expected_seconds(self.costs, strategy, self.serial.passes * self.sample.share)

    def hopeless(self, strategy: Strategy) -> bool:
        """Return True if trials that should do better failed.

        For plain means these are trials with fewer workers, or with the same number and more frequent averages.  For
        adaptive strategies they are trials with fewer workers, if even fewer workers did better.

        A mean of more workers has less noise, but each worker has made less progress.  If trials fail for lack of
        progress, more workers fail as well.
        """
        n_workers = strategy.n_workers
        if strategy.rounds_per_pass == 0 and n_workers == min(other.n_workers for other in self.strategies):
            # one such trial is required to separate noise and bias
            return False
        others = [other for other in self.strategies if other.n_workers <= n_workers and other != strategy]
        if strategy.adaptive:
            fewer = [self.runs.get(other) for other in others if other.label == strategy.label]
            seen = [runs[0] for runs in fewer if runs and runs[0].reached is not None]
            return len(seen) > 1 and math.isinf(seen[-1].reached) and seen[-1].last >= seen[-2].last
        better = [
            self.runs.get(other)
            for other in others
            if strategy.means and other.means and other.rounds_per_pass >= strategy.rounds_per_pass
        ]
        return any(runs and runs[0].reached == math.inf for runs in better)

    def cells(self, whole: float) -> list[Candidate]:
        """Return all candidates; ``whole`` is the passes of the serial fit, of which trials may cover only the
        first."""
        return [self._cell(strategy, whole) for strategy in self.strategies]

    def _cell(self, strategy: Strategy, whole: float) -> Candidate:
        runs = self.runs.get(strategy, [])
        if not runs and self.hopeless(strategy):
            return without_prediction(self.costs, strategy, "others")
        return candidate(self.costs, strategy, runs, self.serial, whole, self.times)

    def spread(self) -> RunVariance | None:
        """Return the noise and bias of the largest number of independent runs with a trial."""
        found = [run.spread for runs in self.runs.values() for run in runs if run.spread is not None]
        return max(found, key=lambda spread: spread.n_workers, default=None)


def _worth_repeating(runs: Sequence[TrialRun]) -> bool:
    return bool(runs) and runs[-1].reached is not None and math.isfinite(runs[-1].reached)
