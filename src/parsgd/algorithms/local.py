"""Local SGD: every worker runs SGD on its shard, and every so often all continue from the average.

work: SGD for the round's examples or seconds.  quorum: all.  combine: ``w = sum_i a_i w_i``.

Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019; before it McDonald, Hall, Mann, "Distributed
Training Strategies for the Structured Perceptron", NAACL 2010 (iterative parameter mixing: one epoch a round).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.algorithms import merging
from parsgd.algorithms.stretches import stretch
from parsgd.algorithms.working import run
from parsgd.core import Budget, Merge, Model, Pulse, Report, Shard, Standing, Synchronous, Task
from parsgd.errors import check_between, choose


@dataclass(frozen=True)
class Local(Synchronous):
    """Averaging in rounds.

    Parameters
    ----------
    period : float
        Length of a round as a fraction of an epoch, ``0 < period <= 1``; workers of equal shards make equal numbers of
        steps in it.
    seconds : float or None
        Length of a round in seconds instead: each worker does what it can.
    rule : {"uniform", "steps", "wp"}
        How the workers count.  ``"uniform"`` weighs them alike, ``"steps"`` by the steps they made in the round,
        ``"wp"`` by WP-SGD's contraction.  ``None``: ``"steps"`` when rounds are counted in seconds, else ``"uniform"``.

    Examples
    --------
    >>> from parsgd import Local, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=Local(period=0.5), n_jobs=2, max_iter=3, tol=None, random_state=0)
    >>> len(model.fit(scale(X), y).history_)
    6
    """

    period: float = 0.1
    seconds: float | None = None
    rule: str | None = None

    name = "local"

    def __post_init__(self) -> None:
        check_between(self.period, 0, 1, "period", "Local")
        check_between(self.seconds, 0, float("inf"), "seconds", "Local", optional=True)
        if self.rule is not None:
            choose(self.rule, ("uniform", "steps", "wp"), "rule", "Local")

    def budget(self, standing: Standing, worker: int) -> Budget:
        n_rows = standing.shard_rows[worker]
        if self.seconds is not None:
            return Budget(n_rows * standing.max_epochs, self.seconds)
        return Budget(stretch(n_rows, standing.model.batch_size, self.period, standing.cursors[worker]))

    def work(self, model: Model, shard: Shard, task: Task, pulse: Pulse) -> Report:
        return run(model, shard, task, pulse)

    def combine(self, standing: Standing, reports: Sequence[Report]) -> Merge:
        steps = np.array([report.steps for report in reports])
        rule = self.rule or ("steps" if self.seconds is not None else "uniform")
        if rule == "wp":
            weights = merging.wp_sgd(np.array([report.log_contraction for report in reports]), steps)
        else:
            weights = merging.by_steps(steps) if rule == "steps" else merging.uniform(steps)
        return merging.merge(standing.state, reports, weights)
