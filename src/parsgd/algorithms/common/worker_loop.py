"""Worker loop of the synchronous algorithms: SGD from the task's state until the budget ends."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

import numpy as np

from parsgd.core import Model, ProgressCallback, Report, Shard, Task
from parsgd.errors import DivergedError, diverged
from parsgd.kernels.gil_threshold import set_has_other_workers

# Target duration of a call into compiled code: Ctrl-C, deadlines and the progress bar wait for at most one call.
_CHUNK_SECONDS = 0.02
_FIRST_CHUNK_VALUES = 200_000
# Two cache lines, because processors fetch them in pairs.
CACHE_LINE_PAD = 128


def run(
    model: Model,
    shard: Shard,
    task: Task,
    progress: ProgressCallback,
    state: np.ndarray | None = None,
    shared_scalars: np.ndarray | None = None,
) -> Report:
    """Run SGD on ``shard`` from ``task.state`` until the budget ends or the driver stops the run, and report.

    The result does not depend on how the run is split into compiled calls; equal budgets in examples give equal bits.

    If ``state`` is passed, the run updates that array in place instead of a copy of the task's state.  With
    ``shared_scalars``, other workers update the same array (:class:`~parsgd.core.SharedModel`).
    """
    if state is None:
        state = task.state if task.owned else private_copy(task.state)
    return _Run(model, shard, task, progress, state, shared_scalars).report()


def private_copy(state: np.ndarray) -> np.ndarray:
    """Return a copy in padded memory, see :func:`padded_empty`."""
    copy = padded_empty(state.size, state.dtype)
    copy[:] = state
    return copy


def padded_empty(size: int, dtype: np.dtype) -> np.ndarray:
    """Return an uninitialized array padded against false sharing.

    It starts on its own cache line.  Small arrays are adjacent in memory, and two workers that write to one cache line
    slow each other down at every step.
    """
    n_bytes = size * dtype.itemsize
    buffer = np.empty(n_bytes + 2 * CACHE_LINE_PAD, dtype=np.uint8)
    start = -buffer.ctypes.data % CACHE_LINE_PAD
    return buffer[start : start + n_bytes].view(dtype)


def whole_batches(cursor: int, examples: int, n_rows: int, batch_size: int) -> int:
    """Return ``examples``, rounded up to the end of the batch that the last one, counted from ``cursor``, is in.

    An epoch's last batch may be short:

    >>> [whole_batches(0, examples, 10, 4) for examples in (1, 4, 5, 9, 11)]
    [4, 4, 8, 10, 14]
    """
    done = (cursor + examples) % max(n_rows, 1)
    return examples + min(-(-done // batch_size) * batch_size, n_rows) - done


@dataclass
class _Run:
    model: Model
    shard: Shard
    task: Task
    progress: ProgressCallback
    state: np.ndarray
    shared_scalars: np.ndarray | None

    def report(self) -> Report:
        task, model = self.task, self.model
        set_has_other_workers(task.n_workers > 1)
        self.lr_scale = task.lr_scale.copy()
        self.stopping = task.budget.stopping.fresh() if task.budget.stopping is not None else None
        self.totals, self.epoch_log = [], []
        self.examples, self.running, self.converged, self.diverged = 0, True, False, False
        self.chunk = max(1, int(_FIRST_CHUNK_VALUES / max(self.shard.cost, 1.0)))
        shared = () if self.shared_scalars is None else (self.shared_scalars,)
        sgd_run = model.sgd_run(
            self.state, task.schedule_step, self.lr_scale, task.seed, task.schedule_step_size, *shared
        )
        self.most = task.budget.examples
        if task.budget.seconds == math.inf:
            self.most = whole_batches(task.cursor, self.most, self.shard.n_rows, model.batch_size)
        elif task.budget.seconds is not None:
            self._compile(sgd_run)
        self.started = time.perf_counter()
        while self._left() > 0 and self.running and self.shard.n_rows > 0:
            self._epoch(sgd_run)
            self._close_epoch(sgd_run)
        sgd_run.finalize()
        if self.stopping is not None and self.stopping.best_state is not None:
            self.state[:] = self.stopping.best_state
        if not self.model.finite(self.state):
            raise self._divergence()
        steps = sum(totals.steps for totals in self.totals)
        nothing = np.zeros(model.n_outputs)
        return Report(
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
            log_contraction=model.log_contraction(task.schedule_step, steps * task.schedule_step_size)
            / task.schedule_step_size,
            converged=self.converged,
            epoch_log=tuple(self.epoch_log),
            diverged=self.diverged,
        )

    def _compile(self, sgd_run) -> None:
        """Run zero rows, so that first-use compilation does not take time from the round's seconds."""
        epoch, skip = divmod(self.task.cursor + self.examples, max(self.shard.n_rows, 1))
        for block in self.shard.blocks(self.task.seed, epoch, skip):
            sgd_run.run(block.rows, block.order, 0, 0)
            break

    def _left(self) -> int:
        return self.most - self.examples

    def _epoch(self, sgd_run) -> None:
        """Continue to the end of the current epoch or of the budget."""
        epoch, skip = divmod(self.task.cursor + self.examples, self.shard.n_rows)
        for block in self.shard.blocks(self.task.seed, epoch, skip):
            at = 0
            while at < len(block.order) and self._left() > 0 and self.running:
                stop = min(at + self._aligned_chunk(), len(block.order), at + self._left())
                self._advance(sgd_run, block, at, stop)
                at = stop
            if self._left() <= 0 or not self.running:
                return

    def _advance(self, sgd_run, block, start: int, stop: int) -> None:
        started = time.perf_counter()
        sgd_run.run(block.rows, block.order, start, stop)
        self.examples += stop - start
        spent = time.perf_counter() - started
        if self.task.slowdown > 1.0:
            time.sleep(spent * (self.task.slowdown - 1.0))
        self.chunk = max(1, int((stop - start) * min(_CHUNK_SECONDS / max(spent, 1e-9), 4.0)))
        self.running = self.progress(self.task.worker, stop - start, sgd_run) and not self._late()

    def _late(self) -> bool:
        seconds = self.task.budget.seconds
        return seconds is not None and time.perf_counter() - self.started >= seconds

    def _aligned_chunk(self) -> int:
        """Return the chunk size in whole mini-batches, so that splitting the run changes nothing."""
        size = self.model.batch_size
        return max(size, self.chunk // size * size)

    def _close_epoch(self, sgd_run) -> None:
        """Record the totals; at the end of an epoch, update the stopping rule."""
        totals = sgd_run.take_totals()
        self.totals.append(totals)
        # with a stored best state, divergence ends the run without an error
        if not np.isfinite(totals.objective).all() and not self._keeps_best():
            raise self._divergence()
        ended = (self.task.cursor + self.examples) % self.shard.n_rows == 0
        if self.stopping is not None and ended:
            self._update_stopping(sgd_run, totals)
        score = self.stopping.scores[-1] if self.stopping is not None and self.stopping.scores else None
        self.epoch_log.append((self.examples, self.model.total_loss(totals.loss) / max(totals.examples, 1), score))

    def _update_stopping(self, sgd_run, totals) -> None:
        shown = contextlib.nullcontext()
        if self.stopping.monitor is not None:
            # scores change no step: with early stopping, a fit equals the fit to the other rows, bit for bit
            shown = sgd_run.shown() if hasattr(sgd_run, "shown") else contextlib.nullcontext(sgd_run.finalize())
        with shown:
            if self._keeps_best() and not self.model.finite(self.state):
                self.stopping.scores.append(math.nan)
                self.running, self.diverged = False, True
                return
            lowered = self.stopping.update(totals.objective / max(totals.examples, 1), self.state, self.lr_scale)
        if lowered:
            # pending updates so far used the old lr_scale
            sgd_run.finalize()
            self.converged = not self.lr_scale.any()
            self.running = self.running and not self.converged

    def _keeps_best(self) -> bool:
        """Return True if the run can end with the state of an earlier epoch."""
        return self.stopping is not None and self.stopping.keeps_best and self.stopping.best_state is not None

    def _divergence(self) -> DivergedError:
        epoch = max(self.task.cursor + self.examples - 1, 0) // self.shard.n_rows + 1
        what = f"the parameters of worker {self.task.worker} became NaN or infinite in round {self.task.round}"
        return diverged(self.model, epoch, what)
