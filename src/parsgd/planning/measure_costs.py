"""Cost measurements: seconds per row and per round on this machine, from short fits with real threads."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.core import FitState, MergeResult, Report
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError
from parsgd.planning.instrumented import InstrumentedFit, StopTrial
from parsgd.planning.strategies import Strategy, batch_size
from parsgd.planning.trials.samples import TrialSample, prepare

# Length and number of the timed rounds, after one that is not timed: 0.2 s for one and two workers.
_TIMED_SECONDS, _TIMED_ROUNDS = 0.015, 4
# Number, total seconds and length of nearly empty rounds, which measure the overhead per round.
_EMPTY_ROUNDS, _EMPTY_SECONDS, _EMPTY_PERIOD = 25, 0.05, 1e-6
# Rounds, batches of each worker and repetitions of short fits, which measure a round in compiled code.
_SHORT_ROUNDS, _SHORT_BATCHES, _SHORT_FITS = 40, 10, 5
_MANY_PASSES = 10**6
_FEW_ROWS = 500
# Sample size for timing rows.  It does not fit into the cache; larger samples only take longer to validate.
_TIMED_BYTES = 64e6


class TimedFit(InstrumentedFit):
    """A fit with timed rounds; it ends after ``n_rounds`` rounds or ``seconds`` seconds.

    ``overhead_s`` is the time of each round without the slowest worker's run and the merge.
    """

    def __init__(self, algorithm: Any, n_rounds: int, engine: Any = None, seconds: float = np.inf):
        super().__init__(algorithm, Threads() if engine is None else engine)
        self.n_rounds: int = n_rounds
        self.seconds: float = seconds
        self.overhead_s: list[float] = []
        self.state_bytes: int = 0

    def on_start(self, fit_state: FitState) -> None:
        self.state_bytes = fit_state.state.nbytes
        self.started: float = time.perf_counter()
        self.at: float = self.started

    def on_merge(self, fit_state: FitState, reports: Sequence[Report], merge: MergeResult) -> None:
        now = time.perf_counter()
        slowest = max(report.seconds for report in reports)
        self.overhead_s.append(max(now - self.at - slowest - self.combine_s[-1], 0.0))
        self.at = now
        if len(self.overhead_s) >= self.n_rounds or now - self.started > self.seconds:
            self.stop()


def run(
    estimator: Any, sample: TrialSample, instrumented: InstrumentedFit, n_workers: int, passes: int, **settings: Any
) -> None:
    """Run a fit that an instrumented fit may end early."""
    settings = dict(algorithm=instrumented, engine=instrumented, n_jobs=n_workers, max_iter=passes) | settings
    with contextlib.suppress(StopTrial), warnings.catch_warnings():
        # warnings about convergence, shards and batches do not apply to trial fits
        warnings.simplefilter("ignore")
        estimator.set_params(**settings).fit(sample.X, sample.y)
        if estimator.outcome_.name == "INTERRUPTED":
            raise KeyboardInterrupt


def warm_up(estimator: Any, sample: TrialSample, strategies: Sequence[Strategy]) -> None:
    """Load or compile the functions that such fits use, so that timings exclude compilation."""
    few = sample.first(_FEW_ROWS)
    once = {strategy.label: strategy.algorithm for strategy in strategies}
    for n_workers, algorithm in [(1, LocalSGD(sync_every=0.5)), *((2, algorithm) for algorithm in once.values())]:
        # divergence is detected later, by the trials
        with contextlib.suppress(DivergedError):
            run(prepare(estimator), few, TimedFit(algorithm, 2), n_workers, 1)


def seconds_per_row(estimator: Any, sample: TrialSample, n_workers: int) -> tuple[float, int]:
    """Return a worker's seconds per row with ``n_workers`` threads, and the bytes of a state."""
    timed = TimedFit(LocalSGD(seconds=_TIMED_SECONDS), _TIMED_ROUNDS)
    run(prepare(estimator), sample, timed, n_workers, _MANY_PASSES)
    # the first round also computes the order of the rows
    return float(np.median(timed.seconds_per_row[1:] or timed.seconds_per_row)), timed.state_bytes


def round_overhead(estimator: Any, sample: TrialSample, n_workers: int) -> float:
    """Return the overhead in seconds of a round with ``n_workers`` threads, without work and merge."""
    timed = TimedFit(LocalSGD(sync_every=_EMPTY_PERIOD), _EMPTY_ROUNDS, seconds=_EMPTY_SECONDS)
    run(prepare(estimator), sample, timed, n_workers, 1)
    return float(np.median(timed.overhead_s[1:] or timed.overhead_s))


def compiled_costs(estimator: Any, sample: TrialSample, n_workers: int) -> tuple[float, float]:
    """Return the seconds of a round in compiled code with ``n_workers`` threads, and those to start the threads.

    They are differences between the shortest fits of one pass: of many rounds and of one, of several workers and of
    one worker.
    """
    once, often = LocalSGD(sync_every=1.0), LocalSGD(sync_every=1.0 / _SHORT_ROUNDS)
    cases = [(1, once), (n_workers, once), (n_workers, often)]
    fits = [[time_fit(estimator, sample, algorithm, n) for n, algorithm in cases] for _ in range(_SHORT_FITS)]
    alone, together, in_rounds = np.min([[seconds for seconds, _ in turn] for turn in fits], axis=0)
    # a round has at least one batch
    n_rounds = fits[0][-1][1]
    return float(max(in_rounds - together, 0.0)) / max(n_rounds - 1, 1), float(max(together - alone, 0.0))


def time_fit(estimator: Any, sample: TrialSample, algorithm: LocalSGD, n_workers: int) -> tuple[float, int]:
    """Return the seconds and the number of rounds of a fit of one pass; 1 round if it diverges."""
    model = prepare(estimator).set_params(algorithm=algorithm, engine="threads", n_jobs=n_workers, max_iter=1)
    started = time.perf_counter()
    with warnings.catch_warnings(), contextlib.suppress(DivergedError):
        warnings.simplefilter("ignore")
        model.fit(sample.X, sample.y)
    return time.perf_counter() - started, len(getattr(model, "history_", "1"))


def measure(estimator: Any, sample: TrialSample, counts: Sequence[int]) -> dict[str, Any]:
    """Measure the costs of this machine for a :class:`parsgd.core.CostModel`.

    They are those of one worker, and of each number of threads in ``counts``.
    """
    sample = sample.first(int(_TIMED_BYTES / max(sample.bytes_per_row, 1.0)))
    few = sample.first(_FEW_ROWS)
    # one worker is timed before and after the others, so that other load on the machine affects all of them
    first, state_bytes = seconds_per_row(estimator, sample, 1)
    several = {n: seconds_per_row(estimator, sample, n)[0] for n in counts}
    batches = {
        n: sample.first(max(_FEW_ROWS, _SHORT_BATCHES * n * batch_size(estimator, sample.n_rows))) for n in counts
    }
    compiled = {n: compiled_costs(estimator, rows, n) for n, rows in batches.items()}
    one = 0.5 * (first + seconds_per_row(estimator, sample, 1)[0]) if counts else first
    return {
        "seconds_per_row": one,
        "state_bytes": state_bytes,
        "contention": {n: found / one for n, found in several.items()},
        "wake_s": {n: round_overhead(estimator, few, n) for n in counts},
        "compiled_round_s": {n: round_s for n, (round_s, _) in compiled.items()},
        "start_s": max((start_s for _, start_s in compiled.values()), default=0.0),
    }
