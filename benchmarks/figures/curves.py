"""What a pass costs as rows, columns, classes, values a row, and workers grow: the exponent of a power law.

Logistic regression by two workers, defaults but for the number of passes.  The steady pass leaves out what a fit does
once (`benchmarks/steady.py`); the whole fit of five passes is there, too.  The exponent is the slope of a line through
the logarithms, a turn at a time; 1 is linear.  The limit is what reading the rows once takes at the measured bandwidth,
or the products at the measured peak, whichever is more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmarks import drawing, machine
from benchmarks.data import normal_rows
from benchmarks.markdown import number, table
from benchmarks.measuring import Spread, timed
from benchmarks.options import Options
from benchmarks.problems.ladders import LADDERS, Rung
from benchmarks.readings import Reading, select
from benchmarks.steady import LEAST_S, QUICK_S, Steady
from parsgd import SGDClassifier, SimuParallel

TITLE = "Cost curves"
TARGET, WHOLE_FIT_EPOCHS, MOST_TURNS = 1.05, 5, 3
STEADY, WHOLE, LIMIT = "steady pass", "whole fit, a pass of five", "limit"
THREADS = (1, 2, 4, 8, 16, 32, 64)
IN_TURN = (1, 3, 10, 32, 100, 316, 1000)


def measure(options: Options) -> list[Reading]:
    bandwidth, peak = machine.bandwidth(2, options.quick), machine.gemm_peak(2, options.quick)
    found = []
    for name, rungs in LADDERS.items():
        options.say(name)
        found += climb(name, rungs(options.quick), bandwidth, peak, options)
    return [*found, *workers(options)]


def fitting(X, y, **settings) -> Callable[[int], float]:
    """Seconds that a fit of so many epochs takes."""

    def fit(epochs: int) -> float:
        model = SGDClassifier(
            "log_loss",
            tol=None,
            max_iter=epochs,
            random_state=0,
            **{"n_jobs": 2, **settings},
        )
        return timed(lambda: model.fit(X, y))

    return fit


def climb(name: str, rungs: Iterator[Rung], bandwidth: float, peak: float, options: Options) -> list[Reading]:
    """All sizes of one ladder, one after the other: rows are made anew at each and need not all be there at once."""
    found, n_turns = [], min(options.n_turns, MOST_TURNS)
    for rung in rungs:
        fit = fitting(rung.X, rung.y)
        steady = Steady.of(fit, least_s=QUICK_S if options.quick else LEAST_S)
        passes = [steady() for _ in range(n_turns)]
        whole = [fit(WHOLE_FIT_EPOCHS) / WHOLE_FIT_EPOCHS for _ in range(n_turns)]
        least = max(rung.streamed_bytes / bandwidth, rung.operations / peak)
        found += [at(name, rung.size, STEADY, passes), at(name, rung.size, WHOLE, whole)]
        found.append(at(name, rung.size, LIMIT, [least]))
    return [*found, exponent(name, found, TARGET)]


def at(name: str, size: float, what: str, seconds: Sequence[float]) -> Reading:
    return Reading("curves", name, what, f"{size:g}", "s", tuple(seconds))


def exponent(name: str, readings: list[Reading], target: float, note: str = "") -> Reading:
    """The slope of the steady passes, a turn at a time."""
    rows = select(readings, solver=STEADY)
    sizes = np.log([float(r.setting) for r in rows])
    turns = zip(*(r.values for r in rows), strict=True)
    slopes = [float(np.polyfit(sizes, np.log(seconds), 1)[0]) for seconds in turns]
    decades = np.ptp(sizes) / np.log(10)
    return Reading(
        "curves",
        name,
        "parsgd",
        unit="exponent",
        values=tuple(slopes),
        target=target,
        at_most=True,
        note=note or f"over {decades:.1f} decades",
    )


def workers(options: Options) -> list[Reading]:
    """The same rows and more workers.

    More threads than cores take turns on the cores, so what they cost is seconds times cores in use.  On the serial
    engine workers take turns in one thread, which shows what a thousand of them cost.  Cost that grows in proportion to
    the rows, and not to the workers, has exponent 0 here; at 0.05, ten times the workers cost 12 % more.
    """
    X, y = normal_rows(options.shrink(500_000), 54)
    ways = {
        "workers, dense, 500,000 x 54, threads": (THREADS, {}),
        "workers, dense, 500,000 x 54, one average, threads": (THREADS, {"algorithm": SimuParallel()}),
        "workers, dense, 500,000 x 54, one average, one thread": (
            IN_TURN,
            {"engine": "serial", "algorithm": SimuParallel()},
        ),
    }
    found = []
    for name, (counts, settings) in ways.items():
        options.say(name)
        rows = []
        for n_workers in counts[:3] if options.quick else counts:
            fit = fitting(X, y, n_jobs=n_workers, **settings)
            steady = Steady.of(fit, least_s=QUICK_S if options.quick else LEAST_S)
            cores = 1 if "engine" in settings else min(n_workers, machine.cores())
            passes = [cores * steady() for _ in range(min(options.n_turns, MOST_TURNS))]
            rows.append(at(name, n_workers, STEADY, passes))
        note = "seconds of a pass times cores; 0 is a cost that does not grow with the workers"
        found += [*rows, exponent(name, rows, TARGET - 1, note)]
    return found


def describe(readings: list[Reading]) -> str:
    fits = [
        [r.problem, f"{number(s.median)} ({number(s.low)} to {number(s.high)})", r.note]
        for r in select(readings, unit="exponent")
        for s in [Spread.of(r.values)]
    ]
    rows = []
    for (name, size), group in groupby(select(readings, unit="s"), key=lambda r: (r.problem, r.setting)):
        seconds = {r.solver: 1e3 * r.median for r in group}
        rows.append([name, f"{float(size):,.0f}", *(number(seconds.get(key)) for key in (STEADY, WHOLE, LIMIT))])
    return "\n".join(
        [
            "Logistic regression by two workers; the last ladders vary their number. The exponent is the slope of a"
            " line through the logarithms of size and of the steady pass: 1 is linear. The limit is the time for"
            " reading the rows once at the measured bandwidth, or for their products at the measured peak, if that"
            " is more.\n",
            table(["growing", "exponent (quartiles)", ""], fits),
            "Milliseconds of a pass:\n",
            table(["growing", "size", STEADY, WHOLE, LIMIT], rows),
        ]
    )


def draw(readings: list[Reading], folder: Path) -> list[Path]:
    names = [r.problem for r in select(readings, unit="exponent")]
    pictures = []
    for part, some in enumerate((names[:3], names[3:6], names[6:]), 1):
        drawn, axes = drawing.figure(12.0, 3.6, len(some))
        for axis, name in zip(axes, some, strict=True):
            curve(axis, name, select(readings, problem=name))
        axes[0].set_ylabel("seconds a pass")
        pictures.append(drawing.keep(drawn, folder, f"curves-{part}"))
    return pictures


def curve(axis, name: str, readings: list[Reading]) -> None:
    """One ladder, on logarithmic axes, with its limit."""
    styles = {STEADY: (drawing.OURS, "o-"), WHOLE: (drawing.OURS, "o:"), LIMIT: (drawing.LIMIT, "-")}
    for what, (color, style) in styles.items():
        rows = select(readings, solver=what)
        if rows:
            sizes = [float(r.setting) for r in rows]
            axis.loglog(sizes, [r.median for r in rows], style, color=color, ms=3, label=what)
    (found,) = select(readings, unit="exponent")
    axis.set_title(f"exponent {found.median:.2f}", fontsize=9)
    axis.set_xlabel(name, fontsize=8)
    axis.legend(fontsize=7, frameon=False)
