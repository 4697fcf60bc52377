"""Result of a fit, and its outcome in the cases that need a decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from parsgd.core import Report
from parsgd.errors import DivergenceWarning, Outcome
from parsgd.training.reporting.history import History
from parsgd.utils.callers import warn

# Message for Ctrl-C after all work was done.
INTERRUPTED_LATE = "The fit was interrupted when it had ended; the model is complete."


@dataclass
class Fit:
    """Result of a fit.  An epoch callback receives the intermediate result at the end of every epoch.

    ``outcome`` is None while the fit runs; ``history`` has one entry per round;
    ``schedule_step`` is the next step of the learning-rate schedule.
    """

    state: np.ndarray
    outcome: Outcome | None
    history: History
    schedule_step: float
    n_epochs: int
    lr_scale: np.ndarray
    examples: int


# A callback at the end of an epoch, between two rounds; it returns True to stop the fit.
EpochCallback = Callable[[Fit], bool]


def one_shot_outcome(reports: Sequence[Report], budgets: Sequence[int]) -> Outcome:
    """Return the outcome of a one-shot fit; ``budgets`` are the maximum numbers of examples per worker."""
    moved = [report for report in reports if report.examples]
    if any(report.diverged for report in moved):
        return Outcome.DIVERGED
    if moved and all(report.converged for report in moved):
        return Outcome.CONVERGED
    unfinished = any(r.examples < b and not r.converged for r, b in zip(reports, budgets, strict=True))
    return Outcome.OUT_OF_TIME if unfinished else Outcome.MAX_EPOCHS


def warn_diverged(outcome: Outcome, epochs: int) -> None:
    """Warn if the fit diverged and returns the state of its best epoch."""
    if outcome is Outcome.DIVERGED:
        warn(f"{Outcome.DIVERGED.value} ({epochs} epochs.)", DivergenceWarning)
