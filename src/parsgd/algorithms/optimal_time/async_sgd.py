"""Asynchronous SGD with rates that depend on the delay of a gradient.

Koloskova, Stich, Jaggi, "Sharper Convergence Guarantees for Asynchronous SGD for Distributed and Federated Learning",
NeurIPS 2022.  Mishchenko, Bach, Even, Woodworth, "Asynchronous SGD Beats Minibatch SGD Under Arbitrary Delays", NeurIPS
2022.

Round: the worker sends the summed gradient of a batch of its rows; the driver waits for one report; merge = one step
along its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parsgd.algorithms.common.gradient_steps import StepMemory
from parsgd.algorithms.common.worker_batches import WorkerBatches
from parsgd.algorithms.optimal_time.one_by_one import step_one_by_one
from parsgd.core import FitState, MergeResult, Report
from parsgd.errors import check_count, choose


@dataclass(frozen=True)
class AsyncSGD(WorkerBatches):
    """Asynchronous SGD: a step along every gradient as it arrives, smaller for gradients of an old state.

    For a gradient ``g`` of the state ``delay`` steps ago, and n workers::

        w = w - eta f g(w_{t - delay}),       f = n / max(n, delay)   for rule="adaptive",  1 for rule="constant"

    With equally fast workers every delay is ``n - 1``, and ``f`` is 1.  A slow worker's gradient is as old as the steps
    of the others in its time, and its step is that much smaller.  A worker never waits.

    The time to ``E |grad f|^2 <= epsilon`` is within a constant of ``(1/n sum_i 1/tau_i)^-1`` times
    ``L Delta / epsilon + sigma^2 L Delta / (n epsilon^2)``, for times per gradient ``tau_i``.  That is not optimal if
    some workers are much slower than others: :class:`Rennala` and :class:`Ringmaster` are.

    Parameters
    ----------
    batch_size : int or None
        Rows per step.  Default: the model's own batch size, or 256 where that is 1.
    rule : {"adaptive", "constant"}
        Factor on the rate.  ``"constant"`` is plain asynchronous SGD.

    Notes
    -----
    The result depends on the workers' speeds.  With ``engine="serial"`` workers alternate, and the steps are those of
    :class:`DelayedSGD`, to the bit.  A schedule of the learning rate counts steps.  The variant with local steps is
    :class:`AsyncLocalSGD`.

    Examples
    --------
    >>> from parsgd import AsyncSGD, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=AsyncSGD(16), engine="serial", n_jobs=3, max_iter=5, tol=None, random_state=0)
    >>> model.fit(scale(X), y).score(scale(X), y) > 0.9
    True
    """

    batch_size: int | None = None
    rule: str = "adaptive"

    name = "async_sgd"

    def __post_init__(self) -> None:
        check_count(self.batch_size, "batch_size", "AsyncSGD")
        choose(self.rule, ("adaptive", "constant"), "rule", "AsyncSGD")

    def init_memory(self, fit_state: FitState) -> StepMemory:
        return StepMemory()

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        """Step along each gradient; the weight of a report is the factor of its step."""
        n = max(fit_state.n_active, 1)

        def factor_of(delay: int) -> float:
            return n / max(n, delay) if self.rule == "adaptive" else 1.0

        steps, factors = step_one_by_one(fit_state, reports, fit_state.memory, factor_of)
        return steps.result(factors, steps.memory)
