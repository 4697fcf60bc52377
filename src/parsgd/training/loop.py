"""The loop: check, split, open, then send, receive and merge until it is time to stop.

It receives four objects and knows nothing of them but their contracts.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from parsgd.core import (
    Algorithm,
    Engine,
    FitState,
    Model,
    Report,
    Rows,
    Shard,
    Source,
    Task,
    TaskFailed,
    WorkerPool,
)
from parsgd.errors import DivergedError, DivergenceWarning, Outcome, ShardSkewWarning, WorkersLostError, diverged
from parsgd.training import history_entries, shard_skew
from parsgd.training.compatibility import refuse_sampling, refuse_unoffered
from parsgd.training.history import History
from parsgd.training.progress import ProgressTracker
from parsgd.training.snapshot import Snapshot, put_back, take
from parsgd.training.stopping import StoppingRule
from parsgd.utils import blas_threads, interrupts
from parsgd.utils.callers import warn

# Ctrl-C came too late to cut anything short.
_PRESSED_AT_THE_END = "The fit was interrupted when it had ended; the model is complete."
# So often in a row a worker may be lost before its own rows are taken for the cause.
_MOST_LOSSES = 5


class Checkpointer(Protocol):
    """Whoever keeps what it takes to go on with a fit (:mod:`parsgd.checkpointing`).

    ``open`` is told what is about to be fitted, before any worker starts, and gives the snapshot to go on from, or
    None; ``begin`` is given the first one, and refuses what it could not keep.  ``offer`` is given the snapshot of
    every round while the workers are at the next one, and keeps it if it is time; ``rescue`` keeps the last one
    offered, because the fit breaks off; ``end`` keeps that of the end.
    """

    def open(
        self, model: Model, algorithm: Algorithm, shards: Sequence[Shard], seeds: Sequence[int], max_epochs: int
    ) -> Snapshot | None: ...

    def begin(self, snapshot: Snapshot) -> None: ...

    def offer(self, snapshot: Snapshot) -> None: ...

    def rescue(self) -> None: ...

    def end(self, snapshot: Snapshot) -> None: ...


@dataclass
class Fit:
    """What a fit returns, and what a watcher is given at the end of every epoch: what it would return now.

    ``outcome`` is None as long as the fit goes on; ``history`` has one entry a round (:mod:`parsgd.training.history`);
    ``schedule_step`` is where the learning-rate schedule stands.
    """

    state: np.ndarray
    outcome: Outcome | None
    history: History
    schedule_step: float
    n_epochs: int
    lr_scale: np.ndarray
    examples: int


# Whoever looks on at the ends of epochs, between two rounds, and says whether to stop.
Watcher = Callable[[Fit], bool]


def worker_seed(seed: int, worker: int) -> int:
    """The first worker has the fit's own seed, so that one worker is serial SGD; the others' derive from it."""
    if worker == 0:
        return seed
    return int(np.random.SeedSequence((seed, worker)).generate_state(1)[0] & 0x7FFFFFFF) or 1


@dataclass
class Loop:
    """One fit in progress.

    ``alive`` are the workers that can be sent tasks; ``losses`` counts how often in a row each has lost its task.
    """

    model: Model
    algorithm: Algorithm
    source: Source
    n_workers: int
    seed: int
    max_epochs: int
    stopping: StoppingRule
    shards: Sequence[Shard]
    sample: Rows | None
    state: np.ndarray
    schedule_step: float
    line: ProgressTracker
    keeper: Checkpointer | None = None
    watcher: Watcher | None = None
    lr_scale: np.ndarray = field(init=False)
    history: list[dict[str, Any]] = field(default_factory=list)
    examples: int = 0
    epochs: int = 0
    round: int = 0

    def __post_init__(self) -> None:
        self.lr_scale = np.ones(self.model.n_outputs)
        self.n_rows = self.source.n_rows
        self.shard_rows = [shard.n_rows for shard in self.shards]
        self.cursors = [0] * self.n_workers
        self.seeds = [worker_seed(self.seed, worker) for worker in range(self.n_workers)]
        if self.algorithm.partition == "common_order":
            self.seeds = [self.seed] * self.n_workers
        self.alive = list(range(self.n_workers))
        self.idle: Sequence[int] = self.alive
        # workers whose tasks are to be sent again, because the fit goes on from a snapshot; and how long it took so far
        self.busy: Sequence[int] = ()
        self.seconds = 0.0
        self.losses = [0] * self.n_workers
        self.tasks: list[Task | None] = [None] * self.n_workers
        # workers in the order in which their tasks were sent, and reports that came before their turn
        self.turns: deque[int] = deque()
        self.early: dict[int, Report | TaskFailed] = {}
        self.epoch_objective = np.zeros(self.model.n_outputs)
        self.epoch_examples = 0
        self.shard_fractions: np.ndarray | None = None
        self.answer: np.ndarray | None = None
        self.memory: Any = None
        self.memory = self.algorithm.init_memory(self.standing())

    def standing(self) -> FitState:
        """What the algorithm is told of where the fit stands."""
        return FitState(
            self.model, self.state, self.n_workers, self.n_rows, self.max_epochs, self.round, self.examples,
            self.memory, self.sample, tuple(self.tasks), tuple(self.cursors), tuple(self.shard_rows),
            self.next_clock, self.lr_scale,
        )  # fmt: skip

    @property
    def next_clock(self) -> float:
        """The step at which the schedule of the next tasks stands."""
        return math.ceil(self.schedule_step - 1e-9)

    @property
    def outcome_state(self) -> np.ndarray:
        """The state to hand out if the fit ended now."""
        return self.state if self.answer is None else self.answer

    @property
    def kept_state(self) -> np.ndarray:
        """The same, or the best one, where that is looked for."""
        return self.outcome_state if self.stopping.best_state is None else self.stopping.best_state

    def result(self, outcome: Outcome | None, state: np.ndarray) -> Fit:
        """What the fit comes to."""
        history, epochs = History(self.history), max(self.epochs, 1)
        return Fit(state, outcome, history, float(self.next_clock), epochs, self.lr_scale, self.examples)

    def resume(self) -> Outcome | None:
        """Go on from what the keeper found, or begin; an outcome if there is nothing left to do."""
        found = self.keeper.open(self.model, self.algorithm, self.shards, self.seeds, self.max_epochs)
        if found is None:
            self.keeper.begin(take(self, 0.0))
            return None
        if found.shard_fractions is not None:
            self.shards = self.source.split(self.n_workers, self.seed, self.algorithm.partition, found.shard_fractions)
            self.shard_rows = [shard.n_rows for shard in self.shards]
        put_back(self, found)
        self.line.go_on_from(self.cursors)
        longer = found.outcome in (Outcome.MAX_EPOCHS, Outcome.STOPPED) and self.epochs < self.max_epochs
        return None if longer else found.outcome

    def run(self, crew: WorkerPool) -> Outcome:
        """Rounds until an outcome; a new task goes to those that reported."""
        self.now = crew.now
        self.began = self.now() - self.seconds
        self.send_again(crew, self.busy)
        while True:
            self.send(crew, self.idle, crew.now() - self.began)
            reports, lost, missing = self.gather(crew)
            epochs = self.epochs
            outcome = self.take(reports, lost)
            self.idle = sorted([*(report.worker for report in reports), *missing])
            del reports  # each holds a state, and the next ones are under way
            if self.watcher is not None and (outcome is not None or self.epochs > epochs):
                outcome = self.show(outcome)
            if outcome is None and self.epochs > epochs:
                self.deal_anew(crew)
            self.history[-1]["check_seconds"] += self.now() - self.merged
            if outcome is not None:
                self.seconds = crew.now() - self.began
                return outcome

    def show(self, outcome: Outcome | None) -> Outcome | None:
        """Show the watcher where the fit stands, and hear whether it goes on; parameters that are not finite will end
        it as an error, and are shown to nobody."""
        state = self.kept_state
        if self.model.finite(state) and self.watcher(self.result(outcome, state)) and outcome is None:
            return Outcome.STOPPED
        return outcome

    def send(self, crew: WorkerPool, idle: Sequence[int], seconds: float) -> None:
        """Their next tasks to the idle workers; and to the keeper, while they work, where the fit stood before."""
        snapshot = None if self.keeper is None else take(self, seconds)
        standing = self.standing()
        lr_scale = standing.lr_scale * self.algorithm.lr_factor(standing)
        for worker in idle:
            self.tasks[worker] = self.task(standing, worker, lr_scale)
            self.turns.append(worker)
            crew.send(self.tasks[worker])
        if snapshot is not None:
            self.keeper.offer(snapshot)

    def gather(self, crew: WorkerPool) -> tuple[list[Report], list[TaskFailed], list[int]]:
        """The reports of a quorum, sorted by worker; what was lost in the meantime; and who of those that are left
        therefore has nothing to do.

        A round ends without the tasks that were lost in it.  They are sent again where it could not end otherwise, and
        where it is the whole fit, because then no other round will make up for it.
        """
        reports: list[Report] = []
        lost: list[TaskFailed] = []
        missing: list[int] = []
        while not reports or len(reports) < self.quorum(missing):
            if len(missing) == len(self.alive):
                self.send_again(crew, missing)
                missing = []
            came = self.answers(crew, self.quorum(missing) - len(reports))
            if not came:
                raise WorkersLostError(f"{len(self.alive)} workers were sent tasks, and the engine brings no answers.")
            for answer in came:
                if isinstance(answer, TaskFailed):
                    lost.append(answer)
                    missing += self.lose(crew, answer)
                else:
                    reports.append(answer)
                    self.losses[answer.worker] = 0
        return sorted(reports, key=lambda report: report.worker), lost, missing

    def quorum(self, missing: Sequence[int]) -> int:
        """For how many reports to wait, where the tasks of some are lost."""
        return min(self.algorithm.quorum(len(self.alive)), len(self.alive) - len(missing))

    def send_again(self, crew: WorkerPool, workers: Sequence[int]) -> None:
        """The tasks that were lost, to whoever has their shards now."""
        for worker in workers:
            self.turns.append(worker)
            crew.send(self.tasks[worker])

    def lose(self, crew: WorkerPool, gone: TaskFailed) -> list[int]:
        """Take note of a task that is lost; give its worker, if it is idle now, in a list."""
        self.line.lose(gone.worker, gone.why, gone.replaced)
        self.losses[gone.worker] += 1
        if gone.replaced:
            if self.losses[gone.worker] >= _MOST_LOSSES:
                raise WorkersLostError(
                    f"Whoever works on the rows of worker {gone.worker} is lost: {_MOST_LOSSES} times in a row, the"
                    f" last time in round {self.round}: {gone.why}. Do they need more memory than the workers have?"
                )
            if not self.algorithm.one_shot:
                return [gone.worker]
            self.send_again(crew, [gone.worker])
            return []
        # go on without it, if there is one left that has rows to learn from
        self.alive.remove(gone.worker)
        if not any(self.shard_rows[worker] for worker in self.alive):
            who = f"All {self.n_workers} workers" if not self.alive else "All workers that had rows"
            raise WorkersLostError(f"{who} are lost; the last one, {gone.worker}, in round {self.round}: {gone.why}")
        return []

    def answers(self, crew: WorkerPool, at_least: int) -> list[Report | TaskFailed]:
        """What has come in; where reports are taken in turn, the one whose turn it is."""
        if not self.algorithm.ordered:
            return crew.receive(at_least)
        turn = self.turns.popleft()
        while turn not in self.early:
            came = crew.receive(1)
            if not came:
                return []
            self.early.update((answer.worker, answer) for answer in came)
        return [self.early.pop(turn)]

    def deal_anew(self, crew: WorkerPool) -> None:
        """Give the workers other shard_fractions of the rows, if the algorithm asks for it; the next epoch begins with
        them."""
        shard_fractions = self.algorithm.shard_fractions(self.standing())
        if shard_fractions is None:
            return
        shards = self.source.split(self.n_workers, self.seed, self.algorithm.partition, shard_fractions)
        crew.set_shards(shards)
        self.shard_fractions = shard_fractions
        self.shard_rows = [shard.n_rows for shard in shards]
        self.cursors = [self.epochs * rows for rows in self.shard_rows]

    def task(self, standing: FitState, worker: int, lr_scale: np.ndarray) -> Task:
        """The next task of a worker."""
        budget = self.algorithm.budget(standing, worker)
        if self.algorithm.one_shot:
            budget = replace(budget, stopping=self.stopping)
        return Task(
            worker, self.round, self.algorithm.start_state(standing, worker), self.seeds[worker], budget,
            self.cursors[worker], standing.schedule_step, lr_scale, n_workers=self.n_workers,
            source_rows=self.n_rows, schedule_step_size=self.algorithm.schedule_step_size(len(self.alive)),
        )  # fmt: skip

    def take(self, reports: list[Report], lost: list[TaskFailed]) -> Outcome | None:
        """Merge a round's reports, write history, and say whether the fit has ended."""
        came = self.now()
        merge = self.algorithm.merge(self.standing(), reports)
        self.merged = self.now()
        self.state, self.memory, self.answer = merge.state, merge.memory, merge.answer
        self.schedule_step += self.ticks(reports, merge.weights)
        self.round += 1
        for report in reports:
            self.cursors[report.worker] += report.examples
        self.examples += sum(report.examples for report in reports)
        self.epoch_examples += sum(report.examples for report in reports)
        self.epoch_objective += sum(report.objective for report in reports)
        self.write(reports, lost, merge.weights, came - self.began)
        if self.line.halted:
            return Outcome.INTERRUPTED
        if self.algorithm.one_shot:
            return self.end_one_shot(reports)
        return self.end_epoch()

    def ticks(self, reports: list[Report], weights: np.ndarray) -> float:
        """How far the schedule moves: as far as the workers' clocks, merged as the parameters are, or as the last
        reading of the clock that they have in common, or where each goes at the pace of all, as what they did together.

        Where a few workers report at a time, they move it by their share of the crew.
        """
        moved = np.array([r.schedule_step - self.tasks[r.worker].schedule_step for r in reports])
        if self.algorithm.common_clock:
            return float(moved.max())
        step_size = self.tasks[reports[0].worker].schedule_step_size
        if step_size != 1.0:
            return float(moved.sum()) / step_size
        # a merge that goes nowhere still took its time
        counted = np.abs(weights) if np.any(weights) else np.array([float(r.steps > 0) for r in reports])
        total, share = counted.sum(), len(reports) / max(len(self.alive), 1)
        return float(np.dot(counted, moved)) / total * share if total > 0.0 else 0.0

    def end_one_shot(self, reports: list[Report]) -> Outcome:
        """The workers applied the stopping rule themselves."""
        rows = (max(self.shard_rows[report.worker], 1) for report in reports)
        self.epochs = max(math.ceil(r.examples / n) for r, n in zip(reports, rows, strict=True))
        self.lr_scale = np.max([report.lr_scale for report in reports], axis=0)
        if self.stopping.monitor is not None:
            self.history[-1]["score"] = float(np.mean(self.stopping.monitor(self.outcome_state)))
        return _one_shot_outcome(reports, [self.shard_rows[report.worker] * self.max_epochs for report in reports])

    def end_epoch(self) -> Outcome | None:
        """Apply the stopping rule when the workers have together visited as many examples as there are rows."""
        if self.examples < self.n_rows * (self.epochs + 1):
            return None
        self.epochs = self.examples // self.n_rows
        self.lr_scale = self.lr_scale.copy()
        self.stopping.update(self.epoch_objective / self.epoch_examples, self.outcome_state, self.lr_scale)
        if self.stopping.scores:
            self.history[-1]["score"] = self.stopping.scores[-1]
        self.epoch_objective = np.zeros(self.model.n_outputs)
        self.epoch_examples = 0
        if not self.lr_scale.any():
            return Outcome.CONVERGED
        return Outcome.MAX_EPOCHS if self.epochs >= self.max_epochs else None

    def write(self, reports: list[Report], lost: list[TaskFailed], weights: np.ndarray, seconds: float) -> None:
        """Add the round to the history and tell the observers."""
        times = {"seconds": seconds, "merge_seconds": self.merged - self.began - seconds}
        epoch = self.examples / self.n_rows
        entry = history_entries.entry(self.round - 1, epoch, reports, lost, weights, self.model.total_loss, **times)
        history_entries.add(self.history, entry, self.short_rounds)
        if self.line.observers:
            self.line.end_round(entry["loss"], entry)

    @property
    def short_rounds(self) -> bool:
        """Whether a round may be a small part of an epoch: one batch, or the report of one worker."""
        return self.algorithm.message == "gradient" or self.algorithm.quorum(self.n_workers) < self.n_workers


