"""The loop: check, split, open, then send, receive and combine until it is time to stop.

It receives four objects and knows nothing of them but their contracts.
"""

from __future__ import annotations

import math
import time
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from parsgd import blas
from parsgd.core import Algorithm, Crew, Engine, Model, Report, Source, Task
from parsgd.errors import DivergedError, IncompatibleParts, InterruptedFit, Outcome
from parsgd.progress import Line, stopped_by_interrupt
from parsgd.stopping import Stopping


@dataclass
class Fit:
    """What a fit returns.

    ``history`` has one entry a round: ``round, epoch, seconds, loss, score`` and ``workers``, a list with
    ``worker, steps, examples, seconds, weight, loss, trace`` of each.  ``loss`` is the mean over the examples of the
    round, each taken just before its step; ``clock`` is where the learning-rate schedule stands.
    """

    state: np.ndarray
    outcome: Outcome
    history: list[dict[str, Any]]
    clock: float
    n_epochs: int
    gains: np.ndarray
    examples: int


def refuse_unoffered(algorithm: Algorithm, engine: Engine) -> None:
    """Compare what the algorithm needs with what the engine offers, before any worker starts."""
    lacking = sorted(algorithm.needs - engine.offers)
    if lacking:
        offered = ", ".join(sorted(engine.offers)) or "nothing beyond messages"
        raise IncompatibleParts(
            f"algorithm={algorithm.name!r} needs {', '.join(lacking)}; engine={engine.name!r} offers {offered}."
            " Use another algorithm, such as 'local', or an engine that offers it, such as 'threads'."
        )


def worker_seed(seed: int, worker: int) -> int:
    """The first worker has the fit's own seed, so that one worker is serial SGD; the others' derive from it."""
    if worker == 0:
        return seed
    return int(np.random.SeedSequence((seed, worker)).generate_state(1)[0] & 0x7FFFFFFF) or 1


@dataclass
class Loop:
    """One fit in progress."""

    model: Model
    algorithm: Algorithm
    n_workers: int
    seed: int
    max_epochs: int
    stopping: Stopping
    n_rows: int
    shard_rows: list[int]
    state: np.ndarray
    clock: float
    line: Line
    gains: np.ndarray = field(init=False)
    history: list[dict[str, Any]] = field(default_factory=list)
    examples: int = 0
    epochs: int = 0

    def __post_init__(self) -> None:
        self.gains = np.ones(self.model.n_outputs)
        self.cursors = [0] * self.n_workers
        self.seeds = [worker_seed(self.seed, worker) for worker in range(self.n_workers)]
        if self.algorithm.sampling == "shared":
            self.seeds = [self.seed] * self.n_workers
        self.epoch_objective = np.zeros(self.model.n_outputs)
        self.epoch_examples = 0
        self.began = time.perf_counter()

    def run(self, crew: Crew) -> Outcome:
        """Rounds until an outcome; a new task goes to those that reported."""
        idle = range(self.n_workers)
        round = 0
        while True:
            for worker in idle:
                crew.send(self.task(worker, round))
            reports = sorted(crew.receive(self.algorithm.quorum(self.n_workers)), key=lambda report: report.worker)
            outcome = self.take(reports, round)
            if outcome is not None:
                return outcome
            idle = [report.worker for report in reports]
            del reports  # each holds a state, and the next ones are under way
            round += 1

    def task(self, worker: int, round: int) -> Task:
        """The next task of a worker."""
        stopping = self.stopping if self.algorithm.one_shot else None
        rows = self.shard_rows[worker]
        budget = self.algorithm.budget(round, rows, self.max_epochs, stopping, self.model.batch_size)
        return Task(
            worker, round, self.state, self.seeds[worker], budget, self.cursors[worker], self.clock, self.gains,
            n_workers=self.n_workers, source_rows=self.n_rows,
        )  # fmt: skip

    def take(self, reports: list[Report], round: int) -> Outcome | None:
        """Merge a round's reports, write history, and say whether the fit has ended."""
        merge = self.algorithm.combine(self.model, self.state, reports)
        self.state = merge.state
        if merge.weights.any():
            # the clock is merged as the parameters are; a clock is a whole number of steps
            self.clock = float(math.ceil(np.dot(merge.weights, [report.clock for report in reports]) - 1e-9))
        for report in reports:
            self.cursors[report.worker] += report.examples
        self.examples += sum(report.examples for report in reports)
        self.epoch_examples += sum(report.examples for report in reports)
        self.epoch_objective += sum(report.objective for report in reports)
        self.write(reports, merge.weights, round)
        if self.line.halted:
            return Outcome.INTERRUPTED
        if self.algorithm.one_shot:
            return self.end_one_shot(reports)
        return self.end_epoch()

    def end_one_shot(self, reports: list[Report]) -> Outcome:
        """The workers applied the stopping rule themselves."""
        rows = (max(self.shard_rows[report.worker], 1) for report in reports)
        self.epochs = max(math.ceil(r.examples / n) for r, n in zip(reports, rows, strict=True))
        self.gains = np.max([report.gains for report in reports], axis=0)
        if self.stopping.monitor is not None:
            self.history[-1]["score"] = float(np.mean(self.stopping.monitor(self.state)))
        moved = [report for report in reports if report.examples]
        if moved and all(report.converged for report in moved):
            return Outcome.CONVERGED
        budgets = [self.shard_rows[report.worker] * self.max_epochs for report in reports]
        unfinished = any(r.examples < b and not r.converged for r, b in zip(reports, budgets, strict=True))
        return Outcome.OUT_OF_TIME if unfinished else Outcome.MAX_EPOCHS

    def end_epoch(self) -> Outcome | None:
        """Apply the stopping rule when the workers have together visited as many examples as there are rows."""
        if self.examples < self.n_rows * (self.epochs + 1):
            return None
        self.epochs = self.examples // self.n_rows
        self.gains = self.gains.copy()
        self.stopping.update(self.epoch_objective / self.epoch_examples, self.state, self.gains)
        if self.stopping.scores:
            self.history[-1]["score"] = self.stopping.scores[-1]
        self.epoch_objective = np.zeros(self.model.n_outputs)
        self.epoch_examples = 0
        if not self.gains.any():
            return Outcome.CONVERGED
        return Outcome.MAX_EPOCHS if self.epochs >= self.max_epochs else None

    def write(self, reports: list[Report], weights: np.ndarray, round: int) -> None:
        """Add the round to the history and tell the observers."""
        total = self.model.total_loss
        examples = sum(report.examples for report in reports)
        loss = sum(total(report.loss) for report in reports) / max(examples, 1)
        workers = [
            {
                "worker": report.worker,
                "steps": report.steps,
                "examples": report.examples,
                "seconds": report.seconds,
                "weight": float(weight),
                "loss": total(report.loss) / max(report.examples, 1),
                "trace": list(report.trace),
            }
            for report, weight in zip(reports, weights, strict=True)
        ]
        entry = {
            "round": round,
            "epoch": self.examples / self.n_rows,
            "seconds": time.perf_counter() - self.began,
            "loss": loss,
            "score": None,
            "workers": workers,
        }
        if self.algorithm.sends == "slope" and self.history and _same_tenth(self.history[-1], entry):
            self.history[-1] = _folded(self.history[-1], entry)
        else:
            self.history.append(entry)
        if self.line.observers:
            self.line.tell(loss)


