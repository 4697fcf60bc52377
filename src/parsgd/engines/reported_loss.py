"""Stand-in for a run on another process or machine, as progress callbacks read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportedLoss:
    """The last reported mean loss of a run; NaN if none was reported."""

    loss: float

    def mean_loss(self) -> float:
        """Return the loss."""
        return self.loss
