"""``plan``: predict the benefit of K workers within seconds, from trial fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import joblib
import numpy as np
from scipy import sparse

from parsgd.core import CostModel
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.kinds import kind_of
from parsgd.estimators.streaming import is_streamed
from parsgd.planning import gradient_noise, measure_costs, recommendation
from parsgd.planning.plan_table import TrainingPlan
from parsgd.planning.strategies import Strategy, batch_size, strategies_for
from parsgd.planning.trials import samples, trial_budget
from parsgd.planning.trials.candidates import Candidate, FitTimes, serial_candidate
from parsgd.planning.trials.samples import TrialSample
from parsgd.planning.trials.trial_budget import TrialBudget
from parsgd.planning.trials.trial_runs import run_serial_trial
from parsgd.planning.trials.trial_schedule import TrialSchedule
from parsgd.utils.floating import silent

# Number of seeds for the serial run and every trial, if time permits.
_SEEDS = 3
# Fraction of its time that a plan uses, because the last loss evaluation comes after the deadline, and the fraction of
# that for timed fits.
_USED_FRACTION, _TIMED_FRACTION = 0.95, 0.25


@silent()
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
) -> TrainingPlan:
    """Predict the time of a fit for several numbers of workers and algorithms, and recommend one.

    The plan runs trial fits: first serial SGD with the estimator's parameters, then each number of workers with each
    promising algorithm.  Each trial evaluates the loss on held-out rows until it reaches the loss of the serial run.
    The passes that it needs, times the seconds per pass, are the predicted time.

    Up to the machine's number of cores, workers are threads of this machine, and short fits without evaluations are
    timed.  Larger numbers stand for a cluster of machines, each as fast as one core here.  Their seconds follow from
    the measured cost of rows and merges (:mod:`parsgd.training.cost_model`).  Times cover the rounds only, without
    validating and distributing the data.

    Times and passes have bounds, because trials scatter.  A time is unknown, None, if no trial decides it: if the
    budget is too small, if trials end close to the goal, or if they disagree.  A candidate never reaches the goal, inf,
    only if its own trials clearly fail.

    Parameters
    ----------
    estimator : SGDClassifier, SGDRegressor, MLPClassifier or MLPRegressor
        Estimator with the parameters of the fit, except ``n_jobs``, ``algorithm``, ``engine`` and ``early_stopping``,
        which are ignored.  It is not changed.
    X, y : array-like or CSR matrix of shape (n_rows, n_features), and (n_rows,) or (n_rows, n_outputs)
        Training data; some rows are held out to evaluate the loss.
    n_workers : int or sequence of int
        Numbers of workers to compare; one worker is always included.
    latency_s, bandwidth_bytes_per_s, merge_s : float
        Parameters of the cluster: seconds per message, each way; bytes per second between a worker and the driver;
        driver seconds per report.  The default of ``merge_s`` is the merge time on this machine, including the
        algorithm's own step.
    tolerance : float
        The goal is the mean loss over the last fifth of the serial run, times ``1 + tolerance``.  Without a tolerance,
        noise in the curve would decide when the goal is reached.
    seconds : float or None
        Time for the plan itself, without loading compiled code.  Default: 4, or a tenth of the serial fit if that is
        more.  A shorter time leaves more candidates unknown.  With ``inf`` all trials are whole fits, and nothing
        except times depends on the machine.

    Returns
    -------
    TrainingPlan
        ``cells``, ``best``, ``why``, ``noise``, ``spread``, ``costs``; its string form is a table and a sentence.

    Raises
    ------
    InvalidArgumentError
        For an invalid argument, or an estimator without workers or without a loss (SGDOneClassSVM, L-BFGS).
    DivergedError
        If the serial run diverges.

    Notes
    -----
    If time is too short for whole fits, trials cover the first passes only.  If K workers need r times serial SGD's
    passes there, the plan predicts r times as many to the end.  The gradient noise scale is the number of rows between
    two averages beyond which there is no more noise to average (McCandlish et al., arXiv 1812.06162).  Noise and bias
    of one-shot averages limit the useful number of workers for one average at the end (Zhang, Duchi, Wainwright 2013).

    Examples
    --------
    >>> from parsgd import SGDClassifier, plan
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> found = plan(SGDClassifier("log_loss", max_iter=5, tol=None, random_state=0), scale(X), y, (1, 2))
    >>> [cell.label for cell in found.cells][:3]
    ['serial', 'local, adaptive, 10 a pass', 'local, adaptive, 2 a pass']
    >>> model = SGDClassifier("log_loss", **found.best.parameters).fit(scale(X), y)
    """
    counts = _checked_counts(n_workers)
    _check_numbers(latency_s, bandwidth_bytes_per_s, merge_s, tolerance, seconds)
    samples.check_estimator(estimator)
    if is_streamed(X):
        raise InvalidArgumentError(
            f"plan needs arrays to run trials on. Take some rows of {X.name}: X, y, _ = dataset.take(100_000)"
        )
    random, seeds = samples.seeds_of(estimator, _SEEDS)
    sample = samples.draw(estimator, X, y, random)
    real = [n for n in counts if 1 < n <= joblib.cpu_count()]
    strategies = [strategy for n in counts if n > 1 for strategy in _strategies(estimator, sample, n)]
    strategies = measure_costs.warm_up(estimator, sample, strategies, real)
    time = TrialBudget(math.inf)
    row_s, state_bytes = measure_costs.seconds_per_row(estimator, sample)
    costs = CostModel(
        sample.n_rows,
        row_s,
        state_bytes,
        latency_s=float(latency_s),
        bandwidth_bytes_per_s=float(bandwidth_bytes_per_s),
        merge_s=merge_s,
    )
    time.seconds = _USED_FRACTION * trial_budget.allowed(costs, requested_passes(estimator), seconds)
    on_threads = [strategy for strategy in strategies if strategy.n_workers in real]
    times = measure_costs.time_fits(estimator, sample, on_threads, row_s, _TIMED_FRACTION * time.seconds)
    # if serial SGD diverges, its trial raises the error
    row_s = times[None].seconds_per_row if None in times else row_s
    costs = replace(costs, seconds_per_row=row_s, contention=measure_costs.contention(times, real, row_s))
    return _run_trials(estimator, sample, costs, times, strategies, seeds, float(tolerance), time)


def _run_trials(
    estimator: Any,
    sample: TrialSample,
    costs: CostModel,
    times: FitTimes,
    strategies: list[Strategy],
    seeds: list[int],
    tolerance: float,
    time: TrialBudget,
) -> TrainingPlan:
    """Run the trials within the time and build the plan from them."""
    requested = requested_passes(estimator)
    batch = batch_size(estimator, sample.n_rows)
    sample, passes = trial_budget.trial_size(sample, costs, requested, strategies, batch, time.left)
    part = time.left * (trial_budget.SERIAL_FRACTION if strategies else 1.0)
    serial = run_serial_trial(estimator, sample, passes, seeds, tolerance, part)
    whole = serial.passes if requested is None else requested
    found = gradient_noise.measure(serial.model, serial.states, sample.loss.rows)
    trials = TrialSchedule(estimator, sample, costs, serial, strategies, times)
    trials.make(seeds, time)
    cells = (serial_candidate(costs, serial, whole, times), *trials.cells(whole))
    return TrainingPlan(
        cells,
        recommendation.best(cells),
        recommendation.why(cells, found, costs),
        found,
        trials.spread(),
        costs,
        serial.goal,
        whole,
        time.spent,
        _notes(cells, requested is None and not serial.ended, time.seconds),
    )


def _strategies(estimator: Any, sample: TrialSample, n_workers: int) -> list[Strategy]:
    return strategies_for(
        n_workers,
        convex=kind_of(estimator).convex,
        sparse=sparse.issparse(sample.X),
        n_rows=sample.n_rows,
        batch_size=batch_size(estimator, sample.n_rows),
        on_threads=n_workers <= joblib.cpu_count(),
    )


def requested_passes(estimator: Any) -> float | None:
    """Return the passes of a fit, or None if its stopping rule decides."""
    return None if estimator.tol is not None and estimator.tol > 0 else float(estimator.max_iter)


def _notes(cells: Sequence[Candidate], late: bool, seconds: float) -> tuple[str, ...]:
    """Return the limitations of this plan."""
    notes = []
    if late:
        notes.append("the serial run did not end in time; the goal is its loss until then")
    if any(cell.basis in ("no time", "others") for cell in cells):
        notes.append(f"some trials did not fit into {seconds:.2g} s; plan(..., seconds=...) allows more")
    return tuple(notes)


def _checked_counts(given: Any) -> list[int]:
    """Return the numbers of workers, sorted and including 1."""
    several = [given] if isinstance(given, Integral) else given
    fine = not isinstance(several, (str, bytes)) and hasattr(several, "__iter__")
    several = list(several) if fine else []
    if not several or not all(isinstance(n, Integral) and not isinstance(n, bool) and n >= 1 for n in several):
        raise InvalidArgumentError(
            f"The 'n_workers' parameter of plan must be an int of at least 1, or several. Got {given!r} instead."
        )
    return sorted({1, *(int(n) for n in several)})


def _check_numbers(latency: Any, bandwidth: Any, merge: Any, tolerance: Any, seconds: Any) -> None:
    def check(name: str, value: Any, fine: bool, expected: str) -> None:
        number = isinstance(value, Real) and not isinstance(value, bool) and not np.isnan(value)
        if not (number and fine):
            raise InvalidArgumentError(f"The {name!r} parameter of plan must be {expected}. Got {value!r} instead.")

    def within(value: Any, low: float, high: float = math.inf) -> bool:
        return isinstance(value, Real) and low <= value < high

    check("latency_s", latency, within(latency, 0), "a finite number of seconds of at least 0")
    check(
        "bandwidth_bytes_per_s", bandwidth, isinstance(bandwidth, Real) and bandwidth > 0, "bytes per second, above 0"
    )
    if merge is not None:
        check("merge_s", merge, within(merge, 0), "a finite number of seconds of at least 0, or None")
    check("tolerance", tolerance, within(tolerance, 0), "a finite number of at least 0, such as 0.01")
    if seconds is not None:
        check("seconds", seconds, isinstance(seconds, Real) and seconds > 0, "a number of seconds above 0, or None")
