"""Delayed SGD: workers take turns, and each one's gradient is a step along which the others have already passed.

run: the summed gradients of the next batch of the worker's own rows.  quorum: one, in turn.  merge: one step of the
model's solver, ``w_{t+1} = w_t - eta_t g_{t - tau}``, where ``g_{t - tau}`` was taken at ``w_{t - tau}`` and ``tau`` is
the number of the other workers.  With compensation ``g`` becomes ``g + lambda g * g * (w_t - w_{t - tau})``, number by
number.

Langford, Smola, Zinkevich, "Slow Learners are Fast", NIPS 2009.  Zheng et al., "Asynchronous Stochastic Gradient
Descent with Delay Compensation", ICML 2017.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.algorithms.common.gradient_messages import (
    BatchSlice,
    apply_gradients,
    effective_batch_size,
    report_gradient,
)
from parsgd.core import (
    Budget,
    FitState,
    MergeResult,
    Model,
    ProgressCallback,
    Report,
    Shard,
    SynchronousAlgorithm,
    Task,
)
from parsgd.errors import check_between, check_count
from parsgd.utils.row_arrays import visits


@dataclass(frozen=True)
class DelayedSGD(SynchronousAlgorithm):
    """Round-robin updates along gradients that are ``n_workers - 1`` steps old.

    No step waits for all workers, as those of :class:`MiniBatch` do, and a batch is one worker's: with n workers there
    are n times as many steps.  For old gradients the learning rate must be smaller than for fresh ones.  The order of
    the turns is fixed, so the result does not depend on who is fast.  One worker's gradients are fresh: that is
    mini-batch SGD.

    Gradients are the loss's; the penalty is taken where the step begins, at ``w_t``.

    Parameters
    ----------
    batch_size : int or None
        Rows a step.  None: the model's own batch size, or 256 where that is 1.
    compensation : float or None
        DC-ASGD's lambda: how much of ``g * g``, a guess at the curvature, is used to guess what the gradient would be
        at ``w_t``.  Public re-implementations begin at 0.04.  None: gradients are taken as they are.

    Examples
    --------
    >>> from parsgd import DelayedSGD, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=DelayedSGD(16), n_jobs=3, max_iter=5, tol=None, random_state=0)
    >>> model.fit(scale(X), y).score(scale(X), y) > 0.9
    True
    """

    batch_size: int | None = None
    compensation: float | None = None

    name = "delayed"
    message = "gradient"
    ordered = True
    common_clock = True

    def __post_init__(self) -> None:
        check_count(self.batch_size, "batch_size", "DelayedSGD")
        check_between(self.compensation, 0, float("inf"), "compensation", "DelayedSGD", optional=True)

    def size(self, model: Model) -> int:
        """Rows of a batch."""
        return effective_batch_size(self.batch_size, model)

    def quorum(self, n_workers: int) -> int:
        return 1

    def budget(self, standing: FitState, worker: int) -> Budget:
        n_rows = standing.shard_rows[worker]
        return Budget(min(self.size(standing.model), n_rows - standing.cursors[worker] % max(n_rows, 1)))

    def run(self, model: Model, shard: Shard, task: Task, pulse: ProgressCallback) -> Report:
        """The summed gradients of the batch at the worker's cursor."""
        began = time.perf_counter()
        return report_gradient(model, task, next_batch(shard, task), pulse, began)

    def merge(self, standing: FitState, reports: Sequence[Report]) -> MergeResult:
        slopes = [report.state for report in reports]
        if self.compensation is not None:
            slopes = [self._compensated(standing, report) for report in reports]
        return apply_gradients(standing, reports, slopes)

    def _compensated(self, standing: FitState, report: Report) -> np.ndarray:
        """The slope as if taken at the present state; ``report.state`` is ``m g``, and then ``m``."""
        slope, count = report.state[:-1], report.state[-1]
        if count <= 0.0:
            return report.state
        # solvers' slots lie behind the parameters
        passed = standing.state[: len(slope)] - standing.tasks[report.worker].state[: len(slope)]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.append(slope + float(self.compensation) / count * slope * slope * passed, count)


def next_batch(shard: Shard, task: Task) -> BatchSlice:
    """The batch that the task's budget holds."""
    epoch, skip = divmod(task.cursor, max(shard.n_rows, 1))
    rows, batch = visits(shard.blocks(task.seed, epoch, skip), task.budget.examples)
    return BatchSlice(rows, batch, 0, len(batch), epoch)
