"""Passes over the same rows by networks of four shapes: parsgd against PyTorch and scikit-learn, float32, no penalty.

Shapes of 784 inputs have as many rows as MNIST, 60,000, and the one of 54 about as many as covtype, 500,000.
parsgd and scikit-learn are timed through `fit`, which checks the rows once; PyTorch is given tensors in memory and only
its passes are timed, with 1 or 2 threads and the optimiser's default or fused form, of which the fastest counts.  The
share of the peak is the products' operations over what large products reach on two threads in the same turns.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks import drawing, machine
from benchmarks.markdown import number, table, times
from benchmarks.measuring import Spread, fastest, ratio, run_turns, timed
from benchmarks.options import Options
from benchmarks.problems.network_rows import network_rows
from benchmarks.readings import Reading
from benchmarks.solvers import network_torch
from benchmarks.solvers.network_parsgd import Parsgd
from benchmarks.solvers.network_sklearn import ScikitLearn
from benchmarks.solvers.training import Training

TITLE = "Networks: passes over the same rows"
# Passes of a fit of ours; and the part of a pass that peers make where a whole one takes long, but of no fewer rows:
# their time is proportional to the rows.
EPOCHS, PART, LEAST = 5, 10, 5_000
PEAK, OURS, ONE, SKLEARN = "GEMM peak", "parsgd, 2 workers", "parsgd, 1 worker", "scikit-learn"
# algorithm="local": ten averages a pass, and no looks at the loss
MEANS = "parsgd, 2 workers, plain averages"


@dataclass(frozen=True)
class Shape:
    """Layers, rows of a batch and in all, and what is wanted: ratios to peers, and the share of the peak with SGD."""

    layers: tuple[int, ...]
    batch: int
    n_rows: int
    torch: dict[str, float]
    sklearn: float
    peak: float

    def __str__(self) -> str:
        return "-".join(map(str, self.layers))


SHAPES = (
    Shape((1000, 900, 10), 100, 10_000, {"sgd": 1.2, "adam": 1.0}, 10.0, 0.88),
    Shape((784, 256, 10), 32, 60_000, {"sgd": 3.0, "adam": 2.0}, 20.0, 0.65),
    Shape((784, 30, 10), 10, 60_000, {"sgd": 25.0, "adam": 15.0}, 15.0, 0.45),
    Shape((54, 64, 32, 7), 64, 500_000, {"sgd": 10.0, "adam": 6.0}, 8.0, 0.35),
)


def measure(options: Options) -> list[Reading]:
    found = []
    for optimiser, shape in product(("sgd", "adam"), SHAPES):
        options.say(f"{shape}, {optimiser}")
        found += compare(shape, optimiser, options)
    return [*found, *(memory(optimiser, options) for optimiser in ("sgd", "adam"))]


def compare(shape: Shape, optimiser: str, options: Options) -> list[Reading]:
    """All solvers on one shape: rows/s, and ratios of parsgd with two workers to the others."""
    n_rows = options.shrink(shape.n_rows)
    X, y = network_rows(n_rows, shape.layers[0], shape.layers[-1])
    training = Training(shape.layers, shape.batch, optimiser)
    runs = solvers(training, X, y)
    # seconds a row, and for the peak seconds an operation
    runs[PEAK] = lambda: 1.0 / machine.gemm_peak(2, options.quick)
    spent = run_turns(runs, options.n_turns)
    problem = f"{shape}, batches of {shape.batch}, {'SGD' if optimiser == 'sgd' else 'Adam'}"

    found = []
    for ours, solver in ((OURS, "parsgd"), (MEANS, "parsgd, plain averages")):
        found += _targets(shape, optimiser, training.operations, problem, spent, ours, solver)
    for name in spent.keys() - {OURS, MEANS, PEAK}:
        solver, _, setting = name.partition(", ")
        found.append(Reading("networks", problem, solver, setting, "rows/s", speeds(spent[name])))
    return found


def _targets(
    shape: Shape, optimiser: str, operations: int, problem: str, spent: dict[str, list[float]], ours: str, solver: str
) -> list[Reading]:
    """What two workers reach against the peers, one worker and the peak."""

    def against(name: str, peer: str, target: float | None, note: str = "") -> Reading:
        return Reading(
            "networks",
            problem,
            solver,
            "2 workers",
            "rows/s",
            speeds(spent[ours]),
            ratio(spent[name], spent[ours]),
            peer,
            target,
            note=note,
        )

    plain = optimiser == "sgd"
    found = [against(ONE, ONE, 1.9), against(SKLEARN, SKLEARN, shape.sklearn if plain else None)]
    torch = [name for name in spent if name.startswith("PyTorch")]
    if torch:
        best = fastest(spent, torch)
        found.insert(0, against(best, "PyTorch", shape.torch[optimiser], f"PyTorch's best is {best}"))
    else:
        found.insert(
            0,
            Reading(
                "networks",
                problem,
                solver,
                peer="PyTorch",
                target=shape.torch[optimiser],
                note="PyTorch is not installed",
            ),
        )
    share = operations * np.array(spent[PEAK]) / np.array(spent[ours])
    found.append(
        Reading(
            "networks",
            problem,
            solver,
            "2 workers",
            "of the GEMM peak",
            tuple(map(float, share)),
            target=shape.peak if plain else None,
        )
    )
    return found


def speeds(seconds_a_row: list[float]) -> tuple[float, ...]:
    return tuple(1.0 / seconds for seconds in seconds_a_row)


def solvers(training: Training, X: np.ndarray, y: np.ndarray) -> dict:
    """By name, functions that make some passes and give seconds a row."""
    n_rows = len(y)
    some = max(min(LEAST, n_rows), n_rows // PART)

    def ours(n_jobs: int, algorithm: str = "auto"):
        return lambda: Parsgd(training, n_jobs, algorithm).fit(X, y, EPOCHS).seconds / (EPOCHS * n_rows)

    runs = {
        OURS: ours(2),
        MEANS: ours(2, "local"),
        ONE: ours(1),
        SKLEARN: lambda: ScikitLearn(training).fit(X[:some], y[:some], 1).seconds / some,
    }
    if network_torch.is_installed():
        for threads, fused in product((1, 2), (False, True)):
            name = f"PyTorch, {network_torch.PyTorch(training, threads, fused).speed}"
            runs[name] = torch_pass(network_torch.Run(training, X, y, 0, fused), threads, some)
    return runs


def torch_pass(run: network_torch.Run, threads: int, n_rows: int):
    import torch

    def seconds() -> float:
        torch.set_num_threads(threads)
        return timed(lambda: run.epoch(n_rows)) / n_rows

    return seconds


def memory(optimiser: str, options: Options) -> Reading:
    """What a fit by two workers allocates beyond the data, over what it may: two states and a batch for each worker."""
    shape = SHAPES[0]
    X, y = network_rows(options.shrink(5_000), shape.layers[0], shape.layers[-1])
    training = Training(shape.layers, shape.batch, optimiser)
    Parsgd(training).fit(X, y, 1)
    tracemalloc.start()
    Parsgd(training).fit(X, y, 2)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Adam's state holds two moments beside each weight
    state = 4 * training.n_weights * (3 if optimiser == "adam" else 1)
    allowed = 2 * (2 * state + 4 * shape.batch * sum(shape.layers))
    problem = f"memory beyond the data, {shape}, {'SGD' if optimiser == 'sgd' else 'Adam'}"
    return Reading(
        "networks",
        problem,
        "parsgd",
        "2 workers",
        "of two states and a batch for each worker",
        (used / allowed,),
        target=1.0,
        at_most=True,
        note=f"{used / 1e6:.1f} MB of {allowed / 1e6:.1f} MB",
    )


def describe(readings: list[Reading]) -> str:
    compared = [
        [f"{r.problem}{r.solver.removeprefix('parsgd')}", r.peer, number(r.median), times(r), r.note]
        for r in readings
        if r.ratio is not None
    ]
    shares = [
        [f"{r.problem}{r.solver.removeprefix('parsgd')}", number(Spread.of(r.values).median), r.unit, r.note]
        for r in readings
        if r.values and r.unit != "rows/s"
    ]
    return "\n".join(
        [
            "All libraries make passes over the same generated rows in random order, float32, without a penalty. There"
            " are 10,000 rows for 1000-900-10, 60,000 (as MNIST) for 784 inputs, and 500,000 for 54 inputs (as"
            " covtype). parsgd and scikit-learn are timed through `fit`, which checks the rows. Of PyTorch only the"
            " passes are timed, with 1 and 2 threads and with default and fused optimizers; the fastest counts.\n",
            table(["problem", "against", "rows/s", "times as fast (quartiles)", ""], compared),
            "The share of the peak is the rate of the products' operations divided by that of large float32 products on"
            " two threads in the same turns. Per weight and row there are 2 operations forward, 2 for the gradient, and"
            " 2 backward past every layer but the first.\n",
            table(["problem", "share", "of what", ""], shares),
        ]
    )


def draw(readings: list[Reading], folder: Path) -> list[Path]:
    drawn, axes = drawing.figure(12.0, 6.0, 2)
    for axis, peer in zip(axes, ("PyTorch", SKLEARN), strict=True):
        rows = [r for r in readings if r.peer == peer and r.ratio is not None]
        labels = [f"{r.problem}{r.solver.removeprefix('parsgd')}" for r in rows]
        drawing.bars(
            axis,
            labels,
            [r.ratio.median for r in rows],
            [(r.ratio.low, r.ratio.high) for r in rows],
        )
        axis.set_xlabel(f"times as fast as {peer}")
    return [drawing.keep(drawn, folder, "networks")]
