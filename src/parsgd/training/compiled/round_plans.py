"""Plans of compiled rounds: the examples, merge weights and schedule steps of rounds that have not run yet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from parsgd.core import (
    Budget,
    CompiledRoundsRun,
    FitState,
    Model,
    OuterStepsAlgorithm,
    PlannedAlgorithm,
    Report,
    Task,
    has_features,
    has_outer_steps,
    rest_slices,
)
from parsgd.core.padded import padded_rows
from parsgd.core.round_group import Coordinates, RoundGroup, make_coordinates, make_round_group
from parsgd.training.schedule_advance import schedule_advance

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop

# Values read in the first call of the steps, about a millisecond.
_FIRST_CHUNK_VALUES = 200_000
# Readings of a counter before a waiting worker offers its core: some 20 microseconds.
_SPINS = 2000
# A call makes several epochs if nothing is decided between them, up to this number of visits per worker.
_MAX_VISITS = 1 << 20
# Rounds of a call: their entries in the history take some 20 microseconds each, in which Ctrl-C has to wait.
_MAX_ROUNDS = 2000
# Plans that are kept: observers and checkpoints may end a call after any round, so that every one is another.
_MAX_PLANS = 64


class Plan(NamedTuple):
    """Rounds from given cursors to the end of an epoch at most, for ``K`` workers.

    The spans of ``group`` count from each worker's cursor.  ``advances``: increase of the schedule step in each round.
    ``counts (R, K)``: examples.
    """

    group: RoundGroup
    advances: list[float]
    counts: np.ndarray


@dataclass
class Planner:
    """Plans of a fit, kept because they repeat with every epoch."""

    loop: Loop
    algorithm: PlannedAlgorithm

    def __post_init__(self) -> None:
        loop = self.loop
        self.model: Model = loop.model
        self.plans: dict[tuple[int, ...], Plan] = {}
        # the last planned rounds: examples of the fit before them, examples after each, and those of each worker
        self.ahead: tuple[int, np.ndarray, np.ndarray] = (0, np.zeros(0), np.zeros((0, loop.n_workers)))
        self.zero: np.ndarray = np.zeros(self.model.n_outputs)
        self.size, self.states = self._make_states()
        self.batch_size: int = self.algorithm.rows_per_step(self.model)
        self.outer: OuterStepsAlgorithm | None = self.algorithm if has_outer_steps(self.algorithm) else None
        self.steps_per_tick: float = 1.0
        self.coordinates: Coordinates = make_coordinates(0, loop.state, loop.n_workers, 0)
        # values per example
        self.cost: float = max(max(shard.cost for shard in loop.shards) * self.model.n_outputs, 1.0)
        self.step_size: float = self.algorithm.next_task(loop.fit_state(), 0).schedule_step_size
        self.answer: np.ndarray = np.zeros(0 if self.outer is None else loop.state.size, dtype=loop.state.dtype)

    def use(self, run: CompiledRoundsRun) -> None:
        """Take what the plans need from a run of the model."""
        self.steps_per_tick = run.steps_per_tick
        self.coordinates = self._make_coordinates(run.lists_features)

    def plan(self) -> Plan:
        """Return the rounds from the present cursors to the next decision, ready to run."""
        loop, n_epochs = self.loop, self._count_epochs()
        place = (loop.examples - loop.n_rows * loop.epochs, *self._places())
        if len(self.plans) >= _MAX_PLANS:
            self.plans.clear()
        if (n_epochs, 0, *place) not in self.plans:
            # a checkpoint may be due after any round
            rounds = self._plan_rounds()[: _MAX_ROUNDS if loop.checkpointer is None else 1]
            self.plans[n_epochs, 0, *place] = self._make_plan(rounds, min(n_epochs, _MAX_ROUNDS // len(rounds)))
        plan = self.plans[n_epochs, 0, *place]
        if self.outer is not None:
            n_rounds = self._count_rounds(plan, self.outer)
            if (n_epochs, n_rounds, *place) not in self.plans:
                self.plans[n_epochs, n_rounds, *place] = self._make_plan(plan.counts[:n_rounds], n_epochs)
            plan = self.plans[n_epochs, n_rounds, *place]
        self._start(plan)
        return plan

    def _start(self, plan: Plan) -> None:
        """Set the start of the rounds to the present state of the fit."""
        loop, group = self.loop, plan.group
        steps = itertools.accumulate(plan.advances, initial=loop.schedule_step)
        group.schedule_steps[:] = [math.ceil(step - 1e-9) for step in itertools.islice(steps, len(plan.advances))]
        if self.outer is not None:
            if loop.answer is not None:
                group.answer[:] = loop.answer
            before = loop.fit_state()
            for number, examples in enumerate(plan.counts.sum(axis=1).tolist()):
                now = self.fit_state(before, plan, number)
                group.lr_factors[number] = self.algorithm.next_task(now, 0).lr_factor
                is_left_out = loop.answer is None or self.outer.is_due(now, examples)
                group.answer_weights[number] = 0.0 if is_left_out else self.outer.answer_weight(now, examples)
        self.reset(group)

    def reset(self, group: RoundGroup) -> None:
        """Set the start state of all workers, and clear the flags."""
        group.control[:] = 0
        group.states[:, : group.size] = self.loop.state
        if group.coordinates.rule:
            group.coordinates.base[:] = self.loop.state

    def _make_states(self) -> tuple[int, np.ndarray]:
        """Return the length of a state, and an array with a row for the state of each worker."""
        return self.loop.state.size, padded_rows(self.loop.n_workers, self.loop.state.size, self.loop.state.dtype)

    def _places(self) -> Iterator[int]:
        """Yield each worker's place in its shard."""
        return map(_modulo, self.loop.cursors, self.loop.shard_rows)

    def _spans(self, counts: np.ndarray) -> np.ndarray:
        """Return start and end ``(K, R, 2)`` of the rounds in each worker's order; ``counts (R, K)``: examples."""
        ends = np.cumsum(counts, axis=0).T
        return np.stack([ends - counts.T, ends], axis=2)

    def _repeats(self, counts: np.ndarray) -> bool:
        """Return True if the epochs after these rounds have the same: every worker visits its shard once."""
        return counts.sum(axis=0).tolist() == self.loop.shard_rows

    def fit_state(self, before: FitState, plan: Plan, number: int) -> FitState:
        """Return the fit state at the start of a round of the plan; its state and memory are those ``before`` it."""
        seen = plan.counts[:number].sum(axis=0).tolist()
        return replace(
            before,
            round=before.round + number,
            examples=before.examples + sum(seen),
            cursors=tuple(cursor + more for cursor, more in zip(before.cursors, seen, strict=True)),
            schedule_step=float(plan.group.schedule_steps[number]),
        )

    def _count_rounds(self, plan: Plan, outer: OuterStepsAlgorithm) -> int:
        """Return the number of rounds until the algorithm has to take an outer step."""
        fit_state, examples = self.loop.fit_state(), self.loop.examples
        for number, visited in enumerate(plan.counts.sum(axis=1).tolist()):
            if outer.is_due(replace(fit_state, examples=examples), visited):
                return number + 1
            examples += visited
        return len(plan.counts)

    def _count_epochs(self) -> int:
        """Return the number of epochs until the next decision, of at most ``_MAX_VISITS`` visits per worker."""
        loop = self.loop
        if loop.checkpointer is not None or loop.epoch_callback is not None or self.outer is not None:
            return 1
        possible = min(loop.max_epochs - loop.epochs, loop.stopping.least_epochs(loop.lr_scale))
        return max(min(possible, _MAX_VISITS // max(*loop.shard_rows, 1)), 1)

    def _make_plan(self, counts: np.ndarray, n_epochs: int) -> Plan:
        loop, size = self.loop, self.batch_size
        if loop.examples == loop.n_rows * loop.epochs and self._repeats(counts):
            counts = np.tile(counts, (n_epochs, 1))
        steps = -(-counts // size)
        weights = np.empty(counts.shape)
        advances: list[float] = []
        known: dict[tuple[int, ...], tuple[np.ndarray, float]] = {}
        fit_state, task = loop.fit_state(), Task(0, 0, loop.state, 0, Budget(0), schedule_step_size=self.step_size)
        visits: list[list[int]] = counts.tolist()
        for number, visited in enumerate(map(tuple, visits)):
            if visited not in known:
                reports = [self.report(worker, steps[number, worker], seen) for worker, seen in enumerate(visited)]
                share = self.algorithm.merge_weights(fit_state, reports)
                tasks, is_common = [task] * len(reports), loop.traits.common_schedule_step
                known[visited] = share, schedule_advance(reports, tasks, share, loop.n_workers, is_common)
            weights[number], advance = known[visited]
            advances.append(advance)
        group = make_round_group(
            self.states,
            self.size,
            self.model.n_outputs,
            self._spans(counts),
            weights,
            self.answer,
            chunk=max(size, int(_FIRST_CHUNK_VALUES / self.cost) // size * size),
            batch_size=size,
            spins=_SPINS,
            coordinates=self.coordinates._replace(sums=np.zeros((loop.n_workers, len(counts)))),
        )
        return Plan(group, advances, counts)

    def _plan_rounds(self) -> np.ndarray:
        """Return the examples ``(R, K)`` of the next rounds: the rest of those planned last, or new ones."""
        before, ends, counts = self.ahead
        done = self.loop.examples - before
        at = int(np.searchsorted(ends, done))
        if at + 1 < len(ends) and ends[at] == done:
            return counts[at + 1 :]
        counts = np.array(self._plan_epoch(), dtype=np.int64)
        self.ahead = self.loop.examples, np.cumsum(counts.sum(axis=1)), counts
        return counts

    def _plan_epoch(self) -> list[list[int]]:
        """Return the examples of each worker in each round until the end of the epoch, of 2000 rounds at most."""
        loop = self.loop
        cursors, examples = list(loop.cursors), loop.examples
        rounds: list[list[int]] = []
        fit_state = loop.fit_state()
        while examples < loop.n_rows * (loop.epochs + 1) and len(rounds) < _MAX_ROUNDS:
            now = replace(fit_state, round=loop.round + len(rounds), cursors=tuple(cursors), examples=examples)
            rounds.append([self.algorithm.next_task(now, worker).budget.examples for worker in range(loop.n_workers)])
            cursors = [cursor + budget for cursor, budget in zip(cursors, rounds[-1], strict=True)]
            examples += sum(rounds[-1])
        return rounds

    def _make_coordinates(self, lists_features: bool) -> Coordinates:
        """Allocate what merges per coordinate need."""
        model, size, n_workers = self.model, self.loop.state.size, self.loop.n_workers
        rule = ("mean", "coordinate", "touched").index(self.algorithm.traits.planned)
        if not rule or not has_features(model):
            return make_coordinates(0, self.loop.state, n_workers, 0)
        added, bounds = model.additive, model.nonnegative
        return make_coordinates(
            rule,
            self.loop.state,
            n_workers,
            0,
            model.n_features,
            model.n_outputs,
            max(self.loop.shard_rows),
            lists_features,
            [(part.start, part.width, int(part.is_sum)) for part in model.feature_parts],
            [(rest.start, rest.stop, int(added.start <= rest.start < added.stop)) for rest in rest_slices(model, size)],
            (bounds.start, bounds.stop),
        )

    def report(self, worker: int, steps: int, examples: int, lr_scale: np.ndarray | None = None) -> Report:
        """Return a report with counts only."""
        zero = self.zero
        lr_scale = zero if lr_scale is None else lr_scale
        schedule_step = 1.0 + steps * self.steps_per_tick
        return Report(worker, 0, zero[:0], steps, examples, zero, zero, 0.0, schedule_step, lr_scale)


def _modulo(cursor: int, n_rows: int) -> int:
    return cursor % max(n_rows, 1)
