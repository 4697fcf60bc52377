"""Time to a test loss of all algorithms with 2, 8 and 32 equal workers, and of one worker with the same tuning.

Usage: python studies/family.py [DATA_FOLDER] [--only adult ...] [--page-only]
       python studies/family.py --quick --only adult --stored FILE.json --out FILE.md

The readings are in studies/readings/family.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from family_runs import (
    BATCH,
    MOST_PASSES,
    NETWORK_BATCH,
    NETWORK_TEST_ROWS,
    ONE,
    SEEDS,
    TEST_ROWS,
    TOLERANCE,
    TUNING_SEED,
    Readings,
    Row,
    load_readings,
    measure,
    smaller,
    store_readings,
)
from stored_study import Stored, StoredStudy

from benchmarks.markdown import NOTHING, number, table
from benchmarks.time_to_goal import tasks
from benchmarks.time_to_goal.tuning import NEIGHBOR, PASSES

# Task of benchmarks/time_to_goal, most training rows, and fewest visits of a column.
SETS = {
    "covtype": ("covtype", 100_000, 1),
    "adult": ("adult", 100_000, 1),
    "enron_spam": ("enron_spam", 100_000, 1),
    "news20": ("news20_softmax", 100_000, 30),
    "nycflights": ("nycflights", 100_000, 1),
    "fashion_mnist": ("fashion_mnist", 6_000, 1),
}
STUDY = StoredStudy("family", one_core=True)
PAGE = """# Results: all algorithms

<!-- figures: python studies/family.py DATA_FOLDER -->

This page compares all algorithms, with 2, 8 and 32 equal workers, with one worker that is tuned in the same way. The
unit is the time to a test loss. `python studies/family.py DATA_FOLDER` writes this page from the readings in
`studies/readings/family.json`, in about an hour of one core.

- **Goal**: the test loss that one worker reaches after {passes} passes, plus {tolerance:.1%}. It is the median over
  the seeds of the measurements, at the setting with the least loss. The test loss is without a penalty, and is
  measured ten times per pass, when workers are merged. `1 average per pass` and Hogwild are merged once per pass.
- **Budget**: one worker and every row of the tables have the same grid and the same number of fits of {passes}
  passes: {fits} for linear models, {network_fits} for the network. The grid of linear models has a constant rate,
  `invscaling` with `power_t=0.25`, and AdaGrad, with {rates} rates each, a factor of {factor:.1f} apart. That of the
  network has Adam and momentum. Two more fits are at rates beside the best one, or beyond it if it is at an edge of
  the grid. A fit ends after the first pass if its loss is then above that of the prediction 0. The tuning has seed
  {tuning_seed}, the measurements the {n_seeds} seeds {seeds}. A row has the setting that reaches the goal in the
  fewest passes.
- **Tricks of one worker**: the mean of the last states that the adaptive outer step uses, SlowMo's momentum and
  DiLoCo's Nesterov momentum, and mini-batches, each on its own row and with its own tuning. The adaptive outer step
  itself changes nothing with one worker: its factor on the rates is 1, and the driver draws no probe rows. One
  machine can still use it as two workers, whose halves of the rows it visits one after the other; that row has the
  fits of 2 workers.
- **Clock**: virtual. A time of 1 is one worker's pass over all rows, and the workers are equally fast. Messages,
  merges and the driver's probe rows take no time. A row takes the same time with every schedule. Real workers are
  slower than these figures.
- **Data**: covtype, nycflights and fashion_mnist are random subsets of the training rows. news20 has the columns that
  at least 30 training rows visit. There are at most {test_rows:,} test rows, {network_test_rows:,} for the network,
  and there is no penalty.

`passes` are those of all workers together. They are also the total machine time, because equal workers do not wait
for each other. `time` is their number divided by the workers. `x one worker` is the time of one worker divided by
that of the row; above 1 the row is faster. `x best` is the same for the fastest row of one worker in the
measurements, which favors one worker. All figures are medians of the seeds. `missed`: most seeds are not at the goal
after {most_few} passes with 1 and 2 workers, or {most_many} with 8 and 32. A setting with a star has the smallest or
the largest rate that was tried.

