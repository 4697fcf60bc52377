"""Rounds inside compiled code: the workers of one process run, wait for each other and merge without Python in between.

The driver plans the rounds until the next decision, starts all workers, and looks at their counters from time to
time.  Afterwards it records each round as if it had merged the reports itself.  The results have the same bits.
"""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import GroupPool, MergeResult, ProgressCallback, RowBlock, Shard
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
from parsgd.errors import Outcome, diverged
from parsgd.training.compiled.round_plans import Plan, Planner
from parsgd.training.loop_snapshot import take_snapshot
from parsgd.training.reporting import history_entries

if TYPE_CHECKING:
    from parsgd.training.rounds import Loop

# Shorter calls may occupy the driver's thread, in which Python handles Ctrl-C.
_BRIEF_SECONDS = 0.02
# Seconds after which rounds return to the driver if observers wait for them.
_PAUSE_SECONDS = 0.1


class CompiledRounds(ABC):
    """The rounds of a fit whose workers make them in compiled code.

    ``tested``: what ``RoundGroup.finite`` tells about, the ``"parameters"`` or the ``"objective"``.
    """

    tested = "parameters"

    def __init__(self, loop: Loop, pool: GroupPool, planner: Planner):
        self.loop: Loop = loop
        self.pool: GroupPool = pool
        self.planner: Planner = planner
        self.lr_scale: np.ndarray = loop.lr_scale.copy()
        # of the last call; at first a rough estimate
        self.seconds_per_visit: float = 2e-9 * planner.cost

    @abstractmethod
    def prepare(self, group: RoundGroup, worker: int) -> Callable[[], int]:
        """Return the rounds of a worker in compiled code, with the order of its visits."""

    @abstractmethod
    def merge(self, plan: Plan, merged: int) -> tuple[MergeResult, np.ndarray]:
        """Return what the fit continues with after the merged rounds, and their merge weights ``(merged, K)``."""

    def run(self) -> Outcome | None:
        """Run rounds until a decision, or until observers wait; return the outcome if the fit has ended.

        With a checkpointer, one round.
        """
        loop = self.loop
        if loop.checkpointer is not None:
            loop.checkpointer.offer(take_snapshot(loop, loop.now() - loop.began))
        plan = self.planner.plan()
        group = plan.group
        self.lr_scale[:] = loop.lr_scale
        # a checkpoint may be due after any round
        group.control[PAUSE] = loop.checkpointer is not None
        began = loop.now()
        merged = self.run_together(group)
        self.seconds_per_visit = (loop.now() - began) / max(int(group.visited[:, :merged].max(initial=1)), 1)
        wrong = _find_divergence(group, merged)
        return self.record(plan, merged, began) if wrong is None else self.diverge(plan, *wrong, began)

    def diverge(self, plan: Plan, number: int, worker: int, began: float) -> Outcome | None:
        """Handle a worker whose parameters or objective became NaN or infinite in a round.

        Raises
        ------
        DivergedError
            Unless the algorithm can continue.
        """
        loop, group = self.loop, plan.group
        visited = loop.cursors[worker] + int(group.visited[worker, : number + 1].sum())
        epoch = max(visited - 1, 0) // loop.shard_rows[worker] + 1
        part = "objective" if group.finite[worker, number] else self.tested
        what = f"the {part} of worker {worker} became NaN or infinite in round {loop.round + number}"
        raise diverged(loop.model.divergence, epoch, what)

    def run_together(self, group: RoundGroup) -> int:
        """Make the rounds on all workers, and return how many were merged."""
        merged, visits = [0] * self.loop.n_workers, int(group.spans[:, -1, 1].max())
        brief = visits * self.seconds_per_visit < _BRIEF_SECONDS

        def make(worker: int) -> Callable[[], Callable[[], None]]:
            # brief preparations would only wait for each other's turn in Python
            ready = self.prepare(group, worker) if brief else None

            def prepare() -> Callable[[], None]:
                with _failing(group):
                    rounds = ready or self.prepare(group, worker)
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

    def record(self, plan: Plan, merged: int, began: float) -> Outcome | None:
        """Record the merged rounds as if the driver had merged each, and return an outcome if the fit has ended."""
        loop, group, progress = self.loop, plan.group, self.loop.progress
        losses, objectives = _sum_totals(group, merged)
        result, weights = self.merge(plan, merged)
        loop.state, loop.answer, loop.next_fractions = result.state, result.answer, None
        for number, entry in enumerate(self._entries(group, losses, weights, began)):
            loop.schedule_step += plan.advances[number]
            history_entries.add(loop.history, entry, loop.short_rounds, in_place=number > 0 and not progress.observers)
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
            is_last = number == merged - 1
            outcome = outcome or (None if progress.halted and is_last else loop.end_epoch())
        return Outcome.INTERRUPTED if progress.halted else outcome

    def _entries(
        self, group: RoundGroup, losses: np.ndarray, merge_weights: np.ndarray, began: float
    ) -> Iterator[dict[str, Any]]:
        """Yield the history entries of the rounds that began at the time ``began``."""
        loop, size, numbers = self.loop, self.planner.batch_size, range(self.loop.n_workers)
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
                        "trace": [(seen, loss, None)] if seen and self.loop.traits.message == "state" else [],
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
        return [[self.loop.model.total_loss(loss) for loss in of_worker] for of_worker in losses]


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


def visits_of(shard: Shard, seed: int, n_rows: int, cursor: int, visits: int) -> RowBlock:
    """Return the rows of a shard in one block, and the order of the next ``visits`` visits; ``n_rows`` per epoch."""
    blocks: list[RowBlock] = []
    epoch, skip = divmod(cursor, max(n_rows, 1))
    left = visits
    while left > 0 or not blocks:
        block = next(iter(shard.blocks(seed, epoch, skip)))
        blocks.append(block)
        left -= len(block.order)
        epoch, skip = epoch + 1, 0
    if len(blocks) == 1:
        return blocks[0]
    return RowBlock(blocks[0].rows, np.concatenate([block.order for block in blocks]))
