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

    def sgd_run(
        self, state: np.ndarray, schedule_step: float, lr_scale: np.ndarray, seed: int, schedule_step_size: float = 1.0
    ) -> DelayedGradientRun:
        return DelayedGradientRun(self.model, self.delay, state, schedule_step, lr_scale, seed, schedule_step_size)


def wrap_delay(model: Model, delay: int | None) -> Model | DelayedGradientModel:
    """The model as a node descends it."""
    return model if delay is None else DelayedGradientModel(model, delay)


class DelayedGradientRun:
    """A run of steps in place, each along the gradient of the batch ``delay`` batches ago.

    In NumPy around the model's ``gradient_sum`` and ``apply_gradient``, one call each a batch.  :meth:`finalize` waits
    for the cores: it takes the steps that are still due.
    """

    def __init__(
        self,
        model: Model,
        delay: int,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        seed: int,
        schedule_step_size: float,
    ):
        self.model, self.delay, self.state, self.lr_scale, self.seed = model, delay, state, lr_scale, seed
        self.schedule_step, self.schedule_step_size = float(schedule_step), schedule_step_size
        self.due: deque[np.ndarray] = deque()
        self._forget()

    def _forget(self) -> None:
        nothing = np.zeros(self.model.n_outputs)
        self.sums = Totals(0, 0, nothing, nothing)

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Visit ``order[start:stop]``."""
        if start == stop:
            self._compile(rows, order)
        for first in range(start, stop, self.model.batch_size):
            batch = order[first : min(first + self.model.batch_size, stop)]
            # a batch has the number of its own step, which others come before
            number = self.schedule_step + len(self.due) * self.schedule_step_size
            slope, totals = self.model.gradient_sum(self.state, rows, batch, 0, len(batch), number, self.seed)
            self.sums = Totals(*(old + new for old, new in zip(self.sums, totals, strict=True)))
            self.due.append(slope)
            if len(self.due) > self.delay:
                self._step()

    def _compile(self, rows: Rows, order: np.ndarray) -> None:
        """A step that leads nowhere: what is compiled on first use is compiled here."""
        slope, _ = self.model.gradient_sum(
            self.state, rows, order, 0, min(1, len(order)), self.schedule_step, self.seed
        )
        self.model.apply_gradient(self.state, slope, self.schedule_step, self.lr_scale)

    def _step(self) -> None:
        self.state[:] = self.model.apply_gradient(self.state, self.due.popleft(), self.schedule_step, self.lr_scale)
        self.schedule_step += self.schedule_step_size

    def mean_loss(self) -> float:
        """Mean loss of the examples since the last :meth:`take_totals`."""
        return self.model.total_loss(self.sums.loss) / max(self.sums.examples, 1)

    def take_totals(self) -> Totals:
        """The sums since the last tally; a batch whose step is due counts as a step."""
        sums = self.sums
        self._forget()
        return sums

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Settle the state for a while; the run then goes on from what it was."""
        state, schedule_step, due = self.state.copy(), self.schedule_step, self.due.copy()
        self.finalize()
        yield
        self.state[:], self.schedule_step, self.due = state, schedule_step, due

    def finalize(self) -> None:
        """Take the steps that are due."""
        while self.due:
            self._step()
