"""Training of all settings and folds: passes over the rows, stopping, scores, and successive halving.

Successive halving: Jamieson, Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016; Maron, Moore, "Hoeffding Races", NIPS 1993.  After an eighth, a quarter and a half of the passes, settings
with the worse half of the mean scores end, if they are worse than the best by more than four standard errors of the
difference over the folds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from parsgd.core import Rows, Shard
from parsgd.estimators.search.column_block import ColumnBlock, Problem, n_padded, slots_of
from parsgd.estimators.search.folds import Folds
from parsgd.estimators.search.search_grid import Setting
from parsgd.training.stopping import StoppingRule

# Values of a call into compiled code: Ctrl-C waits for one call of some milliseconds.
_VALUES_PER_CALL = 1 << 24
_RUNGS = (8, 4, 2)
_FEWEST = 2
_STANDARD_ERRORS = 4.0

# decision (n_rows, n_models, n_outputs), row numbers -> scores (n_models,)
Scorer = Callable[[ColumnBlock, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Passes:
    """When the fits end: after ``max_iter`` passes, or by the rule of ``tol``, as in ``SGDClassifier``."""

    max_iter: int
    tol: float | None
    patience: int
    adaptive: bool
    early_stopping: bool
    halving: bool

    def rungs(self, n_settings: int) -> dict[int, int]:
        """Return the number of settings that stay after a pass, by passes."""
        if not self.halving:
            return {}
        found, left = {}, n_settings
        for part in _RUNGS:
            after, left = -(-self.max_iter // part), max(-(-left // 2), _FEWEST)
            if after < self.max_iter and left < n_settings:
                found[after] = left
        return found


@dataclass
class SearchResult:
    """``scores``, ``n_iter`` ``(n_settings, n_folds)``; ``halved_after``: passes of a dropped setting, else 0.

    ``coefficients`` are those of models that ended before the last pass, or of all after an interruption.
    """

    scores: np.ndarray
    n_iter: np.ndarray
    halved_after: np.ndarray
    interrupted: bool = False
    coefficients: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def group_models(
    settings: Sequence[Setting], n_folds: int, n_outputs: int, n_threads: int
) -> list[list[tuple[int, int]]]:
    """Return the models ``(fold, setting)`` of each block: of the same loss and penalty, enough blocks for the threads.

    The models of a fold are adjacent, because they have the same schedule step.
    """
    alike: dict[tuple[str, str | None], list[int]] = {}
    for number, setting in enumerate(settings):
        alike.setdefault((setting.loss, setting.penalty), []).append(number)
    groups = [[(fold, number) for fold in range(n_folds) for number in numbers] for numbers in alike.values()]
    n_columns = len(settings) * n_folds * n_outputs
    most = max(n_padded(-(-n_columns // n_threads)) // n_outputs, 1)
    return [group[begin : begin + most] for group in groups for begin in range(0, len(group), most)]


def make_blocks(
    problem: Problem, settings: Sequence[Setting], folds: Folds, class_weights: dict[int, np.ndarray], n_threads: int
) -> list[ColumnBlock]:
    """Return the blocks; ``class_weights``: ``(n_classes, n_folds)`` for each setting."""
    blocks = []
    for part in group_models(settings, folds.n_folds, problem.n_outputs, n_threads):
        of_folds, of_settings = (np.array(column) for column in zip(*part, strict=True))
        weights = np.stack([class_weights[setting][:, fold] for fold, setting in part], axis=1)
        trains = folds.trains[:, of_folds]
        blocks.append(ColumnBlock(problem, list(settings), of_settings, of_folds, trains, weights))
    return blocks


def memory_bytes(problem: Problem, settings: Sequence[Setting], n_folds: int, n_threads: int) -> int:
    """Return the bytes of the weights of all blocks, and of their slots."""
    total = 0
    for part in group_models(settings, n_folds, problem.n_outputs, n_threads):
        n_arrays = 1 + sum(slots_of(problem, [settings[number] for _, number in part]))
        total += n_padded(len(part) * problem.n_outputs) * n_arrays
    return total * problem.n_features * np.dtype(problem.dtype).itemsize


class ColumnSearch:
    """Trains blocks of columns over the same rows.

    ``score_test`` returns scores ``(n_models,)`` on the test rows of each model's fold, and ``score_held_out`` those
    that decide early stopping ``(n_models, n_outputs)``.
    """

    def __init__(
        self,
        blocks: list[ColumnBlock],
        folds: Folds,
        passes: Passes,
        shape: tuple[int, int],
        score_test: Scorer,
        score_held_out: Scorer,
        report: Callable[[str], None] = lambda text: None,
    ):
        self.blocks, self.folds, self.passes = blocks, folds, passes
        self.score_test, self.score_held_out, self.report = score_test, score_held_out, report
        self.rules = [self._rule(block) for block in blocks]
        nothing = np.full(shape, np.nan)
        self.result = SearchResult(nothing, np.zeros(shape, dtype=int), np.zeros(shape[0], dtype=int))
        self.stopped = threading.Event()

    def _rule(self, block: ColumnBlock) -> StoppingRule:
        passes = self.passes
        adaptive_from = None
        if passes.adaptive:
            eta0 = [block.all_settings[setting].eta0 for setting in block.settings]
            adaptive_from = np.repeat(eta0, block.problem.n_outputs)
        # the rule works on arrays, one rate for each column
        return StoppingRule(passes.tol, passes.patience, adaptive_from)  # type: ignore[arg-type]

    def run(self, shard: Shard, seed: int, n_threads: int) -> SearchResult:
        """Make the passes over the rows of ``shard``; Ctrl-C ends them and keeps the scores so far."""
        rungs = self.passes.rungs(self.result.scores.shape[0])
        began, done = time.perf_counter(), 0
        with ThreadPoolExecutor(n_threads) as pool:
            try:
                for done in range(1, self.passes.max_iter + 1):
                    self._one_pass(pool, shard, seed, done - 1)
                    self._end_pass(done)
                    if done in rungs:
                        self._halve(rungs[done], done)
                    n_models = sum(len(block.settings) for block in self.blocks)
                    seconds = time.perf_counter() - began
                    self.report(f"-- Pass {done}: {n_models} models in training, {seconds:.2f} seconds")
                    if not self.blocks:
                        break
            except KeyboardInterrupt:
                self.stopped.set()
                self.result.interrupted = True
        for block in list(self.blocks):
            self._finish(block, np.arange(len(block.settings)), done)
        return self.result

    def _one_pass(self, pool: ThreadPoolExecutor, shard: Shard, seed: int, epoch: int) -> None:
        visited = 0
        for rows, order in shard.blocks(seed, epoch):
            kinds = self.folds.kinds_of(shard, seed, epoch, visited)
            visited += len(order)
            futures = [pool.submit(self._visit, block, rows, order, kinds) for block in self.blocks]
            try:
                for future in futures:
                    future.result()
            finally:
                # after an error or Ctrl-C the threads end with their call
                if any(not future.done() for future in futures):
                    self.stopped.set()

    def _visit(self, block: ColumnBlock, rows: Rows, order: np.ndarray, kinds: np.ndarray) -> None:
        n_values = max(len(rows.x.data) // max(len(rows.y), 1), 1) * block.state.shape[1]
        step = max(_VALUES_PER_CALL // n_values, 1)
        for start in range(0, len(order), step):
            if self.stopped.is_set():
                return
            block.run(rows, order, start, min(start + step, len(order)), kinds)

    def _end_pass(self, done: int) -> None:
        """Apply the stopping rule, and end the models that have converged."""
        for block, rule in zip(list(self.blocks), list(self.rules), strict=True):
            objective = block.end_pass()
            lr_scale = block.lr_scale.copy()
            if self.passes.early_stopping:
                objective = -self._held_out_scores(block)
            rule.update(objective, np.zeros(0), lr_scale)
            block.lr_scale[:] = lr_scale
            converged = ~lr_scale.reshape(len(block.settings), -1).any(axis=1)
            if converged.any():
                self._finish(block, np.flatnonzero(converged), done)

    def _held_out_scores(self, block: ColumnBlock) -> np.ndarray:
        return self.score_held_out(block, np.arange(len(block.settings))).ravel()

    def _halve(self, n_left: int, done: int) -> None:
        """Drop settings that are not among the best ``n_left``, ended ones included, and are clearly worse."""
        scores = self.result.scores.copy()
        for block in self.blocks:
            self._score(block, np.arange(len(block.settings)), scores)
        means = scores.mean(axis=1)
        means[self.result.halved_after > 0] = -np.inf
        order = np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable")
        worst = order[n_left:]
        worst = worst[self.result.halved_after[worst] == 0]
        worst = worst[_clearly_worse(scores[order[0]], scores[worst])]
        self.result.halved_after[worst] = done
        for block in list(self.blocks):
            models = np.flatnonzero(np.isin(block.settings, worst))
            if len(models):
                self._finish(block, models, done)

    def _score(self, block: ColumnBlock, models: np.ndarray, scores: np.ndarray) -> None:
        """Store the scores of models on the test rows of their folds."""
        scores[block.settings[models], block.folds[models]] = self.score_test(block, models)

    def _finish(self, block: ColumnBlock, models: np.ndarray, done: int) -> None:
        """Store scores and coefficients of models, and drop them from their block."""
        place = self.blocks.index(block)
        if done == 0 or self.stopped.is_set():
            # the pass may have ended between two of its columns
            block.end_pass()
        self._score(block, models, self.result.scores)
        for model in models:
            key = int(block.settings[model]), int(block.folds[model])
            self.result.n_iter[key] = done
            if done < self.passes.max_iter or self.result.interrupted:
                self.result.coefficients[key] = block.coefficients(int(model))
        kept = np.setdiff1d(np.arange(len(block.settings)), models)
        if len(kept) == 0:
            del self.blocks[place], self.rules[place]
            return
        columns, rule = block.columns_of(kept), self.rules[place]
        block.keep(kept)
        picked = {name: value[columns] for name in ("best", "idle") if (value := getattr(rule, name)) is not None}
        if self.passes.adaptive:
            picked["adaptive_from"] = rule.adaptive_from[columns]  # type: ignore[index]
        self.rules[place] = replace(rule, **picked)


def _clearly_worse(best: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return True for rows of ``others (n, n_folds)`` that are worse than ``best`` beyond chance, or have diverged.

    One fold has no standard error; there all are.
    """
    with np.errstate(invalid="ignore"):
        differences = best - others
        means = differences.mean(axis=1)
        if others.shape[1] == 1:
            return np.ones(len(others), dtype=bool)
        errors = differences.std(axis=1, ddof=1) / np.sqrt(others.shape[1])
    return (means > _STANDARD_ERRORS * errors) | ~np.isfinite(means)


def available_bytes() -> float:
    """Return the memory that is free, or infinity if the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(1024.0 * float(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return np.inf


def megabytes(n_bytes: float) -> str:
    """Return megabytes with at least three digits.

    >>> megabytes(15_360), megabytes(2.5e9)
    ('0.0154', '2,500')
    """
    return f"{n_bytes / 1e6:,.0f}" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.3g}"
