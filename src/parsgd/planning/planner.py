"""``plan``: what K workers would bring, found out in seconds by rehearsing with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import joblib
import numpy as np
from scipy import sparse

from parsgd.errors import InvalidArgument
from parsgd.estimators.fitted import is_network
from parsgd.planning import budget, costing, noise, samples, shortlist, verdict
from parsgd.planning.budget import Budget
from parsgd.planning.cells import Cell, cell, inferred, serial_cell
from parsgd.planning.parting import Spread
from parsgd.planning.rehearsing import Run, rehearse, rehearse_serial
from parsgd.planning.report import Plan
from parsgd.planning.samples import Sample
from parsgd.planning.shortlist import Way
from parsgd.prediction import Costs

# Seeds of the serial run, and of every rehearsal, where there is time for more than one.
_SEEDS = 3


def plan(
    estimator: Any,
    X: Any,
    y: Any,
    n_workers: int | Sequence[int] = (1, 2, 4, 8, 64),
    *,
    latency_s: float = 0.0,
    bandwidth_bytes_per_s: float = math.inf,
    merge_s: float | None = None,
    tolerance: float = 0.01,
    seconds: float | None = None,
) -> Plan:
    """How long a fit would take with so many workers, by which algorithm, and which to take.

    It rehearses: serial SGD with the estimator's parameters, then each number of workers with each promising algorithm,
    on simulated workers, watching the loss on rows kept apart until it is where the serial run ends.  What a row, a
    round and a merge cost is measured.  From both follows the time of each (:mod:`parsgd.prediction`).

    Numbers of workers up to the machine's cores are threads of this machine; more are taken for a cluster of machines
    as fast as one core here.  Times are those of the rounds: checking the data and dealing them out come on top.

    Parameters
    ----------
    estimator : SGDClassifier, SGDRegressor, MLPClassifier or MLPRegressor
        With the parameters of the fit; ``n_jobs``, ``algorithm`` and ``engine`` do not count, nor does
        ``early_stopping``.  It is not changed.
    X, y : array-like or CSR matrix of shape (n_rows, n_features), and (n_rows,) or (n_rows, n_outputs)
        A part of the rows is kept from training to see the loss on.
    n_workers : int or sequence of int
        Numbers of workers to compare; one worker always is among them.
    latency_s, bandwidth_bytes_per_s, merge_s : float
        Of the cluster: seconds a message, each way; bytes a second between a worker and the driver; seconds for which
        the driver is busy with a report (None: what merging takes on this machine, the algorithm's own step included).
    tolerance : float
        The loss to reach is the serial run's at its end, the mean over its last fifth, times ``1 + tolerance``; without
        a tolerance it would be a matter of luck when a noisy curve is there.
    seconds : float or None
        What the plan itself may take, loading compiled code apart.  None: 2, or a tenth of the serial fit if that is
        more.  ``inf``: everything is rehearsed in full; then nothing but times depends on the machine.

    Returns
    -------
    Plan
        ``cells``, ``best``, ``why``, ``noise``, ``spread``, ``costs``; printed, it is a table and a sentence.

    Raises
    ------
    InvalidArgument
        For an argument that cannot be used; an estimator without workers or without a loss (SGDOneClassSVM, L-BFGS).
    DivergedError
        If the serial run diverges.

    Notes
    -----
    Where there is not enough time for whole fits, their beginning is rehearsed, and if K workers need r times serial
    SGD's passes there, they are taken to need r times as many to the end.  The gradient noise scale says from how many
    rows between two averages on there is nothing more to average away (McCandlish et al., arXiv 1812.06162); spread and
    bias of one-shot averages say how many workers one average at the end has a use for (Zhang, Duchi, Wainwright 2013).

    Examples
    --------
    >>> from parsgd import SGDClassifier, plan
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> found = plan(SGDClassifier("log_loss", max_iter=5, tol=None, random_state=0), scale(X), y, (1, 2))
    >>> found.best.n_workers
    1
    >>> found.why
    'More workers will not help: ...
    """
    counts = _checked_counts(n_workers)
    _check_numbers(latency_s, bandwidth_bytes_per_s, merge_s, tolerance, seconds)
    samples.check_estimator(estimator)
    random, seeds = samples.seeds_of(estimator, _SEEDS)
    sample = samples.draw(estimator, X, y, random)
    real = [n for n in counts if 1 < n <= joblib.cpu_count()]
    costing.warm_up(estimator, sample, [1, *real])
    begun = Budget(math.inf)
    measured = costing.measure(estimator, sample, real)
    costs = Costs(
        sample.n_rows, **measured, latency_s=float(latency_s), bandwidth_bytes_per_s=float(bandwidth_bytes_per_s),
        merge_s=merge_s,
    )  # fmt: skip
    asked = None if estimator.tol is not None and estimator.tol > 0 else float(estimator.max_iter)
    begun.seconds = budget.allowed(costs, asked, seconds)
    return _Planning(estimator, sample, costs, counts, seeds, asked, float(tolerance), begun).run()


@dataclass
class _Planning:
    """A plan being made."""

    estimator: Any
    sample: Sample
    costs: Costs
    counts: list[int]
    seeds: list[int]
    asked: float | None
    tolerance: float
    budget: Budget
    cells: dict[tuple[int, str], Cell] = field(default_factory=dict)
    runs: dict[tuple[int, str], list[Run]] = field(default_factory=dict)

    def run(self) -> Plan:
        ways = {n: self.ways(n) for n in self.counts if n > 1}
        n_ways = max(map(len, ways.values()), default=0)
        batch = shortlist.batch_size(self.estimator, self.sample.n_rows)
        self.sample, passes = budget.rehearsal(
            self.sample, self.costs, self.asked, len(ways), n_ways, batch, self.budget.left
        )
        part = self.budget.left * (budget.SERIAL_SHARE if ways else 1.0)
        self.serial = rehearse_serial(self.estimator, self.sample, passes, self.seeds, self.tolerance, part)
        self.whole = self.serial.passes if self.asked is None else self.asked
        found = noise.measure(self.serial.model, self.serial.states[-noise.STATES :], self.sample.loss.rows)
        self.rehearse_all(ways)
        cells = [serial_cell(self.costs, self.serial, self.whole)]
        cells += [self.cell(n, way) for n, several in ways.items() for way in several]
        return Plan(
            tuple(cells), verdict.best(cells), verdict.why(cells, found, self.costs), found, self.spread(), self.costs,
            self.serial.goal, self.whole, self.budget.spent, self.said(cells),
        )  # fmt: skip

    def ways(self, n_workers: int) -> list[Way]:
        return shortlist.ways(
            n_workers, convex=not is_network(self.estimator), sparse=sparse.issparse(self.sample.X),
            batch_size=shortlist.batch_size(self.estimator, self.sample.n_rows), n_rows=self.sample.n_rows,
            on_threads=self.costs.on_threads(n_workers),
        )  # fmt: skip

    def rehearse_all(self, ways: dict[int, list[Way]]) -> None:
        """The most promising way for each number of workers, then the next one; then all again with other seeds."""
        order = [(way.rank, n, way) for n, several in ways.items() for way in several]
        order.sort(key=lambda item: item[:2])
        for seed in self.seeds:
            for _, n_workers, way in order:
                if self.budget.left <= 0.0:
                    return
                runs = self.runs.setdefault((n_workers, way.label), [])
                if self.hopeless(n_workers, way) or (seed != self.seeds[0] and not _worth_repeating(runs)):
                    continue
                run = rehearse(
                    self.estimator, self.sample, way, n_workers, self.serial, seed, self.budget.deadline
                )  # fmt: skip
                if run is not None:
                    runs.append(run)

    def hopeless(self, n_workers: int, way: Way) -> bool:
        """Whether fewer workers do not get there in this way, and the less the more of them there are."""
        fewer = [(n, self.runs.get((n, way.label))) for n in self.counts if 1 < n < n_workers]
        seen = [runs[0] for _, runs in fewer if runs and runs[0].reached is not None]
        if len(seen) < 2:
            return False
        return math.isinf(seen[-1].reached) and seen[-1].last >= seen[-2].last

    def cell(self, n_workers: int, way: Way) -> Cell:
        runs = self.runs.get((n_workers, way.label), [])
        if not runs and self.hopeless(n_workers, way):
            return inferred(self.costs, way, n_workers)
        return cell(self.costs, way, n_workers, runs, self.serial, self.whole)

    def spread(self) -> Spread | None:
        """Of the most workers that were seen to go without an average until the end."""
        found = [run.spread for runs in self.runs.values() for run in runs if run.spread is not None]
        return max(found, key=lambda spread: spread.n_workers, default=None)

    def said(self, cells: Sequence[Cell]) -> tuple[str, ...]:
        """What the plan could not do."""
        notes = []
        if self.asked is None and not self.serial.ended:
            notes.append("there was no time to wait for the end of the serial run; the goal is its loss until then")
        if any(cell.basis == "no time" for cell in cells):
            notes.append(f"time ran out: what was not rehearsed needs plan(..., seconds > {self.budget.seconds:.2g})")
        return tuple(notes)


def _worth_repeating(runs: Sequence[Run]) -> bool:
    return bool(runs) and runs[-1].reached is not None and math.isfinite(runs[-1].reached)


def _checked_counts(given: Any) -> list[int]:
    """Numbers of workers, sorted, one among them."""
    several = [given] if isinstance(given, Integral) else given
    fine = not isinstance(several, (str, bytes)) and hasattr(several, "__iter__")
    several = list(several) if fine else []
    if not several or not all(isinstance(n, Integral) and not isinstance(n, bool) and n >= 1 for n in several):
        raise InvalidArgument(
            f"The 'n_workers' parameter of plan must be an int from 1 on, or several. Got {given!r} instead."
        )
    return sorted({1, *(int(n) for n in several)})


def _check_numbers(latency: Any, bandwidth: Any, merge: Any, tolerance: Any, seconds: Any) -> None:
    def check(name: str, value: Any, fine: bool, expected: str) -> None:
        number = isinstance(value, Real) and not isinstance(value, bool) and not np.isnan(value)
        if not (number and fine):
            raise InvalidArgument(f"The {name!r} parameter of plan must be {expected}. Got {value!r} instead.")

    def within(value: Any, low: float, high: float = math.inf) -> bool:
        return isinstance(value, Real) and low <= value < high

    check("latency_s", latency, within(latency, 0), "a number of seconds from 0 on and finite")
    check("bandwidth_bytes_per_s", bandwidth, isinstance(bandwidth, Real) and bandwidth > 0, "bytes a second, above 0")
    if merge is not None:
        check("merge_s", merge, within(merge, 0), "a number of seconds from 0 on and finite, or None")
    check("tolerance", tolerance, within(tolerance, 0), "a number from 0 on and finite, such as 0.01")
    if seconds is not None:
        check("seconds", seconds, isinstance(seconds, Real) and seconds > 0, "a number of seconds above 0, or None")
