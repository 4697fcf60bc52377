"""Stopping rule of scikit-learn, applied to every output separately.

An epoch counts as "no improvement" if the mean objective is above ``best - tol``.  With a monitor it counts if the
score is below ``best + tol``.  After ``patience`` such epochs in a row the output has converged, and its learning-rate
scale becomes 0.  With the adaptive schedule the scale is divided by 5 instead, until the rate is below 1e-6.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_SMALLEST_RATE = 1e-6
_DIVISOR = 5.0


@dataclass
class StoppingRule:
    """The rule and its memory.  ``tol=None`` never stops.

    ``monitor`` maps a state to scores ``(n_outputs,)``.  With ``decides=False`` the scores are recorded, but the
    objective decides.  With ``keeps_best`` the state with the best score is kept in ``best_state``.
    """

    tol: float | None = 1e-3
    patience: int = 5
    adaptive_from: float | None = None
    monitor: Callable[[np.ndarray], np.ndarray] | None = None
    decides: bool = True
    keeps_best: bool = False
    best: np.ndarray | None = field(default=None, repr=False)
    idle: np.ndarray | None = field(default=None, repr=False)
    scores: list[float] = field(default_factory=list, repr=False)
    best_state: np.ndarray | None = field(default=None, repr=False)

    def fresh(self) -> StoppingRule:
        """Return the same rule with empty memory."""
        return StoppingRule(self.tol, self.patience, self.adaptive_from, self.monitor, self.decides, self.keeps_best)

    def resume_from(
        self, best: np.ndarray | None, idle: np.ndarray | None, scores: list[float], best_state: np.ndarray | None
    ) -> None:
        """Continue from the memory in a snapshot."""
        self.best, self.idle, self.scores, self.best_state = best, idle, list(scores), best_state

    def least_epochs(self, lr_scale: np.ndarray) -> int:
        """Return the number of epochs that can be run before the rule needs their results.

        Outputs whose ``lr_scale (n_outputs,)`` is 0 have converged.
        """
        if self.monitor is not None:
            return 1
        if self.tol is None:
            return sys.maxsize
        idle = 0 if self.idle is None else int(self.idle[lr_scale > 0.0].max(initial=0))
        return max(self.patience - idle, 1)

    def update(self, objective: np.ndarray, state: np.ndarray, lr_scale: np.ndarray) -> bool:
        """Record an epoch's mean ``objective (n_outputs,)``.

        ``lr_scale`` is reduced in place; the return value is True if any entry was.
        """
        badness = objective
        if self.monitor is not None:
            score = self.monitor(state)
            self._note(float(np.mean(score)), state)
            badness = -score if self.decides else objective
        if self.tol is None:
            return False
        if self.best is None:
            self.best = np.full(lr_scale.shape, np.inf)
            self.idle = np.zeros(lr_scale.shape, dtype=int)
        # as in scikit-learn, an improvement by exactly tol counts
        assert self.idle is not None
        self.idle = (self.idle + 1) * (badness > self.best - self.tol)
        self.best = np.minimum(self.best, badness)
        due = self.idle >= self.patience
        return bool(due.any()) and self._lower(lr_scale, due, self.idle)

    def _note(self, score: float, state: np.ndarray) -> None:
        best = max((score for score in self.scores if score == score), default=-np.inf)  # ignores NaN
        if self.keeps_best and self.decides and (self.best_state is None or score > best):
            self.best_state = state.copy()
        self.scores.append(score)

    def _lower(self, lr_scale: np.ndarray, due: np.ndarray, idle: np.ndarray) -> bool:
        before = lr_scale.copy()
        if self.adaptive_from is not None:
            lowered = due & (self.adaptive_from * lr_scale > _SMALLEST_RATE)
            lr_scale[lowered] /= _DIVISOR
            idle[lowered] = 0
            due = due & ~lowered
        lr_scale[due] = 0.0
        return not np.array_equal(before, lr_scale)
