"""Virtual time to a test loss of workers of unequal speed, and of one worker with the same tuning.

Usage: python studies/unequal.py [DATA_FOLDER] [--only adult ...] [--page-only]
       python studies/unequal.py --quick --only adult --stored FILE.json --out FILE.md

The readings are in studies/readings/unequal.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from family import KINDS, cell, median
from family_runs import BATCH, N_RATES, ONE, SEEDS, TEST_ROWS, TOLERANCE, TUNING_SEED, smaller
from stored_study import Stored, StoredStudy
from unequal_runs import (
    ALGORITHMS,
    MIXED,
    MOST_PASSES,
    ONE_SLOW,
    POOLS,
    Readings,
    Row,
    measure,
)

from benchmarks.markdown import NOTHING, number, table
from benchmarks.time_to_goal import tasks
from benchmarks.time_to_goal.tuning import NEIGHBOR, PASSES

# Task of benchmarks/time_to_goal, most training rows, and fewest visits of a column.
SETS = {
    "adult": ("adult", 100_000, 1),
    "covtype": ("covtype", 100_000, 1),
    "enron_spam": ("enron_spam", 100_000, 5),
    "news20": ("news20_softmax", 100_000, 30),
    "nycflights": ("nycflights", 100_000, 1),
}
STUDY = StoredStudy("unequal", one_core=True)
MINI_BATCH = "mini-batch"
NAMES = (*ALGORITHMS, MINI_BATCH)
FIGURES = "<!-- figures: python studies/unequal.py DATA_FOLDER -->"
PAGE = """# Workers of unequal speed

{figures}

This page compares ten workers of unequal speed with one worker that is tuned in the same way. The unit is the virtual
time to a test loss. `python studies/unequal.py DATA_FOLDER` writes this page from the readings in
`studies/readings/unequal.json`, in about 25 minutes of one core. One average at the end, with more rules for its
weights, is on [a page of its own](unequal-average.md).

- **Pools**: "{mixed}" has the speeds 1, 1, 1, 1, 1, 1/2, 1/2, 1/4, 1/4 and 1/10, with the sum {mixed_speed:g}.
  "{one_slow}" has nine workers of speed 1 and one of speed 1/10, with the sum {one_slow_speed:g}. Each worker owns a
  tenth of the rows, assigned at random.
- **Goal**: the test loss that one worker of speed 1 reaches after {passes} passes, plus {tolerance:.1%}. It is the
  median over the seeds of the measurements, at the setting with the least loss. The test loss is without a penalty. It
  is measured ten times per pass of all workers together, when workers are merged.
- **Budget**: one worker and every row of the tables have the same grid and the same number of fits, {fits}. A fit has
  at most {passes} passes. The grid has a constant rate, `invscaling` with `power_t=0.25`, and AdaGrad, with
  {rates} rates each, a factor of {factor:.1f} apart. Two more fits are at rates beside the best one, or beyond it if it
  is at an edge of the grid. A row has the setting that reaches the goal in the least time, or without one the setting
  with the least loss. The tuning has seed {tuning_seed}, the measurements the {n_seeds} seeds {seeds}.
- **Early end**: a fit ends at the goal, and after the first pass if its loss is then above that of the prediction 0. A
  fit in the tuning also ends when it has taken longer than the best one before it.
- **Tricks of one worker**: the mean of the last states, SlowMo's momentum, DiLoCo's Nesterov momentum, and
  mini-batches, each with its own tuning.
- **Clock**: virtual. A time of 1 is the pass of a worker of speed 1 over all rows. Messages, merges and the driver's
  probe rows take no time. Real workers are slower than these figures.
- **Data**: covtype and nycflights are random subsets of the training rows. enron_spam has the columns that at least 5
  training rows visit. There are at most {test_rows:,} test rows, and there is no penalty.

`passes` are those of all workers together: the machine work. `time` is the virtual time to the goal. `x one worker` is
the time of plain SGD with one worker of speed 1 divided by that of the row. `x best` is the same for the fastest row of
one worker in the measurements, which favors one worker. The ideal time is that of the best row of one worker divided by
the summed speed; `time / ideal` is the time of a row in this unit, so 1 is the whole benefit of the speeds. All figures
are medians of the seeds. `missed`: most seeds are not at the goal after {most} passes. A setting with a star has the
smallest or the largest rate that was tried.

- `wait` and `balance=speed`: averages every tenth of a pass over each worker's rows, with uniform weights. A round
  ends when all workers have finished; `balance` assigns rows in proportion to speed after the first pass.
