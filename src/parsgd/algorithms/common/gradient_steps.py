"""Steps of the driver along gradients, of which a merge may make none, one or several.

The schedule of an algorithm with ``common_schedule_step`` counts the driver's steps.  So a task's schedule step says
which state its worker started from, and the **delay** of a report is the number of steps since then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from parsgd.algorithms.common.gradient_messages import step_along
from parsgd.core import FitState, MergeResult, Report


class StepMemory(NamedTuple):
    """State of the optimizer outside of the model's state, and the examples visited before the last step."""

    optimizer_state: Any = None
    examples: int = 0


class GradientSteps:
    """Steps that a merge makes from the state of the fit, one after the other."""

    def __init__(self, fit_state: FitState, memory: StepMemory):
        self.fit_state: FitState = fit_state
        self.state: np.ndarray = fit_state.state
        self.memory: StepMemory = memory
        self.examples: int = fit_state.examples
        self.made: int = 0

    @property
    def schedule_step(self) -> float:
        """Schedule step of the next step."""
        return self.fit_state.schedule_step + self.made

    def delay(self, worker: int) -> int:
        """Return the number of steps since the last task of the worker was sent."""
        return round(self.schedule_step - self.fit_state.task_of(worker).schedule_step)

    def visit(self, report: Report) -> None:
        """Count the examples of a report, which may end an epoch."""
        self.examples += report.examples

    def make(self, gradient: np.ndarray, factor: float = 1.0) -> None:
        """Step along a summed gradient, at ``factor`` times the learning rate."""
        n_rows = max(self.fit_state.n_rows, 1)
        ends_epoch = self.examples // n_rows > self.memory.examples // n_rows
        lr_scale = self.fit_state.lr_scale * factor
        self.state, optimizer_state = step_along(
            self.fit_state.model,
            self.state,
            gradient,
            self.schedule_step,
            lr_scale,
            self.memory.optimizer_state,
            ends_epoch,
        )
        self.memory = StepMemory(optimizer_state, self.examples)
        self.made += 1

    def result(self, weights: np.ndarray, memory: Any, restarts: tuple[int, ...] = ()) -> MergeResult:
        """Return the result of the merge."""
        return MergeResult(self.state, weights, memory, schedule_advance=float(self.made), restarts=restarts)


def busy_workers(fit_state: FitState, reports: Sequence[Report]) -> tuple[int, ...]:
    """Return the workers that have a task and have not reported."""
    idle = {report.worker for report in reports} | fit_state.lost
    return tuple(worker for worker, task in enumerate(fit_state.tasks) if task is not None and worker not in idle)
