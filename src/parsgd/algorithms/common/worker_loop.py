"""What every synchronous algorithm does on a worker: SGD from the task's state until the budget ends."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

import numpy as np

from parsgd.core import Model, ProgressCallback, Report, Shard, Task
from parsgd.errors import DivergedError, diverged
from parsgd.kernels.gil_threshold import set_has_other_workers

# A call into compiled code lasts about this long: Ctrl-C, deadlines and the progress bar wait for at most one.
_CHUNK_SECONDS = 0.02
_FIRST_CHUNK_VALUES = 200_000
# Two cache lines: processors fetch them in pairs.
CACHE_LINE_PAD = 128


def run(
    model: Model, shard: Shard, task: Task, pulse: ProgressCallback, state: np.ndarray | None = None,
    shared_scalars: np.ndarray | None = None,
) -> Report:  # fmt: skip
    """Run SGD on ``shard`` from ``task.state``; stop at the budget, or when the driver says so, and report.

    The result does not depend on how the run is cut into calls, so equal budgets in examples give equal bits.

    Given ``state``, the run moves that very array, and not a copy of the task's; with a ``shared_scalars`` others do
    so, too (:class:`~parsgd.core.SharedModel`).
    """
    if state is None:
        state = task.state if task.owned else private_copy(task.state)
    return _Run(model, shard, task, pulse, state, shared_scalars).report()


def private_copy(state: np.ndarray) -> np.ndarray:
    """A copy in a room of its own."""
    copy = padded_empty(state.size, state.dtype)
    copy[:] = state
    return copy


def padded_empty(size: int, dtype: np.dtype) -> np.ndarray:
    """An array, not filled, that begins on a cache line of its own and ends far from anybody else's.

    Small arrays lie side by side in memory; two workers that write to the same line take it from each other at every
    step.
    """
    n_bytes = size * dtype.itemsize
    room = np.empty(n_bytes + 2 * CACHE_LINE_PAD, dtype=np.uint8)
    start = -room.ctypes.data % CACHE_LINE_PAD
    return room[start : start + n_bytes].view(dtype)


def whole_batches(cursor: int, examples: int, n_rows: int, batch_size: int) -> int:
    """The examples from ``cursor`` on, and those that end the batch which the last of them begins.

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
    pulse: ProgressCallback
    state: np.ndarray
    shared_scalars: np.ndarray | None

    def report(self) -> Report:
        task, model = self.task, self.model
        set_has_other_workers(task.n_workers > 1)
        self.lr_scale = task.lr_scale.copy()
        self.stopping = task.budget.stopping.fresh() if task.budget.stopping is not None else None
        self.totals, self.epoch_log = [], []
        self.examples, self.going, self.converged, self.diverged = 0, True, False, False
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
        self.began = time.perf_counter()
        while self._left() > 0 and self.going and self.shard.n_rows > 0:
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
            seconds=time.perf_counter() - self.began,
            schedule_step=sgd_run.schedule_step,
            lr_scale=self.lr_scale,
            log_contraction=model.log_contraction(task.schedule_step, steps * task.schedule_step_size)
            / task.schedule_step_size,
            converged=self.converged,
            epoch_log=tuple(self.epoch_log),
            diverged=self.diverged,
        )

    def _compile(self, sgd_run) -> None:
        """Visit no rows: what is compiled on first use is not to be paid from the round's seconds."""
        epoch, skip = divmod(self.task.cursor + self.examples, max(self.shard.n_rows, 1))
        for block in self.shard.blocks(self.task.seed, epoch, skip):
            sgd_run.run(block.rows, block.order, 0, 0)
            break

    def _left(self) -> int:
        return self.most - self.examples

    def _epoch(self, sgd_run) -> None:
        """Go on to the end of the present epoch, or of the budget."""
        epoch, skip = divmod(self.task.cursor + self.examples, self.shard.n_rows)
        for block in self.shard.blocks(self.task.seed, epoch, skip):
            at = 0
            while at < len(block.order) and self._left() > 0 and self.going:
                stop = min(at + self._aligned_chunk(), len(block.order), at + self._left())
                self._advance(sgd_run, block, at, stop)
                at = stop
            if self._left() <= 0 or not self.going:
                return

    def _advance(self, sgd_run, block, start: int, stop: int) -> None:
        began = time.perf_counter()
        sgd_run.run(block.rows, block.order, start, stop)
        self.examples += stop - start
        spent = time.perf_counter() - began
        if self.task.slowdown > 1.0:
            time.sleep(spent * (self.task.slowdown - 1.0))
        self.chunk = max(1, int((stop - start) * min(_CHUNK_SECONDS / max(spent, 1e-9), 4.0)))
        self.going = self.pulse(self.task.worker, stop - start, sgd_run) and not self._late()

    def _late(self) -> bool:
        seconds = self.task.budget.seconds
        return seconds is not None and time.perf_counter() - self.began >= seconds

    def _aligned_chunk(self) -> int:
        """Whole mini-batches, so that cutting the run into calls changes nothing."""
        size = self.model.batch_size
        return max(size, self.chunk // size * size)

    def _close_epoch(self, sgd_run) -> None:
        """Count what was done; at the end of an epoch, ask the stopping rule."""
        totals = sgd_run.take_totals()
        self.totals.append(totals)
        # where the best state is kept, it is the end of the run and no error
        if not np.isfinite(totals.objective).all() and not self._keeps_best():
            raise self._divergence()
        ended = (self.task.cursor + self.examples) % self.shard.n_rows == 0
        if self.stopping is not None and ended:
            self._ask(sgd_run, totals)
        score = self.stopping.scores[-1] if self.stopping is not None and self.stopping.scores else None
        self.epoch_log.append((self.examples, self.model.total_loss(totals.loss) / max(totals.examples, 1), score))

    def _ask(self, sgd_run, totals) -> None:
        shown = contextlib.nullcontext()
        if self.stopping.monitor is not None:
            # scores change no step: with early stopping, a fit is the fit to the other rows, bit for bit
            shown = sgd_run.shown() if hasattr(sgd_run, "shown") else contextlib.nullcontext(sgd_run.finalize())
        with shown:
            if self._keeps_best() and not self.model.finite(self.state):
                self.stopping.scores.append(math.nan)
                self.going, self.diverged = False, True
                return
            lowered = self.stopping.update(totals.objective / max(totals.examples, 1), self.state, self.lr_scale)
        if lowered:
            # what was done so far was done at the old gains
            sgd_run.finalize()
            self.converged = not self.lr_scale.any()
            self.going = self.going and not self.converged

    def _keeps_best(self) -> bool:
        """Whether the run can end with the state of an earlier epoch."""
        return self.stopping is not None and self.stopping.keeps_best and self.stopping.best_state is not None

    def _divergence(self) -> DivergedError:
        epoch = max(self.task.cursor + self.examples - 1, 0) // self.shard.n_rows + 1
        what = f"the parameters of worker {self.task.worker} left the finite numbers in round {self.task.round}"
        return diverged(self.model, epoch, what)
