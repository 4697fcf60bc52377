"""How close a pass comes to what the machine can do: bytes over measured bandwidth, products over the GEMM's peak.

A pass over rows reads all of them once, so it cannot take less than their bytes (values, column numbers, row pointers,
targets) over the bandwidth that two threads reach together; weights are taken to stay in the cache.  The steady pass is
the difference of fits of few and more passes; the whole fit has five passes and all that a fit does once.  Bandwidth
and peak are measured in the same turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import drawing, machine, problems
from benchmarks.markdown import number, table
from benchmarks.measuring import Spread, run_turns, timed
from benchmarks.options import Options
from benchmarks.problems.network_rows import network_rows
from benchmarks.readings import Reading
from benchmarks.solvers.network_parsgd import Parsgd
from benchmarks.solvers.training import Training
from benchmarks.steady import Steady
from benchmarks.work import streamed_bytes
from parsgd import SGDClassifier, SimuParallel

TITLE = "Share of the physical limit"
WHOLE_FIT_EPOCHS = 5
UNIT = {"memory": "of the bandwidth", "products": "of the GEMM peak"}
NETWORK, NETWORK_ROWS = Training((1000, 900, 10), 100), 10_000
STEADY, AVERAGED = "steady pass, one average", "steady pass, algorithm=auto"
PLAIN = "steady pass, ten plain averages"
WHOLE = "whole fit, 5 passes, algorithm=auto"


def measure(options: Options) -> list[Reading]:
    return [
        *linear("csr_binary", 0.60, options),
        *linear("dense_binary", 0.70, options),
        *network(options),
    ]


def linear(name: str, target: float, options: Options) -> list[Reading]:
    """Logistic regression by two workers: in stored order and shuffled, the steady pass and the whole fit."""
    problem = problems.load(name, options)
    options.say(problem.title)

    def fit(epochs: int, **settings) -> float:
        model = SGDClassifier("log_loss", tol=None, max_iter=epochs, random_state=0, **{"n_jobs": 2, **settings})
        return timed(lambda: model.fit(problem.X, problem.y))

    once = SimuParallel()
    ways = {
        ("stored order", STEADY): Steady.of(lambda epochs: fit(epochs, shuffle=False, algorithm=once)),
        ("stored order", AVERAGED): Steady.of(lambda epochs: fit(epochs, shuffle=False)),
        ("stored order", WHOLE): lambda: fit(WHOLE_FIT_EPOCHS, shuffle=False) / WHOLE_FIT_EPOCHS,
        ("shuffled", STEADY): Steady.of(lambda epochs: fit(epochs, algorithm=once)),
        ("shuffled", WHOLE): lambda: fit(WHOLE_FIT_EPOCHS) / WHOLE_FIT_EPOCHS,
    }
    streamed = streamed_bytes(problem.X, problem.y)
    found = shares(ways, lambda: streamed / machine.bandwidth(2, options.quick), "memory", problem.title, options)
    return [with_target(found[0], target), *found[1:]]


def network(options: Options) -> list[Reading]:
    """Plain SGD by two workers on 1000-900-10, against the products' operations."""
    n_rows = options.shrink(NETWORK_ROWS)
    options.say("1000-900-10")
    X, y = network_rows(n_rows, NETWORK.layers[0], NETWORK.layers[-1])

    def fit(epochs: int, algorithm: str = "auto") -> float:
        return Parsgd(NETWORK, algorithm=algorithm).fit(X, y, epochs).seconds

    least_s = 0.05 if options.quick else 0.5
    ways = {
        ("shuffled", PLAIN): Steady.of(lambda epochs: fit(epochs, "local"), least_s=least_s),
        ("shuffled", AVERAGED): Steady.of(fit, least_s=least_s),
        ("shuffled", WHOLE): lambda: fit(WHOLE_FIT_EPOCHS) / WHOLE_FIT_EPOCHS,
    }
    work = n_rows * NETWORK.operations
    title = f"1000-900-10, batches of {NETWORK.batch}, SGD"
    found = shares(ways, lambda: work / machine.gemm_peak(2, options.quick), "products", title, options)
    return [with_target(found[0], 0.88), *found[1:]]


def shares(
    ways: dict[tuple[str, str], Callable[[], float]],
    limit: Callable[[], float],
    kind: str,
    title: str,
    options: Options,
) -> list[Reading]:
    """Seconds that the limit would take over seconds that each way takes, of the same turn."""
    runs = {"limit": limit} | {f"{order}; {what}": run for (order, what), run in ways.items()}
    spent = run_turns(runs, options.n_turns)
    least = np.array(spent.pop("limit"))
    found = []
    for name, seconds in spent.items():
        share = tuple(map(float, least / np.array(seconds)))
        note = f"{number(1e3 * np.median(seconds))} ms a pass; the limit {number(1e3 * np.median(least))} ms"
        found.append(Reading("limits", f"{title}, share of the limit", "parsgd", name, UNIT[kind], share, note=note))
    return found


def with_target(reading: Reading, target: float) -> Reading:
    return replace(reading, target=target)


def describe(readings: list[Reading]) -> str:
    rows = [
        [
            r.problem,
            r.setting,
            f"{number(100 * s.median)} % ({number(100 * s.low)} to {number(100 * s.high)})",
            r.unit,
            r.note,
        ]
        for r in readings
        for s in [Spread.of(r.values)]
    ]
    return "\n".join(
        [
            "The limit of a pass over rows is the time for reading them once at the bandwidth of two threads: values,"
            " column numbers, row pointers, and a float32 target per row. The limit of a network is the time for its"
            " products at the speed of large float32 products. Both limits are measured in the same turns. All lines"
            " are of two workers.\n",
            table(["problem", "way", "share (quartiles)", "of what", "times"], rows),
        ]
    )


def draw(readings: list[Reading], folder: Path) -> list[Path]:
    drawn, (axis,) = drawing.figure(9.0, 0.8 + 0.35 * len(readings))
    labels = [f"{r.problem}: {r.setting}" for r in readings]
    spreads = [(100 * s.low, 100 * s.high) for s in (Spread.of(r.values) for r in readings)]
    drawing.bars(axis, labels, [100 * r.median for r in readings], spreads)
    axis.set_xlim(0, 100)
    axis.set_xlabel("% of the limit")
    return [drawing.keep(drawn, folder, "limits")]
