"""Compiled rounds of one batch each: workers sum gradients, and step together on one state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from parsgd.core import CompiledGradientsModel, GroupPool, MergeResult, PlannedAlgorithm
from parsgd.core.padded import padded_rows
from parsgd.core.round_group import RoundGroup
from parsgd.training.compiled.compiled_rounds import CompiledRounds, visits_of
from parsgd.training.compiled.round_plans import Plan, Planner

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop


class GradientPlanner(Planner):
    """Plans of batches: slices of an order that all workers have in common."""

    def __init__(self, loop: Loop, model: CompiledGradientsModel, algorithm: PlannedAlgorithm):
        self.n_gradients: int = model.n_gradients
        super().__init__(loop, algorithm)

    def reset(self, group: RoundGroup) -> None:
        # the sums of a batch replace those of the one before
        group.control[:] = 0

    def _make_states(self) -> tuple[int, np.ndarray]:
        states = padded_rows(self.loop.n_workers, self.n_gradients, self.loop.state.dtype)
        states[:] = 0.0
        return self.n_gradients, states

    def _places(self) -> Iterator[int]:
        return iter(())

    def _spans(self, counts: np.ndarray) -> np.ndarray:
        ends = np.cumsum(counts).reshape(counts.shape).T
        return np.stack([ends - counts.T, ends], axis=2)

    def _repeats(self, counts: np.ndarray) -> bool:
        return int(counts.sum()) == self.loop.n_rows


class GradientRounds(CompiledRounds):
    """Rounds that sum the gradients of the workers."""

    tested = "objective"

    def __init__(self, loop: Loop, pool: GroupPool, model: CompiledGradientsModel, algorithm: PlannedAlgorithm):
        super().__init__(loop, pool, GradientPlanner(loop, model, algorithm))
        self.model: CompiledGradientsModel = model
        self.state: np.ndarray = loop.state.copy()
        self.rounds: dict[int, Callable[[RoundGroup, np.ndarray], int]] = {}

    def prepare(self, group: RoundGroup, worker: int) -> Callable[[], int]:
        loop = self.loop
        # the order of all workers ends with the slice of the last one
        visits, seed = int(group.spans[-1, -1, 1]), loop.seeds[worker]
        block = visits_of(loop.shards[worker], seed, loop.n_rows, loop.examples, visits)
        if worker not in self.rounds:
            gradient = self.planner.states[worker, : self.planner.size]
            self.rounds[worker] = self.model.prepare_gradient_rounds(
                self.state, gradient, self.lr_scale, seed, block.rows, block.order, group, worker
            )
        return partial(self.rounds[worker], group, block.order)

    def merge(self, plan: Plan, merged: int) -> tuple[MergeResult, np.ndarray]:
        weights = plan.group.weights[:merged]
        return MergeResult(self.state.copy(), weights[-1]), weights
