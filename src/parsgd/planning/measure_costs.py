"""What a row and a round cost on this machine, measured by short fits with real threads."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.core import FitState, MergeResult, Report
from parsgd.engines.threads import Threads
from parsgd.errors import DivergedError
from parsgd.planning.instrumented import InstrumentedEngine, StopTrial
from parsgd.planning.samples import TrialSample, prepared
from parsgd.planning.strategies import Strategy

# Rounds of this length are timed after one that is not: 0.2 s for one and two workers.
_PACE_SECONDS, _PACE_ROUNDS = 0.015, 4
# Rounds that hardly do anything, to see what they cost; no more than that time for them.
_EMPTY_ROUNDS, _EMPTY_SECONDS, _EMPTY_PERIOD = 25, 0.05, 1e-6
_MANY_PASSES = 10**6
_FEW_ROWS = 500
# Of more rows than do not fit into the cache only the checking takes longer.
_PACED_BYTES = 64e6


class TimedFit(InstrumentedEngine):
    """A fit whose rounds are timed: ``beside_s`` is what each took beside the work of its slowest worker and the merge.

    It ends after so many rounds, or seconds."""

    def __init__(self, algorithm: Any, n_rounds: int, engine: Any = None, seconds: float = np.inf):
        super().__init__(algorithm, Threads() if engine is None else engine)
        self.n_rounds, self.seconds = n_rounds, seconds
        self.beside_s: list[float] = []
        self.state_bytes = 0

    def starts(self, standing: FitState) -> None:
        self.state_bytes = standing.state.nbytes
        self.began = self.at = time.perf_counter()

    def saw(self, standing: FitState, reports: Sequence[Report], merge: MergeResult) -> None:
        now = time.perf_counter()
        slowest = max(report.seconds for report in reports)
        self.beside_s.append(max(now - self.at - slowest - self.combine_s[-1], 0.0))
        self.at = now
        if len(self.beside_s) >= self.n_rounds or now - self.began > self.seconds:
            self.enough()


def run(
    estimator: Any, sample: TrialSample, stand_in: InstrumentedEngine, n_workers: int, passes: int, **settings: Any
) -> None:
    """A fit that may be ended from within."""
    settings = dict(algorithm=stand_in, engine=stand_in, n_jobs=n_workers, max_iter=passes) | settings
    with contextlib.suppress(StopTrial), warnings.catch_warnings():
        # of convergence, of shards, of batches: a rehearsal is no fit that anybody keeps
        warnings.simplefilter("ignore")
        estimator.set_params(**settings).fit(sample.X, sample.y)
        if estimator.outcome_.name == "INTERRUPTED":
            raise KeyboardInterrupt


def warm_up(estimator: Any, sample: TrialSample, ways: Mapping[int, Sequence[Strategy]]) -> None:
    """Load or compile what fits of this kind use, so that it is not taken for their cost."""
    few = sample.first(_FEW_ROWS)
    once = {way.label: way.algorithm for several in ways.values() for way in several}
    for n_workers, algorithm in [(1, LocalSGD(sync_every=0.5)), *((2, algorithm) for algorithm in once.values())]:
        # if it diverges, that is for the rehearsals to find out
        with contextlib.suppress(DivergedError):
            run(prepared(estimator), few, TimedFit(algorithm, 2), n_workers, 1)


def seconds_per_row(estimator: Any, sample: TrialSample, n_workers: int) -> tuple[float, int]:
    """A worker's seconds a row among so many threads, and the bytes of a state."""
    timed = TimedFit(LocalSGD(seconds=_PACE_SECONDS), _PACE_ROUNDS)
    run(prepared(estimator), sample, timed, n_workers, _MANY_PASSES)
    # the first round also makes the order of the rows
    return float(np.median(timed.paces[1:] or timed.paces)), timed.state_bytes


def wake(estimator: Any, sample: TrialSample, n_workers: int) -> float:
    """Seconds that a round costs on so many threads, beside work and merge."""
    timed = TimedFit(LocalSGD(sync_every=_EMPTY_PERIOD), _EMPTY_ROUNDS, seconds=_EMPTY_SECONDS)
    run(prepared(estimator), sample, timed, n_workers, 1)
    return float(np.median(timed.beside_s[1:] or timed.beside_s))


def measure(estimator: Any, sample: TrialSample, counts: Sequence[int]) -> dict[str, Any]:
    """``seconds_per_row``, ``contention``, ``wake_s`` and ``state_bytes`` of
    :class:`parsgd.training.cost_model.CostModel`, for one worker and for each of the ``counts`` of threads."""
    sample = sample.first(int(_PACED_BYTES / max(sample.bytes_a_row, 1.0)))
    few = sample.first(_FEW_ROWS)
    # before and after the others, so that whatever else the machine does in the meantime falls on all of them
    first, state_bytes = seconds_per_row(estimator, sample, 1)
    several = {n: seconds_per_row(estimator, sample, n)[0] for n in counts}
    one = 0.5 * (first + seconds_per_row(estimator, sample, 1)[0]) if counts else first
    return {
        "seconds_per_row": one,
        "state_bytes": state_bytes,
        "contention": {n: found / one for n, found in several.items()},
        "wake_s": {n: wake(estimator, few, n) for n in counts},
    }
