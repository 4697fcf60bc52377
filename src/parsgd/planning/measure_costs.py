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
from parsgd.errors import DivergedError
from parsgd.planning.instrumented import InstrumentedFit, StopTrial
from parsgd.planning.strategies import Strategy, batch_size
from parsgd.planning.trials.samples import TrialSample, prepare

# Length and number of the timed rounds of one worker, after one that is not timed: 0.1 s.
_TIMED_SECONDS, _TIMED_ROUNDS = 0.015, 4
_MANY_PASSES = 10**6
# Fits are timed with at least this many rows, and this many batches of each worker.
_FEW_ROWS, _FEW_BATCHES = 500, 10
# Sample size for the first timing of rows.  It does not fit into the cache; larger samples take longer to validate.
_TIMED_BYTES = 64e6
# Timed fits have one pass, and as many more as take the last number of seconds, within these limits.
_MIN_MORE_PASSES, _MAX_MORE_PASSES, _MORE_SECONDS = 2, 10, 0.02
# Turns of all timed fits.  The interval of a time is that between the quantiles of the turns.
_MIN_TURNS, _MAX_TURNS, _QUANTILES = 3, 9, (0.1, 0.9)
# Smallest fraction of a fit that its passes take; a smaller one is noise of the timing.
_MIN_PASSES_FRACTION = 0.1


class TimedFit(InstrumentedFit):
    """A fit of ``n_rounds`` timed rounds."""

    def __init__(self, algorithm: Any, n_rounds: int, engine: Any = None):
        super().__init__(algorithm, Threads() if engine is None else engine)
        self.n_rounds: int = n_rounds
        self.state_bytes: int = 0

    def on_start(self, fit_state: FitState) -> None:
        self.state_bytes = fit_state.state.nbytes

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


def warm_up(estimator: Any, sample: TrialSample, strategies: Sequence[Strategy], counts: Sequence[int]) -> None:
    """Load or compile the functions that trials and timed fits use, so that timings exclude compilation.

    ``counts`` are the numbers of threads.
    """
    few = sample.first(_FEW_ROWS)
    once = {strategy.label: strategy for strategy in strategies}
    for n_workers, algorithm in [(1, LocalSGD(sync_every=0.5)), *((2, each.algorithm) for each in once.values())]:
        # divergence is detected later, by the trials
        with contextlib.suppress(DivergedError):
            run(prepare(estimator), few, TimedFit(algorithm, 2), n_workers, 1)
    for strategy in (None, *(each for each in strategies if each.n_workers in counts)):
        time_fit(estimator, few, strategy, 1)


def seconds_per_row(estimator: Any, sample: TrialSample) -> tuple[float, int]:
    """Return one worker's seconds per row, and the bytes of a state."""
    timed = TimedFit(LocalSGD(seconds=_TIMED_SECONDS), _TIMED_ROUNDS)
    sample = sample.first(int(_TIMED_BYTES / max(sample.bytes_per_row, 1.0)))
    run(prepare(estimator), sample, timed, 1, _MANY_PASSES)
    # the first round also computes the order of the rows
    return float(np.median(timed.seconds_per_row[1:] or timed.seconds_per_row)), timed.state_bytes


def time_fit(estimator: Any, sample: TrialSample, strategy: Strategy | None, passes: int) -> tuple[float, float]:
    """Return the passes and the seconds of a fit without instruments, of one worker if ``strategy`` is None.

    The seconds are those of the rounds, with the merges.  Both are NaN if the fit diverges.
    """
    if strategy is None:
        parts = {"n_jobs": 1, "algorithm": "auto", "engine": "serial"}
    else:
        algorithm = strategy.for_timing(1.0 / sample.share)
        parts = {"n_jobs": strategy.n_workers, "algorithm": algorithm, "engine": "threads"}
    # with its stopping rule, because that takes time, too
    model = prepare(estimator, stops=True).set_params(max_iter=passes, **parts)
    try:
        _fit(model, sample)
    except DivergedError:
        return math.nan, math.nan
    last = model.history_[-1]
    return last["epoch"], last["seconds"] + last["merge_seconds"]


def time_fits(
    estimator: Any, sample: TrialSample, strategies: Sequence[Strategy], row_s: float, seconds: float
) -> dict[Strategy | None, FitTime]:
    """Time fits of one worker, under the key None, and of the strategies, in alternation for about ``seconds``.

    Fits of one pass and of several differ by whole passes with all that belongs to them: steps, merges, adaptive steps,
    waiting.  The rest of a fit is its start.  The number of rows follows from the time and ``row_s``, the seconds per
    row.  Fits that diverge are left out.
    """
    cases = (None, *strategies)
    visits = seconds / (_MIN_TURNS * len(cases) * row_s)
    n_workers = max((strategy.n_workers for strategy in strategies), default=1)
    least = max(_FEW_ROWS, _FEW_BATCHES * n_workers * batch_size(estimator, sample.n_rows))
    few = sample.first(int(min(max(visits / (2 + _MIN_MORE_PASSES), least), len(sample.y))))
    more = math.ceil(_MORE_SECONDS / (len(few.y) * row_s))
    lengths = (1, 1 + min(max(more, _MIN_MORE_PASSES), _MAX_MORE_PASSES))
    found: dict[Strategy | None, list[list[tuple[float, float]]]] = {case: [] for case in cases}
    started = time.perf_counter()
    for turn in range(_MAX_TURNS):
        spent = time.perf_counter() - started
        if turn >= _MIN_TURNS and spent * (1.0 + 1.0 / turn) > seconds:
            break
        for case, fits in found.items():
            fits.append([time_fit(estimator, few, case, passes) for passes in lengths])
    times = {case: fit_time(fits, len(few.y)) for case, fits in found.items()}
    return {case: each for case, each in times.items() if math.isfinite(each.seconds_per_row)}


def fit_time(fits: Sequence[Sequence[tuple[float, float]]], n_rows: int) -> FitTime:
    """Return the duration of fits from turns of a short and a long fit, each ``(passes, seconds)``, to ``n_rows`` rows.

    >>> fit_time([[(1.0, 0.5), (3.0, 1.0)], [(1.0, 0.5), (3.0, 1.0)]], 100)
    FitTime(start_s=0.25, seconds_per_row=0.0025, low=1.0, high=1.0)
    """
    turns = np.array(fits)
    (few, short_s), (passes, long_s) = np.median(turns, axis=0)
    pass_s = (long_s - short_s) / (passes - few) if passes > few else long_s / passes
    pass_s = float(np.clip(pass_s, _MIN_PASSES_FRACTION * long_s / passes, long_s / passes))
    low, high = (float(each) / float(long_s) for each in np.quantile(turns[:, 1, 1], _QUANTILES))
    return FitTime(float(long_s) - float(passes) * pass_s, pass_s / n_rows, min(low, 1.0), max(high, 1.0))


def contention(times: Mapping[Strategy | None, FitTime], counts: Sequence[int], row_s: float) -> dict[int, float]:
    """Return, for each number of threads, the factor on one worker's seconds per row: that of the fastest algorithm."""
    fastest = {
        n: min(
            (each.seconds_per_row for case, each in times.items() if case and case.n_workers == n), default=row_s / n
        )
        for n in counts
    }
    return {n: n * each / row_s for n, each in fastest.items()}
