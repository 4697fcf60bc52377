"""Cost measurements: the seconds of steps, and of whole fits on this machine's threads."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.core import FitState, MergeResult, Report
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError, IncompatiblePartsError
from parsgd.planning import gradient_noise
from parsgd.planning.instrumented import InstrumentedFit, StopTrial
from parsgd.planning.strategies import Strategy, batch_size
from parsgd.planning.trials.samples import TrialSample, prepare

# Length and number of the timed rounds of one worker, after one that is not timed: 0.1 s.
_TIMED_SECONDS, _TIMED_ROUNDS = 0.015, 4
_MANY_PASSES = 10**6
# Fits are timed with at least this many rows, and this many batches of each worker.
_FEW_ROWS, _FEW_BATCHES = 500, 10
# Sample size for timings.  It does not fit into the cache of a core; larger samples take longer to validate.
_TIMED_BYTES = 32e6
# Timed fits have one pass, and as many more as take the last number of seconds, within these limits.
_MIN_MORE_PASSES, _MAX_MORE_PASSES, _MORE_SECONDS = 2, 10, 0.02
# Turns of all timed fits: fewest, most, and those that the number of rows is chosen for.  The bounds of a time are the
# quantiles of the turns.
_MIN_TURNS, _MAX_TURNS, _LIKELY_TURNS, _QUANTILES = 2, 9, 3, (0.1, 0.9)
# Smallest fraction of a fit that its passes take; a smaller one is noise of the timing.
_MIN_PASSES_FRACTION = 0.3


class TimedFit(InstrumentedFit):
    """A fit of ``n_rounds`` timed rounds."""

    def __init__(self, algorithm: Any, n_rounds: int, engine: Any = None):
        super().__init__(algorithm, Threads() if engine is None else engine)
        self.n_rounds: int = n_rounds
        self.model: Any = None
        self.state: np.ndarray = np.zeros(0)

    def on_start(self, fit_state: FitState) -> None:
        self.model, self.state = fit_state.model, fit_state.state

    def on_merge(self, fit_state: FitState, reports: Sequence[Report], merge: MergeResult) -> None:
        if len(self.combine_s) >= self.n_rounds:
            self.stop()


@dataclass(frozen=True)
class FitTime:
    """Duration of fits on this machine: ``start_s`` seconds, and ``seconds_per_row`` that any of the workers visits.

    ``low`` and ``high`` are the shortest and the longest duration, relative to the median.
    """

    start_s: float
    seconds_per_row: float
    low: float = 1.0
    high: float = 1.0


def run(
    estimator: Any, sample: TrialSample, instrumented: InstrumentedFit, n_workers: int, passes: int, **settings: Any
) -> None:
    """Run a fit that an instrumented fit may end early."""
    settings = dict(algorithm=instrumented, engine=instrumented, n_jobs=n_workers, max_iter=passes) | settings
    with contextlib.suppress(StopTrial):
        _fit(estimator.set_params(**settings), sample)


def _fit(estimator: Any, sample: TrialSample) -> None:
    with warnings.catch_warnings():
        # warnings about convergence, shards and batches do not apply to trial fits
        warnings.simplefilter("ignore")
        estimator.fit(sample.X, sample.y)
    if estimator.outcome_.name == "INTERRUPTED":
        raise KeyboardInterrupt


def warm_up(
    estimator: Any, sample: TrialSample, strategies: Sequence[Strategy], counts: Sequence[int]
) -> list[Strategy]:
    """Load or compile the functions that trials and timed fits use, so that timings exclude compilation.

    ``counts`` are the numbers of threads.  Return the strategies that the model supports.
    """
    few = sample.first(_FEW_ROWS)
    once = {strategy.label: strategy.algorithm for strategy in strategies}
    alone = TimedFit(LocalSGD(sync_every=0.5), 2)
    # divergence is detected later, by the trials
    with contextlib.suppress(DivergedError):
        run(prepare(estimator), few, alone, 1, 1)
    for label, algorithm in once.items():
        with contextlib.suppress(DivergedError):
            try:
                run(prepare(estimator), few, TimedFit(algorithm, 2), 2, 1)
            except IncompatiblePartsError:
                strategies = [strategy for strategy in strategies if strategy.label != label]
    for strategy in (None, *(each for each in strategies if each.n_workers in counts)):
        time_fit(estimator, few, strategy, 1 + _MIN_MORE_PASSES)
    sample.loss(alone.model, alone.state)
    gradient_noise.measure(alone.model, [alone.state], sample.loss.rows)
    return list(strategies)


def seconds_per_row(estimator: Any, sample: TrialSample) -> tuple[float, int]:
    """Return one worker's seconds per row, and the bytes of a state."""
    timed = TimedFit(LocalSGD(seconds=_TIMED_SECONDS), _TIMED_ROUNDS)
    sample = sample.first(int(_TIMED_BYTES / max(sample.bytes_per_row, 1.0)))
    run(prepare(estimator), sample, timed, 1, _MANY_PASSES)
    # the first round also computes the order of the rows
    return float(np.median(timed.seconds_per_row[1:] or timed.seconds_per_row)), timed.state.nbytes


