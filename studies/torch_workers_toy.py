"""The toy problem of asyncdiloco: virtual times, an identity, and accuracies of asynchronous and synchronous DiLoCo.

Liu et al., "Asynchronous Local-SGD Training for Language Modeling", arXiv 2401.09135, and the notebook of
google-deepmind/asyncdiloco.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch_workers_fits import Stop, fit, scores, spread

from parsgd import AsyncDiLoCo, DiLoCo, Simulated
from parsgd.algorithms.common.outer_optimizers import Momentum
from parsgd.core import AlgorithmTraits
from parsgd.models.torch.flat_layout import FlatLayout

SEEDS = (1, 2, 3, 4, 5)
SECONDS_PER_STEP = (0.58, 0.75, 1.51, 3.33)
CLASSES, COLUMNS, ROWS, HIDDEN, NOISE = 4, 512, 4096, 128, 0.5
STEPS, BATCH, PHASES, LONG_PHASES, GRACE = 20, 32, 50, 400, 0.5
RATE, LEAST_RATE, DECAY = 2e-4, 1e-6, 1e-3
EVALUATE_STEPS, SHOWN_STEPS = 80, (800, 1600, 2400, 3200, 4000)
# What the notebook printed for 100 phases: steps and seconds.
PRINTED = [
    *((800, 209.0), (1600, 406.4), (2400, 603.8), (3200, 801.4), (4000, 999.0)),
    *((4800, 1207.8), (5600, 1404.2), (6400, 1600.6), (7200, 1800.2), (8000, 1998.6)),
]
SYNC = DiLoCo(sync_every=STEPS, outer_optimizer=Momentum("nesterov", rate=1.0, beta=0.9))
# A pseudo-gradient times sqrt(K) / K, with momentum at each step, is the rate times sqrt(K) / K.
PLAIN = {"sync_every": STEPS, "rate": 0.5, "beta": 0.9, "delay": 1}


class AllRows(AsyncDiLoCo):
    """The algorithm for workers of which each has a copy of all rows."""

    @property
    def traits(self) -> AlgorithmTraits:
        return super().traits._replace(partition="contiguous")


WAYS = {
    "synchronous": SYNC,
    "asynchronous, momentum at every merge": AsyncDiLoCo(**PLAIN, grace=GRACE),
    "the same, without grace": AsyncDiLoCo(**PLAIN),
    "the same, all rows on every worker": AllRows(**PLAIN, grace=GRACE),
    "asynchronous, delay=2": AsyncDiLoCo(sync_every=STEPS, rate=1.0, delay=2, grace=GRACE),
    "asynchronous, delay=4": AsyncDiLoCo(sync_every=STEPS, rate=1.0, grace=GRACE),
    'asynchronous, delay=4, lengths="speed"': AsyncDiLoCo(sync_every=STEPS, rate=1.0, lengths="speed", grace=GRACE),
}


def engine() -> Simulated:
    """Return the engine on which a step takes exactly the seconds of each worker."""
    return Simulated(speeds=[1.0 / seconds for seconds in SECONDS_PER_STEP], rate=float(BATCH))


def problem(seed: int, n_columns: int = COLUMNS) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows: a center of unit norm for each class, and normal noise."""
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((CLASSES, n_columns))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    y = np.repeat(np.arange(CLASSES), ROWS // CLASSES)
    X = centers[y] + NOISE * generator.standard_normal((ROWS, n_columns))
    return torch.from_numpy(X.astype(np.float32)), torch.from_numpy(y)


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(COLUMNS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))


class CosineAdamW(torch.optim.AdamW):
    """AdamW for one round, whose rates are those of the notebook's schedule from an update of the shard on.

    The first step of a round has the peak rate, because the notebook advances its schedule after each step.
    """

    def __init__(self, params: Any, first: int, total: int):
        super().__init__(params, lr=RATE, weight_decay=DECAY, fused=True)
        self.first, self.total, self.steps = first, total, 0

    def step(self, closure: Any = None) -> Any:
        if self.steps:
            progress = min((self.first + self.steps) / self.total, 1.0)
            rate = LEAST_RATE + (RATE - LEAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))
            for group in self.param_groups:
                group["lr"] = rate
        self.steps += 1
        return super().step(closure)


