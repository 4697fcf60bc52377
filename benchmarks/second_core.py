"""Time to the test loss that one tuned worker reaches in three passes, for one worker and for two tuned alike::

python benchmarks/second_core.py --data FOLDER [--datasets NAME ...] [--seeds 5] [--out FILE.json] [--save]
python benchmarks/second_core.py --data FOLDER --simulated     8 and 32 workers on a virtual clock
python benchmarks/second_core.py --quick                       a trial run on generated rows; no measurement

Tuning has seeds of its own.  Each number of workers gets the setting that reaches the goal soonest, from one
grid of schedules and rates.  Runs of one worker and of two alternate.  Ratios are medians with quartiles over
seeds; a ratio above 1 is in favor of several workers.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

if __package__ in (None, ""):
    # a script has its own folder first in the path, and needs the root of the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import machine, readings, stored_tables
from benchmarks.markdown import NOTHING, number, table, times
from benchmarks.measuring import Spread
from benchmarks.readings import Reading, Taken, select
from benchmarks.time_to_goal import comparison, tasks
from benchmarks.time_to_goal.comparison import GOAL, LIMIT, PASSES_TO_GOAL, SPEED, TIME, Plan
from benchmarks.time_to_goal.curves import Workers
from benchmarks.time_to_goal.tuning import PASSES
from parsgd import LocalSGD
from parsgd.errors import InvalidArgumentError

SIMULATED = (8, 32)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder of the real data")
    parser.add_argument("--datasets", nargs="+", choices=tasks.NAMES, default=tasks.NAMES, metavar="NAME")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds of the measurements (default: 5)")
    parser.add_argument("--repeats", type=int, metavar="N", help="timed fits of each seed (default: 3)")
    parser.add_argument("--tuning-seeds", type=int, metavar="N", help="seeds of the tuning, up to 5 (default: 3)")
    parser.add_argument(
        "--tolerance", type=float, default=0.001, metavar="PART", help="relative tolerance of the goal (default: 0.001)"
    )
    parser.add_argument("--quick", action="store_true", help="2,000 generated rows, small grids and two seeds")
    parser.add_argument("--simulated", action="store_true", help=f"{SIMULATED} workers on a virtual clock")
    parser.add_argument("--rule", default="auto", help="merge rule; auto: coordinate for sparse rows, else uniform")
    parser.add_argument("--algorithm", metavar="NAME", help="an algorithm in place of local SGD, such as hogwild")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to which the readings are added")
    stored_tables.add_option(parser, "second_core")
    found = parser.parse_args(arguments)
    if not found.quick and (found.data is None or not found.data.is_dir()):
        parser.error("--data: a folder of real data is needed, except with --quick")
    for name in ("seeds", "repeats", "tuning_seeds"):
        value = getattr(found, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}: at least 1, not {value}")
    if found.tolerance < 0.0:
        parser.error(f"--tolerance: at least 0, not {found.tolerance}")
    if found.algorithm is None:
        for rule in ("coordinate", "uniform") if found.rule == "auto" else (found.rule,):
            try:
                LocalSGD(rule=rule)
            except InvalidArgumentError as error:
                parser.error(f"--rule {found.rule}: {error}")
    return found


def groups(asked: argparse.Namespace) -> list[Workers]:
    """The numbers of workers to compare; the first is one worker."""
    counts = (1, *SIMULATED) if asked.simulated else (1, 2)
    return [Workers(count, asked.rule, asked.algorithm, asked.simulated) for count in counts]


def plan_of(asked: argparse.Namespace) -> Plan:
    """The sizes that were asked for, or else the default ones of a quick or a whole run."""
    default = Plan(n_seeds=2, n_repeats=1, n_tuning_seeds=1, quick=True) if asked.quick else Plan()
    given = {"n_seeds": asked.seeds, "n_repeats": asked.repeats, "n_tuning_seeds": asked.tuning_seeds}
    return replace(default, tolerance=asked.tolerance, **{name: n for name, n in given.items() if n is not None})


def run(asked: argparse.Namespace) -> dict[str, Taken]:
    """Measure all tasks, and save the readings after each."""
    plan = plan_of(asked)
    stored = readings.load(asked.out) if asked.out else {}
    about, found = machine.describe(asked.quick), {}
    for name in asked.datasets:
        began = time.perf_counter()
        log(name)
        task = tasks.load(name, None if asked.quick else asked.data)
        measured = comparison.compare(task, groups(asked), plan, lambda text: log(f"  {text}"))
        key = f"{name}, simulated" if asked.simulated else name
        found[key] = Taken(
            commit=machine.commit(),
            time=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            n_turns=plan.n_seeds,
            machine=about,
            readings=tuple(measured),
            seconds=round(time.perf_counter() - began, 1),
            quick=asked.quick,
        )
        if asked.out:
            # at once, so that an interrupted run keeps its readings
            stored[key] = found[key]
            readings.save(asked.out, stored)
        log(f"  {found[key].seconds:.0f} s")
    return found


def log(text: str) -> None:
    """Print a line on the standard error stream."""
    print(text, file=sys.stderr, flush=True)


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    """The median with quartiles: "12.1 (11.8 to 12.9)"."""
    median, low, high = (number(scale * value) for value in Spread.of(values))
    return f"{median} ({low} to {high})"


def heading(taken: Taken, asked: argparse.Namespace) -> str:
    """The machine, the commit, and the budget of the tuning."""
    about = taken.machine
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("parsgd", "numpy", "numba", "scikit-learn"))
    way = asked.algorithm or f"local SGD, merge rule {asked.rule}"
    text = f"{about['processor']}, {about['cores']} cores, {about['memory_bytes'] / 1e9:.0f} GB, {about['system']}\n"
    text += f"Python {about['python']}, {versions}; commit {taken.commit}, {taken.time}\n"
    text += f"{taken.n_turns} seeds; several workers: {way}"
    return f"{text}\nA quick run on generated rows, not a measurement.\n" if taken.quick else f"{text}\n"


def results(found: Iterable[Reading], simulated: bool, most_passes: int) -> str:
    """The table of times, ratios and rows per second, a line for each task and number of workers."""
    found = list(found)
    unit, scale = ("virtual time", 1.0) if simulated else ("ms to the goal", 1e3)
    header = ["data", "workers", "passes to the goal", unit, "times as fast as 1 worker"]
    header += [] if simulated else ["rows/s", "rows/s against 1 worker", "limit of the machine"]
    rows = []
    for timed in select(found, figure=TIME):
        same = {"problem": timed.problem, "solver": timed.solver}
        passes = select(found, figure=PASSES_TO_GOAL, **same)[0]
        # half of the seeds or more did not get to the goal
        above = "> " if passes.median >= most_passes else ""
        row = [timed.problem, timed.solver, above + spread(passes.values), above + spread(timed.values, scale)]
        row.append(times(timed))
        if not simulated:
            speed = select(found, figure=SPEED, **same)
            limit = select(found, figure=LIMIT, **same)
            row += [number(speed[0].median), times(speed[0])] if speed else [NOTHING, NOTHING]
            row.append(times(limit[0]) if limit else NOTHING)
        rows.append(row)
    return table(header, rows, words=(0, 1))


def settings(found: Iterable[Reading]) -> str:
    """The table of goals, tuning budgets and chosen settings."""
    found = list(found)
    rows = []
    for timed in select(found, figure=TIME):
        goal = select(found, figure=GOAL, problem=timed.problem)[0]
        rows.append([timed.problem, timed.solver, number(goal.median, 4), timed.setting, goal.note, timed.note])
    return table(["data", "workers", "goal", "setting", "tuning budget", "remarks"], rows, words=(0, 1, 3, 4, 5))


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parse(arguments)
    with warnings.catch_warnings(), np.errstate(all="ignore"), threadpool_limits(1, user_api="blas"):
        # networks of a few passes have not converged, and rates that are too large overflow
        warnings.simplefilter("ignore")
        found = run(asked)
    everything = [reading for taken in found.values() for reading in taken.readings]
    print(heading(next(iter(found.values())), asked))
    plan = plan_of(asked)
    tables = f"{results(everything, asked.simulated, plan.most_passes)}\n{settings(everything)}"
    stored_tables.show(tables, asked.save, __file__, ("parsgd", "numpy", "numba", "scikit-learn"))
    if asked.simulated:
        print("Virtual time: 1 is one worker's pass over all rows; messages take no time.")
    print(f"Goal: test loss of one worker after {PASSES} passes, median over seeds, plus {plan.tolerance:.1%}.")
    if not asked.simulated:
        print("Limit of the machine: rows/s of as many fits at the same time that share nothing, against 1 worker.")
    print(f"Fits end after {plan.most_passes} passes.")
    print("A seed not at the goal by then has the time of all passes; if several workers miss it, their ratio is 0.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
