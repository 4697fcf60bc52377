"""Fits of parsgd and its peers: settings, tuning with an equal budget, and the timed turns of studies/peers.py."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from scipy import sparse

from benchmarks import problems, solvers
from benchmarks.figures.time_to_accuracy import RATES, Split, fastest_form
from benchmarks.measuring import timed
from benchmarks.options import Options
from benchmarks.problems import Problem, Unavailable
from benchmarks.solvers import network_torch
from benchmarks.solvers.network_parsgd import Parsgd
from benchmarks.solvers.network_sklearn import ScikitLearn
from benchmarks.solvers.network_torch import PyTorch
from benchmarks.solvers.training import Training
from benchmarks.time_to_goal import tasks

# The settings of every row, the passes of its fits, and the relative distances of the goals from the best loss.
BUDGET, PASSES, NETWORK_PASSES, TOLERANCES = 12, (1, 2, 3, 5, 8, 13, 20, 32), (1, 2, 3, 5, 8), (0.05, 0.01, 0.001)
TUNING_SEED, SEEDS = 0, (1, 2, 3)
ALPHAS, ADAGRAD = (1e-6, 1e-5, 1e-4, 1e-3), (0.05, 0.2, 0.5, 2.0)
# Initial rates of "invscaling" in units of 1 / (mean squared norm of a row): dense rows, sparse rows.
INVSCALING = {False: (0.3, 1.0, 3.0, 10.0), True: (3.0, 10.0, 30.0, 100.0)}
# One iteration of LogisticRegression is about a pass, but it needs more of them.
ITERATIONS = {"sklearn_logistic": 4}
TWO_CLASSES = ("vowpal_wabbit", "cyanure_qning", "snap")
PEERS = ("sklearn_sgd", "sklearn_logistic", *TWO_CLASSES)
ONE, TWO = "parsgd, 1 worker", "parsgd, n_jobs=2"
LAYERS, BATCHES, NETWORK_ROWS = (784, 128, 10), (64, 128), 20_000
# The sets of the quick runs, which have generated rows.
QUICK = {"covtype2": "covtype", "news20": "news20_softmax"}
# Probabilities below this are rounding errors of float32.
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)

Log = Callable[[str], None]


class Point(NamedTuple):
    """A fit: its passes, seconds and test loss."""

    passes: int
    seconds: float
    loss: float


def test_loss(problem: Problem, predict_proba: Callable) -> float:
    """The mean cross-entropy of the test rows; infinite if it is NaN."""
    probabilities = np.asarray(predict_proba(problem.X_test))
    chosen = probabilities[np.arange(len(probabilities)), problem.y_test].astype(float)
    loss = float(-np.log(np.clip(chosen, LEAST_PROBABILITY, 1.0)).mean())
    return loss if np.isfinite(loss) else np.inf


@dataclass(frozen=True, eq=False)
class LinearRow:
    """A solver of `benchmarks.solvers`, whose fits are whole ones: each starts from zero and is timed as a whole."""

    name: str
    module: ModuleType
    problem: Problem
    settings: list[dict]
    fixed: dict = field(default_factory=dict)
    iterations: int = 1
    # Vowpal Wabbit reads the rows in the order of its cache file, of which there is one
    one_order: bool = False

    def words(self, setting: dict) -> str:
        return solvers.words({key: value for key, value in setting.items() if key != "power_t"})

    def speed(self) -> str:
        return solvers.words({key: value for key, value in self.fixed.items() if key in ("dtype", "n_jobs")})

    def warm_up(self) -> None:
        """Fit once, because the first fit compiles."""
        self._fit(self.settings[0], 1, TUNING_SEED)

    def fits(self, setting: dict, passes: Sequence[int], seed: int) -> Iterator[Point]:
        for n_passes in passes:
            yield self._fit(setting, self.iterations * n_passes, seed)

    def _fit(self, setting: dict, n_passes: int, seed: int) -> Point:
        seed = TUNING_SEED if self.one_order else seed
        run = self.module.prepare(self.problem, n_passes, seed=seed, **self.fixed, **setting)
        fitted: list = []
        gc.collect()
        began = time.perf_counter()
        try:
            seconds = timed(lambda: fitted.append(run()))
        except ValueError:
            # parsgd and scikit-learn raise one if a fit diverges
            return Point(n_passes, time.perf_counter() - began, np.inf)
        return Point(n_passes, seconds, test_loss(self.problem, fitted[0].predict_proba))


@dataclass(frozen=True, eq=False)
class NetworkRow:
    """A solver of networks.

    parsgd's fits are whole ones.  The others make one fit, whose loss is evaluated between passes and not timed.
    """

    name: str
    form: Parsgd | ScikitLearn | PyTorch
    problem: Problem
    settings: list[Training]

    def words(self, setting: Training) -> str:
        return str(setting)

    def speed(self) -> str:
        return self.form.speed

    def warm_up(self) -> None:
        """Fit once, because the first fit compiles."""
        next(self.fits(self.settings[0], (1,), TUNING_SEED))

    def fits(self, setting: Training, passes: Sequence[int], seed: int) -> Iterator[Point]:
        solver, X, y = replace(self.form, training=setting), self.problem.X, self.problem.y
        gc.collect()
        if isinstance(solver, Parsgd):
            found = ((n_passes, solver.fit(X, y, n_passes, seed)) for n_passes in passes)
        else:
            found = enumerate(solver.passes(X, y, seed), 1)
        for n_passes, fitted in found:
            if n_passes in passes:
                yield Point(n_passes, fitted.seconds, test_loss(self.problem, fitted.predict_proba))
            if n_passes >= passes[-1]:
                return


Row = LinearRow | NetworkRow


def ladder(row: Row, setting, passes: Sequence[int], seed: int, limit_s: float) -> list[Point]:
    """The fits of a setting with more and more passes, up to the first one over the limit or without a finite loss."""
    found = []
    for point in row.fits(setting, passes, seed):
        found.append(point)
        if point.seconds > limit_s or not np.isfinite(point.loss):
            break
    return found


# -- settings --------------------------------------------------------------------------------------------------------


def settings_of(name: str, problem: Problem) -> list[dict]:
    """The settings of a linear solver, `BUDGET` of them for each."""
    two = problem.n_classes == 2
    optimal = [
        {"learning_rate": "optimal", "average": average, "alpha": alpha}
        for average in (False, True)
        for alpha in ALPHAS
    ]
    if name == "ours":
        adagrad = [{"learning_rate": "adagrad", "eta0": eta0, "alpha": 0.0} for eta0 in ADAGRAD]
        if two:
            return optimal + adagrad
        return optimal[: len(ALPHAS)] + [{"loss": loss, **each} for loss in ("softmax", "log_loss") for each in adagrad]
    if name == "sklearn_sgd":
        rates = {"learning_rate": "invscaling", "power_t": 0.25, "alpha": ALPHAS[0]}
        return optimal + [{**rates, "eta0": eta0} for eta0 in _rates(problem)]
    if name == "sklearn_logistic":
        if two:
            return solvers.load(name).grid(problem)
        # LIBLINEAR has no softmax
        ways, penalties = ("lbfgs", "saga"), (0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
        return [{"solver": solver, "C": C, "dtype": "float32"} for solver in ways for C in penalties]
    if name == "vowpal_wabbit":
        rates = {"adaptive": (0.02, 0.05, 0.2, 0.5, 1.0, 2.0), "--sgd": (0.02, 0.1, 0.5, 2.0, 10.0, 50.0)}
        return [{"way": way, "rate": rate} for way, each in rates.items() for rate in each]
    if name == "cyanure_qning":
        ways = [("auto", alpha) for alpha in ALPHAS[:3]] + [("qning-svrg", alpha) for alpha in ALPHAS[:3]]
        return [{"solver": way, "alpha": alpha, "n_jobs": n_jobs} for way, alpha in ways for n_jobs in (1, 2)]
    return [{"alpha": alpha, "n_jobs": n_jobs} for alpha in (1e-7, 3e-6, *ALPHAS) for n_jobs in (1, 2)]


def _rates(problem: Problem) -> list[float]:
    """Rates for the lengths of the rows, with two digits."""
    X = problem.X
    squared = (float(np.dot(X.data, X.data)) if sparse.issparse(X) else float(np.vdot(X, X))) / problem.n_rows
    return [float(f"{factor / squared:.2g}") for factor in INVSCALING[sparse.issparse(X)]]


def trainings(layers: tuple[int, ...]) -> list[Training]:
    """The settings of all networks: optimizers, rates and batches, `BUDGET` in all."""
    return [
        Training(layers, batch, optimizer, rate, momentum)
        for (optimizer, momentum), rates in RATES.items()
        for rate in rates
        for batch in BATCHES
    ]


# -- rows ------------------------------------------------------------------------------------------------------------


def linear_rows(problem: Problem) -> tuple[list[Row], list[str]]:
    """The rows of a linear problem; and the solvers that are left out, with the reasons."""
    ours = solvers.load("ours")
    settings = settings_of("ours", problem)
    rows: list[Row] = [
        LinearRow(ONE, ours, problem, settings, {"n_jobs": 1}),
        LinearRow(TWO, ours, problem, settings, {"n_jobs": 2, "algorithm": "auto"}),
    ]
    left_out, two_only = [], []
    for name in PEERS:
        try:
            module = solvers.load(name)
        except Unavailable as why:
            left_out.append(str(why))
            continue
        if problem.n_classes > 2 and name in TWO_CLASSES:
            two_only.append(module.NAME)
            continue
        settings = settings_of(name, problem)
        row = LinearRow(module.NAME, module, problem, settings, {}, ITERATIONS.get(name, 1), name == "vowpal_wabbit")
        rows.append(fastest(row) if name == "sklearn_sgd" else row)
    return rows, left_out + ([f"{', '.join(two_only)}: set up for two classes"] if two_only else [])


def fastest(row: LinearRow) -> LinearRow:
    """The row at its fastest precision and number of threads, by the better of two fits of two passes each."""
    speeds = [speed for speed in row.module.SPEEDS if row.problem.n_classes > 2 or speed.get("n_jobs", 1) == 1]
    rows = [replace(row, fixed=speed) for speed in speeds]
    return min(rows, key=lambda each: min(next(each.fits(each.settings[0], (2,), 0)).seconds for _ in range(2)))


def network_rows(problem: Problem) -> tuple[list[Row], list[str]]:
    """The rows of a network, the peers with their fastest number of threads; and those that are left out."""
    settings = trainings((problem.X.shape[1], *LAYERS[1:-1], problem.n_classes))
    split = Split(problem.X, problem.X_test, problem.y, problem.y_test)
    rows: list[Row] = [
        NetworkRow(ONE, Parsgd(settings[0], n_jobs=1), problem, settings),
        NetworkRow(TWO, Parsgd(settings[0], n_jobs=2), problem, settings),
        NetworkRow("scikit-learn MLP", fastest_form(ScikitLearn(settings[0]), split), problem, settings),
    ]
    if not network_torch.is_installed():
        return rows, ["torch is not installed"]
    return [*rows, NetworkRow("PyTorch", fastest_form(PyTorch(settings[0]), split), problem, settings)], []


def load(name: str, folder: Path | None) -> Problem:
    """The problem on real data; without a folder on a few generated rows."""
    if folder is None or name == "fashion_mnist":
        task = tasks.load(QUICK.get(name, name), folder)
        few = slice(NETWORK_ROWS if name == "fashion_mnist" else None)
        return Problem(name, name, task.X[few], task.y[few], task.X_test, task.y_test)
    return problems.load(name, Options(Path(), data=folder))


# -- tuning and turns ------------------------------------------------------------------------------------------------


def time_to(points: Sequence[Point], goal: float) -> float:
    """The seconds of the shortest fit at the goal; infinite if there is none."""
    return min((point.seconds for point in points if point.loss <= goal), default=np.inf)


def choose(ladders: Sequence[Sequence[Point]], goal: float) -> int:
    """The number of the setting that is at the goal soonest; if all miss it, of the one with the least loss."""
    return min(
        range(len(ladders)), key=lambda at: (time_to(ladders[at], goal), min(point.loss for point in ladders[at]))
    )


@contextlib.contextmanager
def quick_collections() -> Iterator[None]:
    """Exempt all objects that exist from garbage collections, of which there is one before every fit."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@quick_collections()
