"""Bias and variance of one-shot averages of 1 to 64 runs, on six data sets.

Usage: python studies/averaging.py DATA_FOLDER [--only adult ...] [--page-only]
       python studies/averaging.py --quick --only adult --stored FILE.json --out FILE.md

The readings are in studies/readings/averaging.json; the page and its picture are written from all of them.
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

from averaging_runs import (
    COUNTS,
    MOST_ROWS,
    NETWORK,
    NETWORK_COUNTS,
    NETWORK_PASSES,
    NETWORK_SEEDS,
    PASSES,
    RATES,
    SETS,
    TUNED_COUNTS,
    Excess,
    measure_linear,
    measure_network,
)
from stored_study import Stored, StoredStudy

from benchmarks.markdown import table
from parsgd.utils import blas_threads

STUDY = StoredStudy("averaging", one_core=True)
COMMENT = "<!-- figures: python studies/averaging.py DATA_FOLDER -->"
PAGE = """# Benefit of averaging

{comment}

This page measures how many averaged runs are useful. `python studies/averaging.py DATA_FOLDER` writes this page from
the readings in `studies/readings/averaging.json`, in about {minutes} minutes of one core.

It averages K = 1 ... 64 independent runs of SGD that start at 0, each over its own permutations of all training rows.
K runs make K times the passes of one. This page is about bias and variance, and not about the time that workers save:
that is in [all algorithms](family.md), with equal tuning for one worker and for all algorithms.

- **Rates** are constant: of {n_rates} rates (1, 3, 10, 30, ... times 1e-4) the one at which one pass of one run has the
  least objective, and four times that rate. All K have these two rates, except in the table of best rates.
- **Lengths**: a 64th of a pass, an eighth, and a whole pass. Fashion-MNIST (softmax) has its first {most_rows:,} rows.
- **Excess** E: the training objective above its minimum (by L-BFGS).
- **Bias and variance**: if a run ends at bias plus noise, the average of K runs has `E_K = B + V / K`. The bias B comes
  from too few steps and from the effect of a constant rate on the mean; averaging does not reduce it. V is the variance
  between runs. Both are in units of the objective and estimated **from eight runs only**: `V = (E_1 - E_8) / (1 - 1/8)`
  and `B = E_1 - V`.
- **Prediction**: the ratio `k* = V / B` predicts the effect of K. Doubling K reduces the excess by the fraction
  `1/2 / (1 + K / k*)`, less than a tenth beyond `4 k*`. "Ends at" is that K, predicted and measured with 64 runs
  (between powers of two on a line; ">64" if doublings help to the end).

{about}

## Overview

{comment}

Runs of one pass: the number from which a doubling reduces the excess by less than a tenth, and the excess of averages
of 8 and 64 relative to one run at the tuned rate.

{summary}
![Excess by number of runs](averaging.png)

## Best rate for each number of runs

{comment}

Runs of one pass. Each of K = 1, 8 and 64 has the rate with the least excess of its averages, from a tenth of the tuned
rate upwards. The excess is relative to that of one run at its best.

{best_rates}
## Measured and predicted

{comment}

The last two columns are the excess of the average of 64, predicted and measured.

{measured}{network}"""
OF_NETWORKS = """
## A network

{comment}

Fashion-MNIST (first {n_rows:,} rows), 784-64-10, Adam with its defaults, batches of 64, and
`SimuParallel(partition="replicated")` from one common start. All K have the same settings, without tuning. The figures
are the training loss and, in brackets, the test error: means of {n_seeds} seeds. The last column is the largest
difference of the training loss between seeds.

