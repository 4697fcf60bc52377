"""SimuParallelSGD: every worker runs SGD on its shard without talking, then one average.

work: SGD over all epochs.  quorum: all.  combine: ``v = 1/K sum_i w_i``.

Zinkevich, Weimer, Smola, Li, "Parallelized Stochastic Gradient Descent", NIPS 2010, algorithm 3; with
``sampling="whole"`` algorithm 2, in which every worker draws from the whole data set, with replacement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from parsgd.algorithms import merging
from parsgd.algorithms.working import run
from parsgd.core import Block, Budget, Descent, Merge, Model, Pulse, Report, Shard, Standing, Synchronous, Task
from parsgd.errors import InvalidArgument, check_between, choose


@dataclass(frozen=True)
class SimuParallel(Synchronous):
    """One-shot averaging of independent runs.

    Parameters
    ----------
    sampling : {"split", "stored", "whole"}
        ``"split"``: each worker owns ``1/K`` of the rows, dealt at random (algorithm 3).  ``"stored"``: it owns those
        that lie together; if the order of the rows tells anything of them (a sorted file) the workers learn different
        things, and :class:`~parsgd.errors.UnlikeShards` says so.  ``"whole"``: each worker draws as many rows
        from the whole set, with replacement (algorithm 2).
    seconds : float or None
        End the one round after so many seconds, wherever each worker is.
    correction : float or None
        A fraction r < 1: each worker runs once more, on r of its rows, and sends ``(w - r w') / (1 - r)``, in which the
        bias that the smallness of its shard brings cancels (SAVGM; :func:`parsgd.algorithms.merging.bias_corrected`).
        It takes 1 + r times as long.  For convex models run until they converge, with few rows a worker for their
        features: stopped earlier, what it takes away is progress rather than bias.

    Examples
    --------
    >>> from parsgd import SGDClassifier, SimuParallel
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=SimuParallel(), n_jobs=2, random_state=0).fit(scale(X), y)
    >>> model.score(scale(X), y) > 0.95
    True
    """

    sampling: str = "split"
    seconds: float | None = None
    correction: float | None = None

    name = "simuparallel"
    one_shot = True

    def __post_init__(self) -> None:
        choose(self.sampling, ("split", "stored", "whole"), "sampling", "SimuParallel")
        check_between(self.seconds, 0, float("inf"), "seconds", "SimuParallel", optional=True)
        check_between(self.correction, 0, 0.9, "correction", "SimuParallel", optional=True)
        if self.correction is not None and self.sampling == "whole":
            raise InvalidArgument(
                "SimuParallel's correction is for workers that own their rows; with sampling='whole' they draw from all."
                " Use sampling='split'."
            )

    def budget(self, standing: Standing, worker: int) -> Budget:
        return Budget(standing.shard_rows[worker] * standing.max_epochs, self.seconds)

    def work(self, model: Model, shard: Shard, task: Task, pulse: Pulse) -> Report:
        report = run(model, shard, task, pulse)
        # one worker is serial SGD
        if self.correction is None or task.n_workers == 1 or report.steps == 0:
            return report
        part = Part(shard, self.correction, task.seed)
        if part.n_rows == 0:
            return report
        again = run(model, part, _smaller(task, part), _uncounted(pulse))
        state = merging.bias_corrected(report.state, again.state, part.n_rows / shard.n_rows)
        return replace(report, state=state.astype(report.state.dtype), seconds=report.seconds + again.seconds)

    def combine(self, standing: Standing, reports: Sequence[Report]) -> Merge:
        return merging.merge(standing.state, reports, merging.uniform([r.steps for r in reports]))


def _smaller(task: Task, part: Part) -> Task:
    """As many passes over the part, in as much time a row."""
    budget, share = task.budget, part.n_rows / part.shard.n_rows
    seconds = None if budget.seconds is None else budget.seconds * share
    return replace(task, budget=replace(budget, examples=round(budget.examples * share), seconds=seconds))


def _uncounted(pulse: Pulse) -> Pulse:
    """The line to the driver, for work that is not progress."""

    def told(worker: int, examples: int, descent: Descent) -> bool:
        return pulse(worker, 0, descent)

    return told


@dataclass
class Part:
    """About ``fraction`` of a shard's rows, the same in every epoch: those that a hash of their number picks."""

    shard: Shard
    fraction: float
    seed: int

    @cached_property
    def n_rows(self) -> int:
        return sum(len(block.order) for block in self.blocks(self.seed, 0))

    @property
    def cost(self) -> float:
        return self.shard.cost

    def blocks(self, seed: int, epoch: int) -> Iterator[Block]:
        for rows, order in self.shard.blocks(seed, epoch):
            # Knuth's multiplicative hash; the seed begins it elsewhere for each worker
            hashed = (order.astype(np.uint64) + np.uint64(self.seed)) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)
            yield Block(rows, order[hashed < self.fraction * 2**24])
