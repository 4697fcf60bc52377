"""Delayed SGD inside one worker, for nodes with several cores in one-shot averaging.

The authors of WP-SGD (see :mod:`parsgd.algorithms.weighted_average`) run other parallel SGD methods inside a node and
combine the nodes.  Their text was not available; this is our reading.  Mini-batch SGD inside a node is the model's own
``batch_size``.  Delayed SGD inside a node of ``tau + 1`` cores is ``w_{t+1} = w_t - eta_t g_t(w_{t - tau})``, one
gradient per batch.  This module computes the result of such a node on one core.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator
from functools import partial

import numpy as np

from parsgd.core import GradientModel, Model, Rows, SGDRun, StartRun, Totals, has_gradients


def run_with_delay(model: Model, delay: int | None) -> StartRun:
    """Return a function that starts runs with delayed gradients, or the model's own ``sgd_run`` without a delay."""
    if delay is None:
        return model.sgd_run
    assert has_gradients(model)
    return partial(DelayedGradientRun, model, delay)


def required_by_delay(delay: int | None) -> frozenset[str]:
    """Return the capabilities that a delay requires."""
    return frozenset() if delay is None else frozenset({"gradients"})


class DelayedGradientRun(SGDRun):
    """A run of in-place steps, each along the gradient of the batch ``delay`` batches earlier.

    It calls the model's ``gradient_sum`` and ``apply_gradient`` once per batch.  :meth:`finalize` applies the
    remaining gradients.
    """

    def __init__(
        self,
        model: GradientModel,
        delay: int,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        seed: int,
        schedule_step_size: float,
    ):
        self.model: GradientModel = model
        self.delay: int = delay
        self.state: np.ndarray = state
        self.lr_scale: np.ndarray = lr_scale
        self.seed: int = seed
        self._schedule_step = float(schedule_step)
        self.schedule_step_size: float = schedule_step_size
        self.pending: deque[np.ndarray] = deque()
        self._reset_totals()

    @property
    def schedule_step(self) -> float:
        """Step of the schedule after the applied gradients."""
        return self._schedule_step

    def _reset_totals(self) -> None:
        nothing = np.zeros(self.model.n_outputs)
        self.sums: Totals = Totals(0, 0, nothing, nothing)

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        """Visit ``order[start:stop]``."""
        if start == stop:
            self._compile(rows, order)
        for first in range(start, stop, self.model.batch_size):
            batch = order[first : min(first + self.model.batch_size, stop)]
            # the schedule step of this batch comes after those of the pending gradients
            number = self.schedule_step + len(self.pending) * self.schedule_step_size
            gradient, totals = self.model.gradient_sum(self.state, rows, batch, 0, len(batch), number, self.seed)
            old = self.sums
            self.sums = Totals(
                old.examples + totals.examples,
                old.steps + totals.steps,
                old.loss + totals.loss,
                old.objective + totals.objective,
            )
            self.pending.append(gradient)
            if len(self.pending) > self.delay:
                self._step()

    def _compile(self, rows: Rows, order: np.ndarray) -> None:
        """Apply one gradient to a discarded state, to compile the functions used on first call."""
        gradient, _ = self.model.gradient_sum(
            self.state, rows, order, 0, min(1, len(order)), self.schedule_step, self.seed
        )
        self.model.apply_gradient(self.state, gradient, self.schedule_step, self.lr_scale)

    def _step(self) -> None:
        self.state[:] = self.model.apply_gradient(self.state, self.pending.popleft(), self.schedule_step, self.lr_scale)
        self._schedule_step += self.schedule_step_size

    def mean_loss(self) -> float:
        """Return the mean loss of the examples since the last :meth:`take_totals`."""
        return self.model.total_loss(self.sums.loss) / max(self.sums.examples, 1)

    def take_totals(self) -> Totals:
        """Return and reset the sums; a batch counts as a step even while its gradient is pending."""
        sums = self.sums
        self._reset_totals()
        return sums

    @contextlib.contextmanager
    def finalized(self) -> Generator[None, None, None]:
        """Apply the pending gradients inside the context; restore the state and the gradients afterwards."""
        state, schedule_step, pending = self.state.copy(), self._schedule_step, self.pending.copy()
        self.finalize()
        yield
        self.state[:], self._schedule_step, self.pending = state, schedule_step, pending

    def finalize(self) -> None:
        """Apply the pending gradients."""
        while self.pending:
            self._step()
