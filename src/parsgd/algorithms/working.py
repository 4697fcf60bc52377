"""What every synchronous algorithm does on a worker: SGD from the task's state until the budget ends."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

import numpy as np

from parsgd.core import Model, Pulse, Report, Shard, Task
from parsgd.errors import DivergedError, diverged
from parsgd.kernels.gil_threshold import set_has_other_workers

# A call into compiled code lasts about this long: Ctrl-C, deadlines and the progress bar wait for at most one.
_CHUNK_SECONDS = 0.02
_FIRST_CHUNK_VALUES = 200_000
# Two cache lines: processors fetch them in pairs.
FENCE_BYTES = 128


def run(
    model: Model, shard: Shard, task: Task, pulse: Pulse, state: np.ndarray | None = None,
    board: np.ndarray | None = None,
) -> Report:  # fmt: skip
    """Run SGD on ``shard`` from ``task.state``; stop at the budget, or when the driver says so, and report.

    The result does not depend on how the run is cut into calls, so equal budgets in examples give equal bits.

    Given ``state``, the run moves that very array, and not a copy of the task's; with a ``board`` others do so, too
    (:class:`~parsgd.core.SharedModel`).
    """
    if state is None:
        state = task.state if task.owned else private_copy(task.state)
    return _Run(model, shard, task, pulse, state, board).report()


def private_copy(state: np.ndarray) -> np.ndarray:
    """A copy in a room of its own."""
    copy = private_room(state.size, state.dtype)
    copy[:] = state
    return copy


def private_room(size: int, dtype: np.dtype) -> np.ndarray:
    """An array, not filled, that begins on a cache line of its own and ends far from anybody else's.

    Small arrays lie side by side in memory; two workers that write to the same line take it from each other at every
    step.
    """
    n_bytes = size * dtype.itemsize
    room = np.empty(n_bytes + 2 * FENCE_BYTES, dtype=np.uint8)
    start = -room.ctypes.data % FENCE_BYTES
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
    pulse: Pulse
    state: np.ndarray
    board: np.ndarray | None

    def report(self) -> Report:
        task, model = self.task, self.model
        set_has_other_workers(task.n_workers > 1)
        self.gains = task.gains.copy()
        self.stopping = task.budget.stopping.fresh() if task.budget.stopping is not None else None
        self.tallies, self.trace = [], []
        self.examples, self.going, self.converged, self.diverged = 0, True, False, False
        self.chunk = max(1, int(_FIRST_CHUNK_VALUES / max(self.shard.cost, 1.0)))
        shared = () if self.board is None else (self.board,)
        descent = model.descent(self.state, task.clock, self.gains, task.seed, task.pace, *shared)
        self.most = task.budget.examples
        if task.budget.seconds == math.inf:
            self.most = whole_batches(task.cursor, self.most, self.shard.n_rows, model.batch_size)
        elif task.budget.seconds is not None:
            self._compile(descent)
        self.began = time.perf_counter()
        while self._left() > 0 and self.going and self.shard.n_rows > 0:
            self._epoch(descent)
            self._close_epoch(descent)
        descent.settle()
        if self.stopping is not None and self.stopping.best_state is not None:
            self.state[:] = self.stopping.best_state
        if not self.model.finite(self.state):
            raise self._divergence()
        steps = sum(tally.steps for tally in self.tallies)
        nothing = np.zeros(model.n_outputs)
        return Report(
            worker=task.worker,
            round=task.round,
            state=self.state,
            steps=steps,
            examples=self.examples,
            loss=sum((tally.loss for tally in self.tallies), nothing),
            objective=sum((tally.objective for tally in self.tallies), nothing),
            seconds=time.perf_counter() - self.began,
            clock=descent.clock,
            gains=self.gains,
            log_contraction=model.log_contraction(task.clock, steps * task.pace) / task.pace,
            converged=self.converged,
            trace=tuple(self.trace),
            diverged=self.diverged,
        )

    def _compile(self, descent) -> None:
        """Visit no rows: what is compiled on first use is not to be paid from the round's seconds."""
        epoch, skip = divmod(self.task.cursor + self.examples, max(self.shard.n_rows, 1))
        for block in self.shard.blocks(self.task.seed, epoch, skip):
            descent.advance(block.rows, block.order, 0, 0)
            break

    def _left(self) -> int:
        return self.most - self.examples

    def _epoch(self, descent) -> None:
        """Go on to the end of the present epoch, or of the budget."""
        epoch, skip = divmod(self.task.cursor + self.examples, self.shard.n_rows)
        for block in self.shard.blocks(self.task.seed, epoch, skip):
            at = 0
            while at < len(block.order) and self._left() > 0 and self.going:
                stop = min(at + self._aligned_chunk(), len(block.order), at + self._left())
                self._advance(descent, block, at, stop)
                at = stop
            if self._left() <= 0 or not self.going:
                return

    def _advance(self, descent, block, start: int, stop: int) -> None:
        began = time.perf_counter()
        descent.advance(block.rows, block.order, start, stop)
        self.examples += stop - start
        spent = time.perf_counter() - began
        if self.task.slowdown > 1.0:
            time.sleep(spent * (self.task.slowdown - 1.0))
        self.chunk = max(1, int((stop - start) * min(_CHUNK_SECONDS / max(spent, 1e-9), 4.0)))
        self.going = self.pulse(self.task.worker, stop - start, descent) and not self._late()

    def _late(self) -> bool:
        seconds = self.task.budget.seconds
        return seconds is not None and time.perf_counter() - self.began >= seconds

    def _aligned_chunk(self) -> int:
        """Whole mini-batches, so that cutting the run into calls changes nothing."""
        size = self.model.batch_size
        return max(size, self.chunk // size * size)

    def _close_epoch(self, descent) -> None:
        """Count what was done; at the end of an epoch, ask the stopping rule."""
        tally = descent.tally()
        self.tallies.append(tally)
        # where the best state is kept, it is the end of the run and no error
        if not np.isfinite(tally.objective).all() and not self._keeps_best():
            raise self._divergence()
        ended = (self.task.cursor + self.examples) % self.shard.n_rows == 0
        if self.stopping is not None and ended:
            self._ask(descent, tally)
        score = self.stopping.scores[-1] if self.stopping is not None and self.stopping.scores else None
        self.trace.append((self.examples, self.model.total_loss(tally.loss) / max(tally.examples, 1), score))

    def _ask(self, descent, tally) -> None:
        shown = contextlib.nullcontext()
        if self.stopping.monitor is not None:
            # scores change no step: with early stopping, a fit is the fit to the other rows, bit for bit
            shown = descent.shown() if hasattr(descent, "shown") else contextlib.nullcontext(descent.settle())
        with shown:
            if self._keeps_best() and not self.model.finite(self.state):
                self.stopping.scores.append(math.nan)
                self.going, self.diverged = False, True
                return
            lowered = self.stopping.update(tally.objective / max(tally.examples, 1), self.state, self.gains)
        if lowered:
            # what was done so far was done at the old gains
            descent.settle()
            self.converged = not self.gains.any()
            self.going = self.going and not self.converged

    def _keeps_best(self) -> bool:
        """Whether the run can end with the state of an earlier epoch."""
        return self.stopping is not None and self.stopping.keeps_best and self.stopping.best_state is not None

    def _divergence(self) -> DivergedError:
        epoch = max(self.task.cursor + self.examples - 1, 0) // self.shard.n_rows + 1
        what = f"the parameters of worker {self.task.worker} left the finite numbers in round {self.task.round}"
        return diverged(self.model, epoch, what)