{table}"""


def load(entry: dict[str, Any]) -> list[Excess]:
    """The readings of a data set."""
    return [Excess(**case) for case in entry["cases"]]


def measured_table(found: dict[str, list[Excess]]) -> str:
    """A line for each data set, rate and length."""
    rows = []
    for name, cases in found.items():
        for one in cases:
            first, eighth, last = (one.measured[at] for at in (0, 3, 6))
            predicted = one.bias + one.variance / COUNTS[-1]
            shown = [f"{each:.3g}" for each in (one.rate, one.part, first, eighth, last)]
            shown += [f"{each:.2g}" for each in (one.bias, one.variance, one.balance)]
            shown += [k_of(one.predicted_end), k_of(one.measured_end)]
            shown += [f"{predicted:.3g}", f"{last / predicted:.2f}"] if predicted > 0.0 else ["B < 0", ""]
            rows.append([name, *shown])
    header = ["data", "rate", "passes", "E_1", "E_8", "E_64", "B", "V", "k*", "ends at, predicted", "measured"]
    return table([*header, "E_64 predicted", "measured / predicted"], rows)


def k_of(k: float) -> str:
    return ">64" if k > COUNTS[-1] else f"{max(k, 1.0):.2g}"


def summary(found: dict[str, list[Excess]]) -> str:
    """The useful number of runs of one pass for each set, and the excess of their averages."""
    rows = []
    for name, cases in found.items():
        small, large = (one for one in cases if one.part == PASSES[-1])
        few, many = (np.divide(one.measured, small.measured[0]) for one in (small, large))
        shown = [f"{each:.2f}" for each in (few[3], few[6], many[0], many[3], many[6])]
        rows.append([name, k_of(small.measured_end), *shown[:2], k_of(large.measured_end), *shown[2:]])
    header = ["data", "tuned rate: ends at", "8 runs", "64 runs"]
    return table([*header, "four times it: ends at", "1 run", "8 runs", "64 runs"], rows)


def best_rates(entries: list[dict[str, Any]]) -> str:
    """The best rate of each number of runs, and the excess there relative to one run at its best."""
    rows = []
    for entry in entries:
        excess = np.array([each["excess"] for each in entry["rates"]], dtype=float)
        at = np.nanargmin(excess, axis=0)
        rates = [f"{entry['rates'][each]['rate']:g}" for each in at]
        least = np.take_along_axis(excess, at[None], axis=0)[0]
        rows.append([entry["name"], *rates, *(f"{each:.2f}" for each in least[1:] / least[0])])
    header = ["data", *(f"rate, K = {k}" for k in TUNED_COUNTS), *(f"{k} runs" for k in TUNED_COUNTS[1:])]
    return table(header, rows)


def network_table(entry: dict[str, Any]) -> str:
    """A line for each number of passes, a column for each number of runs."""
    rows = []
    for row in entry["rows"]:
        fits = np.array(row["fits"])
        cells = [f"{loss:.4f} ({error:.2%})" for loss, error in fits.mean(axis=1)]
        rows.append([str(row["passes"]), *cells, f"{np.ptp(fits[..., 0], axis=1).max():.4f}"])
    return table(["passes of each", *(f"K = {k}" for k in NETWORK_COUNTS), "between seeds"], rows, words=())


def draw(found: dict[str, list[Excess]], path: Path) -> None:
    """Draw the measured excess and the prediction of eight runs."""
    figure = Figure(figsize=(7.4, 6.0), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    colors = dict(zip(PASSES, ("#ccbb44", "#4477aa", "#cc3311"), strict=True))
    for panel, (name, cases) in zip(panels.ravel(), found.items(), strict=False):
        least_rate = min(one.rate for one in cases)
        for one in cases:
            color, large = colors[one.part], one.rate > least_rate
            panel.plot(COUNTS, one.measured, "s" if large else "o", color=color, ms=4, mfc="white" if large else None)
            smooth = np.geomspace(1, COUNTS[-1], 50)
            panel.plot(smooth, one.bias + one.variance / smooth, "--" if large else "-", color=color, lw=1.2)
        panel.set(xscale="log", yscale="log")
        panel.set_title(name, fontsize=10)
        panel.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
        panel.tick_params(labelsize=8)
    for part, color in colors.items():
        length = "1" if part == 1 else f"1/{round(1 / part)}"
        panels[0, 0].plot([], [], "o-", color=color, ms=4, label=f"{length} pass")
    panels[0, 0].plot([], [], "ks--", mfc="white", ms=4, lw=1.2, label="4x the rate")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    for panel in panels[1]:
        panel.set_xlabel("runs averaged", fontsize=9)
    figure.suptitle("Objective above the least: averages of K runs, and B + V / K of eight runs (lines)", fontsize=10)
    figure.savefig(path, dpi=100)


def page(stored: Stored, observations: str = "") -> str:
    """The page from the stored readings."""
    found = {name: load(stored[name]) for name in SETS if name in stored}
    entries = [stored[name] for name in (*SETS, NETWORK) if name in stored]
    text = PAGE.format(
        comment=COMMENT,
        minutes=math.ceil(sum(entry["about"]["seconds"] for entry in entries) / 60.0),
        n_rates=len(RATES),
        most_rows=MOST_ROWS,
        about="\n".join(sorted({entry["about"]["text"] for entry in entries})),
        summary=summary(found),
        best_rates=best_rates([stored[name] for name in found]),
        measured=measured_table(found),
        network=of_networks(stored[NETWORK]) if NETWORK in stored else "",
    )
    return text + observations


def of_networks(entry: dict[str, Any]) -> str:
    """The section of networks."""
    n_seeds = len(entry["rows"][0]["fits"][0])
    return OF_NETWORKS.format(comment=COMMENT, n_rows=entry["n_rows"], n_seeds=n_seeds, table=network_table(entry))


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets and the network, store the readings after each, and write the page and its picture."""
    parser = STUDY.parser(__doc__, [*SETS, NETWORK], "DATASET", "2,000 generated rows, one seed")
    given = STUDY.parse(parser, arguments)

    def measure(name: str, _: Stored) -> dict[str, Any]:
        with blas_threads.one_thread():
            if name != NETWORK:
                return measure_linear(name, given.folder)
            sizes = (NETWORK_PASSES[:1], NETWORK_SEEDS[:1]) if given.quick else (NETWORK_PASSES, NETWORK_SEEDS)
            return measure_network(given.folder, *sizes)

    stored = STUDY.measure(given, measure)
    STUDY.write(given, stored, page)
    draw({name: load(stored[name]) for name in SETS if name in stored}, given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
