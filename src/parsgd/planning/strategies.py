"""Parallel strategies that a plan compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from parsgd.algorithms.hogwild import Hogwild
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.algorithms.minibatch import MiniBatch
from parsgd.algorithms.simuparallel import SimuParallel
from parsgd.planning.trials.independent_runs import IndependentRuns

# Smallest slice of a batch per worker; below, communication dominates.
_FEWEST_SLICED = 8


@dataclass(frozen=True)
class Strategy:
    """A number of workers with a labeled algorithm, and the form of its trial.

    ``rounds_per_pass`` is the number of merges per pass.  ``curve`` is the source of the loss curve: ``"own"`` for a
    simulated trial, ``"serial"`` if it equals serial SGD's, ``"threads"`` for a trial on real threads.  ``share`` is
    the expected length of a trial in passes, relative to serial SGD.
    """

    n_workers: int
    label: str
    algorithm: Any
    rounds_per_pass: float
    share: float = 1.0
    curve: str = "own"

    @property
    def adaptive(self) -> bool:
        """True if the driver adapts the rates to the loss on probe rows."""
        return isinstance(self.algorithm, LocalSGD) and self.algorithm.outer_optimizer == "adaptive"

    @property
    def means(self) -> bool:
        """True if the merge is the plain mean of the workers."""
        return isinstance(self.algorithm, SimuParallel) or isinstance(self.algorithm, LocalSGD) and not self.adaptive

    def for_sample(self, enlarged: float) -> Any | None:
        """Return the algorithm for a trial on a sample, or None if the sample is shorter than a round.

        The whole data have ``enlarged`` times as many rows; rounds keep the number of steps they would have there.
        """
        if isinstance(self.algorithm, LocalSGD) and self.algorithm.sync_every * enlarged >= 1.01:
            return None
        if isinstance(self.algorithm, SimuParallel):
            return IndependentRuns() if enlarged == 1.0 else None
        return self.for_timing(enlarged)

    def for_timing(self, enlarged: float) -> Any:
        """Return the algorithm for a timed fit to a sample: as :meth:`for_sample`, with rounds of a pass at most."""
        if isinstance(self.algorithm, LocalSGD):
            return replace(self.algorithm, sync_every=min(self.algorithm.sync_every * enlarged, 1.0))
        return self.algorithm


def strategies_for(
    n_workers: int, *, convex: bool, batch_size: int, sparse: bool, on_threads: bool, n_rows: int
) -> list[Strategy]:
    """Return the promising strategies for a number of workers.

    >>> strategies = strategies_for(8, convex=False, batch_size=64, sparse=False, on_threads=False, n_rows=60000)
    >>> [strategy.label for strategy in strategies]
    ['local, adaptive, 10 a pass', 'local, adaptive, 2 a pass', 'local, 10 a pass', 'local, 1 a pass', 'minibatch']
    """
    found = [
        Strategy(
            n_workers, "local, adaptive, 10 a pass", LocalSGD(sync_every=0.1, outer_optimizer="adaptive"), 10, 0.4
        ),
        Strategy(n_workers, "local, adaptive, 2 a pass", LocalSGD(sync_every=0.5, outer_optimizer="adaptive"), 2, 0.5),
        Strategy(n_workers, "local, 10 a pass", LocalSGD(sync_every=0.1), 10, 0.4),
        Strategy(n_workers, "local, 1 a pass", LocalSGD(sync_every=1.0), 1, 0.6),
    ]
    if convex:
        # a single round for any number of passes
        found.append(Strategy(n_workers, "simuparallel", SimuParallel(), 0, 0.6))
    if batch_size >= _FEWEST_SLICED * n_workers:
        found.append(Strategy(n_workers, "minibatch", MiniBatch(), -(-n_rows // batch_size), 0.0, "serial"))
    if on_threads and sparse and convex:
        found.append(Strategy(n_workers, "hogwild", Hogwild(), 1, 1.0, "threads"))
    return found


def batch_size(estimator: Any, n_rows: int) -> int:
    """Return the rows per step of serial SGD; ``"auto"`` is scikit-learn's value for networks."""
    return min(200, n_rows) if estimator.batch_size == "auto" else int(estimator.batch_size)
