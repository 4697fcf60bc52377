"""Time to a test loss with 10 to 100,000 simulated workers of heavy-tailed speeds, for algorithms and merge rules.

Usage: python studies/many_workers.py DATA_FOLDER [--only covtype ...] [--page-only]
       python studies/many_workers.py --quick --stored FILE.json --out FILE.md

The readings are in studies/readings/many_workers.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from family import cell, median
from many_workers_check import CHECK_ROWS, CHECK_WORKERS, SETTING, check
from many_workers_runs import (
    EVALUATIONS,
    GOAL_PASSES,
    MOST_PASSES,
    NEIGHBOR,
    PROBLEMS,
    RATES,
    SEEDS,
    SHAPE,
    SPEED_SEED,
    TEST_ROWS,
    TOLERANCE,
    TRAINING_ROWS,
    TUNING_SEED,
    WAYS,
    WORKERS,
    Readings,
    Row,
    load_readings,
    measure,
    store_readings,
)
from stored_study import Stored, StoredStudy

from benchmarks.markdown import NOTHING, number, table

STUDY = StoredStudy("many_workers", one_core=True)
COMMENT = "<!-- figures: python studies/many_workers.py DATA_FOLDER -->"
PAGE = """# Results: many workers of unequal speed

{comment}

This page compares algorithms and merge rules with {least_workers:,} to {most_workers:,} simulated workers, whose speeds
are unequal. The unit is the virtual time to a test loss. `python studies/many_workers.py DATA_FOLDER` writes this page
from the readings in `studies/readings/many_workers.json`, in about {minutes} minutes of one core.

- **Speeds**: the time per row has a Pareto distribution with shape {shape} and the least value 1, so that speeds are at
  most 1. They are drawn once with seed {speed_seed}; a smaller pool has the first workers of the list.
- **Goal**: the test loss that one worker of speed 1 reaches after {goal_passes} passes, plus {tolerance:.1%}. It is the
  median over the seeds of the measurements, at the setting with the least loss. The test loss is without the penalty,
  and is measured {evaluations} times per pass at most, when workers are merged.
- **Budget**: one worker and every row of the tables, for each number of workers, have the same grid and the same
  number of fits, {fits}. The grid has a constant rate and `invscaling` with `power_t=0.25`, with {n_rates} rates each,
  a factor of {factor:.0f} apart. Two more fits are at rates {neighbor:.1f} times as small and as large as the best one.
  If the best one is at an edge of the grid, they are 10 and 100 times beyond it instead. A fit ends at the goal, or
  after {most_passes} passes of all workers together. It also ends after the first pass if its loss is then above that
  of the prediction 0, and after the least time to the goal of the fits before. The tuning has seed {tuning_seed}, the
  measurements the {n_seeds} seeds {seeds}. A row has the setting that is at the goal in the least time.
- **Clock**: virtual, that of `Simulated`. A time of 1 is a pass of one worker of speed 1 over all rows. Messages,
  merges and the driver's probe rows take no time. A worker completes the row that it has begun, so that every round
  with a time limit lasts at least for one row of the slowest worker.
- **Data**: logistic regression with `alpha={alpha:g}`, {train_rows:,} training rows and {test_rows:,} test rows. Each
  of {most_workers:,} workers has only {share:.0f} rows. The rows of covtype are a random subset. Those of the synthetic
  problem are drawn from a logistic model, so that its optimum is known; it has fewer workers, to save time.

Rounds of local SGD have a tenth of a worker's rows, or with `seconds` the time in which all workers together can make a
tenth of a pass. `deadline` is `deadline="auto"` with weights by steps. Outer steps have uniform weights. `fastest 90 %`
leaves out the slowest tenth of the workers, whose rows the others own. Mini-batches have {batch} rows, or one for each
worker if that is more. Delayed SGD has batches of {batch} rows, or of all rows of a worker. Averages at the end are
shown as if the fit ended at each moment. AdaGrad is not part of this page.

{about}

## Summary

{comment}

The fastest row of one worker, and for each number of workers the row with the least time in the tuning, which has no
seed in common with the measurements. `x one worker` is the time of the fastest row of one worker divided by that of the
row. `limit` is the same for one worker with the summed speed of all. `x limit` is their ratio; it is above 1 if a mean
of many states is better than one state.

{summary}
{sections}## Check against the library

{comment}

The SGD of all workers runs in compiled loops of this study. The engine `Simulated` of the library is the reference.
Both made one pass with {check_workers:,} workers and the first {check_rows:,} rows of {check_problem}, at the setting
`{check_setting}`. They have the same orders of rows. `seconds` are real ones of one core, with other load.

{check}"""
SECTION = """## {name}

{comment}

{n_rows:,} rows, {n_columns:,} columns. Goal: {goal} ({setting}, {passes} passes of one worker).{least}

