"""Virtual time to a test loss of workers of unequal speed, with rows alike or with different classes on each worker.

Usage: python studies/unequal_gradients.py [DATA_FOLDER] [--only enron_spam ...] [--page-only]
       python studies/unequal_gradients.py --quick --only enron_spam --stored FILE.json --out FILE.md

The readings are in studies/readings/unequal_gradients.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from family import KINDS, cell, median
from family_runs import N_RATES, SEEDS, TEST_ROWS, TUNING_SEED, Way, smaller
from stored_study import Stored, StoredStudy
from unequal import best_alone, time_of
from unequal_runs import ALONE, MIXED, MOST_PASSES, POOLS, ROUND, Readings, Row, measure_ways

from benchmarks.markdown import NOTHING, number, table
from benchmarks.time_to_goal import tasks
from benchmarks.time_to_goal.tasks import Task
from benchmarks.time_to_goal.tuning import NEIGHBOR, PASSES
from parsgd import AsyncLocalSGD, AsyncSGD, LocalSGD, Malenia, MSync, Rennala, Ringleader, Ringmaster

# Task of benchmarks/time_to_goal, most training rows, and fewest visits of a column.
SETS = {"enron_spam": ("enron_spam", 6_000, 5), "fashion_mnist": ("fashion_mnist", 6_000, 1)}
ALIKE, DIRICHLET = "rows alike", "Dirichlet 0.1"
CONCENTRATION = 0.1
# Rows per gradient of linear models and of networks, and gradients per step.
ROWS, NETWORK_ROWS, BATCH = 1, 8, 10
# the goal is so much above the loss of one worker
TOLERANCE = 0.05
STUDY = StoredStudy("unequal_gradients", one_core=True)
FIGURES = "<!-- figures: python studies/unequal_gradients.py DATA_FOLDER -->"
rounds = partial(LocalSGD, seconds=ROUND)
# Of the function's argument: the rows per gradient.
ALGORITHMS: dict[str, Callable[[int], Any]] = {
    "averages: wait for the slowest": lambda rows: LocalSGD(),
    "averages: deadline=auto, steps": lambda rows: LocalSGD(deadline="auto", rule="steps"),
    "averages: seconds, uniform (WP-SGD)": lambda rows: rounds(rule="uniform"),
    "averages: seconds, coordinate": lambda rows: rounds(rule="coordinate"),
    "averages: seconds, adaptive": lambda rows: rounds(outer_optimizer="adaptive"),
    "averages: seconds, SlowMo": lambda rows: rounds(rule="uniform", outer_optimizer="momentum"),
    "averages: asynchronous": lambda rows: AsyncLocalSGD(),
    "gradients: wait for all": lambda rows: MSync(1.0, rows),
    "gradients: 7 fastest of 10": lambda rows: MSync(7, rows),
    "gradients: asynchronous": lambda rows: AsyncSGD(rows, "constant"),
    "gradients: asynchronous, adaptive": AsyncSGD,
    "gradients: Rennala": lambda rows: Rennala(BATCH, rows),
    "gradients: Rennala, auto": lambda rows: Rennala("auto", rows),
    "gradients: Malenia": lambda rows: Malenia(BATCH, rows),
    "gradients: Malenia, auto": lambda rows: Malenia("auto", rows),
    "gradients: Ringmaster": lambda rows: Ringmaster(BATCH, rows),
    "gradients: Ringmaster, auto": lambda rows: Ringmaster("auto", rows),
    "gradients: Ringleader": Ringleader,
}
PAGE = """# Gradients or averages of unequal workers

{figures}

This page compares algorithms that exchange gradients with algorithms that average, for ten workers of unequal speed.
The unit is the virtual time to a test loss. `python studies/unequal_gradients.py DATA_FOLDER` writes it from the
readings in `studies/readings/unequal_gradients.json`, in about {minutes} minutes of one core. The protocol is that of
[workers of unequal speed](unequal.md).

