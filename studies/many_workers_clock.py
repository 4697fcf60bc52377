"""Algorithms of the study of many workers on a virtual clock, with the SGD of all workers in compiled loops.

The times are those of ``parsgd.Simulated`` without latency, and the rounds, weights and outer steps those of the
library.  Its engine takes some 0.1 ms of Python per worker and round; these loops take the time of the SGD steps.
A time of 1 is one pass of a worker of speed 1 over all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import many_workers_kernels as kernels
import numpy as np

from parsgd.algorithms.common.outer_optimizers import Mean, OuterOptimizer
from parsgd.algorithms.common.round_length import longest_part
from parsgd.algorithms.common.round_schedule import deadline
from parsgd.algorithms.merging import merge_weights
from parsgd.core import Budget, FitState, MergeResult, Report, Rows, Task
from parsgd.data.sources.array_source import ArraySource
from parsgd.models.linear.linear_model import Linear
from parsgd.training.schedule_advance import worker_seed
from parsgd.utils.row_arrays import rows_of

# A round is this fraction of a pass.
PART = 0.1
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Problem:
    """Training and test rows, targets of -1 and 1, and the least test loss if it is known."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    alpha: float = 1e-4
    least: float | None = None

    @property
    def n_rows(self) -> int:
        return len(self.y)

    @cached_property
    def source(self) -> ArraySource:
        # single rows, not runs of neighbors, so that shards may have few rows
        return ArraySource(rows_of(self.X, self.y), neighbours=1)

    @cached_property
    def unit(self) -> float:
        """One divided by the mean squared norm of a row."""
        values = self.X.ravel()
        return self.n_rows / float(np.dot(values, values))

    def loss(self, state: np.ndarray) -> float:
        """The test loss without the penalty; infinite if it is not a number."""
        mean = float(kernels.mean_loss(self.X_test, self.y_test, state))
        return mean if np.isfinite(mean) else np.inf


class Setting(NamedTuple):
    """A schedule and its rate, in units of 1 / (mean squared norm of a row)."""

    schedule: str
    rate: float

    @property
    def power(self) -> float:
        return 0.25 if self.schedule == "invscaling" else 0.0

    def __str__(self) -> str:
        return f"{self.schedule}, {self.rate:.3g}"


class Moment(NamedTuple):
    """The fitted state after a merge, the time, and the examples of all workers so far."""

    time: float
    examples: int
    state: np.ndarray


@dataclass(frozen=True)
class Way:
    """An algorithm.

    kind : {"rounds", "once", "asynchronous", "batches", "delayed"}
        Rounds from a common state; one average of runs that exchange nothing; and the others of the library.
    ends : {"work", "time", "deadline"}
        End of a round: equal parts of the shards, equal time, or the deadline "auto".
    fastest : float
        Fraction of the workers that take part, the fastest ones; they own all rows.
    """

    name: str
    kind: str = "rounds"
    ends: str = "work"
    rule: str = "uniform"
    outer: OuterOptimizer = field(default_factory=Mean)
    fastest: float = 1.0
    batch: int = 256

    def moments(self, problem: Problem, speeds: np.ndarray, setting: Setting, seed: int) -> Iterator[Moment]:
        """Yield the fit after each merge, without an end."""
        return _KINDS[self.kind](self, _Fit(problem, self.taking_part(speeds), setting, seed))

    def taking_part(self, speeds: np.ndarray) -> np.ndarray:
        """Return the speeds of the workers that take part."""
        return speeds if self.fastest == 1.0 else speeds[speeds >= np.quantile(speeds, 1.0 - self.fastest)]


@lru_cache(maxsize=16)
def _seeds(seed: int, n_workers: int) -> np.ndarray:
    return np.array([worker_seed(seed, worker) for worker in range(n_workers)])