def fit(
    model: Model,
    algorithm: Algorithm,
    engine: Engine,
    source: Source,
    *,
    n_workers: int = 1,
    seed: int = 1,
    max_epochs: int = 1,
    stopping: StoppingRule | None = None,
    state: np.ndarray | None = None,
    owns_state: bool = False,
    schedule_step: float = 1.0,
    keeper: Checkpointer | None = None,
    watcher: Watcher | None = None,
) -> Fit:
    """Fit ``model`` by ``algorithm`` on ``engine`` to the rows of ``source``; go on from what the ``keeper`` found.

    ``owns_state``: nobody else needs ``state``, and it may be written to.
    The ``watcher`` is called at the end of every epoch that the driver sees, and at the end.

    Raises
    ------
    IncompatiblePartsError
        If the algorithm needs what neither the engine nor the model offers, or a partition that the source does not;
        before any worker starts.
    WorkersLostError
        If no worker is left to go on with, or whoever takes some of the rows is lost.
    DivergedError
        If parameters leave the finite numbers; names the round and the epoch.
    """
    refuse_unoffered(model, algorithm, engine)
    refuse_sampling(algorithm, source)
    sample = None
    wanted = algorithm.n_probe_rows(source.n_rows) if n_workers > 1 else 0
    if wanted:
        sample, rest = source.draw(wanted, seed)
        source = rest if algorithm.holds_out else source
    if n_workers == 1 and algorithm.one_shot and keeper is None and getattr(engine, "in_calling_thread", False):
        owned = (state is None or owns_state) and getattr(algorithm, "frees_start", False)
        state = model.init(seed) if state is None else state
        stopping = stopping or StoppingRule(tol=None)
        return _fit_alone(model, algorithm, source, seed, max_epochs, stopping, state, schedule_step, owned)
    shards = source.split(n_workers, seed, algorithm.partition)
    if algorithm.partition == "contiguous" and n_workers > 1:
        said = shard_skew.warning_of(shards, [worker_seed(seed, worker) for worker in range(n_workers)])
        if said is not None:
            warn(said, ShardSkewWarning)
    line = ProgressTracker(n_workers, source.n_rows * max_epochs, max_epochs)
    loop = Loop(
        model=model,
        algorithm=algorithm,
        source=source,
        n_workers=n_workers,
        seed=seed,
        max_epochs=max_epochs,
        stopping=(stopping or StoppingRule(tol=None)).fresh(),
        shards=shards,
        sample=sample,
        state=model.init(seed) if state is None else state,
        schedule_step=schedule_step,
        line=line,
        keeper=keeper,
        watcher=watcher,
    )
    # the loop's state is the only one that the driver keeps, and the keeper's last snapshot
    del state
    outcome = loop.resume() if keeper is not None else None
    if outcome is None:
        outcome = _run(loop, engine)
    line.tell(loop.history[-1]["loss"], done=True)
    _warn_diverged(outcome, loop.epochs)
    state = loop.kept_state
    if not model.finite(state):
        what = f"the parameters left the finite numbers in round {loop.history[-1]['round']}, the last one"
        raise diverged(model, max(loop.epochs, 1), what)
    if keeper is not None and outcome is not Outcome.INTERRUPTED:
        keeper.end(take(loop, loop.seconds, outcome))
    return loop.result(outcome, state)


