"""What a node does by itself where a node is a machine of several cores: delayed SGD within the model-averaging kind.

The authors of WP-SGD (see :mod:`parsgd.algorithms.weighted_average`) run other parallel SGDs inside a node and combine
the nodes; their text could not be had, and this is our reading: mini-batch SGD inside a node is the model's own
``batch_size``; delayed SGD inside a node of ``tau + 1`` cores is ``w_{t+1} = w_t - eta_t g_t(w_{t - tau})``, one
gradient for each batch.  What such a node would learn is computed here, on one core.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parsgd.core import Model, Rows, Totals


@dataclass(frozen=True)
class DelayedGradientModel:
    """A model whose gradients come ``delay`` batches late; in all else it is ``model``."""

    model: Model
    delay: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def descent(
        self, state: np.ndarray, clock: float, gains: np.ndarray, seed: int, pace: float = 1.0
    ) -> DelayedGradientRun:
        return DelayedGradientRun(self.model, self.delay, state, clock, gains, seed, pace)


def wrap_delay(model: Model, delay: int | None) -> Model | DelayedGradientModel:
    """The model as a node descends it."""
    return model if delay is None else DelayedGradientModel(model, delay)


class DelayedGradientRun:
    """A run of steps in place, each along the gradient of the batch ``delay`` batches ago.

    In NumPy around the model's ``slope`` and ``step``, one call each a batch.  :meth:`settle` waits for the cores: it
    takes the steps that are still due.
    """

    def __init__(
        self, model: Model, delay: int, state: np.ndarray, clock: float, gains: np.ndarray, seed: int, pace: float
    ):
        self.model, self.delay, self.state, self.gains, self.seed = model, delay, state, gains, seed
        self.clock, self.pace = float(clock), pace
        self.due: deque[np.ndarray] = deque()
        self._forget()

    def _forget(self) -> None:
        nothing = np.zeros(self.model.n_outputs)
        self.sums = Totals(0, 0, nothing, nothing)

    def advance(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Visit ``order[start:stop]``."""
        if start == stop:
            self._compile(rows, order)
        for first in range(start, stop, self.model.batch_size):
            batch = order[first : min(first + self.model.batch_size, stop)]
            # a batch has the number of its own step, which others come before
            number = self.clock + len(self.due) * self.pace
            slope, tally = self.model.slope(self.state, rows, batch, 0, len(batch), number, self.seed)
            self.sums = Totals(*(old + new for old, new in zip(self.sums, tally, strict=True)))
            self.due.append(slope)
            if len(self.due) > self.delay:
                self._step()

    def _compile(self, rows: Rows, order: np.ndarray) -> None:
        """A step that leads nowhere: what is compiled on first use is compiled here."""
        slope, _ = self.model.slope(self.state, rows, order, 0, min(1, len(order)), self.clock, self.seed)
        self.model.step(self.state, slope, self.clock, self.gains)

    def _step(self) -> None:
        self.state[:] = self.model.step(self.state, self.due.popleft(), self.clock, self.gains)
        self.clock += self.pace

    def mean_loss(self) -> float:
        """Mean loss of the examples since the last :meth:`tally`."""
        return self.model.total_loss(self.sums.loss) / max(self.sums.examples, 1)

    def tally(self) -> Totals:
        """The sums since the last tally; a batch whose step is due counts as a step."""
        sums = self.sums
        self._forget()
        return sums

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Settle the state for a while; the run then goes on from what it was."""
        state, clock, due = self.state.copy(), self.clock, self.due.copy()
        self.settle()
        yield
        self.state[:], self.clock, self.due = state, clock, due

    def settle(self) -> None:
        """Take the steps that are due."""
        while self.due:
            self._step()
