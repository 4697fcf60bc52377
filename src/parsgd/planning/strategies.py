"""The ways of working in parallel that a plan compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from parsgd.algorithms.hogwild import Hogwild
from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.algorithms.minibatch import MiniBatch
from parsgd.algorithms.simuparallel import SimuParallel
from parsgd.planning.independent_runs import IndependentRuns

# A worker's slice of a batch below this many rows is a message with hardly any work behind it.
_FEWEST_SLICED = 8


@dataclass(frozen=True)
class Strategy:
    """An algorithm, in words and as an object, and how it is rehearsed.

    ``rounds_a_pass``: merges a pass.  ``curve``: ``"own"`` where its losses have to be found out, ``"serial"`` where
    they are those of serial SGD, ``"threads"`` where they have to be found out on real threads.  ``share``: of serial
    SGD's passes, how many a rehearsal is likely to make.
    """

    label: str
    algorithm: Any
    rounds_a_pass: float
    share: float = 1.0
    curve: str = "own"

    @property
    def adaptive(self) -> bool:
        """Whether the driver looks at losses and sets rates."""
        return isinstance(self.algorithm, LocalSGD) and self.algorithm.outer_optimizer == "adaptive"

    @property
    def means(self) -> bool:
        """Whether it is the workers' mean and nothing else."""
        return isinstance(self.algorithm, SimuParallel) or isinstance(self.algorithm, LocalSGD) and not self.adaptive

    def rehearsed(self, enlarged: float) -> Any | None:
        """The algorithm to rehearse on a sample, the whole having ``enlarged`` times as many rows.

        A round is to have as many steps as it would have on all rows; None where the sample is shorter than a round.
        """
        if isinstance(self.algorithm, LocalSGD):
            sync_every = self.algorithm.sync_every * enlarged
            return replace(self.algorithm, sync_every=min(sync_every, 1.0)) if sync_every < 1.01 else None
        if isinstance(self.algorithm, SimuParallel):
            return IndependentRuns() if enlarged == 1.0 else None
        return self.algorithm


def strategies_for(
    n_workers: int, *, convex: bool, batch_size: int, sparse: bool, on_threads: bool, n_rows: int
) -> list[Strategy]:
    """What is worth a thought for so many workers.

    >>> ways = strategies_for(8, convex=False, batch_size=64, sparse=False, on_threads=False, n_rows=60000)
    >>> [way.label for way in ways]
    ['local, adaptive, 10 a pass', 'local, adaptive, 2 a pass', 'local, 10 a pass', 'local, 1 a pass', 'minibatch']
    """
    found = [
        Strategy("local, adaptive, 10 a pass", LocalSGD(sync_every=0.1, outer_optimizer="adaptive"), 10, 0.4),
        Strategy("local, adaptive, 2 a pass", LocalSGD(sync_every=0.5, outer_optimizer="adaptive"), 2, 0.5),
        Strategy("local, 10 a pass", LocalSGD(sync_every=0.1), 10, 0.4),
        Strategy("local, 1 a pass", LocalSGD(sync_every=1.0), 1, 0.6),
    ]
    if convex:
        # one round in all, whatever the number of passes
        found.append(Strategy("simuparallel", SimuParallel(), 0, 0.6))
    if batch_size >= _FEWEST_SLICED * n_workers:
        found.append(Strategy("minibatch", MiniBatch(), -(-n_rows // batch_size), 0.0, "serial"))
    if on_threads and sparse and convex:
        found.append(Strategy("hogwild", Hogwild(), 1, 1.0, "threads"))
    return found


def batch_size(estimator: Any, n_rows: int) -> int:
    """Rows a step of serial SGD; ``"auto"`` is scikit-learn's for networks."""
    return min(200, n_rows) if estimator.batch_size == "auto" else int(estimator.batch_size)