- `deadline=auto`: the same rounds, which end at the median time of the workers plus three deviations.
- `seconds`: rounds of a tenth of a fast worker's pass over its own rows.
- `adaptive`, SlowMo and Nesterov have uniform weights. `coordinate` and `touched` are for sparse rows.
- Without a penalty, the weights of WP-SGD are uniform in our reading of its formula. So `seconds, uniform` is also
  its row in rounds, and `seconds, one average` is also its row with one average. That is SimuParallelSGD with
  `seconds`. In `one average`, `invscaling` depends on the mean step of all workers instead of each worker's own.
- `mini-batch` has batches of {batch} rows, a tenth from each worker, and waits for the slowest one in every step. Its
  passes are those of one worker with mini-batches.

{about}

![Workers of unequal speed](unequal.png)

## Summary

{figures}

The row with the least time in the tuning, with figures from the measurements. The choice among algorithms has no seed
in common with them.

{summary}
{by_pool}{sections}"""
BY_POOL = """## Time over the ideal: {pool}

{figures}

`time / ideal` of all algorithms. One worker at its best has {speed:g}. The least of a column is bold.

{table}
"""
SECTION = """## {name}

{figures}

{kind}; {n_rows:,} rows, {n_columns:,} columns. Goal: {goal} ({setting}, {passes} passes of one worker).

