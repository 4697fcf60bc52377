"""Compiled rounds whose workers run SGD on states of their own, and then average them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from parsgd.core import (
    Budget,
    CompiledRoundsModel,
    CompiledRoundsRun,
    GroupPool,
    MergeResult,
    OuterStepsAlgorithm,
    PlannedAlgorithm,
    Task,
)
from parsgd.core.round_group import RoundGroup
from parsgd.errors import Outcome
from parsgd.training.compiled.compiled_rounds import CompiledRounds, visits_of
from parsgd.training.compiled.round_plans import Plan, Planner

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop


class StateRounds(CompiledRounds):
    """Rounds that average the states of the workers."""

    def __init__(self, loop: Loop, pool: GroupPool, model: CompiledRoundsModel, algorithm: PlannedAlgorithm):
        super().__init__(loop, pool, Planner(loop, algorithm))
        self.model: CompiledRoundsModel = model
        self.planner.states[0, : loop.state.size] = loop.state
        self.runs: dict[int, CompiledRoundsRun] = {0: self._make_run(0)}
        self.planner.use(self.runs[0])
        # after a diverged round that the algorithm repeats at smaller rates
        self.has_given_up: bool = False

    def _make_run(self, worker: int) -> CompiledRoundsRun:
        loop, planner = self.loop, self.planner
        state = planner.states[worker, : loop.state.size]
        return self.model.sgd_run(state, 1.0, self.lr_scale, loop.seeds[worker], planner.step_size)

    def run(self) -> Outcome | None:
        return self.loop.run_round(self.pool) if self.has_given_up else super().run()

    def prepare(self, group: RoundGroup, worker: int) -> Callable[[], int]:
        loop = self.loop
        shard, visits = loop.shards[worker], int(group.spans[worker, -1, 1])
        block = visits_of(shard, loop.seeds[worker], shard.n_rows, loop.cursors[worker], visits)
        if worker not in self.runs:
            self.runs[worker] = self._make_run(worker)
        return self.runs[worker].prepare_rounds(block.rows, block.order, group, worker)

    def diverge(self, plan: Plan, number: int, worker: int, began: float) -> Outcome | None:
        if self.planner.outer is None:
            return super().diverge(plan, number, worker, began)
        # the algorithm repeats a diverged run at smaller rates, in an ordinary round after the good ones
        self.has_given_up = True
        if number == 0:
            return self.loop.run_round(self.pool)
        group = plan.group
        self.planner.reset(group)
        shorter = group._replace(schedule_steps=group.schedule_steps[:number].copy())
        return self.record(plan, self.run_together(shorter), began)

    def merge(self, plan: Plan, merged: int) -> tuple[MergeResult, np.ndarray]:
        group, outer = plan.group, self.planner.outer
        state = group.coordinates.base if group.coordinates.rule else group.states[0, : group.size]
        weights = (_shares(group) if group.coordinates.rule else group.weights)[:merged].copy()
        result = MergeResult(state.copy(), weights[-1])
        if outer is not None:
            result = result._replace(answer=None if self.loop.answer is None else group.answer.copy())
            result = self._take_outer_step(plan, result, weights, outer)
        return result, weights

    def _take_outer_step(
        self, plan: Plan, merged: MergeResult, weights: np.ndarray, outer: OuterStepsAlgorithm
    ) -> MergeResult:
        """Let the algorithm continue from the last of the merged rounds; only this one may be due.

        The last row of ``weights (R, K)`` becomes that of the outer step.
        """
        loop, size, group = self.loop, self.planner.batch_size, plan.group
        steps: np.ndarray = -(-group.visited[:, : len(weights)] // size)
        last = len(weights) - 1
        if last > 0:
            loop.memory = outer.skip_rounds(loop.fit_state(), int(steps[:, :last].sum()))
        now = self.planner.fit_state(loop.fit_state(), plan, last)
        lr_scale = loop.lr_scale * group.lr_factors[last]
        for worker, cursor in enumerate(now.cursors):
            loop.tasks[worker] = Task(
                worker, now.round, loop.state, loop.seeds[worker], Budget(0), cursor, now.schedule_step, lr_scale
            )
        reports = [
            self.planner.report(worker, int(steps[worker, last]), seen, lr_scale)
            for worker, seen in enumerate(group.visited[:, last].tolist())
        ]
        now = replace(now, tasks=tuple(loop.tasks))
        result = outer.merge_planned(now, reports, merged._replace(weights=weights[last]))
        loop.memory, weights[last] = result.memory, result.weights
        return result


def _shares(group: RoundGroup) -> np.ndarray:
    """Return the weights ``(R, K)`` of merges per coordinate: shares of the visits, or else of the work."""
    sums = group.coordinates.sums.T
    totals = sums.sum(axis=1, keepdims=True)
    return np.where(totals > 0.0, sums / np.where(totals > 0.0, totals, 1.0), group.weights)
