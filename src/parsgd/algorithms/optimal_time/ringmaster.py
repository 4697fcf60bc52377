"""Ringmaster ASGD: asynchronous SGD that ignores gradients of too large a delay.

Maranjyan, Tyurin, Richtarik, "Ringmaster ASGD: The First Asynchronous SGD with Optimal Time Complexity", ICML 2025.

Round: the worker sends the summed gradient of a batch of its rows; the driver waits for one report; merge = one step
along its gradient, if the delay is below ``max_delay``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np

from parsgd.algorithms.common.gradient_steps import StepMemory, busy_workers
from parsgd.algorithms.common.measured_noise import MeasuredNoise, mean_gradient, most_batches, squared_norm
from parsgd.algorithms.common.worker_batches import WorkerBatches
from parsgd.algorithms.optimal_time.one_by_one import step_one_by_one
from parsgd.core import AlgorithmTraits, FitState, MergeResult, Report
from parsgd.errors import InvalidArgumentError, check_count, check_flag


class RingmasterMemory(NamedTuple):
    """State of the steps, the measured noise, and the latest mean gradient, with which the next one is compared."""

    steps: StepMemory
    noise: MeasuredNoise
    gradient: np.ndarray | None


@dataclass(frozen=True)
class Ringmaster(WorkerBatches):
    """Asynchronous SGD that ignores a gradient if ``max_delay`` or more steps were made since its state.

    For a gradient ``g`` of the state ``delay`` steps ago::

        w = w - eta g(w_{t - delay})     if delay < max_delay
        w                                otherwise; the worker continues from w

    For smooth objectives, noise of variance ``sigma^2`` per gradient, rows that are distributed alike, and a
    ``max_delay`` of the order of ``max(1, sigma^2 / epsilon)``, the time to ``E |grad f|^2 <= epsilon`` is within a
    constant of the lower bound of all parallel methods, whatever the speeds.  :class:`Rennala` has the same bound and
    steps seldom, with a precise gradient; Ringmaster steps often, at a smaller rate.

    Parameters
    ----------
    max_delay : int, inf or "auto"
        Gradients of this delay are ignored.  1: every gradient is that of the present state.  ``inf``: none is ignored,
        as in ``AsyncSGD(rule="constant")``.  ``"auto"``: the measured ``sigma^2 / |G|^2``, from pairs of consecutive
        gradients, but at least the number of workers, because equally fast ones have delays up to it.
    batch_size : int or None
        Rows per step.  Default: the model's own batch size, or 256 where that is 1.
    stops : bool
        True: a worker whose delay reaches ``max_delay`` is stopped, and starts again from the present state.  This
        needs an engine that can cancel tasks, ``"serial"`` or ``"simulated"``.  False: its gradient is ignored when it
        arrives.  On other engines a task is one call into compiled code, which is soon over.

    Notes
    -----
    The result depends on the workers' speeds.  With ``engine="serial"`` workers alternate, and results repeat to the
    bit.  In ``history_``, ignored gradients have the weight 0.  A schedule of the learning rate counts steps.  The
    variant with local steps is :class:`AsyncLocalSGD`.

    Examples
    --------
    >>> from parsgd import Ringmaster, SGDClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> algorithm = Ringmaster(max_delay=4, batch_size=16)
    >>> model = SGDClassifier(algorithm=algorithm, engine="serial", n_jobs=3, max_iter=5, tol=None, random_state=0)
    >>> model.fit(scale(X), y).score(scale(X), y) > 0.9
    True
    """

    max_delay: float | str = "auto"
    batch_size: int | None = None
    stops: bool = False

    name = "ringmaster"

    @property
    def traits(self) -> AlgorithmTraits:
        traits = super().traits
        return traits._replace(requires=traits.requires | {"cancel"}) if self.stops else traits

    def __post_init__(self) -> None:
        _check_max_delay(self.max_delay)
        check_count(self.batch_size, "batch_size", "Ringmaster")
        check_flag(self.stops, "stops", "Ringmaster")

    def init_memory(self, fit_state: FitState) -> RingmasterMemory:
        return RingmasterMemory(StepMemory(), MeasuredNoise(), None)

    def _most(self, fit_state: FitState) -> int:
        return most_batches(fit_state.n_rows, self.rows_per_gradient(fit_state.model))

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        """Step along each gradient that is recent enough; its weight is 1, and that of others 0."""
        memory: RingmasterMemory = fit_state.memory
        is_auto = self.max_delay == "auto"
        limit = max(memory.noise.batches, fit_state.n_active) if is_auto else float(self.max_delay)
        steps, factors = step_one_by_one(fit_state, reports, memory.steps, lambda delay: float(delay < limit))
        noise, gradient = memory.noise, memory.gradient
        if is_auto:
            for report in reports:
                if report.steps:
                    noise, gradient = self._measured(fit_state, noise, gradient, report)
        restarts: tuple[int, ...] = ()
        if self.stops and steps.made:
            restarts = tuple(worker for worker in busy_workers(fit_state, reports) if steps.delay(worker) >= limit)
        return steps.result(factors, RingmasterMemory(steps.memory, noise, gradient), restarts)

    def _measured(
        self, fit_state: FitState, noise: MeasuredNoise, before: np.ndarray | None, report: Report
    ) -> tuple[MeasuredNoise, np.ndarray]:
        """Return the noise, updated by a gradient and the one before it, and that gradient."""
        gradient = mean_gradient(report.state)
        if before is None:
            return noise, gradient
        with np.errstate(over="ignore", invalid="ignore"):
            product = float(np.vdot(before, gradient))
        square = 0.5 * (squared_norm(before) + squared_norm(gradient))
        return noise.updated(square, product, self._most(fit_state)), gradient


def _check_max_delay(value: object) -> None:
    if value in ("auto", math.inf):
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise InvalidArgumentError(
            "The 'max_delay' parameter of Ringmaster must be an int of at least 1, inf or 'auto'."
            f" Got {value!r} instead."
        )