def time_fit(estimator: Any, sample: TrialSample, strategy: Strategy | None, passes: int) -> list[tuple[float, float]]:
    """Return the passes and the seconds at each entry in the history of a fit without instruments.

    The fit is of one worker if ``strategy`` is None.  The seconds are those of the rounds, with the merges.  Both are
    NaN if the fit diverges.
    """
    if strategy is None:
        parts = {"n_jobs": 1, "algorithm": "auto", "engine": "serial"}
    else:
        # with as many steps per round as in a fit to all rows
        algorithm = strategy.for_timing(sample.n_rows / len(sample.y))
        parts = {"n_jobs": strategy.n_workers, "algorithm": algorithm, "engine": "threads"}
    # with its stopping rule, because that takes time, too
    model = prepare(estimator, stops=True).set_params(max_iter=passes, **parts)
    try:
        _fit(model, sample)
    except DivergedError:
        return [(math.nan, math.nan)]
    return [(entry["epoch"], entry["seconds"] + entry["merge_seconds"]) for entry in model.history_]


def time_fits(
    estimator: Any, sample: TrialSample, strategies: Sequence[Strategy], row_s: float, seconds: float
) -> dict[Strategy | None, FitTime]:
    """Time fits of one worker, under the key None, and of the strategies, in alternation for about ``seconds``.

    The passes of a fit after its first one have all that belongs to a pass: steps, merges, adaptive steps, waiting.
    The rest is its start.  ``row_s`` is the seconds per row.  The number of rows follows from the time.  Fits that
    diverge are left out.
    """
    cases = (None, *strategies)
    n_workers = max((strategy.n_workers for strategy in strategies), default=1)
    least = max(_FEW_ROWS, _FEW_BATCHES * n_workers * batch_size(estimator, sample.n_rows))
    few = sample.first(max(int(_TIMED_BYTES / max(sample.bytes_per_row, 1.0)), least))
    started = time.perf_counter()
    time_fit(estimator, few, None, 1)
    # a fit takes longer than its rounds, because it validates and assigns the rows
    fit_s = time.perf_counter() - started + _MIN_MORE_PASSES * len(few.y) * row_s
    share = min(seconds / (_LIKELY_TURNS * len(cases) * fit_s), 1.0)
    few = few.first(max(int(share * len(few.y)), least))
    more = math.ceil(_MORE_SECONDS / (len(few.y) * row_s))
    passes = 1 + min(max(more, _MIN_MORE_PASSES), _MAX_MORE_PASSES)
    found: dict[Strategy | None, list[list[tuple[float, float]]]] = {case: [] for case in cases}
    started = time.perf_counter()
    for turn in range(_MAX_TURNS):
        spent = time.perf_counter() - started
        if turn >= _MIN_TURNS and spent * (1.0 + 1.0 / turn) > seconds:
            break
        for case, turns in found.items():
            points = time_fit(estimator, few, case, passes)
            # a fit of a single round has no times between
            points = time_fit(estimator, few, case, 1) + points if len(points) == 1 else points
            turns.append([_first_pass(points), points[-1]])
    times = {case: fit_time(turns, len(few.y)) for case, turns in found.items()}
    return {case: each for case, each in times.items() if math.isfinite(each.seconds_per_row)}


def _first_pass(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return one pass and its seconds; all of a shorter fit."""
    passes, seconds = np.transpose(points)
    first = min(1.0, float(passes[-1]))
    return first, float(np.interp(first, passes, seconds))


def fit_time(turns: Sequence[Sequence[tuple[float, float]]], n_rows: int) -> FitTime:
    """Return the duration of fits to ``n_rows`` rows from turns, each with ``(passes, seconds)`` of one pass and all.

    >>> fit_time([[(1.0, 0.5), (3.0, 1.0)], [(1.0, 0.5), (3.0, 1.0)]], 100)
    FitTime(start_s=0.25, seconds_per_row=0.0025, low=1.0, high=1.0)
    """
    (few, first_s), (passes, fit_s) = np.median(turns, axis=0).tolist()
    pass_s = (fit_s - first_s) / (passes - few) if passes > few else fit_s / passes
    pass_s = float(np.clip(pass_s, _MIN_PASSES_FRACTION * fit_s / passes, fit_s / passes))
    low, high = np.quantile(np.array(turns)[:, 1, 1], _QUANTILES).tolist()
    return FitTime(fit_s - passes * pass_s, pass_s / n_rows, min(low / fit_s, 1.0), max(high / fit_s, 1.0))


def contention(times: Mapping[Strategy | None, FitTime], counts: Sequence[int], row_s: float) -> dict[int, float]:
    """Return, for each number of threads, the factor on one worker's seconds per row: that of the fastest algorithm."""
    fastest = {
        n: min(
            (each.seconds_per_row for case, each in times.items() if case and case.n_workers == n), default=row_s / n
        )
        for n in counts
    }
    return {n: n * each / row_s for n, each in fastest.items()}