- **Workers**: the speeds 1, 1, 1, 1, 1, 1/2, 1/2, 1/4, 1/4 and 1/10, with the sum {speed:g}. Each owns a tenth of the
  rows. "{alike}": assigned at random. "{dirichlet}": the classes of a worker's rows have proportions from a Dirichlet
  distribution with the parameter {concentration:g}, so that most workers have one or two classes.
- **Goal**: the test loss that one worker of speed 1 reaches after {passes} passes, plus {tolerance:.0%}, without a
  penalty. It is measured ten times per pass of all workers together.
- **Budget**: {fits} fits for each row: a grid with {rates} rates for each schedule or solver, a factor of {factor:.1f}
  apart, and two more beside the best. The tuning has seed {tuning_seed}, the measurements the {n_seeds} seeds {seeds}.
- **Gradients** are those of {rows} row of enron_spam and of {network_rows} rows of fashion_mnist. Rennala and Malenia
  collect {batch} of them, Ringmaster's `max_delay` is {batch}, and `auto` measures both. Averages come every tenth of a
  pass. **Messages take no time**, which favors gradients: there are {times:.0f} times as many of them or more.
- **Data**: {most_rows:,} random training rows of each. enron_spam has the columns that at least 5 of them visit, and
  fashion_mnist is a network 784-30-10. There are at most {test_rows:,} test rows.

`time / ideal` is the time as a multiple of that of the best row of one worker divided by the summed speed: 1 is the
whole benefit of the speeds, {speed:g} is no benefit. The least of a column is bold. `missed`: most seeds are not at the
goal after {most} passes of all workers together.

{about}

## Time over the ideal

{figures}

{summary}
{sections}"""
SECTION = """
## {name}

{figures}

{kind}; {n_rows:,} rows, {n_columns:,} columns. Goal: {goal} ({setting}, {passes} passes of one worker).

