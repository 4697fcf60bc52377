"""Rounds inside compiled code: the workers of one process run, wait for each other and merge without Python in between.

The driver plans the rounds until the next decision, starts all workers, and looks at their counters from time to
time.  Afterwards it records each round as if it had merged the reports itself.  The results have the same bits.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import (
    Budget,
    CompiledRoundsModel,
    CompiledRoundsRun,
    GroupPool,
    MergeResult,
    PlannedAlgorithm,
    ProgressCallback,
    RowBlock,
    Shard,
    Task,
    WorkerPool,
    has_compiled_rounds,
    is_planned,
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
    RoundGroup,
)
from parsgd.errors import DivergedError, Outcome, diverged
from parsgd.training.compiled.round_plans import Plan, Planner, reset
from parsgd.training.loop_snapshot import take_snapshot
from parsgd.training.reporting import history_entries

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop

_log = logging.getLogger(__name__)
# More states are summed in a tree (parsgd.utils.tree_reduce).
_MAX_WORKERS = 16
# Shorter calls may occupy the driver's thread, in which Python handles Ctrl-C.
_BRIEF_SECONDS = 0.02
# Seconds after which rounds return to the driver if observers wait for them.
_PAUSE_SECONDS = 0.1


@dataclass
class CompiledRounds:
    """The rounds of a fit whose workers can make them in compiled code."""

    loop: Loop
    pool: GroupPool
    model: CompiledRoundsModel
    algorithm: PlannedAlgorithm

    def __post_init__(self) -> None:
        self.planner: Planner = Planner(self.loop, self.model, self.algorithm)
        self.lr_scale: np.ndarray = self.loop.lr_scale.copy()
        self.planner.states[0, : self.loop.state.size] = self.loop.state
        self.runs: dict[int, CompiledRoundsRun] = {0: self._make_run(0)}
        self.planner.use(self.runs[0])
        # of the last call; at first a rough estimate
        self.seconds_per_visit: float = 2e-9 * self.planner.cost
        # after a diverged round that the algorithm repeats at smaller rates
        self.has_given_up: bool = False

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
        """Run rounds until a decision, or until observers wait; return the outcome if the fit has ended.

        With a checkpointer, one round.
        """
        loop = self.loop
        if self.has_given_up:
            return loop.run_round(self.pool)
        if loop.checkpointer is not None:
            loop.checkpointer.offer(take_snapshot(loop, loop.now() - loop.began))
        plan = self.planner.plan()
        group = plan.group
        self.lr_scale[:] = loop.lr_scale
        # a checkpoint may be due after any round
        group.control[PAUSE] = loop.checkpointer is not None
        began = loop.now()
        merged = self._run_together(group)
        self.seconds_per_visit = (loop.now() - began) / max(int(group.visited[:, :merged].max(initial=0)), 1)
        wrong = _find_divergence(group, merged)
        if wrong is None:
            return self._record(plan, merged, began)
        if not self.planner.has_outer_steps:
            raise self._divergence(group, *wrong)
        # the algorithm repeats a diverged run at smaller rates, in an ordinary round after the good ones
        self.has_given_up = True
        if wrong[0] == 0:
            return loop.run_round(self.pool)
        reset(group, loop.state)
        shorter = group._replace(schedule_steps=group.schedule_steps[: wrong[0]].copy())
        return self._record(plan, self._run_together(shorter), began)

    def _run_together(self, group: RoundGroup) -> int:
        """Make the rounds on all workers, and return how many were merged."""
        merged, visits = [0] * self.loop.n_workers, int(group.spans[:, -1, 1].max())
        brief = visits * self.seconds_per_visit < _BRIEF_SECONDS

        def make(worker: int) -> Callable[[], Callable[[], None]]:
            # brief preparations would only wait for each other's turn in Python
            ready = self._prepare(group, worker) if brief else None

            def prepare() -> Callable[[], None]:
                with _failing(group):
                    rounds = ready or self._prepare(group, worker)
                return lambda: work(rounds)

            def work(rounds: Callable[[], int]) -> None:
                with _failing(group):
                    merged[worker] = rounds()

            return prepare

        poll = _Poll(self.loop, self.pool.progress, group)
        try:
            self.pool.run_together([make(worker) for worker in range(self.loop.n_workers)], poll, brief)
        except BaseException:
            # after a second Ctrl-C, or if a thread cannot start, workers run or wait for each other
            group.control[HALT, 0] = group.control[FAILED, 0] = 1
            raise
        poll.count()
        return merged[0]

    def _prepare(self, group: RoundGroup, worker: int) -> Callable[[], int]:
        """Return the compiled rounds of a worker, with the order of its visits."""
        loop = self.loop
        visits = int(group.spans[worker, -1, 1])
        block = _visits(loop.shards[worker], loop.seeds[worker], loop.cursors[worker], visits)
        if worker not in self.runs:
            self.runs[worker] = self._make_run(worker)
        return self.runs[worker].prepare_rounds(block.rows, block.order, group, worker)

    def _make_run(self, worker: int) -> CompiledRoundsRun:
        loop, planner = self.loop, self.planner
        state = planner.states[worker, : loop.state.size]
        return self.model.sgd_run(state, 1.0, self.lr_scale, loop.seeds[worker], planner.step_size)

    def _record(self, plan: Plan, merged: int, began: float) -> Outcome | None:
        """Record the merged rounds as if the driver had merged each, and return an outcome if the fit has ended."""
        loop, group, progress = self.loop, plan.group, self.loop.progress
        losses, objectives = _sum_totals(group, merged)
        state = group.coordinates.base if group.coordinates.rule else group.states[0, : group.size]
        weights = (_shares(group) if group.coordinates.rule else group.weights)[:merged].copy()
        result = MergeResult(state.copy(), weights[-1])
        if self.planner.has_outer_steps:
            result = result._replace(answer=None if loop.answer is None else group.answer.copy())
            result = self._take_outer_step(plan, result, weights)
        loop.state, loop.answer, loop.next_fractions = result.state, result.answer, None
        for number, entry in enumerate(self._entries(group, losses, weights, began)):
            loop.schedule_step += plan.advances[number]
            loop.history.append(entry)
            if progress.observers:
                progress.end_round(entry["loss"], entry)
        loop.round += merged
        visited = group.visited[:, :merged]
        loop.cursors = [cursor + seen for cursor, seen in zip(loop.cursors, visited.sum(axis=1).tolist(), strict=True)]
        loop.merged = loop.history[-1]["seconds"] + loop.history[-1]["merge_seconds"] + loop.began
        outcome = None
        # one round after the other, as the driver adds them
        for number, seen in enumerate(visited.sum(axis=0).tolist()):
            loop.examples += seen
            loop.epoch_examples += seen
            loop.epoch_objective = loop.epoch_objective + np.add.accumulate(objectives[:, number], axis=0)[-1]
            outcome = outcome or (None if progress.halted else loop.end_epoch())
        return Outcome.INTERRUPTED if progress.halted else outcome

    def _take_outer_step(self, plan: Plan, merged: MergeResult, weights: np.ndarray) -> MergeResult:
        """Let the algorithm continue from the last of the merged rounds; only this one may be due.

        The last row of ``weights (R, K)`` becomes that of the outer step.
        """
        loop, size, group = self.loop, self.model.batch_size, plan.group
        steps: np.ndarray = -(-group.visited[:, : len(weights)] // size)
        last = len(weights) - 1
        if last > 0:
            loop.memory = self.algorithm.skip_rounds(loop.fit_state(), int(steps[:, :last].sum()))
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
        result = self.algorithm.merge_planned(now, reports, merged._replace(weights=weights[last]))
        loop.memory, weights[last] = result.memory, result.weights
        return result

    def _entries(
        self, group: RoundGroup, losses: np.ndarray, merge_weights: np.ndarray, began: float
    ) -> Iterator[dict[str, Any]]:
        """Yield the history entries of the rounds that began at the time ``began``."""
        loop, size, numbers = self.loop, self.model.batch_size, range(self.loop.n_workers)
        weights = merge_weights.tolist()
        visited, spent = group.visited.tolist(), (group.times[:, :, 0] * 1e-9).tolist()
        ends = (group.times[0, :, 1] * 1e-9).tolist()
        totals = self._total_losses(losses)
        examples = loop.examples
        for number in range(len(weights)):
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

    def _divergence(self, group: RoundGroup, number: int, worker: int) -> DivergedError:
        """Return the error of a worker whose parameters or objective became NaN or infinite in a round."""
        loop = self.loop
        visited = loop.cursors[worker] + int(group.visited[worker, : number + 1].sum())
        epoch = max(visited - 1, 0) // loop.shard_rows[worker] + 1
        part = "objective" if self.model.finite(group.states[worker, : group.size]) else "parameters"
        what = f"the {part} of worker {worker} became NaN or infinite in round {loop.round + number}"
        return diverged(self.model.divergence, epoch, what)


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


@contextlib.contextmanager
def _failing(group: RoundGroup) -> Generator[None]:
    """Let the other workers leave their barrier if this one fails."""
    try:
        yield
    except BaseException:
        group.control[FAILED, 0] = 1
        raise


def _sum_totals(group: RoundGroup, merged: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed losses and objectives ``(K, R, n_outputs)`` of the merged rounds."""
    losses = group.totals[:, :merged, LOSS] + np.log(group.totals[:, :merged, LOSS_FACTOR])
    return losses, losses + group.totals[:, :merged, PENALTY_SUM]


def _find_divergence(group: RoundGroup, merged: int) -> tuple[int, int] | None:
    """Return the first round and worker whose parameters or objective are NaN or infinite, or None."""
    good = group.finite[:, :merged].astype(bool) & np.isfinite(_sum_totals(group, merged)[1]).all(axis=2)
    wrong: list[list[int]] = np.argwhere(~good.T).tolist()
    return (wrong[0][0], wrong[0][1]) if wrong else None


def _shares(group: RoundGroup) -> np.ndarray:
    """Return the weights ``(R, K)`` of merges per coordinate: shares of the visits, or else of the work."""
    sums = group.coordinates.sums.T
    totals = sums.sum(axis=1, keepdims=True)
    return np.where(totals > 0.0, sums / np.where(totals > 0.0, totals, 1.0), group.weights)


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