def _warn_diverged(outcome: Outcome, epochs: int) -> None:
    if outcome is Outcome.DIVERGED:
        warn(f"{Outcome.DIVERGED.value} ({epochs} epochs.)", DivergenceWarning)


def _one_shot_outcome(reports: Sequence[Report], budgets: Sequence[int]) -> Outcome:
    """The end of a fit of one round, in which each worker could visit as many examples as its budget says."""
    moved = [report for report in reports if report.examples]
    if any(report.diverged for report in moved):
        return Outcome.DIVERGED
    if moved and all(report.converged for report in moved):
        return Outcome.CONVERGED
    unfinished = any(r.examples < b and not r.converged for r, b in zip(reports, budgets, strict=True))
    return Outcome.OUT_OF_TIME if unfinished else Outcome.MAX_EPOCHS


def _fit_alone(
    model: Model, algorithm: Algorithm, source: Source, seed: int, max_epochs: int, stopping: StoppingRule,
    state: np.ndarray, schedule_step: float, owned: bool,
) -> Fit:  # fmt: skip
    """Fit with one worker in this thread, in one round: the loop's result without its messages and merges.

    A small fit takes as long as its bookkeeping.  The worker writes to ``state`` if it is ``owned``.
    """
    shard = source.split(1, seed, algorithm.partition)[0]
    n_rows, lr_scale, schedule_step = shard.n_rows, np.ones(model.n_outputs), math.ceil(schedule_step - 1e-9)
    line = ProgressTracker(1, n_rows * max_epochs, max_epochs)
    standing = FitState(
        model, state, 1, n_rows, max_epochs, shard_rows=(n_rows,), schedule_step=schedule_step, lr_scale=lr_scale
    )
    budget = replace(algorithm.budget(standing, 0), stopping=stopping)
    task = Task(
        0, 0, state, seed, budget, schedule_step=schedule_step, lr_scale=lr_scale, source_rows=n_rows, owned=owned
    )
    began = time.perf_counter()
    with interrupts.scope() as scope, blas_threads.one_thread() if model.uses_blas else nullcontext():
        scope.hold(line.halt)
        try:
            report = algorithm.run(model, shard, task, line)
        finally:
            interrupted = line.halted
            scope.one_more()
            shard.close()
            scope.finalize()
        outcome = Outcome.INTERRUPTED if interrupted else _one_shot_outcome([report], [n_rows * max_epochs])
        ended = Outcome.INTERRUPTED.value if interrupted else _PRESSED_AT_THE_END
        scope.said = f"{ended} ({report.examples} examples visited.)"
    epochs = max(math.ceil(report.examples / max(n_rows, 1)), 1)
    weights = np.array([float(report.steps > 0)])
    times = {"seconds": time.perf_counter() - began, "merge_seconds": 0.0}
    entry = history_entries.entry(0, report.examples / max(n_rows, 1), [report], [], weights, model.total_loss, **times)
    if stopping.monitor is not None:
        entry["score"] = float(np.mean(stopping.monitor(report.state)))
    if line.observers:
        line.end_round(entry["loss"], entry)
        line.tell(entry["loss"], done=True)
    _warn_diverged(outcome, epochs)
    return Fit(
        report.state, outcome, History([entry]), float(report.schedule_step), epochs, report.lr_scale, report.examples
    )


