"""Virtual time of workers of unequal speed to a small gradient of a noisy quadratic, beside the lower bounds.

Usage: python studies/optimal_time.py [--only equal linear ...] [--page-only]
       python studies/optimal_time.py --quick --only equal --stored FILE.json --out FILE.md

The readings are in studies/readings/optimal_time.json; the page is written from all that are stored there.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from optimal_time_runs import (
    CONDITION,
    DIMENSIONS,
    LIMITS,
    LIMITS_DIFFERENT,
    N_RATES,
    NOISE,
    POOLS,
    SEEDS,
    WINDOW,
    Readings,
    loaded,
    measure,
    rates,
    stored,
)
from stored_study import Stored, StoredStudy

from benchmarks.markdown import NOTHING, number, table

STUDY = StoredStudy("optimal_time", one_core=True, generated=True, libraries=("parsgd", "numpy"))
DIFFERENT = ", different rows"
PARTS = {name: (name, False) for name in POOLS} | {f"{name}{DIFFERENT}": (name, True) for name in ("equal", "linear")}
FIGURES = "<!-- figures: python studies/optimal_time.py -->"
PAGE = """# Optimal time of unequal workers

{figures}

This page compares the time of asynchronous algorithms with the lower bounds of Tyurin and Richtarik (2023).
`python studies/optimal_time.py` writes it from the readings in `studies/readings/optimal_time.json`, in about
{minutes} minutes of one core. [Which algorithm for unequal workers?](../unequal-workers.md) draws the conclusions.

- **Problem**: a quadratic with {dimensions} unknowns, the tridiagonal matrix of the worst case with L = 1, and
  `Delta = f(x_0) - f* = 1`. The noise of a gradient is normal, with the variance `sigma^2 = {noise:g} epsilon`.
- **Goal**: `E |grad f|^2 <= epsilon` with `L Delta / epsilon = {condition:g}`. The expectation is the mean of {n_seeds}
  seeds over the last {window:.0%} of the time.
- **Workers**: worker i needs `tau_i` seconds per gradient. There are 32 workers, except where stated. "equal": 1.
  "linear": i. "one slow": 31 with 1, one with 100. "heavy-tailed": the quantiles of a Pareto distribution with
  exponent 1, from 1 to 64. "1,000 workers": the root of i. "random times": mean 1 for all, with the standard deviation
  {jitter:g} of the logarithm, drawn for each gradient. The clock is virtual, and messages take no time.
- **Different rows**: the gradients of worker i have a mean of their own. The means of all workers sum to the gradient
  of the whole. Slow workers differ from fast ones in the same direction.
- **Rate**: the best of {rates} from 1 on, a factor of 2 apart, or of {rates_many} that are a factor of 4 apart for
  1,000 workers. It is chosen for each algorithm and pool on another seed, and halved up to twice if it then misses the
  goal. `batch`, `max_delay` and `m` are those of the theory: {batch} gradients, {batch}, and the m with the least
  bound. `auto` measures them.
- **Lower bounds**, without their constants: for equal rows
  `min_m (1/m sum_(i <= m) 1/tau_i)^-1 (L Delta / epsilon + sigma^2 L Delta / (m epsilon^2))`, and for different rows
  `tau_n L Delta / epsilon + (1/n sum_i tau_i) sigma^2 L Delta / (n epsilon^2)`.

The first table of each kind has the time to the goal divided by the formula of the lower bound. An optimal algorithm
has nearly the same figure in each column, whatever the speeds. The second table has the time divided by the formula of
the algorithm's own bound: what theory promises it. The figures are below 1, because a quadratic is easier than the
worst smooth function. `missed`: not at the goal in {most:g} times the formula, with different rows
in {most_different:g} times. A star: the best rate is the smallest
or the largest one.

{about}

![Time over the lower bound](optimal-time.png)

## Equal rows

{figures}

### Over the lower bound

{figures}

{lower}

### Over the algorithm's own bound

{figures}

{own}

## Different rows

{figures}

### Over the lower bound of different rows

{figures}

{lower_different}

### Over the algorithm's own bound with different rows

{figures}

{own_different}
"""


def table_of(found: list[Readings], key: str) -> str:
    """A line for each algorithm, a column for each pool."""
    lines = []
    for name in [row.name for row in found[0].rows]:
        shown = []
        for each in found:
            row = next((row for row in each.rows if row.name == name), None)
            value = None if row is None else getattr(row, key)
            if row is not None and row.time is None:
                shown.append("missed")
            else:
                shown.append(NOTHING if row is None or value is None else number(value, 3) + " *" * row.at_edge)
        lines.append([name, *shown])
    return table(["algorithm", *(each.pool for each in found)], lines)


def draw(found: list[Readings], path: Path) -> None:
    """Draw the time over the lower bound, for equal and for different rows."""
    figure = Figure(figsize=(8.2, 5.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    colors = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#aa3377", "#777777")
    for panel, different in zip(panels, (False, True), strict=True):
        shown = [each for each in found if each.heterogeneous is different]
        for at, each in enumerate(shown):
            by_name = {row.name: row.over_lower_bound or math.nan for row in each.rows}
            values = np.array([by_name.get(row.name, math.nan) for row in shown[0].rows])
            places = np.arange(len(values)) + 0.13 * (at - 2)
            panel.plot(values, places, "o", color=colors[at], label=each.pool, ms=4)
        names = [row.name for row in shown[0].rows] if shown else []
        panel.set(xscale="log", yticks=range(len(names)), yticklabels=names)
        panel.set_title("different rows" if different else "equal rows", fontsize=9)
        panel.set_xlabel("time / formula of the lower bound", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(color="0.93")
        if shown:
            panel.legend(fontsize=7)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=100)


def load(entries: dict[str, dict]) -> list[Readings]:
    """The readings from their JSON entries, in the order of the parts."""
    names = (*PARTS, *sorted(set(entries) - set(PARTS)))
    return [loaded(entries[name]) for name in names if name in entries]


def page(entries: dict[str, dict], reading: str = "") -> str:
    """The page from the stored readings."""
    found = load(entries)
    equal, different = ([each for each in found if each.heterogeneous is kind] for kind in (False, True))
    text = PAGE.format(
        figures=FIGURES,
        minutes=math.ceil(sum(each.about["seconds"] for each in found) / 60),
        dimensions=DIMENSIONS,
        noise=NOISE,
        condition=CONDITION,
        n_seeds=len(SEEDS),
        window=WINDOW,
        jitter=POOLS["random times"],
        rates=N_RATES,
        rates_many=len(rates(1000)),
        batch=math.ceil(NOISE),
        most=LIMITS[-1],
        most_different=LIMITS_DIFFERENT[-1],
        about="\n".join(sorted({each.about["text"] for each in found})),
        lower=table_of(equal, "over_lower_bound") if equal else NOTHING,
        own=table_of(equal, "over_own_bound") if equal else NOTHING,
        lower_different=table_of(different, "over_lower_bound") if different else NOTHING,
        own_different=table_of(different, "over_own_bound") if different else NOTHING,
    )
    return text + reading


def main(arguments: list[str] | None = None) -> None:
    """Measure the pools, store the readings after each, and write the page and its picture."""
    parser = STUDY.parser(__doc__, PARTS, "POOL", "four workers and two rates")
    given = STUDY.parse(parser, arguments)

    def measure_pool(part: str, _: Stored) -> dict[str, Any]:
        name, different = PARTS[part]
        return stored(measure(name, different, lambda text: print(f"  {text}", flush=True), given.quick))

    entries = STUDY.measure(given, measure_pool)
    STUDY.write(given, entries, page)
    draw(load(entries), given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
