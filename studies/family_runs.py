"""Runs of the study of all algorithms: the algorithms, their tuning, and the passes and virtual time to the goal.

One worker and every algorithm have the same grid, the same number of fits and the same criterion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.time_to_goal import tasks
from benchmarks.time_to_goal.tasks import Setting, Task, rate_of, words
from benchmarks.time_to_goal.tuning import NEIGHBOR, PASSES
from parsgd import AsyncLocalSGD, DelayedSGD, ElasticAveraging, Hogwild, LocalSGD, MiniBatch, Simulated
from parsgd.algorithms.common.adaptive_outer import Adaptive
from parsgd.algorithms.common.outer_optimizers import OuterStep, PlainOuterOptimizer
from parsgd.algorithms.merging import merge_weights
from parsgd.core import MergeResult
from parsgd.errors import DivergedError, IncompatiblePartsError
from parsgd.utils.row_arrays import rows_of

ONE, WORKERS = "one worker", (2, 8, 32)
TUNING_SEED, SEEDS = 0, (1, 2, 3)
# A fit ends at the goal or after this many passes, which depends on the number of workers.
MOST_PASSES = {1: 6, 2: 6, 8: 12, 32: 12}
TOLERANCE = 0.001
TEST_ROWS, NETWORK_TEST_ROWS = 10_000, 2_000
# Evaluations of the test loss per pass.
EVALUATIONS = 10
# Rows per gradient of mini-batch and delayed SGD, for linear models and for networks.
BATCH, NETWORK_BATCH = 256, 64
# Rates of each schedule: the middle ones of the grid of benchmarks/time_to_goal.
N_RATES = 4
# A pass of one worker in virtual seconds; so many that the driver's own work, which "auto" predicts, is negligible.
PASS_SECONDS = 1000.0


@dataclass(frozen=True)
class OneAverage(ElasticAveraging):
    """SimuParallelSGD at every tenth of a pass: the mean of workers that exchange nothing."""

    name = "one average"

    def merge(self, fit_state: Any, reports: Sequence[Any]) -> MergeResult:
        own = list(fit_state.memory)
        for report in reports:
            own[report.worker] = report.state
        weights = merge_weights.uniform([report.steps for report in reports])
        state = merge_weights.weighted_sum([report.state for report in reports], weights)
        return MergeResult(state, weights, tuple(own))


@dataclass(frozen=True)
class MeanOfIterates(PlainOuterOptimizer):
    """The adaptive outer step's mean of the last states, without the rest of it; suits one worker."""

    def step(self, fit_state: Any, reports: Sequence[Any], merged: MergeResult, memory: Any) -> OuterStep:
        newest = Adaptive().answer_weight(fit_state, sum(report.examples for report in reports))
        weights = np.array([1.0 - newest, newest])
        mean = merged.state if memory is None else merge_weights.weighted_sum([memory, merged.state], weights)
        return OuterStep(merged.state, mean, mean)


# Of the function's argument: the task.
_ALGORITHMS: dict[str, Callable[[Task], Any]] = {
    "local, 1 average per pass": lambda task: LocalSGD(sync_every=1.0),
    "local, 10 averages per pass": lambda task: LocalSGD(),
    "local, coordinate, 1 per pass": lambda task: LocalSGD(sync_every=1.0, rule="coordinate"),
    "local, coordinate, 10 per pass": lambda task: LocalSGD(rule="coordinate"),
    "local, adaptive": lambda task: LocalSGD(outer_optimizer="adaptive"),
    "local, SlowMo": lambda task: LocalSGD(outer_optimizer="momentum"),
    "local, Nesterov (DiLoCo)": lambda task: LocalSGD(outer_optimizer="nesterov"),
    "SimuParallelSGD, WP-SGD": lambda task: OneAverage(),
    "elastic": lambda task: ElasticAveraging(),
    "asynchronous": lambda task: AsyncLocalSGD(),
    "mini-batch": lambda task: MiniBatch(_batch(task)),
    "delayed": lambda task: DelayedSGD(_batch(task)),
    "hogwild": lambda task: Hogwild(),
    "auto": lambda task: "auto",
}
# One worker and its tricks. The adaptive outer step itself changes nothing with one worker.
_ALONE: dict[str, Callable[[Task], Any]] = {
    ONE: lambda task: LocalSGD(),
    f"{ONE}, mean of iterates": lambda task: LocalSGD(outer_optimizer=MeanOfIterates()),
    f"{ONE}, SlowMo": _ALGORITHMS["local, SlowMo"],
    f"{ONE}, Nesterov": _ALGORITHMS["local, Nesterov (DiLoCo)"],
}