{table}
"""


def time_of(row: Row) -> float:
    """The median time to the goal; infinite for a miss."""
    return median(row.times)


def alone(found: Readings) -> list[Row]:
    """The rows of one worker."""
    return [row for row in found.rows if not row.pool]


def best_alone(found: Readings) -> Row:
    """The row of one worker with the least time."""
    return min(alone(found), key=time_of)


def of_pool(found: Readings, pool: str) -> list[Row]:
    """The rows of a pool, with that of mini-batch SGD, in which all wait for the slowest worker in every step."""
    speeds = POOLS[pool]
    (one,) = [row for row in alone(found) if row.name == f"{ONE}, mini-batches"]

    def slower(times: list[float | None]) -> list[float | None]:
        return [None if at is None else at / (len(speeds) * min(speeds)) for at in times]

    (tuned,) = slower([one.tuned_time])
    same = replace(one, name=MINI_BATCH, pool=pool, tuned_time=tuned, times=slower(one.times))
    return [row for row in found.rows if row.pool == pool] + [same]


def chosen(rows: list[Row]) -> Row:
    """The row with the least time in the tuning, of equal ones that with the least loss there."""
    return min(rows, key=lambda row: (np.inf if row.tuned_time is None else row.tuned_time, row.tuned_loss))


def over_ideal(found: Readings, row: Row) -> float:
    """The time of a row of a pool as a multiple of the ideal time."""
    return time_of(row) / time_of(best_alone(found)) * sum(POOLS[row.pool])


def figures(found: Readings, row: Row) -> list[str]:
    """Passes, time, the two ratios to one worker, and the time over the ideal one."""
    passes, at = median(row.passes), time_of(row)
    gains = [time_of(one) / at if np.isfinite(at) else 0.0 for one in (found.rows[0], best_alone(found))]
    shown = [number(passes, 2) if np.isfinite(passes) else "missed", cell(at, 2), *(cell(gain, 2) for gain in gains)]
    return [*shown, cell(over_ideal(found, row), 2) if row.pool else NOTHING]


def ideal(found: Readings, pool: str) -> list[str]:
    """The line of the ideal time of a pool."""
    best, speed = best_alone(found), sum(POOLS[pool])
    gains = [time_of(one) / time_of(best) * speed for one in (found.rows[0], best)]
    return ["ideal", pool, NOTHING, cell(time_of(best) / speed, 2), *(cell(gain, 2) for gain in gains), "1", NOTHING]


def table_of(found: Readings) -> str:
    """The table of a data set."""
    lines = []
    for pool in ("", *POOLS):
        if pool:
            lines.append(ideal(found, pool))
        for row in of_pool(found, pool) if pool else alone(found):
            name = pool or "speed 1"
            lines.append([row.name, name, *figures(found, row), row.setting + " *" * row.at_edge])
    header = ["algorithm", "pool", "passes", "time", "x one worker", "x best", "time / ideal", "setting"]
    return table(header, lines, words=(0, 1, 7))


def summary(found: list[Readings]) -> str:
    """The fastest row of one worker, and of each pool the best one in the tuning."""
    header = ["data", "pool", "algorithm", "passes", "time", "x one worker", "x best", "time / ideal"]
    lines = []
    for each in found:
        best = best_alone(each)
        lines.append([each.task, "speed 1", best.name, *figures(each, best)])
        for pool in POOLS:
            row = chosen(of_pool(each, pool))
            lines.append([each.task, pool, row.name, *figures(each, row)])
    return table(header, lines, words=(0, 1, 2))


def multiples(found: list[Readings], pool: str) -> dict[str, list[float]]:
    """The time over the ideal one of every algorithm on every data set; NaN where it was not measured."""
    by_name = [{row.name: over_ideal(each, row) for row in of_pool(each, pool)} for each in found]
    return {name: [rows.get(name, np.nan) for rows in by_name] for name in NAMES if any(name in r for r in by_name)}


def table_of_pool(found: list[Readings], pool: str) -> str:
    """A line for each algorithm, a column for each data set."""
    values = multiples(found, pool)
    least = np.nanmin(list(values.values()), axis=0)

    def shown(value: float, best: float) -> str:
        text = NOTHING if np.isnan(value) else "missed" if np.isinf(value) else number(value, 2)
        return f"**{text}**" if value == best and np.isfinite(value) else text

    lines = [[name, *map(shown, of_name, least)] for name, of_name in values.items()]
    return table([pool, *(each.task for each in found)], lines)


def draw(found: list[Readings], path: Path) -> None:
    """Draw the time over the ideal one in the mixed pool."""
    values, colors = multiples(found, MIXED), ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#aa3377")
    panel = (figure := Figure(figsize=(7.4, 6.0), layout="constrained")).subplots()
    speed, missed = sum(POOLS[MIXED]), 60.0
    for at, each in enumerate(found):
        times = np.array([of_name[at] for of_name in values.values()])
        places = np.arange(len(times)) + 0.14 * (at - 2)
        color = colors[at % len(colors)]
        panel.plot(np.where(np.isinf(times), np.nan, times), places, "o", color=color, label=each.task, ms=5)
        panel.plot(np.where(np.isinf(times), missed, np.nan), places, "x", color=color, ms=5)
    panel.set(xscale="log", yticks=range(len(values)), yticklabels=list(values))
    panel.set_xticks([1, 2, 4, 6.6, 10, 20, 40, missed], ["1", "2", "4", "6.6", "10", "20", "40", "missed"])
    panel.minorticks_off()
    panel.axvline(1.0, color="0.7", lw=1)
    panel.axvline(speed, color="0.7", lw=1, ls=":")
    panel.set_title(
        "mixed pool, tuned rates: time to the loss of one tuned worker over the ideal time\n"
        "(lines: 1, and 6.6 of one worker at its best; x: most seeds missed the goal)",
        fontsize=9,
    )
    panel.legend(fontsize=8)
    panel.invert_yaxis()
    panel.tick_params(labelsize=8)
    panel.grid(axis="y", color="0.93")
    figure.savefig(path, dpi=100)


def load(stored: dict[str, dict]) -> list[Readings]:
    """The readings from their JSON entries, in the order of the data sets."""
    names = (*SETS, *sorted(set(stored) - set(SETS)))
    entries = [stored[name] for name in names if name in stored]
    return [Readings(**{**entry, "rows": [Row(**row) for row in entry["rows"]]}) for entry in entries]


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
    by_pool = [
        BY_POOL.format(pool=pool, figures=FIGURES, speed=sum(POOLS[pool]), table=table_of_pool(found, pool))
        for pool in POOLS
    ]
    text = PAGE.format(
        figures=FIGURES,
        mixed=MIXED,
        mixed_speed=sum(POOLS[MIXED]),
        one_slow=ONE_SLOW,
        one_slow_speed=sum(POOLS[ONE_SLOW]),
        passes=PASSES,
        tolerance=TOLERANCE,
        fits=found[0].rows[0].fits,
        rates=N_RATES,
        factor=NEIGHBOR**2,
        tuning_seed=TUNING_SEED,
        n_seeds=len(SEEDS),
        seeds=", ".join(map(str, SEEDS)),
        test_rows=TEST_ROWS,
        most=MOST_PASSES,
        batch=BATCH,
        about="\n".join(sorted({each.about["text"] for each in found})),
        summary=summary(found),
        by_pool="\n".join(by_pool) + "\n",
        sections="\n".join(sections),
    )
    return text + reading


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets, store the readings after each, and write the page and its picture."""
    parser = STUDY.parser(__doc__, SETS, "DATASET", "2,000 generated rows, one rate, one seed")
    given = STUDY.parse(parser, arguments)
    sizes = {"seeds": (1,), "n_rates": 1} if given.quick else {}

    def measure_set(name: str, _: Stored) -> dict[str, Any]:
        task_name, most_rows, fewest_visits = SETS[name]
        task = smaller(tasks.load(task_name, given.folder), most_rows, fewest_visits)
        with threadpool_limits(1, user_api="blas"):
            found = measure(task, lambda text: print(f"  {text}", flush=True), **sizes)
        return {**asdict(found), "task": name}

    stored = STUDY.measure(given, measure_set)
    STUDY.write(given, stored, page)
    draw(load(stored), given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
