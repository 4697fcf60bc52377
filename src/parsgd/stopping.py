"""When to stop: scikit-learn's rule, for every output by itself.

An epoch counts as "no improvement" when the mean objective is above ``best - tol`` (or, with a monitor, the score below
``best + tol``).  After ``patience`` such epochs in a row the output has converged: its gain, the factor on its learning
rate, becomes 0.  With the adaptive schedule the gain is divided by 5 instead, until the rate is below 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_SMALLEST_RATE = 1e-6
_DIVISOR = 5.0


@dataclass
class Stopping:
    """The rule and what it remembers.  ``tol=None`` never stops.

    ``monitor`` maps a state to scores ``(n_outputs,)``; with ``decides=False`` they are recorded, but the objective decides.
    """

    tol: float | None = 1e-3
    patience: int = 5
    adaptive_from: float | None = None
    monitor: Callable[[np.ndarray], np.ndarray] | None = None
    decides: bool = True
    best: np.ndarray | None = field(default=None, repr=False)
    idle: np.ndarray | None = field(default=None, repr=False)
    scores: list[float] = field(default_factory=list, repr=False)

    def fresh(self) -> Stopping:
        """The same rule, remembering nothing."""
        return Stopping(self.tol, self.patience, self.adaptive_from, self.monitor, self.decides)

    def update(self, objective: np.ndarray, state: np.ndarray, gains: np.ndarray) -> bool:
        """Take note of an epoch's mean ``objective`` ``(n_outputs,)``; lower ``gains`` in place; say whether all is done."""
        badness = objective
        if self.monitor is not None:
            score = self.monitor(state)
            self.scores.append(float(np.mean(score)))
            badness = -score if self.decides else objective
        if self.best is None:
            self.best = np.full(gains.shape, np.inf)
            self.idle = np.zeros(gains.shape, dtype=int)
        if self.tol is not None:
            # as scikit-learn has it, an objective must fall strictly, a score may stay exactly tol above
            late = badness > self.best - self.tol
            self.idle = np.where(late, self.idle + 1, 0)
        self.best = np.minimum(self.best, badness)
        due = self.idle >= self.patience
        if self.adaptive_from is not None:
            lowered = due & (self.adaptive_from * gains > _SMALLEST_RATE)
            gains[lowered] /= _DIVISOR
            self.idle[lowered] = 0
            due &= ~lowered
        gains[due] = 0.0
        return bool(np.all(gains == 0.0))
