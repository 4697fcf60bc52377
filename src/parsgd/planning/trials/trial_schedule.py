"""Trial schedule: the order of the trials, and the ones that others make unnecessary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from parsgd.core import CostModel
from parsgd.planning.strategies import Strategy
from parsgd.planning.trials import trial_budget
from parsgd.planning.trials.candidates import Candidate, candidate, never_reaching
from parsgd.planning.trials.independent_runs import RunVariance
from parsgd.planning.trials.samples import TrialSample
from parsgd.planning.trials.trial_budget import TrialBudget
from parsgd.planning.trials.trial_runs import SerialRun, TrialRun, run_trial

# Ratio to the goal above which a loss did not fail by chance.
_CLEAR_RATIO = 1.02
# Fraction of a trial's expected time that must be left to start it, and to repeat it.
_START_FRACTION, _REPEAT_FRACTION = 0.7, 2.0


@dataclass
class TrialSchedule:
    """Trials of a plan; ``runs`` has the trial runs of each strategy."""

    estimator: Any
    sample: TrialSample
    costs: CostModel
    serial: SerialRun
    strategies: Sequence[Strategy]
    runs: dict[Strategy, list[TrialRun]] = field(default_factory=dict)

    def make(self, seeds: Sequence[int], time: TrialBudget) -> None:
        """Run every trial once, and then repeat them with other seeds while time permits."""
        for seed in seeds:
            first = seed == seeds[0]
            for strategy in self.order():
                expected = self._expected_seconds(strategy)
                if time.left < (_START_FRACTION if first else _REPEAT_FRACTION) * expected:
                    continue
                runs = self.runs.setdefault(strategy, [])
                if not self.hopeless(strategy) if first else _worth_repeating(runs):
                    until = time.until(expected)
                    run = run_trial(self.estimator, self.sample, strategy, self.costs, self.serial, seed, until)
                    runs += [] if run is None else [run]

    def order(self) -> list[Strategy]:
        """Return the trials in order.

        First come those without cost, then for every number of workers the cheaper adaptive strategy, which is likely
        to be the best.  The others follow by cost, so that few remain if time runs out.
        """
        by_cost = sorted(self.strategies, key=self._expected_seconds)
        cheapest = {strategy.n_workers: strategy for strategy in reversed(by_cost) if strategy.adaptive}
        return sorted(by_cost, key=lambda strategy: (strategy.share > 0, strategy != cheapest[strategy.n_workers]))

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
        return any(runs and runs[0].reached == math.inf and self._clearly_failed(runs[0]) for runs in better)

    def _clearly_failed(self, run: TrialRun) -> bool:
        return run.last > _CLEAR_RATIO * self.serial.goal

    def cells(self, whole: float) -> list[Candidate]:
        """Return all candidates; ``whole`` is the passes of the serial fit, of which trials may cover only the
        first."""
        return [self._cell(strategy, whole) for strategy in self.strategies]

    def _cell(self, strategy: Strategy, whole: float) -> Candidate:
        runs = self.runs.get(strategy, [])
        if not runs and self.hopeless(strategy):
            return never_reaching(self.costs, strategy, "others")
        if not any(run.reached is not None for run in runs) and (similar := self._similar_runs(strategy)):
            return replace(candidate(self.costs, strategy, similar, self.serial, whole), basis="alike")
        return candidate(self.costs, strategy, runs, self.serial, whole)

    def _similar_runs(self, strategy: Strategy) -> list[TrialRun]:
        """Return trial runs that predict a strategy without a trial of its own.

        On a quadratic objective the frequency of plain averaging makes no difference.  Workers on shared memory behave
        like one worker as long as conflicts are rare.
        """
        if strategy.curve == "threads":
            return [TrialRun(self.serial.reached, self.serial.final)]
        others = [
            other
            for other in self.strategies
            if strategy.means and other.means and other.n_workers == strategy.n_workers and other != strategy
        ]
        for other in sorted(others, key=lambda other: abs(other.rounds_per_pass - strategy.rounds_per_pass)):
            known = [run for run in self.runs.get(other, []) if run.reached is not None]
            if known:
                return [replace(run, seconds_per_row=None) for run in known]
        return []

    def spread(self) -> RunVariance | None:
        """Return the noise and bias of the largest number of independent runs with a trial."""
        found = [run.spread for runs in self.runs.values() for run in runs if run.spread is not None]
        return max(found, key=lambda spread: spread.n_workers, default=None)


def _worth_repeating(runs: Sequence[TrialRun]) -> bool:
    return bool(runs) and runs[-1].reached is not None and math.isfinite(runs[-1].reached)
