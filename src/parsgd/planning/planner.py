"""``plan``: what K workers would bring, found out in seconds by rehearsing with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import joblib
import numpy as np
from scipy import sparse

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted_attributes import is_network
from parsgd.estimators.streaming import is_streamed
from parsgd.planning import gradient_noise, measure_costs, recommendation, samples, strategies, trial_budget
from parsgd.planning.candidates import Candidate, serial_cell
from parsgd.planning.plan_table import TrainingPlan
from parsgd.planning.samples import TrialSample
from parsgd.planning.strategies import Strategy
from parsgd.planning.trial_budget import TrialBudget
from parsgd.planning.trial_runs import run_serial_trial
from parsgd.planning.trial_schedule import TrialSchedule
from parsgd.training.cost_model import CostModel
from parsgd.utils.floating import silent

# Seeds of the serial run, and of every rehearsal, where there is time for more than one.
_SEEDS = 3
# Of its time a plan uses this part: the last look comes after the end.
_KEPT_BACK = 0.95


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
    """How long a fit would take with so many workers, by which algorithm, and which to take.

    It rehearses: serial SGD with the estimator's parameters, then each number of workers with each promising algorithm,
    on simulated workers, watching the loss on rows kept apart until it is where the serial run ends.  What a row, a
    round and a merge cost is measured.  From both follows the time of each (:mod:`parsgd.training.cost_model`).

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
    InvalidArgumentError
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
    >>> [cell.label for cell in found.cells][:3]
    ['serial', 'local, adaptive, 10 a pass', 'local, adaptive, 2 a pass']
    >>> model = SGDClassifier("log_loss", **found.best.parameters).fit(scale(X), y)
    """
    counts = _checked_counts(n_workers)
    _check_numbers(latency_s, bandwidth_bytes_per_s, merge_s, tolerance, seconds)
    samples.check_estimator(estimator)
    if is_streamed(X):
        raise InvalidArgumentError(f"plan rehearses on arrays; take rows of {X.name}: X, y, _ = dataset.take(100_000)")
    random, seeds = samples.seeds_of(estimator, _SEEDS)
    sample = samples.draw(estimator, X, y, random)
    real = [n for n in counts if 1 < n <= joblib.cpu_count()]
    ways = {n: _ways(estimator, sample, n) for n in counts if n > 1}
    measure_costs.warm_up(estimator, sample, ways)
    time = TrialBudget(math.inf)
    costs = CostModel(
        sample.n_rows, **measure_costs.measure(estimator, sample, real), latency_s=float(latency_s),
        bandwidth_bytes_per_s=float(bandwidth_bytes_per_s), merge_s=merge_s,
    )  # fmt: skip
    time.seconds = _KEPT_BACK * trial_budget.allowed(costs, asked_for(estimator), seconds)
    return _planned(estimator, sample, costs, ways, seeds, float(tolerance), time)


def _planned(
    estimator: Any,
    sample: TrialSample,
    costs: CostModel,
    ways: dict[int, list[Strategy]],
    seeds: list[int],
    tolerance: float,
    time: TrialBudget,
) -> TrainingPlan:
    """Rehearse within the time, and draw the conclusions."""
    asked = asked_for(estimator)
    batch = strategies.batch_size(estimator, sample.n_rows)
    sample, passes = trial_budget.rehearsal(sample, costs, asked, ways, batch, time.left)
    part = time.left * (trial_budget.SERIAL_SHARE if ways else 1.0)
    serial = run_serial_trial(estimator, sample, passes, seeds, tolerance, part)
    whole = serial.passes if asked is None else asked
    found = gradient_noise.measure(serial.model, serial.states, sample.loss.rows)
    trials = TrialSchedule(estimator, sample, costs, serial, ways)
    trials.make(seeds, time)
    cells = (serial_cell(costs, serial, whole), *trials.cells(whole))
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
        _notes(cells, asked is None and not serial.ended, time.seconds),
    )


def _ways(estimator: Any, sample: TrialSample, n_workers: int) -> list[Strategy]:
    return strategies.strategies_for(
        n_workers, convex=not is_network(estimator), sparse=sparse.issparse(sample.X), n_rows=sample.n_rows,
        batch_size=strategies.batch_size(estimator, sample.n_rows), on_threads=n_workers <= joblib.cpu_count(),
    )  # fmt: skip


def asked_for(estimator: Any) -> float | None:
    """The passes that a fit makes; None where its rule of stopping decides."""
    return None if estimator.tol is not None and estimator.tol > 0 else float(estimator.max_iter)


def _notes(cells: Sequence[Candidate], late: bool, seconds: float) -> tuple[str, ...]:
    """What the plan could not do."""
    notes = []
    if late:
        notes.append("there was no time to wait for the end of the serial run; the goal is its loss until then")
    if any(cell.basis == "no time" for cell in cells):
        notes.append(f"not everything could be rehearsed in {seconds:.2g} s; plan(..., seconds=...) gives it more")
    return tuple(notes)


def _checked_counts(given: Any) -> list[int]:
    """Numbers of workers, sorted, one among them."""
    several = [given] if isinstance(given, Integral) else given
    fine = not isinstance(several, (str, bytes)) and hasattr(several, "__iter__")
    several = list(several) if fine else []
    if not several or not all(isinstance(n, Integral) and not isinstance(n, bool) and n >= 1 for n in several):
        raise InvalidArgumentError(
            f"The 'n_workers' parameter of plan must be an int from 1 on, or several. Got {given!r} instead."
        )
    return sorted({1, *(int(n) for n in several)})


def _check_numbers(latency: Any, bandwidth: Any, merge: Any, tolerance: Any, seconds: Any) -> None:
    def check(name: str, value: Any, fine: bool, expected: str) -> None:
        number = isinstance(value, Real) and not isinstance(value, bool) and not np.isnan(value)
        if not (number and fine):
            raise InvalidArgumentError(f"The {name!r} parameter of plan must be {expected}. Got {value!r} instead.")

    def within(value: Any, low: float, high: float = math.inf) -> bool:
        return isinstance(value, Real) and low <= value < high

    check("latency_s", latency, within(latency, 0), "a number of seconds from 0 on and finite")
    check("bandwidth_bytes_per_s", bandwidth, isinstance(bandwidth, Real) and bandwidth > 0, "bytes a second, above 0")
    if merge is not None:
        check("merge_s", merge, within(merge, 0), "a number of seconds from 0 on and finite, or None")
    check("tolerance", tolerance, within(tolerance, 0), "a number from 0 on and finite, such as 0.01")
    if seconds is not None:
        check("seconds", seconds, isinstance(seconds, Real) and seconds > 0, "a number of seconds above 0, or None")
