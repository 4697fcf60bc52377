"""Asynchronous SGD: the driver steps along every gradient as it arrives, with a factor that depends on its delay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from parsgd.algorithms.common.gradient_steps import GradientSteps, StepMemory
from parsgd.core import FitState, Report


def step_one_by_one(
    fit_state: FitState, reports: Sequence[Report], memory: StepMemory, factor_of: Callable[[int], float]
) -> tuple[GradientSteps, np.ndarray]:
    """Step along each report's gradient at ``factor_of(delay)`` times the rate; 0: the gradient is ignored.

    Return the steps, and the factors.
    """
    steps = GradientSteps(fit_state, memory)
    factors = np.zeros(len(reports))
    for position, report in enumerate(reports):
        steps.visit(report)
        if report.steps:
            factors[position] = factor_of(steps.delay(report.worker))
        if factors[position] > 0.0:
            steps.make(report.state, factors[position])
    return steps, factors