class RoundsOfShards:
    """A maker of optimizers, one for each round: the r-th task has the updates of the least visited shard."""

    def __init__(self, phases: int):
        self.phases = phases
        self.n_made = 0

    def restart(self) -> None:
        """Count from the next optimizer on."""
        self.n_made = 0

    def __call__(self, params: Any) -> torch.optim.Optimizer:
        self.n_made += 1
        return CosineAdamW(params, STEPS * ((self.n_made - 1) // len(SECONDS_PER_STEP)), STEPS * self.phases)


def train(way: Any, seed: int, phases: int, observe: Any) -> None:
    """Fit until all workers together have made the steps of so many phases."""
    most = phases * STEPS * len(SECONDS_PER_STEP)

    def watch(state: np.ndarray, steps: int, examples: int, seconds: float) -> None:
        observe(state, steps, examples, seconds)
        if steps >= most:
            raise Stop

    # a fit of more passes, because the rounds of a worker end with its last pass, and fast workers make more
    epochs = 2 * math.ceil(most * BATCH / ROWS)
    X, y = problem(seed)
    if isinstance(way, AllRows):
        X, y = X.repeat(len(SECONDS_PER_STEP), 1), y.repeat(len(SECONDS_PER_STEP))
    make = RoundsOfShards(phases)
    settings = {"optimizer": make, "optimizer_state": "new", "batch_size": BATCH}
    # the trainer may make an optimizer before the first task, to test it
    fit(network(seed), (X, y), way, engine(), watch, epochs, seed, make.restart, **settings)


def accuracies(way: Any, seed: int, phases: int) -> list[list[float]]:
    """Return the steps, seconds, loss and accuracy on all rows, every 80 steps."""
    (X, y), module = problem(seed), network(seed)
    points: list[list[float]] = []
    n_evaluated = 0

    def observe(state: np.ndarray, steps: int, examples: int, seconds: float) -> None:
        nonlocal n_evaluated
        del examples
        if steps // EVALUATE_STEPS > n_evaluated:
            n_evaluated = steps // EVALUATE_STEPS
            _load(state, module)
            found = scores(module, X, y)
            points.append([steps, round(seconds, 4), float(f"{found.loss:.5g}"), round(found.accuracy, 5)])

    train(way, seed, phases, observe)
    return points


def _load(state: np.ndarray, module: torch.nn.Module) -> None:
    FlatLayout.of(module).write(state, module)


# -- clocks ------------------------------------------------------------------------------------------------------------


def clock(way: Any, phases: int) -> tuple[list[list[float]], list[int]]:
    """Return steps and seconds at every merge of a small module, and the reports of each merge."""
    found: list[list[float]] = []

    def observe(state: np.ndarray, steps: int, examples: int, seconds: float) -> None:
        found.append([steps, seconds])

    epochs = phases * STEPS * len(SECONDS_PER_STEP) * BATCH // ROWS
    make = {"optimizer": lambda params: torch.optim.SGD(params, lr=0.1), "batch_size": BATCH}
    fit(torch.nn.Linear(2, CLASSES), problem(0, 2), way, engine(), observe, epochs, 0, **make)
    steps = [0, *(int(point[0]) for point in found)]
    return found, [(after - before) // STEPS for before, after in itertools.pairwise(steps)]


def at_steps(points: Sequence[Sequence[float]], steps: int) -> float:
    """Return the seconds of the first merge with so many steps; NaN if there is none."""
    return next((point[1] for point in points if point[0] >= steps), math.nan)


def expected_clock(phases: int, grace: float, foresees: bool) -> tuple[list[list[float]], list[int]]:
    """Return the same from the times of the steps alone.

    ``foresees``: as in the notebook, the driver ends the grace window at once if no report will come in it.  A driver
    that does not know this waits until the window ends.
    """
    n, most = len(SECONDS_PER_STEP), phases * STEPS * len(SECONDS_PER_STEP)
    arrivals = [STEPS * seconds for seconds in SECONDS_PER_STEP]
    found: list[list[float]] = []
    reports: list[int] = []
    steps = 0
    while steps < most:
        first = min(arrivals)
        came = sorted((at, worker) for worker, at in enumerate(arrivals) if at <= first + grace)
        merged = came[-1][0] if foresees or len(came) == n else first + grace
        if foresees:
            # the notebook merges one report after the other
            came = came[: -(-(most - steps) // STEPS)]
            found += [[steps + STEPS * (at + 1), seconds] for at, (seconds, _) in enumerate(came)]
        else:
            found.append([steps + STEPS * len(came), merged])
        steps += STEPS * len(came)
        reports.append(len(came))
        for _, worker in came:
            arrivals[worker] = merged + STEPS * SECONDS_PER_STEP[worker]
    return found, reports


def clocks(long_phases: int) -> dict[str, Any]:
    """Return the seconds of fits on the virtual clock beside those that are expected."""
    rows: list[list[Any]] = []
    summed = sum(1.0 / seconds for seconds in SECONDS_PER_STEP)
    most = long_phases * STEPS * len(SECONDS_PER_STEP)
    sync, _ = clock(SYNC, long_phases)
    rows.append(["synchronous", most, STEPS * max(SECONDS_PER_STEP) * long_phases, sync[-1][1], int(sync[-1][0])])
    for grace in (0.0, GRACE):
        points, reports = clock(AsyncDiLoCo(**PLAIN, grace=grace), long_phases)
        expected, expected_reports = expected_clock(long_phases, grace, foresees=False)
        rows.append([f"asynchronous, grace {grace:g}", most, expected[-1][1], points[-1][1], int(points[-1][0])])
        assert reports == expected_reports
        joined = float(np.mean(np.array(reports) > 1))
    foreseen, _ = expected_clock(long_phases, GRACE, foresees=True)
    short, _ = expected_clock(PRINTED[-1][0] // (STEPS * len(SECONDS_PER_STEP)), GRACE, foresees=True)
    return {
        "rows": rows,
        "bound": most / summed,
        "foreseen": foreseen[-1][1],
        "printed": [[steps, seconds, round(at_steps(short, steps), 6)] for steps, seconds in PRINTED],
        "joined": joined,
    }


def identity(seed: int, phases: int) -> bool:
    """Return True if unlimited grace gives the bits of the synchronous algorithm after every merge."""
    states: list[list[np.ndarray]] = []
    for way in (SYNC, AsyncDiLoCo(sync_every=STEPS, rate=1.0, grace=math.inf)):
        states.append([])
        train(way, seed, phases, lambda state, *_: states[-1].append(state.copy()))
    same = [np.array_equal(one, other) for one, other in zip(*states, strict=True)]
    return len(same) == phases and all(same)


def measure(quick: bool, log: Callable[[str], None]) -> dict[str, Any]:
    """Return the readings of the toy problem."""
    seeds = SEEDS[:2] if quick else SEEDS
    # 8 phases are 5 passes over the rows, the least whole number with a whole number of phases
    phases, long_phases = (8, 8) if quick else (PHASES, LONG_PHASES)
    entry: dict[str, Any] = {"seeds": list(seeds), "phases": phases, "long_phases": long_phases}
    entry["clocks"] = clocks(long_phases)
    log(f"clocks {entry['clocks']['rows']}")
    entry["identity"] = [identity(seed, phases) for seed in seeds]
    log(f"identity {entry['identity']}")
    last = phases * STEPS * len(SECONDS_PER_STEP)
    shown = [steps for steps in SHOWN_STEPS if steps <= last] or [last]
    entry["shown"], entry["rows"] = shown, []
    for name, way in WAYS.items():
        curves = [accuracies(way, seed, phases) for seed in seeds]
        found = [[next(point for point in curve if point[0] >= steps) for steps in shown] for curve in curves]
        by_step = list(zip(*found, strict=True))
        row = {
            "name": name,
            "seconds": [spread([point[1] for point in points]) for points in by_step],
            "accuracy": [spread([point[3] for point in points]) for points in by_step],
            "loss": [spread([point[2] for point in points]) for points in by_step],
            "least": spread([max(point[3] for point in curve) for curve in curves]),
        }
        entry["rows"].append(row)
        log(f"{name}: {[each[2] for each in row['accuracy']]} at {[each[2] for each in row['seconds']]}")
    return entry
