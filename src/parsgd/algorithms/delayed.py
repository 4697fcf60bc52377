"""Delayed SGD, optionally with delay compensation.

Langford, Smola, Zinkevich, "Slow Learners are Fast", NIPS 2009.  Zheng et al., "Asynchronous Stochastic Gradient
Descent with Delay Compensation", ICML 2017.

Round: the worker runs one batch of its own rows and sends the summed gradient; the driver waits for one report, in
round-robin order; merge = one step of the model's solver, ``w_{t+1} = w_t - eta_t g_{t - tau}``.  ``g_{t - tau}`` is
the gradient at ``w_{t - tau}``, and ``tau`` is the number of the other workers.  Compensation replaces ``g`` by
``g + lambda g * g * (w_t - w_{t - tau})``, elementwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.algorithms.common.gradient_messages import apply_gradients
from parsgd.algorithms.common.worker_batches import WorkerBatches
from parsgd.core import AlgorithmTraits, FitState, MergeResult, Report
from parsgd.errors import check_between, check_count

_TRAITS = AlgorithmTraits(
    requires=frozenset({"gradients"}), message="gradient", ordered=True, common_schedule_step=True
)


@dataclass(frozen=True)
class DelayedSGD(WorkerBatches):
    """Round-robin updates along gradients that are ``n_workers - 1`` steps old.

    No step waits for all workers, unlike :class:`MiniBatch`, and each batch belongs to one worker.  With n workers
    there are therefore n times as many steps.  Old gradients require a smaller learning rate than fresh ones.  The
    order of the workers is fixed, so the result does not depend on their speeds.  With one worker the gradients are
    fresh, and the algorithm is mini-batch SGD.

    Gradients are those of the loss; the step applies the penalty at ``w_t``.

    Parameters
    ----------
    batch_size : int or None
        Rows per step.  Default: the model's own batch size, or 256 where that is 1.
    compensation : float or None
        DC-ASGD's lambda, the factor on ``g * g``, which approximates the curvature.  It extrapolates the gradient to
        ``w_t``.  Public re-implementations start at 0.04.  Default: no compensation.

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

    @property
    def traits(self) -> AlgorithmTraits:
        return _TRAITS

    def __post_init__(self) -> None:
        check_count(self.batch_size, "batch_size", "DelayedSGD")
        check_between(self.compensation, 0, float("inf"), "compensation", "DelayedSGD", optional=True)

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        gradients = [report.state for report in reports]
        if self.compensation is not None:
            gradients = [_compensated(fit_state, report, float(self.compensation)) for report in reports]
        return apply_gradients(fit_state, reports, gradients)


def _compensated(fit_state: FitState, report: Report, compensation: float) -> np.ndarray:
    """Return the gradient as if taken at the present state; ``report.state`` is ``m g``, and then ``m``."""
    gradient, count = report.state[:-1], report.state[-1]
    if count <= 0.0:
        return report.state
    # the solver's slots follow the parameters in the state
    passed = fit_state.state[: len(gradient)] - fit_state.task_of(report.worker).state[: len(gradient)]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.append(gradient + compensation / count * gradient * gradient * passed, count)