def _batch(task: Task) -> int:
    return NETWORK_BATCH if task.kind == tasks.NETWORK else BATCH


@dataclass(frozen=True)
class Way:
    """An algorithm and a number of workers, with their speeds unless they are equal."""

    name: str
    n_workers: int
    algorithm: Any
    speeds: tuple[float, ...] | None = None

    def arguments(self, task: Task) -> dict[str, Any]:
        """Return the arguments of the estimator.  Shared memory needs threads, which have no virtual clock."""
        simulated = Simulated(speeds=self.speeds, rate=task.n_rows / PASS_SECONDS)
        engine = "threads" if isinstance(self.algorithm, Hogwild) else simulated
        return {"n_jobs": self.n_workers, "algorithm": self.algorithm, "engine": engine}


def chosen_by_auto(task: Task, n_workers: int) -> Any:
    """Return the algorithm that `"auto"` takes on machines of which messages take no time."""
    setting = task.grid()[0]
    model = task.estimator(setting, 1, TUNING_SEED, **Way("auto", n_workers, "auto").arguments(task))
    return model.fit(task.X[:5000], task.y[:5000]).algorithm_.algorithm


def ways(task: Task, workers: Sequence[int] = WORKERS) -> list[Way]:
    """Return one worker with its tricks, and every algorithm with each number of workers that it is measured with."""
    found = [Way(name, 1, make(task)) for name, make in _ALONE.items()]
    for name, make in _ALGORITHMS.items():
        counts = tuple(workers)
        if "coordinate" in name and not task.sparse:
            continue
        if name == "mini-batch":
            # any number of workers gives the result of one
            counts = (1,)
        elif name == "hogwild":
            counts = (min(workers),)
        made = {count: make(task) for count in counts}
        if name == "auto":
            made = {count: chosen_by_auto(task, count) for count in counts}
        found += [Way(name, count, algorithm) for count, algorithm in made.items()]
    return found


@dataclass(frozen=True)
class Row:
    """The readings of an algorithm: the passes of every seed, None for a seed not at the goal.

    Seeds are left out after most of them are not.
    `tuned_passes` and `tuned_loss` are those of the chosen setting in tuning: passes to the goal, twice those of a fit
    for a miss, and the loss at the end.  `at_edge`: its rate is the smallest or the largest that was tried.
    """

    name: str
    workers: int
    setting: str
    fits: int
    at_edge: bool
    tuned_passes: float
    tuned_loss: float
    passes: list[float | None]


@dataclass(frozen=True)
class Readings:
    """The readings of a data set."""

    task: str
    kind: str
    n_rows: int
    n_columns: int
    goal: float
    goal_setting: str
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


def load_readings(entry: dict[str, Any]) -> Readings:
    """Return readings from their JSON entry."""
    return Readings(**{**entry, "rows": [Row(**row) for row in entry["rows"]]})


def store_readings(found: Readings) -> dict[str, Any]:
    """Return the JSON entry of readings."""
    return asdict(found)


def smaller(task: Task, most_rows: int, fewest_visits: int) -> Task:
    """Return the task with at most `most_rows` training rows, some of the test rows, and no penalty.

    Columns that fewer than `fewest_visits` of these rows visit are left out of sparse rows; 1 changes no result.
    """
    X, y = _some(task.X, task.y, most_rows)
    X_test, y_test = _some(task.X_test, task.y_test, NETWORK_TEST_ROWS if task.kind == tasks.NETWORK else TEST_ROWS)
    if sparse.issparse(X):
        kept = np.flatnonzero(np.bincount(X.indices, minlength=X.shape[1]) >= fewest_visits)
        X, X_test = (sparse.csr_matrix(part[:, kept]) for part in (X, X_test))
        for part in (X, X_test):
            part.indices, part.indptr = part.indices.astype(np.int32), part.indptr.astype(np.int32)
    return replace(task, X=X, y=y, X_test=X_test, y_test=y_test, alpha=0.0)


def _some(X: Any, y: np.ndarray, most_rows: int) -> tuple[Any, np.ndarray]:
    if len(y) <= most_rows:
        return X, y
    chosen = np.sort(np.random.default_rng(0).choice(len(y), most_rows, replace=False))
    return X[chosen], y[chosen]


