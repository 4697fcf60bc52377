"""Worker loop of the synchronous algorithms: SGD from the task's state until the budget ends."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from parsgd.algorithms.merging.sparse_reports import compact
from parsgd.core import (
    Model,
    ProgressCallback,
    Report,
    RowBlock,
    SGDRun,
    Shard,
    StartRun,
    StoppingCriterion,
    Task,
    Totals,
    has_averaging,
    has_features,
    has_worker_state,
)
from parsgd.core.padded import padded_empty, private_copy
from parsgd.errors import DivergedError, diverged
from parsgd.kernels.lowlevel.gil_threshold import get_gil_threshold, set_has_other_workers
from parsgd.utils import first_use

if TYPE_CHECKING:
    from parsgd.core import WorkerStateRun

# Target duration of a call into compiled code: Ctrl-C, deadlines and the progress bar wait for at most one call.
_CHUNK_SECONDS = 0.02
_FIRST_CHUNK_VALUES = 200_000


def run(
    model: Model,
    shard: Shard,
    task: Task,
    progress: ProgressCallback,
    *,
    state: np.ndarray | None = None,
    start_run: StartRun | None = None,
    bounds_contraction: bool = True,
) -> Report:
    """Run SGD on ``shard`` from ``task.state`` until the budget ends or the driver stops the run, and report.

    The result does not depend on how the run is split into compiled calls; equal budgets in examples give equal bits.

    If ``state`` is passed, the run updates that array in place instead of a copy of the task's state.  ``start_run``
    replaces ``model.sgd_run``.  Without ``bounds_contraction`` the report's ``log_contraction`` is 0, for merges that
    do not use it.
    """
    if state is None and has_worker_state(model):
        # such a run reads the task's state, and writes this array when it ends
        state = padded_empty(task.state.shape, task.state.dtype)
    elif state is None:
        state = task.state if task.owned else private_copy(task.state)
    return _Run(model, shard, task, progress, state, start_run or model.sgd_run).report(bounds_contraction)


def whole_batches(cursor: int, examples: int, n_rows: int, batch_size: int) -> int:
    """Return ``examples``, rounded up to the end of the batch that the last one, counted from ``cursor``, is in.

    An epoch's last batch may be short:

    >>> [whole_batches(0, examples, 10, 4) for examples in (1, 4, 5, 9, 11)]
    [4, 4, 8, 10, 14]
    """
    done = (cursor + examples) % max(n_rows, 1)
    return examples + min(-(-done // batch_size) * batch_size, n_rows) - done


def _new_visits(model: Model, examples: int) -> np.ndarray | None:
    """Return zero visits of every feature in the smallest type that can count the examples."""
    if not has_features(model):
        return None
    return np.zeros(model.n_features, dtype=np.int32 if examples < 1 << 31 else np.int64)


class _Run:
    def __init__(
        self,
        model: Model,
        shard: Shard,
        task: Task,
        progress: ProgressCallback,
        state: np.ndarray,
        start_run: StartRun,
    ):
        self.model, self.shard, self.task, self.progress, self.state = model, shard, task, progress, state
        set_has_other_workers(task.n_workers > 1)
        self.lr_scale = task.lr_scale.copy()
        self.stopping = task.budget.stopping.fresh() if task.budget.stopping is not None else None
        self.totals: list[Totals] = []
        self.epoch_log: list[tuple[int, float, float | None]] = []
        self.examples, self.running, self.converged, self.diverged = 0, True, False, False
        self.chunk = max(1, int(_FIRST_CHUNK_VALUES / max(shard.cost, 1.0)))
        self.most = task.budget.examples
        self.visits = _new_visits(model, task.budget.examples) if task.counts_visits else None
        self.sgd_run = self._start_run(start_run)
        self.started = time.perf_counter()

    def _start_run(self, start_run: StartRun) -> SGDRun:
        task = self.task
        if has_worker_state(self.model):
            return self.model.worker_run(self.state, task, self.lr_scale)
        return start_run(self.state, task.schedule_step, self.lr_scale, task.seed, task.schedule_step_size)

    def _worker_state(self) -> Any:
        """Return the state of the worker, if the task asks for it."""
        asked = self.task.returns_worker_state and has_worker_state(self.model)
        return cast("WorkerStateRun", self.sgd_run).worker_state() if asked else None

    def report(self, bounds_contraction: bool) -> Report:
        task, model, sgd_run = self.task, self.model, self.sgd_run
        if task.budget.seconds == math.inf:
            self.most = whole_batches(task.cursor, self.most, self.shard.n_rows, model.batch_size)
        elif task.budget.seconds is not None:
            self._compile()
        self.started = time.perf_counter()
        while self._left() > 0 and self.running and self.shard.n_rows > 0:
            self._epoch()
            self._close_epoch()
        sgd_run.finalize()
        if self.stopping is not None and self.stopping.best_state is not None:
            self.state[:] = self.stopping.best_state
        if not self.model.finite(self.state):
            raise self._divergence()
        steps = sum(totals.steps for totals in self.totals)
        nothing = np.zeros(model.n_outputs)
        report = Report(
            worker=task.worker,
            round=task.round,
            state=self.state,
            steps=steps,
            examples=self.examples,
            loss=sum((totals.loss for totals in self.totals), nothing),
            objective=sum((totals.objective for totals in self.totals), nothing),
            seconds=time.perf_counter() - self.started,
            schedule_step=sgd_run.schedule_step,
            lr_scale=self.lr_scale,
            log_contraction=self._log_contraction(steps) if bounds_contraction else 0.0,
            converged=self.converged,
            epoch_log=tuple(self.epoch_log),
            diverged=self.diverged,
            visits=self.visits,
            worker_state=self._worker_state(),
            tokens=sum(totals.tokens for totals in self.totals),
        )
        if self.visits is None or not has_features(model):
            return report
        return compact(report, model, task.state, sgd_run.shrinkage())

    def _log_contraction(self, steps: int) -> float:
        """Return the model's bound for ``steps`` steps, or 0 if it offers none."""
        if not has_averaging(self.model):
            return 0.0
        size = self.task.schedule_step_size
        return self.model.log_contraction(self.task.schedule_step, steps * size) / size

    def _compile(self) -> None:
        """Run zero rows, so that first-use compilation does not take time from the round's seconds."""
        epoch, skip = divmod(self.task.cursor + self.examples, max(self.shard.n_rows, 1))
        for block in self.shard.blocks(self.task.seed, epoch, skip):
            self.sgd_run.run(block.rows, block.order, 0, 0)
            self._count_visits(block, 0, 0)
            break

    def _left(self) -> int:
        return self.most - self.examples

    def _epoch(self) -> None:
        """Continue to the end of the current epoch or of the budget."""
        epoch, skip = divmod(self.task.cursor + self.examples, self.shard.n_rows)
        for block in self.shard.blocks(self.task.seed, epoch, skip):
            at = 0
            while at < len(block.order) and self._left() > 0 and self.running:
                stop = min(at + self._aligned_chunk(), len(block.order), at + self._left())
                self._advance(block, at, stop)
                at = stop
            if self._left() <= 0 or not self.running:
                return

    def _advance(self, block: RowBlock, start: int, stop: int) -> None:
        started = time.perf_counter()
        self.sgd_run.run(block.rows, block.order, start, stop)
        self._count_visits(block, start, stop)
        self.examples += stop - start
        spent = time.perf_counter() - started
        if self.task.slowdown > 1.0:
            time.sleep(spent * (self.task.slowdown - 1.0))
        self.chunk = max(1, int((stop - start) * min(_CHUNK_SECONDS / max(spent, 1e-9), 4.0)))
        self.running = self.progress(self.task.worker, stop - start, self.sgd_run) and not self._late()

    def _count_visits(self, block: RowBlock, start: int, stop: int) -> None:
        if self.visits is not None:
            count_visits = first_use.kernels("feature_visits").count_visits
            count_visits(block.rows.x, block.order, start, stop, self.visits, get_gil_threshold())

    def _late(self) -> bool:
        seconds = self.task.budget.seconds
        return seconds is not None and time.perf_counter() - self.started >= seconds

    def _aligned_chunk(self) -> int:
        """Return the chunk size in whole mini-batches, so that splitting the run changes nothing."""
        size = self.model.batch_size
        return max(size, self.chunk // size * size)

    def _close_epoch(self) -> None:
        """Record the totals; at the end of an epoch, update the stopping rule."""
        totals = self.sgd_run.take_totals()
        self.totals.append(totals)
        # with a stored best state, divergence ends the run without an error
        if not np.isfinite(totals.objective).all() and not self._keeps_best():
            raise self._divergence()
        ended = (self.task.cursor + self.examples) % self.shard.n_rows == 0
        if self.stopping is not None and ended:
            self._update_stopping(self.stopping, totals)
        score = self.stopping.scores[-1] if self.stopping is not None and self.stopping.scores else None
        self.epoch_log.append((self.examples, self.model.total_loss(totals.loss) / max(totals.examples, 1), score))

    def _update_stopping(self, rule: StoppingCriterion, totals: Totals) -> None:
        # scores change no step: with early stopping, a fit equals the fit to the other rows, bit for bit
        with self.sgd_run.finalized() if rule.monitor is not None else contextlib.nullcontext():
            if self._keeps_best() and not self.model.finite(self.state):
                rule.scores.append(math.nan)
                self.running, self.diverged = False, True
                return
            lr_scale = self.lr_scale.copy()
            lowered = rule.update(totals.objective / max(totals.examples, 1), self.state, lr_scale)
        if lowered:
            # pending updates are made at the old lr_scale
            self.sgd_run.finalize()
            self.lr_scale[:] = lr_scale
            self.converged = not self.lr_scale.any()
            self.running = self.running and not self.converged

    def _keeps_best(self) -> bool:
        """Return True if the run can end with the state of an earlier epoch."""
        return self.stopping is not None and self.stopping.keeps_best and self.stopping.best_state is not None

    def _divergence(self) -> DivergedError:
        epoch = max(self.task.cursor + self.examples - 1, 0) // self.shard.n_rows + 1
        part = "objective" if self.model.finite(self.state) else "parameters"
        what = f"the {part} of worker {self.task.worker} became NaN or infinite in round {self.task.round}"
        return diverged(self.model.divergence, epoch, what)