{pools}
### Time: {name}

{comment}

Times as fast as the fastest row of one worker: {one_name}, which takes {one_time}. `limit` is one worker of the summed
speed. `slope` is the change of the logarithm of the time with that of the number of workers, over the numbers at the
goal. A slope of -1 is ideal, and 0 is no benefit. `fastest at` is the number of workers with the least time. `missed`:
most seeds are not at the goal after {most_passes} passes.

{times}
### Machine work: {name}

{comment}

Passes of all workers together to the goal. The fastest row of one worker takes {one_passes}.

{work}
### Loss after a fixed time: {name}

{comment}

Test loss, above the goal, after the time in which all workers together could make one pass. The settings are those of
the least time to the goal. A dash is a fit without a merge by then; 0 is at the goal.

{losses}
### Settings: {name}

{comment}

Schedule (c: constant, i: invscaling) and rate in units of 1 / (mean squared norm of a row). A star marks the smallest
or the largest rate that was tried.

{settings}
"""


def time_of(row: Row) -> float:
    """The median time to the goal."""
    return median(row.times)


def counts(found: Readings) -> list[int]:
    """The numbers of workers, without 1."""
    return sorted({row.workers for row in found.rows} - {1})


def alone(found: Readings) -> Row:
    """The fastest row of one worker in the measurements."""
    return min((row for row in found.rows if row.workers == 1), key=time_of)


def speed_of(found: Readings, workers: int) -> float:
    """The summed speed."""
    return next(line[1] for line in found.speeds if line[0] == workers)


def of_name(found: Readings, name: str) -> list[Row]:
    """The rows of an algorithm by number of workers."""
    return sorted((row for row in found.rows if row.name == name), key=lambda row: row.workers)


def slope(rows: list[Row]) -> float:
    """The slope of log time over log workers, of the numbers at the goal; NaN for fewer than two."""
    points = [(math.log(row.workers), math.log(time_of(row))) for row in rows if np.isfinite(time_of(row))]
    return float(np.polyfit(*zip(*points, strict=True), 1)[0]) if len(points) > 1 else math.nan


def fastest_at(rows: list[Row]) -> int | None:
    """The number of workers with the least time."""
    best = min(rows, key=time_of)
    return best.workers if np.isfinite(time_of(best)) else None


def names(found: Readings) -> list[str]:
    """The names of the rows with several workers."""
    return list(dict.fromkeys(row.name for row in found.rows if row.workers > 1))


def by_workers(found: Readings, show, more=(), first=()) -> str:
    """A table with a line for each algorithm and a column for each number of workers."""
    lines = [*first]
    for name in names(found):
        rows = of_name(found, name)
        lines.append([name, *(show(row) for row in rows), *(each(rows) for _, each in more)])
    header = ["algorithm", *(f"{count:,}" for count in counts(found)), *(title for title, _ in more)]
    return table(header, lines)


def times_table(found: Readings) -> str:
    """Times as fast as one worker, the slope, and the number of workers with the least time."""
    one = time_of(alone(found))

    def show(row: Row) -> str:
        return number(one / time_of(row), 2) if np.isfinite(time_of(row)) else "missed"

    def shown_slope(rows: list[Row]) -> str:
        return NOTHING if math.isnan(slope(rows)) else f"{slope(rows):+.2f}"

    def shown_best(rows: list[Row]) -> str:
        return NOTHING if fastest_at(rows) is None else f"{fastest_at(rows):,}"

    limit = [
        "limit",
        *(number(speed_of(found, count), 2) for count in counts(found)),
        "-1.00",
        f"{counts(found)[-1]:,}",
    ]
    return by_workers(found, show, (("slope", shown_slope), ("fastest at", shown_best)), (limit,))


def work_table(found: Readings) -> str:
    """Passes of all workers to the goal."""
    return by_workers(found, lambda row: cell(median(row.passes), 2))


def loss_table(found: Readings) -> str:
    """The loss above the goal after the time of one pass of all workers."""

    def show(row: Row) -> str:
        loss = median(row.losses)
        if not np.isfinite(loss) or loss > math.log(2.0) - 1e-5:
            return NOTHING
        return number(max(loss - found.goal, 0.0), 2)

    return by_workers(found, show)


def settings_table(found: Readings) -> str:
    """The chosen settings."""

    def show(row: Row) -> str:
        schedule, rate = row.setting.split(", ")
        return f"{schedule[0]} {rate}" + " *" * row.at_edge

    return by_workers(found, show)


def pools_table(found: Readings) -> str:
    """The speeds of each number of workers."""
    lines = [
        [f"{count:,}", number(found.n_rows / count, 2), number(total), number(least, 2), number(largest, 2)]
        for count, total, least, largest in found.speeds
        if count > 1
    ]
    return table(["workers", "rows per worker", "summed speed", "slowest", "fastest"], lines, words=())


def summary(found: list[Readings]) -> str:
    """The fastest row of one worker, and for each number of workers the best one in the tuning."""
    lines = []
    for each in found:
        one = alone(each)
        for count in (1, *counts(each)):
            rows = [row for row in each.rows if row.workers == count]
            row = one if count == 1 else min(rows, key=lambda row: math.inf if row.tuned is None else row.tuned)
            ratio, limit = time_of(one) / time_of(row), speed_of(each, count)
            figures = cell(median(row.passes), 2), cell(ratio, 2), number(limit, 2), cell(ratio / limit, 2)
            lines.append([each.task, f"{count:,}", row.name, *figures])
    header = ["data", "workers", "algorithm", "passes", "x one worker", "limit", "x limit"]
    return table(header, lines, words=(0, 2))


def check_table(found: Readings) -> str:
    """Loss and time of the library and of the study."""
    lines = [
        [name, *(number(value, 4) for value in values[:4]), *(number(value, 2) for value in values[4:])]
        for name, *values in found.check
    ]
    sides = [f"{what}, {side}" for what in ("loss", "time", "seconds") for side in ("library", "study")]
    header = ["algorithm", sides[0], sides[2], sides[1], sides[3], sides[4], sides[5]]
    return table(header, lines)


def section(found: Readings) -> str:
    """The section of a problem."""
    one = alone(found)
    return SECTION.format(
        comment=COMMENT,
        name=found.task,
        n_rows=found.n_rows,
        n_columns=found.n_columns,
        goal=number(found.goal, 4),
        setting=found.goal_setting,
        passes=GOAL_PASSES,
        least="" if found.least is None else f" The optimum has the test loss {number(found.least, 4)}.",
        pools=pools_table(found),
        one_time=number(time_of(one), 2),
        one_passes=number(median(one.passes), 2),
        one_name=one.name,
        most_passes=MOST_PASSES,
        times=times_table(found),
        work=work_table(found),
        losses=loss_table(found),
        settings=settings_table(found),
    )


def page(stored: dict[str, dict], reading: str = "") -> str:
    """The page from the stored readings."""
    found = [load_readings(stored[name]) for name in PROBLEMS if name in stored]
    first, checked = found[0], next(each for each in found if each.check)
    text = PAGE.format(
        comment=COMMENT,
        least_workers=counts(first)[0],
        most_workers=counts(first)[-1],
        minutes=math.ceil(sum(each.about["seconds"] for each in found) / 60.0),
        shape=SHAPE,
        speed_seed=SPEED_SEED,
        goal_passes=GOAL_PASSES,
        tolerance=TOLERANCE,
        evaluations=EVALUATIONS,
        fits=first.rows[0].fits,
        n_rates=(first.rows[0].fits - 2) // len(RATES),
        factor=NEIGHBOR**2,
        neighbor=NEIGHBOR,
        most_passes=MOST_PASSES,
        tuning_seed=TUNING_SEED,
        n_seeds=len(SEEDS),
        seeds=", ".join(map(str, SEEDS)),
        alpha=1e-4,
        test_rows=TEST_ROWS,
        train_rows=TRAINING_ROWS,
        share=TRAINING_ROWS / counts(first)[-1],
        batch=WAYS[0].batch,
        about="\n".join(sorted({each.about["text"] for each in found})),
        summary=summary(found),
        sections="\n".join(section(each) for each in found),
        check_workers=checked.check_size[0],
        check_rows=checked.check_size[1],
        check_problem=checked.task,
        check_setting=SETTING,
        check=check_table(checked),
    )
    return text + reading


def main(arguments: list[str] | None = None) -> None:
    """Measure the problems, store the readings after each, and write the page."""
    parser = STUDY.parser(__doc__, PROBLEMS, "PROBLEM", "2,000 generated rows, one rate, one seed")
    given = STUDY.parse(parser, arguments)
    sizes = {"seeds": (1,), "n_rates": 1} if given.quick else {}
    n_rows, n_workers = (500, 20) if given.quick else (CHECK_ROWS, CHECK_WORKERS)

    def measure_problem(name: str, stored: Stored) -> dict[str, Any]:
        problem, workers = PROBLEMS[name](given.folder), (10, 100) if given.quick else WORKERS[name]
        with threadpool_limits(1, user_api="blas"):
            found = measure(problem, lambda text: print(f"  {text}", flush=True), workers, **sizes)
            others = [entry for other, entry in stored.items() if other != name]
            checked = [] if any(entry["check"] for entry in others) else check(problem, n_rows, n_workers)
        return {**store_readings(found), "check": checked, "check_size": [n_workers, n_rows]}

    STUDY.write(given, STUDY.measure(given, measure_problem), page)


if __name__ == "__main__":
    main()