def _run(loop: Loop, engine: Engine) -> Outcome:
    """The rounds, on workers that are ended in any case."""
    line, model = loop.line, loop.model
    # what the driver multiplies between two rounds leaves threads of the BLAS spinning for some milliseconds, on the
    # cores that the next round wants: 2 workers on covtype's 7 classes took twice as long
    alone = model.uses_blas or len(loop.shards) > 1
    with interrupts.scope() as scope, blas_threads.one_thread() if alone else nullcontext():
        scope.hold(line.halt)
        crew = engine.open(partial(loop.algorithm.run, model), loop.shards, line)
        try:
            outcome = loop.run(crew)
        except DivergedError:
            if loop.stopping.best_state is None:
                scope.one_more()
                raise
            outcome = Outcome.DIVERGED
        except BaseException:
            scope.one_more()
            if loop.keeper is not None:
                loop.keeper.rescue()
            raise
        finally:
            line.halt()
            scope.one_more()
            crew.close()
            scope.finalize()
        ended = Outcome.INTERRUPTED.value if outcome is Outcome.INTERRUPTED else _PRESSED_AT_THE_END
        scope.said = f"{ended} ({loop.examples} examples visited.)"
    if outcome is Outcome.INTERRUPTED and loop.keeper is not None:
        # not the present state: the last round was cut short, and what follows would be another fit
        loop.keeper.rescue()
    return outcome
