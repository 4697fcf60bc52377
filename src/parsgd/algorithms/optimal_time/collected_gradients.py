"""Gradients that are collected at one state until their weighted mean is precise enough for a step.

Tyurin, Richtarik, "Optimal Time Complexities of Parallel Stochastic Optimization Methods Under a Fixed Computation
Model", NeurIPS 2023 (Rennala and Malenia SGD).

With ``B_i`` gradients from worker i at the state, of ``M_i`` rows in all, and ``n_i`` rows in its shard::

    g = sum_i c_i sum_j g_ij / sum_i c_i M_i,       c_i = (n_i / M_i)^theta

The variance of ``g`` is that of ``(sum_i c_i B_i)^2 / sum_i c_i^2 B_i`` gradients.  The driver steps when this number
is at least ``batch``.  ``theta = 0`` is the mean of all gradients (Rennala); ``theta = 1`` gives each worker the weight
of its rows, whatever its speed (Malenia).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np

from parsgd.algorithms.common.gradient_steps import GradientSteps, StepMemory
from parsgd.algorithms.common.measured_noise import MeasuredNoise, mean_gradient, most_batches, squared_norm
from parsgd.algorithms.common.worker_batches import WorkerBatches
from parsgd.core import FitState, MergeResult, Report
from parsgd.errors import InvalidArgumentError, check_count


class Collected(NamedTuple):
    """Gradients at the present state: their sums, and counts of gradients and rows for each worker.

    ``sums`` has one vector per worker, or one for all if ``theta`` is 0; None before the first gradient.  ``square`` is
    the sum of the squared norms of the mean gradients.
    """

    sums: tuple[np.ndarray | None, ...]
    counts: np.ndarray
    rows: np.ndarray
    square: float
    steps: StepMemory
    noise: MeasuredNoise


class CollectedGradients(WorkerBatches):
    """Base class of Rennala and Malenia, with the parameters ``batch`` and ``batch_size``."""

    batch: int | str

    @property
    @abstractmethod
    def exponent(self) -> float:
        """The exponent ``theta`` of the weights."""

    def init_memory(self, fit_state: FitState) -> Collected:
        return self._empty(fit_state, StepMemory(), MeasuredNoise(batches=min(2, self._most(fit_state))))

    def _empty(self, fit_state: FitState, steps: StepMemory, noise: MeasuredNoise) -> Collected:
        n = fit_state.n_workers
        slots = n if self.exponent > 0.0 else 1
        return Collected((None,) * slots, np.zeros(n, dtype=int), np.zeros(n), 0.0, steps, noise)

    def _most(self, fit_state: FitState) -> int:
        return most_batches(fit_state.n_rows, self.rows_per_gradient(fit_state.model))

    def merge(self, fit_state: FitState, reports: Sequence[Report]) -> MergeResult:
        """Add the gradients at the present state, ignore the others, and step if there are enough.

        The weight of a report is 1 if its gradient was added, else 0.
        """
        memory: Collected = fit_state.memory
        steps = GradientSteps(fit_state, memory.steps)
        weights = np.zeros(len(reports))
        for position, report in enumerate(reports):
            steps.visit(report)
            if report.steps and steps.delay(report.worker) == 0:
                weights[position] = 1.0
                memory = self._added(memory, report)
        batch = memory.noise.batches if self.batch == "auto" else int(self.batch)
        factors = self._factors(fit_state, memory)
        if not weights.any() or not self._are_enough(fit_state, memory, factors, batch):
            return steps.result(weights, memory)
        noise = self._measured(fit_state, memory) if self.batch == "auto" else memory.noise
        steps.make(_weighted_sum(memory.sums, factors))
        return steps.result(weights, self._empty(fit_state, steps.memory, noise))

    def _added(self, memory: Collected, report: Report) -> Collected:
        """Return the memory with the gradient of a report."""
        slot = report.worker if self.exponent > 0.0 else 0
        before = memory.sums[slot]
        with np.errstate(over="ignore", invalid="ignore"):
            total = report.state if before is None else before + report.state
        counts, rows = memory.counts.copy(), memory.rows.copy()
        counts[report.worker] += 1
        rows[report.worker] += report.examples
        square = memory.square
        if self.batch == "auto":
            square += squared_norm(mean_gradient(report.state))
        return memory._replace(
            sums=(*memory.sums[:slot], total, *memory.sums[slot + 1 :]), counts=counts, rows=rows, square=square
        )

    def _factors(self, fit_state: FitState, memory: Collected) -> np.ndarray:
        """Return the factors ``c_i`` of the workers' sums; the largest is 1."""
        if self.exponent == 0.0:
            return np.ones(fit_state.n_workers)
        seen = memory.rows > 0
        shares = np.where(seen, np.asarray(fit_state.shard_rows) / np.where(seen, memory.rows, 1.0), 0.0)
        return (shares / max(shares.max(), 1e-300)) ** self.exponent

    def _are_enough(self, fit_state: FitState, memory: Collected, factors: np.ndarray, batch: int) -> bool:
        counts = memory.counts
        if self.exponent == 1.0:
            absent = (counts == 0) & (np.asarray(fit_state.shard_rows) > 0)
            absent[list(fit_state.lost)] = False
            if absent.any():
                return False
        precision = (factors @ counts) ** 2 / (factors**2 @ counts)
        return bool(precision >= batch * (1.0 - 1e-9))

    def _measured(self, fit_state: FitState, memory: Collected) -> MeasuredNoise:
        """Return the noise, updated by the collected gradients.

        Means of one gradient say nothing about it, so at least two are collected.
        """
        n = int(memory.counts.sum())
        if n < 2:
            return memory.noise._replace(batches=min(2, self._most(fit_state)))
        square = memory.square / n
        mean = squared_norm(mean_gradient(_weighted_sum(memory.sums, np.ones(len(memory.sums)))))
        return memory.noise.updated(square, (n * mean - square) / (n - 1), self._most(fit_state))


def check_batch(batch: object, owner: str) -> None:
    """Raise unless ``batch`` is an int of at least 1 or "auto"."""
    if batch == "auto":
        return
    if isinstance(batch, bool) or not isinstance(batch, Integral):
        raise InvalidArgumentError(
            f"The 'batch' parameter of {owner} must be an int of at least 1, the number of gradients per step, or"
            f" 'auto'. Got {batch!r} instead."
        )
    check_count(batch, "batch", owner, optional=False)


def _weighted_sum(sums: Sequence[np.ndarray | None], factors: np.ndarray) -> np.ndarray:
    """Return ``sum_i c_i G_i`` over the vectors that are not None; a factor of 1 changes no bit."""
    total: np.ndarray | None = None
    with np.errstate(over="ignore", invalid="ignore"):
        for vector, factor in zip(sums, factors, strict=False):
            if vector is not None:
                scaled = vector if factor == 1.0 else (factor * vector).astype(vector.dtype)
                total = scaled if total is None else total + scaled
    assert total is not None
    return total