@lru_cache(maxsize=16)
def _partition(problem: Problem, n_workers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of all workers, one after the other, and the ends of their parts, from 0 on."""
    numbers = [shard.numbers for shard in problem.source.split(n_workers, seed)]
    return np.concatenate(numbers).astype(np.int32), np.cumsum([0, *map(len, numbers)])


class _Fit:
    """One fit: the rows of each worker, its cursor and speed, and the arguments of the compiled loops."""

    def __init__(self, problem: Problem, speeds: np.ndarray, setting: Setting, seed: int):
        self.problem, self.seed, self.n_workers = problem, seed, len(speeds)
        self.speed = float(speeds.sum())
        order, self.ends = _partition(problem, self.n_workers, seed)
        self.sizes = np.diff(self.ends)
        self.seconds = 1.0 / (problem.n_rows * speeds)
        self.cursors = np.zeros(self.n_workers, dtype=np.int64)
        self.state = np.zeros(problem.X.shape[1] + 1, dtype=np.float32)
        self.shards = kernels.Shards(problem.X, problem.y, order.copy(), self.ends, _seeds(seed, self.n_workers))
        self.rates = kernels.Rates(setting.rate * problem.unit, setting.power, problem.alpha)
        # without the padding of dense rows
        self.model = Linear(
            problem.X.shape[1],
            dtype="float32",
            loss="log_loss",
            alpha=problem.alpha,
            schedule=setting.schedule,
            eta0=self.rates.eta0,
            power_t=setting.power,
            sparse=True,
        )

    def parts(self) -> np.ndarray:
        """Return the examples of each worker to the end of its present part of its shard."""
        parts = np.clip(int(1.0 / PART + 0.5), 1, self.sizes)
        begin = self.cursors % self.sizes
        part = -(-parts * (begin + 1) // self.sizes)
        return np.minimum(self.sizes, self.sizes * part // parts) - begin

    def within(self, seconds: float) -> np.ndarray:
        """Return the examples of each worker in this time, in which it completes the one that it has begun."""
        return np.maximum(1, np.ceil(seconds / self.seconds * (1.0 - _ROUNDING))).astype(np.int64)

    def weights(self, rule: str, steps: np.ndarray, schedule_step: float = 1.0) -> np.ndarray:
        """Return the merge weights of a rule."""
        if rule == "wp":
            values, places = np.unique(steps, return_inverse=True)
            logs = [self.model.log_contraction(schedule_step, int(value)) for value in values]
            return merge_weights.wp_sgd(np.array(logs)[places], steps)
        if rule == "fednova":
            return merge_weights.fednova(steps, self.sizes)
        return {"uniform": merge_weights.uniform, "steps": merge_weights.by_steps}[rule](steps)


def _rounds(way: Way, fit: _Fit) -> Iterator[Moment]:
    """Local SGD: rounds from the merged state."""
    clock, examples, schedule_step = 0.0, 0, 1.0
    outer = _Outer(way.outer, fit)
    measured = False
    for number in range(10**9):
        if way.ends == "time":
            counts = fit.within(PART / fit.speed)
        else:
            counts = fit.parts()
            if way.ends == "deadline" and measured:
                longest = longest_part(fit.sizes, 1, PART)
                counts = np.minimum(counts, fit.within(deadline(fit.seconds, longest)))
            measured = True
        start = float(math.ceil(schedule_step - 1e-9))
        factor, size = outer.factor(start)
        weights = fit.weights(way.rule, counts, start)
        rates = fit.rates._replace(eta0=fit.rates.eta0 * factor)
        displacement = kernels.run_round(fit.shards, fit.cursors, counts, weights, fit.state, rates, start, size)
        merged = (fit.state + displacement).astype(np.float32)
        done = int(counts.sum())
        state, answer = outer.step(merged, weights, done, number, start)
        # the mean of the workers' schedule steps by their weights; with a step size, the steps of all workers
        schedule_step += float(done if size != 1.0 else (weights * counts).sum() / weights.sum())
        fit.state, examples = state, examples + done
        clock += float((counts * fit.seconds).max())
        yield Moment(clock, examples, answer)


class _Outer:
    """An outer optimizer of the library, with one report that sums those of all workers."""

    def __init__(self, optimizer: OuterOptimizer, fit: _Fit):
        self.optimizer, self.fit, self.examples = optimizer, fit, 0
        self.size = optimizer.schedule_step_size(fit.n_workers)
        n_probe = optimizer.n_probe_rows(fit.problem.n_rows) if fit.n_workers > 1 else 0
        self.sample: Rows | None = fit.problem.source.draw(n_probe, fit.seed)[0] if n_probe else None
        self.scale = np.ones(1)
        self.memory: Any = None
        self.memory = optimizer.init_memory(self._fit_state(0, 1.0))

    def _fit_state(self, number: int, schedule_step: float) -> FitState:
        fit, ones = self.fit, np.ones(1)
        task = Task(0, number, fit.state, fit.seed, Budget(1), 0, schedule_step, self.scale)
        counts = fit.n_workers, fit.problem.n_rows, 1000, number, self.examples
        rest = (task,), (), (), schedule_step, ones
        return FitState(fit.model, fit.state, *counts, self.memory, self.sample, *rest)

    def factor(self, schedule_step: float) -> tuple[float, float]:
        """Return the factor on the rates and the increase of the schedule step per step."""
        factor = self.optimizer.lr_factor(self._fit_state(0, schedule_step), self.memory)
        self.scale = np.full(1, factor)
        return factor, self.size

    def step(
        self, merged: np.ndarray, weights: np.ndarray, examples: int, number: int, schedule_step: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the next state, and the fitted state."""
        nothing = np.zeros(1)
        report = Report(0, number, merged, examples, examples, nothing, nothing, 0.0, schedule_step, self.scale)
        fit_state = self._fit_state(number, schedule_step)
        step = self.optimizer.step(fit_state, [report], MergeResult(merged, weights), self.memory)
        self.memory, self.examples = step.memory, self.examples + examples
        return step.state, step.state if step.answer is None else step.answer


def _once(way: Way, fit: _Fit) -> Iterator[Moment]:
    """One average at the end of a fit: each moment is the end of a fit of its own length."""
    states = np.zeros((fit.n_workers, len(fit.state)), dtype=np.float32)
    for number in range(1, 10**9):
        if way.ends == "time":
            target = fit.within(number * PART / fit.speed)
        else:
            whole, left = divmod(number, round(1.0 / PART))
            target = whole * fit.sizes + np.ceil(left * PART * fit.sizes - 1e-9).astype(np.int64)
        kernels.continue_runs(fit.shards, fit.cursors, target - fit.cursors, states, fit.rates)
        weights = fit.weights(way.rule, target)
        state = np.einsum("i,ij->j", weights, states)
        yield Moment(float((target * fit.seconds).max()), int(target.sum()), state.astype(np.float32))


def _to_next_part(examples: int, n_rows: int) -> int:
    """Return the examples to the end of the present part of a pass, at least one."""
    part = math.floor(examples / n_rows / PART + 1e-9) + 1
    return max(1, math.ceil(part * PART * n_rows - 1e-9) - examples)


def _under_way(fit: _Fit) -> kernels.UnderWay:
    n, size = fit.n_workers, len(fit.state)
    return kernels.UnderWay(np.zeros((n, size), np.float32), np.zeros(n), np.zeros(n, np.int64), np.zeros(n))


def _asynchronous(way: Way, fit: _Fit) -> Iterator[Moment]:
    """Asynchronous local SGD: each report is merged at its arrival."""
    clocks, examples, under_way = np.array([0.0, 1.0, 0.0]), 0, _under_way(fit)
    while True:
        most = _to_next_part(examples, fit.problem.n_rows)
        examples += kernels.run_asynchronous(
            fit.shards, fit.cursors, round(1.0 / PART), fit.state, under_way, fit.seconds, most, fit.rates, clocks
        )
        yield Moment(float(clocks[0]), examples, fit.state)


def _batches(way: Way, fit: _Fit) -> Iterator[Moment]:
    """Mini-batches, at least a row for each worker: any number of workers makes the steps of one."""
    n, batch = fit.problem.n_rows, max(way.batch, fit.n_workers)
    order, at, clock, examples, schedule_step = np.arange(n, dtype=np.int32), 0, 0.0, 0, 1.0
    together = batch * max(1, int(PART * n / batch))
    while True:
        if at == 0:
            kernels.permute_all(order, fit.seed)
        end = min(at + together, n)
        schedule_step = kernels.run_batches(
            fit.shards.X, fit.shards.y, order, at, end, batch, fit.state, fit.rates, schedule_step
        )
        whole, rest = divmod(end - at, batch)
        clock += whole * _slowest_slice(fit, batch) + (_slowest_slice(fit, rest) if rest else 0.0)
        examples, at = examples + end - at, end % n
        yield Moment(clock, examples, fit.state)


def _slowest_slice(fit: _Fit, n_rows: int) -> float:
    """Return the time of the slowest worker for its slice of a batch."""
    ends = -(-n_rows * np.arange(fit.n_workers + 1) // fit.n_workers)
    return float((np.diff(ends) * fit.seconds).max())


def _delayed(way: Way, fit: _Fit) -> Iterator[Moment]:
    """Delayed SGD: the gradients of the workers in a fixed order, each K - 1 steps old."""
    clocks, examples, under_way = np.array([0.0, 1.0, -float(fit.n_workers)]), 0, _under_way(fit)
    while True:
        most = _to_next_part(examples, fit.problem.n_rows)
        examples += kernels.run_delayed(
            fit.shards, fit.cursors, way.batch, fit.state, under_way, fit.seconds, most, fit.rates, clocks
        )
        yield Moment(float(clocks[0]), examples, fit.state)


_KINDS = {
    "rounds": _rounds,
    "once": _once,
    "asynchronous": _asynchronous,
    "batches": _batches,
    "delayed": _delayed,
}