def measure(rows: Sequence[Row], passes: Sequence[int], limit_s: float, seeds: Sequence[int], log: Log) -> dict:
    """Tune all rows with one seed, and time the chosen settings in turns, a seed each; plain values for JSON."""
    tuned: dict[str, list[list[Point]]] = {}
    seconds: dict[str, float] = {}
    for row in rows:
        row.warm_up()
        began = time.perf_counter()
        tuned[row.name] = [ladder(row, setting, passes, TUNING_SEED, limit_s) for setting in row.settings]
        seconds[row.name] = time.perf_counter() - began
        least = min(point.loss for each in tuned[row.name] for point in each)
        log(f"{row.name}: least loss {least:.4f}, {seconds[row.name]:.1f} s of tuning")
    best = min(point.loss for ladders in tuned.values() for each in ladders for point in each)
    chosen = {name: [choose(ladders, (1 + each) * best) for each in TOLERANCES] for name, ladders in tuned.items()}
    runs = [(row, at) for row in rows for at in sorted(set(chosen[row.name]))]
    turns: dict[tuple[str, int], list[list[Point]]] = {(row.name, at): [] for row, at in runs}
    for turn, seed in enumerate(seeds):
        for row, at in runs if turn % 2 == 0 else reversed(runs):
            turns[row.name, at].append(ladder(row, row.settings[at], passes, seed, limit_s))
    return {
        "limit_s": limit_s,
        "passes": list(passes),
        "rows": [
            {
                "name": row.name,
                "speed": row.speed(),
                "settings": len(row.settings),
                "fits": sum(map(len, tuned[row.name])),
                "tuning_s": round(seconds[row.name], 2),
                "chosen": chosen[row.name],
                "words": {str(at): row.words(row.settings[at]) for at in sorted(set(chosen[row.name]))},
                "turns": {
                    str(at): [[_rounded(point) for point in each] for each in turns[row.name, at]]
                    for at in sorted(set(chosen[row.name]))
                },
            }
            for row in rows
        ],
    }


def _rounded(point: Point) -> list:
    """A point for JSON, in which an infinite loss is None."""
    loss = float(f"{point.loss:.7g}") if np.isfinite(point.loss) else None
    return [point.passes, float(f"{point.seconds:.4g}"), loss]