def _same_tenth(entry: dict[str, Any], following: dict[str, Any]) -> bool:
    """Whether two entries of the history end in the same tenth of an epoch.

    Where a round is one batch, a fit has so many that their record would be longer than the data.
    """
    return math.ceil(10 * entry["epoch"] - 1e-9) == math.ceil(10 * following["epoch"] - 1e-9)


def _folded(entry: dict[str, Any], following: dict[str, Any]) -> dict[str, Any]:
    """One entry for two stretches of rounds: sums of what was done, means of losses and weights over examples."""
    totals = [sum(worker["examples"] for worker in side["workers"]) for side in (entry, following)]
    workers = []
    for one, other in zip(entry["workers"], following["workers"], strict=True):
        summed = {key: one[key] + other[key] for key in ("steps", "examples", "seconds")}
        loss = _mean((one["loss"], other["loss"]), (one["examples"], other["examples"]))
        # over the examples of all workers, so that weights go on summing to 1
        weight = _mean((one["weight"], other["weight"]), totals)
        workers.append({**other, **summed, "weight": weight, "loss": loss})
    return {**following, "loss": _mean((entry["loss"], following["loss"]), totals), "workers": workers}


def _mean(values: tuple[float, float], parts: Any) -> float:
    return sum(value * part for value, part in zip(values, parts, strict=True)) / max(sum(parts), 1)


def fit(
    model: Model,
    algorithm: Algorithm,
    engine: Engine,
    source: Source,
    *,
    n_workers: int = 1,
    seed: int = 1,
    max_epochs: int = 1,
    stopping: Stopping | None = None,
    state: np.ndarray | None = None,
    clock: float = 1.0,
) -> Fit:
    """Fit ``model`` by ``algorithm`` on ``engine`` to the rows of ``source``.

    Raises
    ------
    IncompatibleParts
        If the algorithm needs what the engine does not offer; before any worker starts.
    DivergedError
        If parameters leave the finite numbers; names the round and the epoch.
    """
    refuse_unoffered(algorithm, engine)
    shards = source.split(n_workers, seed, algorithm.sampling)
    line = Line(n_workers, source.n_rows * max_epochs)
    loop = Loop(
        model=model,
        algorithm=algorithm,
        n_workers=n_workers,
        seed=seed,
        max_epochs=max_epochs,
        stopping=(stopping or Stopping(tol=None)).fresh(),
        n_rows=source.n_rows,
        shard_rows=[shard.n_rows for shard in shards],
        state=model.init(seed) if state is None else state,
        clock=clock,
        line=line,
    )
    # the loop's state is the only one that the driver keeps
    del state
    with stopped_by_interrupt(line), blas.one_thread() if model.uses_blas else nullcontext():
        crew = engine.open(partial(algorithm.work, model), shards, line)
        try:
            outcome = loop.run(crew)
        finally:
            line.halted = True
            crew.close()
    line.tell(loop.history[-1]["loss"], done=True)
    if outcome is Outcome.INTERRUPTED:
        warnings.warn(f"{Outcome.INTERRUPTED.value} ({loop.examples} examples visited.)", InterruptedFit, stacklevel=5)
    state = loop.state if loop.stopping.best_state is None else loop.stopping.best_state
    if not model.finite(state):
        raise DivergedError(
            f"Floating-point under-/overflow occurred at epoch #{max(loop.epochs, 1)}: the parameters left the finite"
            f" numbers in round {loop.history[-1]['round']}, the last one. Scaling input data with StandardScaler or"
            " MinMaxScaler might help, or a smaller learning rate."
        )
    return Fit(state, outcome, loop.history, loop.clock, max(loop.epochs, 1), loop.gains, loop.examples)
