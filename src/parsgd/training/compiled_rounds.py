"""Rounds inside compiled code: the workers of one process run, wait for each other and merge without Python in between.

The driver plans the rounds until the end of the epoch, starts all workers, and looks at their counters from time to
time.  Afterwards it records each round as if it had merged the reports itself.  The results have the same bits.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parsgd.core import (
    Budget,
    CompiledRoundsModel,
    CompiledRoundsRun,
    GroupPool,
    PlannedAlgorithm,
    ProgressCallback,
    Report,
    RowBlock,
    Shard,
    Task,
    WorkerPool,
    has_compiled_rounds,
    has_features,
    is_planned,
    rest_slices,
)
from parsgd.core.round_group import (
    EXAMPLES,
    FAILED,
    FIRST_WORKER,
    HALT,
    LOSS,
    LOSS_FACTOR,
    PAUSE,
    PENALTY_SUM,
    Coordinates,
    RoundGroup,
    make_coordinates,
    make_round_group,
    make_states,
)
from parsgd.errors import Outcome, diverged
from parsgd.training.loop_snapshot import take_snapshot
from parsgd.training.reporting import history_entries
from parsgd.training.schedule_advance import schedule_advance

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop

_log = logging.getLogger(__name__)
# More states are summed in a tree (parsgd.utils.tree_reduce).
_MAX_WORKERS = 16
# Values read in the first call of the steps, about a millisecond.
_FIRST_CHUNK_VALUES = 200_000
# Readings of a counter before a waiting worker offers its core: some 20 microseconds.
_SPINS = 2000
# Shorter calls may occupy the driver's thread, in which Python handles Ctrl-C.
_BRIEF_SECONDS = 0.02
# Seconds after which rounds return to the driver if observers wait for them.
_PAUSE_SECONDS = 0.1


class Plan(NamedTuple):
    """Rounds from given cursors to the end of the epoch, for ``K`` workers.

    The spans of ``group`` count from each worker's cursor.  ``advances``: increase of the schedule step in each round.
    """

    group: RoundGroup
    advances: list[float]


@dataclass
class CompiledRounds:
    """The rounds of a fit whose workers can make them in compiled code."""

    loop: Loop
    pool: GroupPool
    model: CompiledRoundsModel
    algorithm: PlannedAlgorithm

    def __post_init__(self) -> None:
        self.plans: dict[tuple[int, ...], Plan] = {}
        self.zero: np.ndarray = np.zeros(self.model.n_outputs)
        self.states: np.ndarray = make_states(self.loop.state, self.loop.n_workers)
        self.lr_scale: np.ndarray = self.loop.lr_scale.copy()
        self.runs: dict[int, CompiledRoundsRun] = {}
        # duration of the last call
        self.seconds: float = math.inf

    @classmethod
    def of(cls, loop: Loop, pool: WorkerPool) -> CompiledRounds | None:
        """Return the compiled rounds of a fit; None if its rounds return to Python, which a debug message explains."""
        model, algorithm = loop.model, loop.algorithm
        if loop.n_workers == 1:
            return None
        if not isinstance(pool, GroupPool):
            why = "the workers do not share memory"
        elif not is_planned(algorithm):
            why = f"rounds of {algorithm.name!r} with these parameters depend on earlier results"
        elif not has_compiled_rounds(model):
            why = "the model has no compiled rounds with these parameters"
        elif not all(shard.in_one_block for shard in loop.shards):
            why = "the rows are streamed"
        elif loop.n_workers > _MAX_WORKERS:
            why = f"there are more than {_MAX_WORKERS} workers"
        elif loop.busy:
            why = "the checkpoint has tasks under way"
        else:
            return cls(loop, pool, model, algorithm)
        _log.debug("Rounds return to Python: %s.", why)
        return None

    def run(self) -> Outcome | None:
        """Run rounds until the epoch ends, or observers wait; return the outcome if the fit has ended.

        With a checkpointer, one round.
        """
        loop = self.loop
        if loop.checkpointer is not None:
            loop.checkpointer.offer(take_snapshot(loop, loop.now() - loop.began))
        plan = self._plan()
        group, steps = plan.group, itertools.accumulate(plan.advances, initial=loop.schedule_step)
        group.schedule_steps[:] = [math.ceil(step - 1e-9) for step in itertools.islice(steps, len(plan.advances))]
        group.control[:] = 0
        group.states[:, : group.size] = loop.state
        if group.coordinates.rule:
            group.coordinates.base[:] = loop.state
        self.lr_scale[:] = loop.lr_scale
        # a checkpoint may be due after any round
        group.control[PAUSE] = loop.checkpointer is not None
        began = loop.now()
        merged = self._run_together(group)
        self.seconds = loop.now() - began
        return self._record(plan, merged, began)

    def _plan(self) -> Plan:
        """Plan the rounds from the present cursors; plans repeat with every epoch."""
        loop = self.loop
        key = (loop.examples - loop.n_rows * loop.epochs, *map(_modulo, loop.cursors, loop.shard_rows))
        if key not in self.plans:
            self.plans[key] = self._make_plan()
        return self.plans[key]

    def _make_plan(self) -> Plan:
        loop, size = self.loop, self.loop.model.batch_size
        cursors, examples = list(loop.cursors), loop.examples
        rows: list[list[int]] = []
        fit_state = loop.fit_state()
        while examples < loop.n_rows * (loop.epochs + 1):
            now = replace(fit_state, cursors=tuple(cursors), examples=examples)
            budgets = [self.algorithm.next_task(now, worker).budget.examples for worker in range(loop.n_workers)]
            rows.append(budgets)
            cursors = [cursor + budget for cursor, budget in zip(cursors, budgets, strict=True)]
            examples += sum(budgets)
        counts = np.array(rows, dtype=np.int64)
        steps, ends = -(-counts // size), np.cumsum(counts, axis=0).T
        weights = np.empty(counts.shape)
        advances: list[float] = []
        task = Task(0, 0, loop.state, 0, Budget(0))
        for number, (made, visited) in enumerate(zip(steps.tolist(), counts.tolist(), strict=True)):
            reports = [self._report(worker, made[worker], visited[worker]) for worker in range(loop.n_workers)]
            weights[number] = self.algorithm.merge_weights(fit_state, reports)
            advances.append(schedule_advance(reports, [task] * len(reports), weights[number], loop.n_workers, False))
        cost = max(max(shard.cost for shard in loop.shards) * self.model.n_outputs, 1.0)
        group = make_round_group(
            self.states,
            loop.state.size,
            self.model.n_outputs,
            np.stack([ends - counts.T, ends], axis=2),
            weights,
            chunk=max(size, int(_FIRST_CHUNK_VALUES / cost) // size * size),
            batch_size=size,
            spins=_SPINS,
            coordinates=self._make_coordinates(len(counts), int(counts.max())),
        )
        return Plan(group, advances)

    def _make_coordinates(self, n_rounds: int, most_examples: int) -> Coordinates:
        """Allocate what merges per coordinate need, for rounds of at most ``most_examples`` per worker."""
        model, size, n_workers = self.model, self.loop.state.size, self.loop.n_workers
        rule = ("mean", "coordinate", "touched").index(self.algorithm.traits.planned)
        if not rule or not has_features(model):
            return make_coordinates(0, self.loop.state, n_workers, n_rounds)
        added, bounds = model.additive, model.nonnegative
        return make_coordinates(
            rule,
            self.loop.state,
            n_workers,
            n_rounds,
            model.n_features,
            model.n_outputs,
            most_examples,
            [(part.start, part.width, int(part.is_sum)) for part in model.feature_parts],
            [(rest.start, rest.stop, int(added.start <= rest.start < added.stop)) for rest in rest_slices(model, size)],
            (bounds.start, bounds.stop),
        )

    def _report(self, worker: int, steps: int, examples: int) -> Report:
        """Return a report with counts only."""
        zero = self.zero
        return Report(worker, 0, zero[:0], steps, examples, zero, zero, 0.0, 1.0 + steps, zero)

    def _run_together(self, group: RoundGroup) -> int:
        """Make the rounds on all workers, and return how many were merged."""
        merged = [0] * self.loop.n_workers

        def make(worker: int) -> Callable[[], None]:
            def work() -> None:
                try:
                    merged[worker] = self._run_worker(group, worker)
                except BaseException:
                    group.control[FAILED, 0] = 1
                    raise

            return work

        poll = _Poll(self.loop, self.pool.progress, group)
        try:
            functions = [make(worker) for worker in range(self.loop.n_workers)]
            self.pool.run_together(functions, poll, self.seconds < _BRIEF_SECONDS)
        except BaseException:
            # after a second Ctrl-C, or if a thread cannot start, workers run or wait for each other
            group.control[HALT, 0] = group.control[FAILED, 0] = 1
            raise
        poll.count()
        return merged[0]

    def _run_worker(self, group: RoundGroup, worker: int) -> int:
        loop = self.loop
        visits = int(group.spans[worker, -1, 1])
        block = _visits(loop.shards[worker], loop.seeds[worker], loop.cursors[worker], visits)
        if worker not in self.runs:
            state = group.states[worker, : group.size]
            self.runs[worker] = self.model.sgd_run(state, 1.0, self.lr_scale, loop.seeds[worker])
        return self.runs[worker].run_rounds(block.rows, block.order, group, worker)

    def _record(self, plan: Plan, merged: int, began: float) -> Outcome | None:
        """Record the merged rounds as if the driver had merged each, and return an outcome if the fit has ended."""
        loop, group, progress = self.loop, plan.group, self.loop.progress
        losses = group.totals[:, :merged, LOSS] + np.log(group.totals[:, :merged, LOSS_FACTOR])
        objectives = losses + group.totals[:, :merged, PENALTY_SUM]
        self._refuse_divergence(group, objectives, merged)
        merged_state = group.coordinates.base if group.coordinates.rule else group.states[0, : group.size]
        loop.state, loop.answer, loop.next_fractions = merged_state.copy(), None, None
        for number, entry in enumerate(self._entries(group, losses, merged, began)):
            loop.schedule_step += plan.advances[number]
            loop.history.append(entry)
            if progress.observers:
                progress.end_round(entry["loss"], entry)
        loop.round += merged
        visits: list[int] = group.visited[:, :merged].sum(axis=1).tolist()
        loop.cursors = [cursor + visited for cursor, visited in zip(loop.cursors, visits, strict=True)]
        loop.examples += sum(visits)
        loop.epoch_examples += sum(visits)
        # one round after the other, as the driver adds them
        for number in range(merged):
            loop.epoch_objective = loop.epoch_objective + np.add.accumulate(objectives[:, number], axis=0)[-1]
        loop.merged = loop.history[-1]["seconds"] + loop.history[-1]["merge_seconds"] + loop.began
        return Outcome.INTERRUPTED if progress.halted else loop.end_epoch()

    def _entries(self, group: RoundGroup, losses: np.ndarray, merged: int, began: float) -> Iterator[dict[str, Any]]:
        """Yield the history entries of the rounds that began at the time ``began``."""
        loop, size, numbers = self.loop, self.model.batch_size, range(self.loop.n_workers)
        weights = (_shares(group) if group.coordinates.rule else group.weights).tolist()
        visited, spent = group.visited.tolist(), (group.times[:, :, 0] * 1e-9).tolist()
        ends = (group.times[0, :, 1] * 1e-9).tolist()
        totals = self._total_losses(losses)
        examples = loop.examples
        for number in range(merged):
            workers: list[dict[str, Any]] = []
            for worker in numbers:
                seen = visited[worker][number]
                loss = totals[worker][number] / max(seen, 1)
                workers.append(
                    {
                        "worker": worker,
                        "steps": -(-seen // size),
                        "examples": seen,
                        "seconds": spent[worker][number],
                        "weight": weights[number][worker],
                        "loss": loss,
                        "trace": [(seen, loss, None)] if seen else [],
                    }
                )
            seen = sum(visited[worker][number] for worker in numbers)
            examples += seen
            # without a clock in compiled code, all rounds end now
            ended = ends[number] or loop.now()
            came = min(began + max(spent[worker][number] for worker in numbers), ended)
            yield history_entries.assemble(
                loop.round + number,
                examples / loop.n_rows,
                workers,
                sum(totals[worker][number] for worker in numbers) / max(seen, 1),
                seconds=came - loop.began,
                merge_seconds=ended - came,
            )
            began = ended

    def _total_losses(self, losses: np.ndarray) -> list[list[float]]:
        """Return the summed loss of each worker in each round."""
        if losses.shape[2] == 1:
            return losses[:, :, 0].tolist()
        return [[self.model.total_loss(loss) for loss in of_worker] for of_worker in losses]

    def _refuse_divergence(self, group: RoundGroup, objectives: np.ndarray, merged: int) -> None:
        """Raise the error of the first worker whose parameters or objective became NaN or infinite."""
        loop = self.loop
        good = group.finite[:, :merged].astype(bool) & np.isfinite(objectives).all(axis=2)
        wrong: list[list[int]] = np.argwhere(~good.T).tolist()
        for number, worker in wrong[:1]:
            visited = loop.cursors[worker] + int(group.visited[worker, : number + 1].sum())
            epoch = max(visited - 1, 0) // loop.shard_rows[worker] + 1
            what = f"the parameters of worker {worker} became NaN or infinite in round {loop.round + number}"
            raise diverged(self.model.divergence, epoch, what)


class _Poll:
    """Pass the workers' counts to the observers, and the driver's requests to the workers."""

    def __init__(self, loop: Loop, progress: ProgressCallback, group: RoundGroup):
        self.loop: Loop = loop
        self.progress: ProgressCallback = progress
        self.control: np.ndarray = group.control
        self.seen: list[int] = [0] * loop.n_workers
        self.began: float = time.perf_counter()

    def __call__(self) -> None:
        loop, control = self.loop, self.control
        if not self.count():
            control[HALT, 0] = 1
        if loop.progress.observers and time.perf_counter() - self.began > _PAUSE_SECONDS:
            control[PAUSE, 0] = 1

    def count(self) -> bool:
        """Report the examples visited since the last call; return False if the workers should stop."""
        goes_on = True
        for worker in range(self.loop.n_workers):
            visited = int(self.control[FIRST_WORKER + worker, EXAMPLES])
            goes_on &= self.progress(worker, visited - self.seen[worker], self)
            self.seen[worker] = visited
        return goes_on

    def mean_loss(self) -> float:
        """Return the loss of the last recorded round."""
        history = self.loop.history
        return history[-1]["loss"] if history else math.nan


def _shares(group: RoundGroup) -> np.ndarray:
    """Return the weights ``(R, K)`` of merges per coordinate: shares of the visits, or else of the work."""
    sums = group.coordinates.sums.T
    totals = sums.sum(axis=1, keepdims=True)
    return np.where(totals > 0.0, sums / np.where(totals > 0.0, totals, 1.0), group.weights)


def _modulo(cursor: int, n_rows: int) -> int:
    return cursor % max(n_rows, 1)


def _visits(shard: Shard, seed: int, cursor: int, visits: int) -> RowBlock:
    """Return the rows of a shard in one block, and the order of the next ``visits`` visits."""
    blocks: list[RowBlock] = []
    epoch, skip = divmod(cursor, max(shard.n_rows, 1))
    left = visits
    while left > 0 or not blocks:
        block = next(iter(shard.blocks(seed, epoch, skip)))
        blocks.append(block)
        left -= len(block.order)
        epoch, skip = epoch + 1, 0
    if len(blocks) == 1:
        return blocks[0]
    return RowBlock(blocks[0].rows, np.concatenate([block.order for block in blocks]))
