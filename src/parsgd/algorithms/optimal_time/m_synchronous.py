"""m-synchronous SGD: every step takes the m fastest gradients and ignores the others.

Chen, Pan, Monga, Bengio, Jozefowicz, "Revisiting Distributed Synchronous SGD", arXiv 1604.00981, 2016 (backup workers).

Round: the worker sends the summed gradient of a batch of its rows; the driver waits for m reports from the present
state; merge = one step along their mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from parsgd.algorithms.common.gradient_steps import GradientSteps, StepMemory, busy_workers
from parsgd.algorithms.common.worker_batches import WorkerBatches
from parsgd.core import AlgorithmTraits, FitState, MergeResult, Report
from parsgd.errors import InvalidArgumentError, check_between, check_count, check_flag


@dataclass(frozen=True)
class MSync(WorkerBatches):
    """Synchronous mini-batch SGD that does not wait for the slowest workers.

    All workers compute a gradient ``g_i`` at the present state ``w``.  The driver steps when ``m`` have arrived::

        w = w - eta / m  sum_{i <= m} g_i

    A gradient that arrives after the step is ignored, and its worker takes part in the next step that begins.

    With fixed times per gradient ``tau_1 <= ... <= tau_n`` the time to ``E |grad f|^2 <= epsilon`` is of the order of
    ``tau_m (L Delta / epsilon + sigma^2 L Delta / (m epsilon^2))``.  For the best m this is at most ``1 + log n`` times
    the lower bound of all parallel methods.  A worker that is always slow never takes part: with ``m < n`` its rows are
    lost to the fit.

    Parameters
    ----------
    m : int or float
        Number of workers whose gradients make a step.  A float in (0, 1]: a fraction of the workers, rounded up.
    batch_size : int or None
        Rows per gradient.  Default: the model's own batch size, or 256 where that is 1.
    stops : bool
        True: the other workers are stopped at the step, and start again from the new state.  This needs an engine that
        can cancel tasks, ``"serial"`` or ``"simulated"``.  False: they end their gradients, which are ignored.

    Notes
    -----
    The result depends on the workers' speeds.  With ``engine="serial"`` workers alternate, and results repeat to the
    bit.  In ``history_``, ignored gradients have the weight 0.  A schedule of the learning rate counts steps.  The
    variant with local steps is ``LocalSGD(deadline="auto")``.

    Examples
    --------
    >>> from parsgd import MSync, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = SGDClassifier(algorithm=MSync(2, 8), engine="serial", n_jobs=3, max_iter=8, tol=None, random_state=0)
    >>> model.fit(scale(X), y).score(scale(X), y) > 0.9
    True
    """

    m: float = 0.75
    batch_size: int | None = None
    stops: bool = False

    name = "msync"

    @property
    def traits(self) -> AlgorithmTraits:
        traits = super().traits._replace(fresh_quorum=True)
        return traits._replace(requires=traits.requires | {"cancel"}) if self.stops else traits

    def __post_init__(self) -> None:
        if isinstance(self.m, bool) or not isinstance(self.m, Integral):
            try:
                check_between(self.m, 0, 1, "m", "MSync")
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"{error} An int of at least 1 is a number of workers.") from None
        else:
            check_count(self.m, "m", "MSync", optional=False)
        check_count(self.batch_size, "batch_size", "MSync")
        check_flag(self.stops, "stops", "MSync")

    def quorum(self, n_workers: int) -> int:
        m = self.m if isinstance(self.m, Integral) else math.ceil(self.m * n_workers * (1.0 - 1e-12))
        return max(1, min(int(m), n_workers))

    def init_memory(self, fit_state: FitState) -> StepMemory:
        return StepMemory()

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        """Step along the mean of the gradients at the present state; their weight is 1, and that of others 0."""
        steps = GradientSteps(fit_state, fit_state.memory)
        weights = np.zeros(len(reports))
        total: np.ndarray | None = None
        for position, report in enumerate(reports):
            steps.visit(report)
            if report.steps and steps.delay(report.worker) == 0:
                weights[position] = 1.0
                with np.errstate(over="ignore", invalid="ignore"):
                    total = report.state if total is None else total + report.state
        if total is None:
            return steps.result(weights, steps.memory)
        steps.make(total)
        return steps.result(weights, steps.memory, busy_workers(fit_state, reports) if self.stops else ())
