"""Rounds inside compiled code: the workers of one process run, wait for each other and merge without Python in between.

The driver plans the rounds until the end of the epoch, starts all workers, and looks at their counters from time to
time.  Afterwards it records each round as if it had merged the reports itself.  The results have the same bits.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
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
# A call makes several epochs if nothing is decided between them, up to this number of visits per worker.
_MAX_VISITS = 1 << 20


class Plan(NamedTuple):
    """Rounds from given cursors to the end of an epoch, for ``K`` workers.

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
        # values per example, and seconds per example in the last call, at first estimated
        self.cost: float = max(max(shard.cost for shard in self.loop.shards) * self.model.n_outputs, 1.0)
        self.seconds_per_visit: float = 2e-9 * self.cost

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
        """Run rounds until a decision after an epoch, or until observers wait; return the outcome if the fit has ended.

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
        self.seconds_per_visit = (loop.now() - began) / max(int(group.visited[:, :merged].max(initial=0)), 1)
        return self._record(plan, merged, began)

    def _plan(self) -> Plan:
        """Plan the rounds from the present cursors; plans repeat with every epoch."""
        loop, n_epochs = self.loop, self._count_epochs()
        key = (n_epochs, loop.examples - loop.n_rows * loop.epochs, *map(_modulo, loop.cursors, loop.shard_rows))
        if key not in self.plans:
            self.plans[key] = self._make_plan(n_epochs)
        return self.plans[key]

    def _count_epochs(self) -> int:
        """Return the number of epochs until the next decision, of at most ``_MAX_VISITS`` visits per worker."""
        loop = self.loop
        if loop.checkpointer is not None or loop.epoch_callback is not None:
            return 1
        possible = min(loop.max_epochs - loop.epochs, loop.stopping.least_epochs)
        return max(min(possible, _MAX_VISITS // max(*loop.shard_rows, 1)), 1)

    def _make_plan(self, n_epochs: int) -> Plan:
        loop, size = self.loop, self.loop.model.batch_size
        counts = np.array(self._plan_epoch(), dtype=np.int64)
        # the next epochs have the same rounds if every worker has visited its shard once
        if counts.sum(axis=0).tolist() == loop.shard_rows and loop.examples == loop.n_rows * loop.epochs:
            counts = np.tile(counts, (n_epochs, 1))
        steps, ends = -(-counts // size), np.cumsum(counts, axis=0).T
        weights = np.empty(counts.shape)
        advances: list[float] = []
        fit_state, task, known = loop.fit_state(), Task(0, 0, loop.state, 0, Budget(0)), {}
        for number, visited in enumerate(map(tuple, counts.tolist())):
            if visited not in known:
                reports = [self._report(worker, steps[number, worker], seen) for worker, seen in enumerate(visited)]
                share = self.algorithm.merge_weights(fit_state, reports)
                known[visited] = share, schedule_advance(reports, [task] * len(reports), share, loop.n_workers, False)
            weights[number], advance = known[visited]
            advances.append(advance)
        group = make_round_group(
            self.states,
            loop.state.size,
            self.model.n_outputs,
            np.stack([ends - counts.T, ends], axis=2),
            weights,
            chunk=max(size, int(_FIRST_CHUNK_VALUES / self.cost) // size * size),
            batch_size=size,
            spins=_SPINS,
            coordinates=self._make_coordinates(len(counts)),
        )
        return Plan(group, advances)

    def _plan_epoch(self) -> list[list[int]]:
        """Return the examples of each worker in each round until the end of the epoch."""
        loop = self.loop
        cursors, examples = list(loop.cursors), loop.examples
        rounds: list[list[int]] = []
        fit_state = loop.fit_state()
        while examples < loop.n_rows * (loop.epochs + 1):
            now = replace(fit_state, cursors=tuple(cursors), examples=examples)
            rounds.append([self.algorithm.next_task(now, worker).budget.examples for worker in range(loop.n_workers)])
            cursors = [cursor + budget for cursor, budget in zip(cursors, rounds[-1], strict=True)]
            examples += sum(rounds[-1])
        return rounds

    def _make_coordinates(self, n_rounds: int) -> Coordinates:
        """Allocate what merges per coordinate need."""
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
            state = group.states[worker, : group.size]
            self.runs[worker] = self.model.sgd_run(state, 1.0, self.lr_scale, loop.seeds[worker])
        return self.runs[worker].prepare_rounds(block.rows, block.order, group, worker)

    def _record(self, plan: Plan, merged: int, began: float) -> Outcome | None:
        """Record the merged rounds as if the driver had merged each, and return an outcome if the fit has ended."""
        loop, group, progress = self.loop, plan.group, self.loop.progress
        losses = group.totals[:, :merged, LOSS] + np.log(group.totals[:, :merged, LOSS_FACTOR])
        objectives = losses + group.totals[:, :merged, PENALTY_SUM]
        self._refuse_divergence(group, objectives, merged)
        loop.state, loop.answer, loop.next_fractions = group.states[0, : group.size].copy(), None, None
        for number, entry in enumerate(self._entries(group, losses, merged, began)):
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


@contextlib.contextmanager
def _failing(group: RoundGroup) -> Generator[None]:
    """Let the other workers leave their barrier if this one fails."""
    try:
        yield
    except BaseException:
        group.control[FAILED, 0] = 1
        raise


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