def grid(task: Task, n_rates: int = N_RATES) -> list[list[Setting]]:
    """Return the settings of each schedule, or of each solver of networks: the middle ones of the benchmarks' grid."""
    by_schedule: dict[Any, list[Setting]] = {}
    for setting in task.grid():
        by_schedule.setdefault(setting.get("solver", setting.get("learning_rate")), []).append(setting)
    by_schedule.pop("optimal", None)
    return [settings[1 : 1 + n_rates] for settings in by_schedule.values()]


class _Stop(Exception):
    """Ends a fit that is at the goal, that makes no progress, or whose time is over."""


@dataclass(frozen=True)
class LossCurve:
    """Passes of all workers together and the test loss of the merged model, ten times per pass.

    `times` are virtual, in passes of a worker of speed 1.  A fit that diverged has an infinite last loss.
    """

    passes: tuple[float, ...]
    losses: tuple[float, ...]
    times: tuple[float, ...]

    def to(self, goal: float) -> float:
        """Return the passes at the first evaluation at the goal; infinite without one."""
        return next((at for at, loss in zip(self.passes, self.losses, strict=True) if loss <= goal), np.inf)

    def time_to(self, goal: float) -> float:
        """Return the virtual time of the first evaluation at the goal; infinite without one."""
        return next((at for at, loss in zip(self.times, self.losses, strict=True) if loss <= goal), np.inf)


