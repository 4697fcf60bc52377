"""What one more pass costs: fits of few and of more epochs, whose difference leaves out what a fit does once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# Passes between the two fits take so many seconds at least (in a quick run less), but there are no more than so many.
LEAST_S, QUICK_S, MOST_PASSES = 0.06, 0.005, 400


@dataclass(frozen=True)
class Steady:
    """``(seconds(many) - seconds(few)) / (many - few)``, of the better of two fits each; `fit(epochs) -> seconds`."""

    fit: Callable[[int], float]
    few: int
    many: int

    @classmethod
    def of(cls, fit: Callable[[int], float], few: int = 1, least_s: float = LEAST_S) -> Steady:
        """So many passes that they take `least_s`, found out by two fits, after one that compiles."""
        fit(few)
        a_pass = max((fit(few + 2) - fit(few)) / 2, least_s / MOST_PASSES)
        return cls(fit, few, few + max(2, math.ceil(least_s / a_pass)))

    def __call__(self) -> float:
        """Seconds a pass, above 0."""
        few, many = (min(self.fit(epochs) for _ in range(2)) for epochs in (self.few, self.many))
        # a clock's tick at least, where noise was greater than what is measured
        return max(many - few, 1e-7) / (self.many - self.few)
