"""Test loss after each pass of a fit, and the time of fits whose loss is not evaluated."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.measuring import timed
from benchmarks.time_to_goal.tasks import Setting, Task
from parsgd import LocalSGD, Simulated
from parsgd.errors import DivergedError, IncompatiblePartsError

# Length of a round as a fraction of a pass over the worker's shard.
SYNC_EVERY_DENSE, SYNC_EVERY_SPARSE = 0.05, 0.2


@dataclass(frozen=True)
class Workers:
    """A number of workers, and how they work together on a task.

    `algorithm` is the name of an algorithm, or None for local SGD with the merge rule `rule`.  The rule "auto" is
    "coordinate" for sparse rows and "uniform" for dense ones.  `simulated` workers have equal speeds and a virtual
    clock; its second is the time of one worker's pass over all rows, and messages take no time.
    """

    n_workers: int
    rule: str = "auto"
    algorithm: str | None = None
    simulated: bool = False

    @property
    def title(self) -> str:
        return f"{self.n_workers} worker{'s' * (self.n_workers > 1)}"

    def arguments(self, task: Task) -> dict[str, Any]:
        """The arguments of the estimator; one worker has parsgd's defaults."""
        engine = {"engine": Simulated(rate=float(task.n_rows))} if self.simulated else {}
        if self.n_workers == 1:
            return {"n_jobs": 1, **engine}
        algorithm: Any = self.algorithm
        if algorithm is None:
            rule = self.rule if self.rule != "auto" else "coordinate" if task.sparse else "uniform"
            algorithm = LocalSGD(sync_every=SYNC_EVERY_SPARSE if task.sparse else SYNC_EVERY_DENSE, rule=rule)
        return {"n_jobs": self.n_workers, "algorithm": algorithm, **engine}


@dataclass
class _LossCallback:
    """A callback that evaluates the test loss after every pass, and ends the fit when it is at the goal."""

    task: Task
    goal: float
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing at the start of a fit."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing at the start of a pass."""

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> bool:
        """Evaluate the loss after a pass; return True if it is at the goal."""
        if fitted_estimator is None or context.parent is None:
            return False
        self.losses.append(self.task.test_loss(fitted_estimator))
        self.seconds.append(float(fitted_estimator.history_[-1]["seconds"]))
        return self.losses[-1] <= self.goal

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing at the end of a fit."""


@dataclass(frozen=True)
class Curve:
    """Test losses after 0, 1, 2, ... passes, and the seconds at those times by the clock of the engine.

    A fit that diverged has infinite losses from there on, one that was refused from the first pass on.
    """

    losses: tuple[float, ...]
    seconds: tuple[float, ...]

    def passes(self, goal: float) -> float:
        """Passes until the loss is at the goal, interpolated linearly between passes; infinite if it never is."""
        for number in range(1, len(self.losses)):
            before, after = self.losses[number - 1], self.losses[number]
            if after <= goal:
                # the first pass starts from the initial loss; a whole pass if that is no number or at the goal already
                return number - ((goal - after) / (before - after) if goal < before < np.inf else 0.0)
        return np.inf

    def time(self, passes: float) -> float:
        """Seconds at a number of passes, interpolated; those of the last pass if that is later."""
        return float(np.interp(passes, np.arange(len(self.seconds)), self.seconds))


def curve(task: Task, workers: Workers, setting: Setting, n_epochs: int, seed: int, goal: float = -np.inf) -> Curve:
    """The curve of one fit of at most `n_epochs` passes, which ends at the goal; a fit in itself, not timed."""
    callback = _LossCallback(task, goal)
    model = task.estimator(setting, n_epochs, seed, **workers.arguments(task)).set_callbacks(callback)
    failed = False
    try:
        model.fit(task.X, task.y)
    except (DivergedError, IncompatiblePartsError):
        # an algorithm may not offer every schedule
        failed = True
    losses, seconds = [task.initial_loss, *callback.losses], [0.0, *callback.seconds]
    missing = n_epochs + 1 - len(losses) if failed else 0
    return Curve((*losses, *[np.inf] * missing), (*seconds, *seconds[-1:] * missing))


def fit_seconds(task: Task, workers: Workers, setting: Setting, n_epochs: int, seed: int) -> float:
    """Seconds of a fit without callbacks, of one that diverges until then; 0 for no passes."""
    if n_epochs == 0:
        return 0.0
    model = task.estimator(setting, n_epochs, seed, **workers.arguments(task))

    def fit() -> None:
        # the curve of the same seed shows that it diverges
        with contextlib.suppress(DivergedError):
            model.fit(task.X, task.y)

    return timed(fit)


def concurrent_seconds(tasks: Sequence[Task], workers: Workers, setting: Setting, n_epochs: int, seed: int) -> float:
    """Seconds until a fit of each task, all at the same time in threads of their own, has ended."""

    def fit_all() -> None:
        with ThreadPoolExecutor(len(tasks)) as pool:
            # list: raises the error of a thread
            list(pool.map(lambda task: fit_seconds(task, workers, setting, n_epochs, seed), tasks))

    return timed(fit_all)


def interleaved(runs: Sequence[Callable[[], float]], n_turns: int, first: int = 0) -> np.ndarray:
    """Results of all runs, in turns of alternating order; shape: (runs, turns)."""
    gc.collect()
    found = np.zeros((len(runs), n_turns))
    for turn in range(n_turns):
        numbers = range(len(runs))
        for number in numbers if (first + turn) % 2 == 0 else reversed(numbers):
            found[number, turn] = runs[number]()
    return found