class _Watched:
    """An algorithm, and the test loss of its merged model; a fit ends at the goal or after a virtual time.

    It also ends after the first pass if the loss is then above that of the start.
    """

    def __init__(self, algorithm: Any, rows: Any, goal: float, most_time: float):
        self._algorithm, self._rows, self._goal, self._most_time = algorithm, rows, goal, most_time
        self._start, self._time = np.inf, 0.0
        # the virtual time at which each worker got its task
        self._begun: dict[int, float] = {}
        self.points: list[tuple[float, float, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def _loss(self, model: Any, state: np.ndarray) -> float:
        loss = float(model.mean_loss(model.decision(state, self._rows.x), self._rows)[0])
        return loss if np.isfinite(loss) else np.inf

    def merge(self, fit_state: Any, reports: Sequence[Any]) -> MergeResult:
        """Merge, and evaluate the loss if a tenth of a pass has ended."""
        if not fit_state.examples:
            self._start = self._loss(fit_state.model, fit_state.state)
        # messages take no time: a worker has its next task when its report is merged
        self._time = max(self._begun.get(report.worker, 0.0) + report.seconds / PASS_SECONDS for report in reports)
        self._begun |= {report.worker: self._time for report in reports}
        merged = self._algorithm.merge(fit_state, reports)
        passes = (fit_state.examples + sum(report.examples for report in reports)) / fit_state.n_rows
        before = self.points[-1][0] if self.points else 0.0
        if int(passes * EVALUATIONS + 1e-6) > int(before * EVALUATIONS + 1e-6):
            loss = self._loss(fit_state.model, merged.state if merged.answer is None else merged.answer)
            self.points.append((passes, loss, self._time))
            if loss <= self._goal or self._time > self._most_time:
                raise _Stop
            if before < 1.0 - 1e-6 <= passes and not loss <= self._start:
                self.points.append((passes, np.inf, self._time))
                raise _Stop
        return merged


def loss_curve(
    task: Task, way: Way, setting: Setting, n_epochs: int, seed: int, goal: float = -np.inf, most_time: float = np.inf
) -> LossCurve:
    """Return the loss curve of one fit of at most `n_epochs` passes, which ends at the goal or after a virtual time."""
    targets = {tasks.BINARY: lambda y: (2 * y - 1).astype(np.float32), tasks.REGRESSION: np.float32}
    rows = rows_of(task.X_test, targets.get(task.kind, np.int64)(task.y_test))
    watched = _Watched(way.algorithm, rows, goal, most_time)
    arguments = {**way.arguments(task), "algorithm": watched}
    diverged = False
    try:
        task.estimator(setting, n_epochs, seed, **arguments).fit(task.X, task.y)
    except _Stop:
        pass
    except (DivergedError, IncompatiblePartsError):
        # an algorithm may not offer every schedule
        diverged = True
    found = watched.points + [(float(n_epochs), np.inf, np.inf)] * diverged
    return LossCurve(*(tuple(point[part] for point in found) for part in range(3)))


@dataclass(frozen=True)
class Tuned:
    """The chosen setting, the one of least loss, the number of fits, and passes to the goal in tuning."""

    setting: Setting
    lowest: Setting
    least: float
    fits: int
    at_edge: bool
    passes: float
    loss: float


def neighbors(schedules: list[list[Setting]], best: Setting) -> list[Setting]:
    """Return two settings beside the best one, or beyond it if it has the first or the last rate of its schedule."""
    rates = next([setting[rate_of(setting)] for setting in each] for each in schedules if best in each)
    at = best[rate_of(best)]
    factors = [1.0 / NEIGHBOR, NEIGHBOR]
    if at == rates[-1]:
        factors = [NEIGHBOR**2, NEIGHBOR**4]
    elif at == rates[0]:
        factors = [NEIGHBOR**-2, NEIGHBOR**-4]
    return [{**best, rate_of(best): at * factor} for factor in factors]


def at_edge(setting: Setting, tried: Sequence[Setting]) -> bool:
    """Return True if no smaller or no larger rate of the setting's schedule was tried."""
    schedule = setting.get("solver", setting.get("learning_rate"))
    rates = [each[rate_of(each)] for each in tried if each.get("solver", each.get("learning_rate")) == schedule]
    return setting[rate_of(setting)] in (min(rates), max(rates))


def tune(task: Task, way: Way, goal: float | None, n_rates: int = N_RATES) -> Tuned:
    """Return the setting that is at the goal in the fewest passes, of equal ones that with the least loss.

    Without a goal it is the least loss, with the tolerance.  After the grid come two more fits: between the best rate
    and its neighbors, or beyond the best rate if it is the smallest or the largest of its schedule.
    """
    schedules = grid(task, n_rates)
    found = [(setting, loss_curve(task, way, setting, PASSES, TUNING_SEED)) for each in schedules for setting in each]

    def cost(trial: tuple[Setting, LossCurve]) -> tuple[float, float]:
        return (0.0 if goal is None else min(trial[1].to(goal), 2.0 * PASSES), trial[1].losses[-1])

    more = neighbors(schedules, min(found, key=cost)[0])
    found += [(setting, loss_curve(task, way, setting, PASSES, TUNING_SEED)) for setting in more]
    lowest, of_lowest = min(found, key=lambda trial: trial[1].losses[-1])
    goal = (1.0 + TOLERANCE) * of_lowest.losses[-1] if goal is None else goal
    setting, chosen = min(found, key=cost)
    edge, passes = at_edge(setting, [tried for tried, _ in found]), min(chosen.to(goal), 2.0 * PASSES)
    return Tuned(
        setting, lowest, float(of_lowest.losses[-1]), len(found), edge, float(passes), float(chosen.losses[-1])
    )


def measure(
    task: Task,
    about: dict[str, Any],
    log: Callable[[str], None],
    workers: Sequence[int] = WORKERS,
    seeds: Sequence[int] = SEEDS,
    n_rates: int = N_RATES,
) -> Readings:
    """Tune and measure everything on a task.

    The goal of tuning is the least loss of one worker after three passes with the tuning seed; that of the
    measurements is its median loss with the other seeds.
    """
    every = ways(task, workers)
    one = every[0]
    least = tune(task, one, None, n_rates)
    tuning_goal = (1.0 + TOLERANCE) * least.least
    losses = [loss_curve(task, one, least.lowest, PASSES, seed).losses[-1] for seed in seeds]
    goal = (1.0 + TOLERANCE) * float(np.median(losses))
    log(f"goal {goal:.5g}, {words(least.lowest)}")
    found = Readings(task.name, task.kind, task.n_rows, task.X.shape[1], goal, words(least.lowest), about)
    for way in every:
        tuned = least if way is one else tune(task, way, tuning_goal, n_rates)
        passes = []
        for seed in seeds:
            if len(seeds) > 2 and passes.count(None) > len(seeds) // 2:
                # the median is a miss already
                break
            each = loss_curve(task, way, tuned.setting, MOST_PASSES.get(way.n_workers, PASSES), seed, goal)
            at = each.to(goal)
            passes.append(float(at) if np.isfinite(at) else None)
        row = Row(
            way.name,
            way.n_workers,
            words(tuned.setting),
            tuned.fits,
            tuned.at_edge,
            *(tuned.passes, tuned.loss),
            passes,
        )
        found.rows.append(row)
        shown = np.round(np.array(passes, dtype=float), 2)
        log(f"{row.name}, {row.workers}: {row.setting}; tuning {row.tuned_passes:.2f}; passes {shown}")
    return found