{table}
"""


class Grouped:
    """An algorithm whose workers own neighboring rows, in the order of the task."""

    def __init__(self, algorithm: Any):
        self._algorithm = algorithm
        self.traits = algorithm.traits._replace(partition="contiguous")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)


def grouped(task: Task, n_workers: int) -> Task:
    """Return the task with its rows in the order of workers with different classes, a part of equal size for each."""
    rng = np.random.default_rng(1)
    classes = [rng.permutation(np.flatnonzero(task.y == label)).tolist() for label in np.unique(task.y)]
    order: list[int] = []
    for part in np.array_split(np.arange(task.n_rows), n_workers):
        shares = rng.dirichlet(np.full(len(classes), CONCENTRATION))
        wanted = rng.multinomial(len(part), shares)
        for rows, count in zip(classes, wanted, strict=True):
            taken = min(count, len(rows))
            order += rows[:taken]
            del rows[:taken]
        # classes that are used up are replaced by those with the most rows left
        while len(order) < part[-1] + 1:
            rows = max(classes, key=len)
            taken = min(part[-1] + 1 - len(order), len(rows))
            order += rows[:taken]
            del rows[:taken]
    return replace(task, X=task.X[order], y=task.y[order])


def ways(task: Task) -> list[tuple[str, Way]]:
    """Return one worker with its tricks, and every algorithm with rows alike and with different classes."""
    found = [("", Way(name, 1, algorithm)) for name, algorithm in ALONE.items()]
    speeds = POOLS[MIXED]
    for shards in (ALIKE, DIRICHLET):
        for name, make in ALGORITHMS.items():
            if task.sparse or not name.endswith("coordinate"):
                algorithm = make(NETWORK_ROWS if task.kind == tasks.NETWORK else ROWS)
                made = Grouped(algorithm) if shards == DIRICHLET else algorithm
                found.append((shards, Way(name, len(speeds), made, speeds)))
    return found


def multiple(found: Readings, row: Row) -> float:
    """Return the time over the ideal one."""
    return time_of(row) / time_of(best_alone(found)) * sum(POOLS[MIXED])


def summary(found: list[Readings]) -> str:
    """A line for each algorithm, a column for each data set and kind of shards."""
    columns = [(each, shards) for each in found for shards in (ALIKE, DIRICHLET)]
    values = {
        name: [
            next((multiple(each, row) for row in each.rows if (row.name, row.pool) == (name, shards)), math.nan)
            for each, shards in columns
        ]
        for name in ALGORITHMS
    }
    least = np.nanmin(list(values.values()), axis=0)

    def shown(value: float, best: float) -> str:
        text = NOTHING if math.isnan(value) else "missed" if math.isinf(value) else number(value, 2)
        return f"**{text}**" if value == best and math.isfinite(value) else text

    lines = [[name, *map(shown, row, least)] for name, row in values.items()]
    return table(["algorithm", *(f"{each.task}, {shards}" for each, shards in columns)], lines)


def table_of(found: Readings) -> str:
    """The table of a data set."""
    lines = []
    for row in found.rows:
        passes = median(row.passes)
        lines.append(
            [
                row.name,
                row.pool or "speed 1",
                number(passes, 2) if math.isfinite(passes) else "missed",
                cell(time_of(row), 2),
                cell(multiple(found, row), 2) if row.pool else NOTHING,
                row.setting + " *" * row.at_edge,
            ]
        )
    return table(["algorithm", "shards", "passes", "time", "time / ideal", "setting"], lines, words=(0, 1, 5))


def load(stored: dict[str, dict]) -> list[Readings]:
    """The readings from their JSON entries, in the order of the data sets."""
    names = [name for name in SETS if name in stored]
    return [Readings(**{**stored[name], "rows": [Row(**row) for row in stored[name]["rows"]]}) for name in names]


def page(stored: dict[str, dict], reading: str = "") -> str:
    """The page from the stored readings."""
    found = load(stored)
    sections = [
        SECTION.format(
            name=each.task,
            figures=FIGURES,
            kind=KINDS[each.kind],
            n_rows=each.n_rows,
            n_columns=each.n_columns,
            goal=number(each.goal, 4),
            setting=each.goal_setting,
            passes=PASSES,
            table=table_of(each),
        )
        for each in found
    ]
    text = PAGE.format(
        figures=FIGURES,
        minutes=math.ceil(sum(each.about["seconds"] for each in found) / 60),
        speed=sum(POOLS[MIXED]),
        alike=ALIKE,
        dirichlet=DIRICHLET,
        concentration=CONCENTRATION,
        passes=PASSES,
        tolerance=TOLERANCE,
        fits=found[0].rows[0].fits,
        rates=N_RATES,
        factor=NEIGHBOR**2,
        tuning_seed=TUNING_SEED,
        n_seeds=len(SEEDS),
        seeds=", ".join(map(str, SEEDS)),
        rows=ROWS,
        network_rows=NETWORK_ROWS,
        batch=BATCH,
        times=min(each.n_rows for each in found) / 100 / NETWORK_ROWS,
        most_rows=max(each.n_rows for each in found),
        test_rows=TEST_ROWS,
        most=MOST_PASSES,
        about="\n".join(sorted({each.about["text"] for each in found})),
        summary=summary(found),
        sections="".join(sections),
    )
    return text + reading


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, SETS, "DATASET", "2,000 generated rows, one rate, one seed")
    given = STUDY.parse(parser, arguments)
    sizes = {"seeds": (1,), "n_rates": 1} if given.quick else {}

    def measure_set(name: str, _: Stored) -> dict[str, Any]:
        task_name, most_rows, fewest_visits = SETS[name]
        task = smaller(tasks.load(task_name, given.folder), most_rows, fewest_visits)
        with threadpool_limits(1, user_api="blas"):
            log = lambda text: print(f"  {text}", flush=True)  # noqa: E731
            found = measure_ways(grouped(task, len(POOLS[MIXED])), ways(task), log, tolerance=TOLERANCE, **sizes)
        return {**asdict(found), "task": name}

    stored = STUDY.measure(given, measure_set)
    STUDY.write(given, stored, page)


if __name__ == "__main__":
    main()
