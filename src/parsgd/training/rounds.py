"""Rounds of a fit: send tasks, collect reports, merge, and decide about the end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from parsgd.core import (
    Algorithm,
    AlgorithmTraits,
    CancelingPool,
    FitState,
    MergeResult,
    Model,
    Report,
    Rows,
    Shard,
    Source,
    Task,
    TaskFailed,
    WorkerPool,
)
from parsgd.errors import Outcome, WorkersLostError
from parsgd.training.compiled.select_rounds import make_compiled_rounds
from parsgd.training.fit_result import EpochCallback, Fit, one_shot_outcome
from parsgd.training.loop_snapshot import restore_snapshot, take_snapshot
from parsgd.training.lost_tasks import record_failure
from parsgd.training.reporting import history_entries
from parsgd.training.reporting.history import History
from parsgd.training.reporting.progress import ProgressTracker
from parsgd.training.schedule_advance import schedule_advance, worker_seed
from parsgd.training.snapshot import Checkpointer
from parsgd.training.stopping import StoppingRule


@dataclass
class Loop:
    """One running fit.

    ``alive`` lists the workers that can be sent tasks; ``failures`` counts consecutive failures per worker.
    ``sends_worker_states``: the next task of a worker may run elsewhere.  ``returns_worker_states``: reports have them.
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
    progress: ProgressTracker
    checkpointer: Checkpointer | None = None
    epoch_callback: EpochCallback | None = None
    sends_worker_states: bool = False
    returns_worker_states: bool = False
    lr_scale: np.ndarray = field(init=False)
    history: list[dict[str, Any]] = field(default_factory=list)
    examples: int = 0
    epochs: int = 0
    round: int = 0

    def __post_init__(self) -> None:
        self.lr_scale = np.ones(self.model.n_outputs)
        self.traits: AlgorithmTraits = self.algorithm.traits
        # True if the workers step on an array in shared memory
        self.shares_memory: bool = "shared_memory" in self.traits.requires
        # True if a round may be a small part of an epoch: one batch, or the report of one worker
        quorum = self.algorithm.quorum(self.n_workers)
        self.short_rounds: bool = self.traits.message == "gradient" or quorum < self.n_workers
        # seconds to wait after the quorum, as argument of WorkerPool.receive
        self.grace: tuple[float, ...] = (self.traits.grace_s,) if self.traits.grace_s > 0.0 else ()
        self.n_rows: int = self.source.n_rows
        self.shard_rows: list[int] = [shard.n_rows for shard in self.shards]
        self.cursors: list[int] = [0] * self.n_workers
        self.seeds: list[int] = [worker_seed(self.seed, worker) for worker in range(self.n_workers)]
        if self.traits.partition == "common_order":
            self.seeds = [self.seed] * self.n_workers
        # with a smaller quorum a worker without rows would report again and again
        self.alive: list[int] = [
            worker for worker in range(self.n_workers) if quorum == self.n_workers or self.shard_rows[worker]
        ]
        self.idle: Sequence[int] = self.alive
        # workers with unanswered tasks in the snapshot, to be sent again, and the fit's duration until the snapshot
        self.busy: Sequence[int] = ()
        self.seconds: float = 0.0
        self.failures: list[int] = [0] * self.n_workers
        # round of each worker's last report, -1 if its process is another one now; state of the worker after it
        self.kept: list[tuple[int, Any]] = [(-1, None)] * self.n_workers
        self.tasks: list[Task | None] = [None] * self.n_workers
        # workers in the order of their tasks, and results that arrived before their turn
        self.turns: deque[int] = deque()
        self.early: dict[int, Report | TaskFailed] = {}
        self.epoch_objective: np.ndarray = np.zeros(self.model.n_outputs)
        self.epoch_examples: int = 0
        # fractions of the present shards, and those that the last merge returned
        self.shard_fractions: np.ndarray | None = None
        self.next_fractions: np.ndarray | None = None
        self.answer: np.ndarray | None = None
        self.memory: Any = None
        self.memory = self.algorithm.init_memory(self.fit_state())

    def fit_state(self) -> FitState:
        """Return the state of the fit for the algorithm."""
        return FitState(
            self.model,
            self.state,
            self.n_workers,
            self.n_rows,
            self.max_epochs,
            self.round,
            self.examples,
            self.memory,
            self.sample,
            tuple(self.tasks),
            tuple(self.cursors),
            tuple(self.shard_rows),
            self.next_schedule_step,
            self.lr_scale,
            self.lost,
        )

    @property
    def lost(self) -> frozenset[int]:
        """Workers that can no longer be sent tasks."""
        some = len(self.alive) < self.n_workers
        return frozenset(range(self.n_workers)).difference(self.alive) if some else frozenset()

    @property
    def next_schedule_step(self) -> float:
        """Schedule step of the next tasks."""
        return math.ceil(self.schedule_step - 1e-9)

    @property
    def returned_state(self) -> np.ndarray:
        """State to return if the fit ended now."""
        return self.state if self.answer is None else self.answer

    @property
    def best_state(self) -> np.ndarray:
        """State of the best score if the stopping rule keeps it; otherwise the returned state."""
        return self.returned_state if self.stopping.best_state is None else self.stopping.best_state

    def result(self, outcome: Outcome | None, state: np.ndarray) -> Fit:
        """Return the result of the fit."""
        history, epochs = History(self.history), max(self.epochs, 1)
        return Fit(state, outcome, history, float(self.next_schedule_step), epochs, self.lr_scale, self.examples)

    def resume(self, checkpointer: Checkpointer) -> Outcome | None:
        """Restore the checkpointer's snapshot, if any; return an outcome if the fit is already complete."""
        found = checkpointer.open(self.model, self.algorithm, self.shards, self.seeds, self.max_epochs)
        if found is None:
            checkpointer.begin(take_snapshot(self, 0.0))
            return None
        if found.shard_fractions is not None:
            self.shards = self.source.split(self.n_workers, self.seed, self.traits.partition, found.shard_fractions)
            self.shard_rows = [shard.n_rows for shard in self.shards]
        restore_snapshot(self, found)
        self.progress.resume_from(self.cursors)
        longer = found.outcome in (Outcome.MAX_EPOCHS, Outcome.STOPPED) and self.epochs < self.max_epochs
        return None if longer else found.outcome

    def last_task(self, worker: int) -> Task:
        """Return the last task of a worker that was sent one."""
        task = self.tasks[worker]
        assert task is not None
        return task

    def run(self, pool: WorkerPool) -> Outcome:
        """Run rounds until the fit ends, and return the outcome."""
        self.now: Callable[[], float] = pool.now
        self.began: float = self.now() - self.seconds
        self.send_again(pool, self.busy)
        compiled = make_compiled_rounds(self, pool)
        while True:
            epochs = self.epochs
            outcome = self.run_round(pool) if compiled is None else compiled.run()
            if self.epoch_callback is not None and (outcome is not None or self.epochs > epochs):
                outcome = self.call_epoch_callback(self.epoch_callback, outcome)
            if outcome is None and self.epochs > epochs:
                self.repartition(pool)
            self.history[-1]["check_seconds"] += self.now() - self.merged
            if outcome is not None:
                self.seconds = pool.now() - self.began
                return outcome

    def run_round(self, pool: WorkerPool) -> Outcome | None:
        """Run one round, and return the outcome of the fit if it has ended."""
        self.send_tasks(pool, self.idle, pool.now() - self.began)
        reports, lost, missing = self.collect(pool)
        came = self.now()
        merge = self.algorithm.merge(self.fit_state(), reports)
        merged = self.now()
        tasks = [self.last_task(report.worker) for report in reports]
        is_common = self.traits.common_schedule_step
        work = merge.weights if merge.work is None else merge.work
        advance = merge.schedule_advance
        if advance is None:
            advance = schedule_advance(reports, tasks, work, len(self.alive), is_common)
        outcome = self.record_merge(reports, lost, merge, advance, came, merged)
        canceled = [worker for worker in merge.restarts if cast("CancelingPool", pool).cancel(worker)]
        self.idle = sorted([*(report.worker for report in reports), *missing, *canceled])
        return outcome

    def call_epoch_callback(self, callback: EpochCallback, outcome: Outcome | None) -> Outcome | None:
        """Call the epoch callback, which may stop the fit.

        Non-finite parameters are not passed to it; they will end the fit with an error.
        """
        state = self.best_state
        if self.model.finite(state) and callback(self.result(outcome, state)) and outcome is None:
            return Outcome.STOPPED
        return outcome

    def send_tasks(self, pool: WorkerPool, idle: Sequence[int], seconds: float) -> None:
        """Send the next tasks to the idle workers, then offer the snapshot of this round to the checkpointer.

        The checkpointer works while the workers compute.
        """
        snapshot = None if self.checkpointer is None else take_snapshot(self, seconds)
        fit_state = self.fit_state()
        for worker in idle:
            task = self.tasks[worker] = self.task(fit_state, worker)
            if self.traits.ordered:
                self.turns.append(worker)
            pool.send(task)
        if self.checkpointer is not None and snapshot is not None:
            self.checkpointer.offer(snapshot)

    def collect(self, pool: WorkerPool) -> tuple[list[Report], list[TaskFailed], list[int]]:
        """Collect the reports of a quorum.

        A round ends without the tasks that were lost in it.  Lost tasks are sent again in two cases: no other worker
        can complete the round, or the round is the whole fit.

        Return the reports by worker, the tasks that failed meanwhile, and the replaced workers that are now idle.
        """
        reports: list[Report] = []
        lost: list[TaskFailed] = []
        missing: list[int] = []
        while (needed := self.needed(reports, missing)) > 0:
            if len(missing) == len(self.alive):
                self.send_again(pool, missing)
                missing = []
                continue
            came = self.next_results(pool, needed)
            if not came:
                raise WorkersLostError(f"{len(self.alive)} workers have tasks, but the engine returned no reports.")
            for result in came:
                if isinstance(result, TaskFailed):
                    lost.append(result)
                    missing += record_failure(self, pool, result)
                else:
                    reports.append(result)
                    self.failures[result.worker] = 0
        return sorted(reports, key=lambda report: report.worker), lost, missing

    def needed(self, reports: Sequence[Report], missing: Sequence[int]) -> int:
        """Return the number of reports still to wait for, when the tasks of ``missing`` workers are lost."""
        n_reports, possible = len(reports), len(self.alive) - len(missing)
        if self.traits.fresh_quorum:
            n_reports = sum(report.round == self.round for report in reports)
            possible = sum(self.last_task(worker).round == self.round for worker in self.alive if worker not in missing)
        return max(min(self.algorithm.quorum(len(self.alive)), possible) - n_reports, 0 if reports else 1)

    def send_again(self, pool: WorkerPool, workers: Sequence[int]) -> None:
        """Send the last tasks of ``workers`` again."""
        for worker in workers:
            if self.traits.ordered:
                self.turns.append(worker)
            pool.send(self.last_task(worker))

    def next_results(self, pool: WorkerPool, at_least: int) -> list[Report | TaskFailed]:
        """Return the available results; for an ordered algorithm, the result of the oldest task."""
        if not self.traits.ordered:
            return pool.receive(at_least, *self.grace)
        turn = self.turns.popleft()
        while turn not in self.early:
            came = pool.receive(1)
            if not came:
                return []
            self.early.update((result.worker, result) for result in came)
        return [self.early.pop(turn)]

    def repartition(self, pool: WorkerPool) -> None:
        """Split the rows by new fractions if the last merge returned any.  They take effect with the next epoch."""
        if self.next_fractions is None:
            return
        shards = self.source.split(self.n_workers, self.seed, self.traits.partition, self.next_fractions)
        pool.set_shards(shards)
        self.shard_fractions = self.next_fractions
        self.shard_rows = [shard.n_rows for shard in shards]
        self.cursors = [self.epochs * rows for rows in self.shard_rows]

    def task(self, fit_state: FitState, worker: int) -> Task:
        """Create the next task of a worker."""
        spec = self.algorithm.next_task(fit_state, worker)
        last_round, worker_state = self.kept[worker]
        budget = replace(spec.budget, stopping=self.stopping) if self.traits.one_shot else spec.budget
        return Task(
            worker,
            self.round,
            fit_state.state if spec.state is None else spec.state,
            self.seeds[worker],
            budget,
            self.cursors[worker],
            fit_state.schedule_step,
            fit_state.lr_scale * spec.lr_factor,
            n_workers=self.n_workers,
            source_rows=self.n_rows,
            schedule_step_size=spec.schedule_step_size,
            counts_visits=self.traits.reports_visits and self.n_workers > 1,
            last_round=last_round,
            worker_state=worker_state if last_round < 0 or self.sends_worker_states else None,
            returns_worker_state=self.returns_worker_states,
        )

    def record_merge(
        self,
        reports: list[Report],
        lost: list[TaskFailed],
        merge: MergeResult,
        advance: float,
        came: float,
        merged: float,
    ) -> Outcome | None:
        """Continue from the merge of a round, record it in the history, and return an outcome if the fit has ended.

        ``advance`` is the increase of the schedule step.  ``came`` and ``merged`` are the times at which the reports
        had arrived and were merged.
        """
        self.merged: float = merged
        self.state, self.memory, self.answer = merge.state, merge.memory, merge.answer
        self.next_fractions = merge.shard_fractions
        self.schedule_step += advance
        self.round += 1
        for report in reports:
            self.cursors[report.worker] += report.examples
            self.kept[report.worker] = report.round, report.worker_state
        self.examples += sum(report.examples for report in reports)
        self.epoch_examples += sum(report.examples for report in reports)
        self.epoch_objective += sum(report.objective for report in reports)
        self.record_round(reports, lost, merge.weights, came - self.began)
        if self.progress.halted:
            return Outcome.INTERRUPTED
        if self.traits.one_shot:
            return self.end_one_shot(reports)
        return self.end_epoch()

    def end_one_shot(self, reports: list[Report]) -> Outcome:
        """Return the outcome of a one-shot fit, in which the workers applied the stopping rule."""
        rows = (max(self.shard_rows[report.worker], 1) for report in reports)
        self.epochs = max(math.ceil(r.examples / n) for r, n in zip(reports, rows, strict=True))
        self.lr_scale = np.max([report.lr_scale for report in reports], axis=0)
        if self.stopping.monitor is not None:
            self.history[-1]["score"] = float(np.mean(self.stopping.monitor(self.returned_state)))
        return one_shot_outcome(reports, [self.shard_rows[report.worker] * self.max_epochs for report in reports])

    def end_epoch(self) -> Outcome | None:
        """Apply the stopping rule once the workers have together visited as many examples as there are rows."""
        if self.examples < self.n_rows * (self.epochs + 1):
            return None
        self.epochs = self.examples // self.n_rows
        self.lr_scale = self.lr_scale.copy()
        self.stopping.update(self.epoch_objective / self.epoch_examples, self.returned_state, self.lr_scale)
        if self.stopping.scores:
            self.history[-1]["score"] = self.stopping.scores[-1]
        self.epoch_objective = np.zeros(self.model.n_outputs)
        self.epoch_examples = 0
        if not self.lr_scale.any():
            return Outcome.CONVERGED
        return Outcome.MAX_EPOCHS if self.epochs >= self.max_epochs else None

    def record_round(self, reports: list[Report], lost: list[TaskFailed], weights: np.ndarray, seconds: float) -> None:
        """Add the round to the history and notify the observers."""
        times = {"seconds": seconds, "merge_seconds": self.merged - self.began - seconds}
        epoch = self.examples / self.n_rows
        entry = history_entries.entry(self.round - 1, epoch, reports, lost, weights, self.model.total_loss, **times)
        history_entries.add(self.history, entry, self.short_rounds)
        if self.progress.observers:
            self.progress.end_round(entry["loss"], entry)
