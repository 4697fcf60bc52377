"""Outer steps: how far the driver goes along the workers' merged move, and what momentum it keeps.

With the merged move ``D = sum_i a_i (w_i - w)`` of a round:

- mean: ``w + D``, the workers' average.
- momentum (SlowMo): ``u = beta u + D``, ``w + rate u``.
- nesterov (DiLoCo): ``m = beta m + D``, ``w + rate (D + beta m)``.

Wang, Tantia, Ballas, Rabbat, "SlowMo: Improving Communication-Efficient Distributed SGD with Slow Momentum", ICLR 2020.
Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", arXiv 2311.08105.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from parsgd.algorithms.common import merge_weights
from parsgd.core import FitState, Report
from parsgd.errors import InvalidArgumentError, check_between, choose


class OuterStep(NamedTuple):
    """Where an outer step arrived, what it remembers, and the state to hand out if that is another one.

    ``factor`` says how many times the round's merged move is in the step: the reports' weights in it are the rule's
    times this.
    """

    state: np.ndarray
    memory: Any = None
    answer: np.ndarray | None = None
    factor: float = 1.0


class OuterOptimizer(Protocol):
    """An outer step.  ``init_memory`` is what it remembers at first; ``n_probe_rows`` says on how many rows it judges;
    ``lr_factor`` is a factor on the workers' learning rates, at most their number, and ``schedule_step_size`` what a
    worker's step moves the clock by.  ``raises_rates``: whether the factor may be above 1; a worker whose run explodes
    then tries again without it, and says so by the gains of its report."""

    raises_rates: bool

    def n_probe_rows(self, n_rows: int) -> int: ...

    def init_memory(self, standing: FitState) -> Any: ...

    def lr_factor(self, standing: FitState, memory: Any) -> float: ...

    def schedule_step_size(self, n_workers: int) -> float: ...

    def step(self, standing: FitState, reports: Sequence[Report], weights: np.ndarray, memory: Any) -> OuterStep: ...


class _NoProbe:
    """What outer steps have in common that look at no rows and leave the workers' rates alone."""

    raises_rates = False

    def n_probe_rows(self, n_rows: int) -> int:
        return 0

    def init_memory(self, standing: FitState) -> Any:
        return None

    def lr_factor(self, standing: FitState, memory: Any) -> float:
        return 1.0

    def schedule_step_size(self, n_workers: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Mean(_NoProbe):
    """To the workers' weighted mean, whole."""

    def step(self, standing: FitState, reports: Sequence[Report], weights: np.ndarray, memory: Any) -> OuterStep:
        return OuterStep(merge_weights.merge(standing.state, reports, weights, standing.model.nonnegative).state)


@dataclass(frozen=True)
class Momentum(_NoProbe):
    """An outer step with momentum ``0 <= beta < 1``; SlowMo's, or DiLoCo's Nesterov form.

    The driver keeps one more vector.  ``rate=None`` is 1 for SlowMo and 0.7 for Nesterov, with ``beta=None`` 0.5 and
    0.9: the published defaults, for networks and hundreds of steps a round.

    >>> Momentum("nesterov")
    Momentum(kind='nesterov', rate=0.7, beta=0.9)
    """

    kind: str = "momentum"
    rate: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        choose(self.kind, ("momentum", "nesterov"), "kind", "Momentum")
        nesterov = self.kind == "nesterov"
        object.__setattr__(self, "rate", (0.7 if nesterov else 1.0) if self.rate is None else self.rate)
        object.__setattr__(self, "beta", (0.9 if nesterov else 0.5) if self.beta is None else self.beta)
        check_between(self.rate, 0, float("inf"), "rate", "Momentum")
        if self.beta != 0 or isinstance(self.beta, bool):
            check_between(self.beta, 0, 1, "beta", "Momentum")
        if self.beta == 1:
            raise InvalidArgumentError(
                "The 'beta' parameter of Momentum must be below 1: at 1 nothing is ever forgotten."
            )

    def init_memory(self, standing: FitState) -> np.ndarray:
        return np.zeros(len(standing.state))

    def step(self, standing: FitState, reports: Sequence[Report], weights: np.ndarray, memory: np.ndarray) -> OuterStep:
        merged = merge_weights.merge(standing.state, reports, weights, standing.model.nonnegative).state
        move = merged.astype(np.float64) - standing.state
        velocity = self.beta * memory + move
        nesterov = self.kind == "nesterov"
        along = move + self.beta * velocity if nesterov else velocity
        # from the mean on, so that without momentum and at rate 1 it is the mean to the bit
        state = (merged + (self.rate * along - move)).astype(standing.state.dtype)
        # second moments of a solver must not be carried below 0
        part = standing.model.nonnegative
        state[part] = merged[part]
        return OuterStep(state, velocity, factor=self.rate * (1.0 + self.beta * nesterov))
