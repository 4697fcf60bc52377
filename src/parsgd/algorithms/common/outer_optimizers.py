"""Outer optimizers: the driver's step along the merged displacement, and its momentum.

With the merged displacement ``D = sum_i a_i (w_i - w)`` of a round:

- mean: ``w + D``, the workers' average.
- momentum (SlowMo): ``u = beta u + D``, ``w + rate u``.
- nesterov (DiLoCo): ``m = beta m + D``, ``w + rate (D + beta m)``.

Wang, Tantia, Ballas, Rabbat, "SlowMo: Improving Communication-Efficient Distributed SGD with Slow Momentum", ICLR 2020.
Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", arXiv 2311.08105.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from parsgd.core import FitState, MergeResult, Report
from parsgd.errors import InvalidArgumentError, check_between, choose


class OuterStep(NamedTuple):
    """Result of an outer step: next state, optimizer memory, and the averaged state if that is a different one.

    ``factor`` is the multiple of the merged displacement in the step; the merge weights are multiplied by it.
    """

    state: np.ndarray
    memory: Any = None
    answer: np.ndarray | None = None
    factor: float = 1.0


@runtime_checkable
class OuterOptimizer(Protocol):
    """Outer optimizer of local SGD.

    ``requires`` are the capabilities that it requires of the model.  ``init_memory`` returns its first memory and
    ``n_probe_rows`` the number of probe rows it needs.  ``lr_factor`` is a factor on the workers' learning rates, at
    most the number of workers.  ``schedule_step_size`` is the schedule increment per worker step.  ``step`` starts from
    ``merged``, the result of the merge rule.  ``is_due`` returns whether a merge of so many examples needs ``step``
    before the next round; otherwise ``step`` does not change the state, and ``skip_rounds`` may replace it for several
    rounds.  The answer is then the mean of the last answer and the state, with ``answer_weight`` on the state.
    ``raises_rates`` is True if ``lr_factor`` may exceed 1.  A worker with a diverged run then repeats it without the
    factor, and its report carries the smaller ``lr_scale``.
    """

    @property
    def requires(self) -> frozenset[str]: ...

    @property
    def raises_rates(self) -> bool: ...

    def n_probe_rows(self, n_rows: int) -> int: ...

    def init_memory(self, fit_state: FitState) -> Any: ...

    def lr_factor(self, fit_state: FitState, memory: Any) -> float: ...

    def schedule_step_size(self, n_workers: int) -> float: ...

    def is_due(self, fit_state: FitState, examples: int, memory: Any) -> bool: ...

    def answer_weight(self, fit_state: FitState, examples: int) -> float: ...

    def skip_rounds(self, fit_state: FitState, steps: int, memory: Any) -> Any: ...

    def step(self, fit_state: FitState, reports: Sequence[Report], merged: MergeResult, memory: Any) -> OuterStep: ...


class PlainOuterOptimizer:
    """Base class of outer steps without probe rows and without a factor on the workers' rates."""

    requires: frozenset[str] = frozenset()
    raises_rates: bool = False

    def n_probe_rows(self, n_rows: int) -> int:
        return 0

    def init_memory(self, fit_state: FitState) -> Any:
        return None

    def lr_factor(self, fit_state: FitState, memory: Any) -> float:
        return 1.0

    def schedule_step_size(self, n_workers: int) -> float:
        return 1.0

    def is_due(self, fit_state: FitState, examples: int, memory: Any) -> bool:
        return True

    def answer_weight(self, fit_state: FitState, examples: int) -> float:
        return 1.0

    def skip_rounds(self, fit_state: FitState, steps: int, memory: Any) -> Any:
        return memory


@dataclass(frozen=True)
class Mean(PlainOuterOptimizer):
    """Outer step to the merged state, such as the workers' weighted mean."""

    def step(self, fit_state: FitState, reports: Sequence[Report], merged: MergeResult, memory: Any) -> OuterStep:
        return OuterStep(merged.state)


@dataclass(frozen=True)
class Momentum(PlainOuterOptimizer):
    """Outer step with momentum ``0 <= beta < 1``: SlowMo, or DiLoCo's Nesterov form.

    The driver keeps one additional vector.  The defaults are the published ones, for networks and hundreds of steps per
    round: ``rate`` 1 and ``beta`` 0.5 for SlowMo, ``rate`` 0.7 and ``beta`` 0.9 for Nesterov.

    >>> Momentum("nesterov")
    Momentum(kind='nesterov', rate=0.7, beta=0.9)
    """

    kind: str = "momentum"
    rate: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        choose(self.kind, ("momentum", "nesterov"), "kind", "Momentum")
        nesterov = self.kind == "nesterov"
        # the defaults are published values, which differ between the kinds
        object.__setattr__(self, "rate", (0.7 if nesterov else 1.0) if self.rate is None else self.rate)
        object.__setattr__(self, "beta", (0.9 if nesterov else 0.5) if self.beta is None else self.beta)
        check_between(self.rate, 0, float("inf"), "rate", "Momentum")
        if self.beta != 0 or isinstance(self.beta, bool):
            check_between(self.beta, 0, 1, "beta", "Momentum")
        if self.beta == 1:
            raise InvalidArgumentError(
                "The 'beta' parameter of Momentum must be below 1, got 1. Use a smaller value, such as 0.9."
            )

    def init_memory(self, fit_state: FitState) -> np.ndarray:
        return np.zeros(len(fit_state.state))

    def step(
        self, fit_state: FitState, reports: Sequence[Report], merged: MergeResult, memory: np.ndarray
    ) -> OuterStep:
        assert self.rate is not None
        assert self.beta is not None
        move = merged.state.astype(np.float64) - fit_state.state
        velocity = self.beta * memory + move
        nesterov = self.kind == "nesterov"
        along = move + self.beta * velocity if nesterov else velocity
        # computed from the mean, so that without momentum and at rate 1 the result is the mean to the bit
        state = (merged.state + (self.rate * along - move)).astype(fit_state.state.dtype)
        # the second moments of a solver must not become negative
        part = fit_state.model.nonnegative
        state[part] = merged.state[part]
        return OuterStep(state, velocity, factor=self.rate * (1.0 + self.beta * nesterov))