WP-SGD's weights are equal for equal workers, so that it repeats SimuParallelSGD. Mini-batch SGD has one fit for any
number of workers; the tables show it with 1 and 32. It and delayed SGD have batches of {batch} rows, or
{network_batch} for the network. Hogwild has two threads on one core and no AdaGrad. `auto` is its choice for machines
whose messages take no time: local SGD with adaptive outer steps, an average ten times per pass or more often, and for
linear models less often from the third or fourth pass on. A table leaves out its rows that repeat those of adaptive
steps. At these readings `auto` had adaptive steps with AdaGrad too; now it has plain averages at `sqrt(K)` times the
rate ([performance](../performance.md#adagrad)). Averages per coordinate are for sparse rows.

{about}

## Summary

The fastest row of one worker, and for each number of workers the row with the fewest passes in the tuning. The choice
among algorithms has no seed in common with the measurements. There are more rows of several workers than of one. A
figure of `x best` above the number of workers would be better for one machine, too, which can visit the parts one
after the other.

{summary}
{sections}"""
SECTION = """## {name}

{kind}; {n_rows:,} rows, {n_columns:,} columns. Goal: {goal} ({setting}, {passes} passes of one worker).

{table}"""
KINDS = {
    tasks.BINARY: "Logistic regression",
    tasks.SOFTMAX: "Softmax regression",
    tasks.REGRESSION: "Least squares",
    tasks.NETWORK: "Network with one hidden layer of 30 units, batches of 10 rows",
}


def median(values: list[float | None]) -> float:
    """The median, in which a miss is infinite."""
    return float(np.median([np.inf if value is None else value for value in values]))


def cell(value: float, digits: int = 3) -> str:
    """A figure, or a dash for a miss."""
    return number(value, digits) if np.isfinite(value) and value > 0 else NOTHING


def time_of(row: Row) -> float:
    """The virtual time to the goal: with equal workers and free messages, all workers' passes by their number."""
    return median(row.passes) / row.workers


def times_as_fast(one: Row, row: Row) -> float:
    """The time of one worker divided by that of the row; 0 for a miss of the row."""
    return time_of(one) / time_of(row) if np.isfinite(time_of(row)) else 0.0


def best(rows: list[Row]) -> Row:
    """The row with the fewest passes in the tuning, of equal ones that with the least loss there."""
    return min(rows, key=lambda row: (row.tuned_passes, row.tuned_loss))


def fastest(rows: list[Row]) -> Row:
    """The row with the least time."""
    return min(rows, key=time_of)


def alone(found: Readings) -> list[Row]:
    """The rows of one worker and its tricks, with two that need no other fits: mini-batches, and two halves in turn."""
    same = {"mini-batch": (1, "mini-batches"), "local, adaptive": (counts(found)[0], "two halves, adaptive")}
    return [row for row in found.rows if row.name.startswith(ONE)] + [
        replace(row, name=f"{ONE}, {same[row.name][1]}", workers=1)
        for row in found.rows
        if row.name in same and row.workers == same[row.name][0]
    ]


def of_workers(found: Readings, workers: int) -> list[Row]:
    """The rows with a number of workers, with the one row of mini-batch SGD, which any number repeats."""
    rows = [row for row in found.rows if row.workers == workers and not row.name.startswith(ONE)]
    return rows + [replace(row, workers=workers) for row in found.rows if row.name == "mini-batch" and workers > 1]


def counts(found: Readings) -> list[int]:
    """The numbers of workers, without 1."""
    return sorted({row.workers for row in found.rows} - {1})


def figures(found: Readings, row: Row) -> list[str]:
    """Passes, time, and the two ratios of a row."""
    passes, best_one = median(row.passes), fastest(alone(found))
    shown = [number(passes, 2) if np.isfinite(passes) else "missed", cell(time_of(row), 2)]
    return shown + [cell(times_as_fast(one, row), 2) for one in (found.rows[0], best_one)]


def repeats_adaptive(found: Readings, row: Row) -> bool:
    """True for a row of `auto` with the readings of the row of adaptive steps, of which the table shows one."""
    same = [other for other in found.rows if other.name == "local, adaptive" and other.workers == row.workers]
    return row.name == "auto" and [(row.setting, row.passes)] == [(other.setting, other.passes) for other in same]


def table_of(found: Readings) -> str:
    """The table of a data set, a line for each algorithm and number of workers."""
    rows = []
    others = [row for row in found.rows if not row.name.startswith(ONE) and not repeats_adaptive(found, row)]
    missed = {row.name for row in others} - {row.name for row in others if np.isfinite(median(row.passes))}
    for row in alone(found) + others:
        if row.name in missed:
            same = [other for other in others if other.name == row.name]
            if row is same[0]:
                tried = "; ".join(other.setting + " *" * other.at_edge for other in same)
                rows.append([row.name, ", ".join(str(other.workers) for other in same), *figures(found, row), tried])
            continue
        each = replace(row, workers=counts(found)[-1]) if row.name == "mini-batch" else row
        rows.append([each.name, str(each.workers), *figures(found, each), each.setting + " *" * each.at_edge])
    header = ["algorithm", "workers", "passes", "time", "x one worker", "x best", "setting"]
    return table(header, rows, words=(0, 6))


def summary(found: list[Readings]) -> str:
    """The fastest row of one worker, and of each number of workers the best one in the tuning."""
    header = ["data", "workers", "algorithm", "passes", "time", "x one worker", "x best"]
    rows = []
    for each in found:
        for count in (1, *counts(each)):
            row = fastest(alone(each)) if count == 1 else best(of_workers(each, count))
            rows.append([each.task, str(count), row.name, *figures(each, row)])
    return table(header, rows, words=(0, 2))


def page(stored: dict[str, dict], reading: str = "") -> str:
    """The page from the stored readings."""
    found = [load_readings(stored[name]) for name in (*SETS, *sorted(set(stored) - set(SETS))) if name in stored]
    sections = [
        SECTION.format(
            name=each.task,
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
    fits = {each.kind == tasks.NETWORK: each.rows[0].fits for each in found}
    text = PAGE.format(
        passes=PASSES,
        tolerance=TOLERANCE,
        fits=fits.get(False, NOTHING),
        network_fits=fits.get(True, NOTHING),
        rates=4,
        factor=NEIGHBOR**2,
        tuning_seed=TUNING_SEED,
        n_seeds=len(SEEDS),
        seeds=", ".join(map(str, SEEDS)),
        most_few=MOST_PASSES[1],
        most_many=MOST_PASSES[32],
        test_rows=TEST_ROWS,
        network_test_rows=NETWORK_TEST_ROWS,
        batch=BATCH,
        network_batch=NETWORK_BATCH,
        about="\n".join(sorted({each.about["text"] for each in found})),
        summary=summary(found),
        sections="\n".join(sections),
    )
    return text + reading


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, SETS, "DATASET", "2,000 generated rows, one rate, one seed")
    given = STUDY.parse(parser, arguments)
    sizes = {"workers": (2,), "seeds": (1,), "n_rates": 1} if given.quick else {}

    def measure_set(name: str, _: Stored) -> dict[str, Any]:
        task_name, most_rows, fewest_visits = SETS[name]
        task = smaller(tasks.load(task_name, given.folder), most_rows, fewest_visits)
        with threadpool_limits(1, user_api="blas"):
            found = measure(task, {}, lambda text: print(f"  {text}", flush=True), **sizes)
        return {**store_readings(found), "task": name}

    STUDY.write(given, STUDY.measure(given, measure_set), page)


if __name__ == "__main__":
    main()
