"""Time to a test loss of parsgd and of other libraries, each tuned with the same number of settings.

Usage: python studies/peers.py [DATA_FOLDER] [--only adult ...] [--page-only]
       python studies/peers.py --quick --only adult --stored FILE.json --out FILE.md

The readings are in studies/readings/peers.json; the page and its picture are written from all that are stored there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from peers_runs import (
    BUDGET,
    LAYERS,
    NETWORK_PASSES,
    NETWORK_ROWS,
    ONE,
    PASSES,
    SEEDS,
    TOLERANCES,
    TUNING_SEED,
    TWO,
    Point,
    linear_rows,
    load,
    measure,
    network_rows,
    time_to,
)
from stored_study import Stored, StoredStudy

from benchmarks import drawing, problems, solvers
from benchmarks.markdown import NOTHING, number, table

# Title, and the seconds after which the fits of a setting end.
SETS = {
    "covtype2": ("covtype", 0.6),
    "adult": ("adult", 0.15),
    "enron_spam": ("enron_spam", 0.3),
    "news20": ("news20", 0.7),
    "nycflights_late": ("nycflights_late", 0.45),
    "fashion_mnist": ("fashion_mnist", 3.0),
}
NETWORKS = ("fashion_mnist",)
OURS = (ONE, TWO)
LIBRARIES = ("parsgd", "numpy", "numba", "scikit-learn", "torch", "vowpalwabbit", "cyanure", "snapml")
STUDY = StoredStudy("peers", libraries=LIBRARIES)
# Colors of the peers in the picture; parsgd has that of all pages.
COLORS = {
    "scikit-learn SGD": "#ef6c00",
    "scikit-learn LogisticRegression": "#8d6e63",
    "scikit-learn MLP": "#ef6c00",
    "PyTorch": "#d32f2f",
    "Vowpal Wabbit": "#388e3c",
    "Cyanure": "#7b1fa2",
    "Snap ML": "#0097a7",
}
# The picture ends here: losses nearer to the best one have this distance.
NEAREST = 1e-4
PAGE = """# Results: other libraries

<!-- figures: python studies/peers.py DATA_FOLDER -->

This page compares the time to a test loss of parsgd with that of other libraries. Every row is tuned with the same
budget. `python studies/peers.py DATA_FOLDER` writes this page from the readings in `studies/readings/peers.json`, in
about 20 minutes of two idle cores.

- **Rows**: parsgd with one worker, parsgd with two (`n_jobs=2`, `algorithm="auto"`), and each library that is
  installed. The loss is the mean cross-entropy of the test rows, without a penalty.
- **Budget**: every row has {budget} settings. Each is fitted with {passes} passes, at most {fits} fits with seed
  {tuning_seed}. Networks have {network_passes} passes. An iteration of LogisticRegression counts as a quarter of a
  pass. The fits of a setting end after the first one over the time limit of the data set, which is the same for all
  rows. The tables show the seconds of the tuning.
- **Settings**: parsgd has `"optimal"` with four penalties, with and without averaging, and AdaGrad with four rates.
  With several classes, AdaGrad has softmax and one against the rest, and `"optimal"` has no averaging. scikit-learn's
  SGD has the settings of `"optimal"`, and `"invscaling"` with four rates. LogisticRegression has lbfgs, LIBLINEAR and
  saga (with several classes lbfgs and saga), with penalties. Vowpal Wabbit has adaptive and plain steps with six rates
  each. Cyanure and Snap ML have penalties and 1 or 2 threads, Cyanure also two methods. Networks have Adam and
  momentum, three rates each, and two sizes of batches, the same for all rows.
- **Before the tuning**: scikit-learn's SGD has its fastest precision and number of threads. scikit-learn's MLP and
  PyTorch have their fastest number of threads, and PyTorch the faster form of its optimizer.
- **Goals**: {tolerances} above the best known loss. This is the least median loss of the timed fits of all rows. For
  each goal a row has the setting that reached it soonest in the tuning; if all settings missed it, the one with the
  least loss.
- **Time**: the seconds of the shortest fit whose loss is at the goal. Fits are whole ones, from zero, and each is timed
  from the call to its return. scikit-learn's MLP and PyTorch make one fit instead, and the clock stops while the
  loss is evaluated. All rows take turns, and each turn has another seed. Losses and seconds are medians of {n_seeds}
  turns. A dash is a goal that no fit reached within the time limit.
- **Outside the clock**: reading the data, and conversion to a library's own format. Vowpal Wabbit reads a cache file,
  which has one order of the rows for all seeds. The first fit of a library, which may compile, is not timed either.

The test rows choose the settings and the number of passes of all rows, so the losses are not estimates for new data.
fashion_mnist is a network {layers} on the first {network_rows:,} training images.

{about}
"""
SUMMARY = """## Summary

Milliseconds of the fastest row of parsgd and of the fastest other library, for each goal. The last column is the time
of the other library divided by that of parsgd; above 1 parsgd is faster.

{summary}
![Test loss and seconds](peers.svg)

The excess is the test loss above the best known one, relative to it. A curve is the least excess of the fits
of a row that take at most that time. Dotted lines are the goals. Losses within {nearest} of the best one have this
excess in the picture.

## Rows that are faster than parsgd

All cases in which another library reaches a goal before a row of parsgd does: {n_losses} of {n_pairs} pairs of rows.

{losses}
"""
SECTION = """## {name}

{kind}; {n_rows:,} rows, {n_columns:,} columns, {n_classes} classes. Best known loss: {best}.
Time limit: {limit} s.{left_out}

{table}"""


def points_of(row: dict) -> dict[int, list[Point]]:
    """The median fits of each chosen setting; with fewer passes where a turn ended earlier."""
    found = {}
    for at, turns in row["turns"].items():
        found[int(at)] = [
            Point(fits[0][0], *(float(np.median([_value(fit[k]) for fit in fits])) for k in (1, 2)))
            for fits in zip(*turns, strict=False)
        ]
    return found


def _value(stored: float | None) -> float:
    return np.inf if stored is None else stored


def best_loss(entry: dict) -> float:
    """The least median loss of the timed fits of all rows."""
    return min(point.loss for row in entry["rows"] for each in points_of(row).values() for point in each)


def times(entry: dict, row: dict) -> list[float]:
    """The seconds to each goal, infinite for a miss."""
    points, best = points_of(row), best_loss(entry)
    return [time_to(points[at], (1 + each) * best) for at, each in zip(row["chosen"], TOLERANCES, strict=True)]


def milliseconds(seconds: float) -> str:
    return number(1e3 * seconds) if np.isfinite(seconds) else NOTHING


def percent(tolerance: float) -> str:
    return f"{100 * tolerance:g} %"


def table_of(entry: dict) -> str:
    """The rows of a data set, a column for each goal."""
    rows = []
    for row in entry["rows"]:
        least = min(point.loss for each in points_of(row).values() for point in each)
        shown = [*map(milliseconds, times(entry, row)), number(least, 4), str(row["fits"]), number(row["tuning_s"], 2)]
        rows.append([row["name"], *shown, chosen_words(row)])
    goals = [f"{percent(each)}, ms" for each in TOLERANCES]
    header = ["row", *goals, "least loss", "fits of the tuning", "seconds of the tuning", "settings"]
    return table(header, rows, words=(0, len(header) - 1))


def chosen_words(row: dict) -> str:
    """The settings with their goals, if a row has several of them."""
    found: dict[int, list[str]] = {}
    for at, each in zip(row["chosen"], TOLERANCES, strict=True):
        found.setdefault(at, []).append(percent(each))
    parts = [(f"{', '.join(goals)}: " if len(found) > 1 else "") + row["words"][str(at)] for at, goals in found.items()]
    return "; ".join(parts) + (f" ({row['speed']})" if row["speed"] and row["name"] not in OURS else "")


def fastest(entry: dict, ours: bool, goal: int) -> tuple[str, float]:
    """The name and the seconds of the fastest row of parsgd, or of the others."""
    rows = [row for row in entry["rows"] if (row["name"] in OURS) == ours]
    return min(((row["name"], times(entry, row)[goal]) for row in rows), key=lambda found: found[1])


def ratio(theirs: float, ours: float) -> str:
    return number(theirs / ours) if np.isfinite(theirs) and np.isfinite(ours) else NOTHING


def summary(found: list[dict]) -> str:
    """The fastest row of parsgd and the fastest of the others, for each data set and goal."""
    rows = []
    for entry in found:
        for goal, each in enumerate(TOLERANCES):
            (our_name, ours), (their_name, theirs) = fastest(entry, True, goal), fastest(entry, False, goal)
            names = [name if np.isfinite(s) else NOTHING for name, s in ((our_name, ours), (their_name, theirs))]
            shown = [names[0], milliseconds(ours), names[1], milliseconds(theirs), ratio(theirs, ours)]
            rows.append([entry["name"], percent(each), *shown])
    header = ["data", "goal", "parsgd", "ms", "other library", "ms", "other / parsgd"]
    return table(header, rows, words=(0, 2, 4))


def losses(found: list[dict]) -> tuple[list[list[str]], int]:
    """The pairs in which another library is at a goal before a row of parsgd; and the number of all pairs."""
    rows, n_pairs = [], 0
    for entry in found:
        reached = {row["name"]: times(entry, row) for row in entry["rows"]}
        for goal, each in enumerate(TOLERANCES):
            for ours in OURS:
                for peer in reached.keys() - set(OURS):
                    n_pairs += 1
                    mine, theirs = reached[ours][goal], reached[peer][goal]
                    if theirs < mine:
                        shown = [milliseconds(mine), peer, milliseconds(theirs), ratio(theirs, mine)]
                        rows.append([entry["name"], percent(each), ours, *shown])
    places = {name: at for at, name in enumerate(entry["name"] for entry in found)}
    return sorted(rows, key=lambda row: (places[row[0]], -float(row[1].split()[0]), row[2], row[4])), n_pairs


def draw(found: list[dict], path: Path) -> None:
    """A panel for each data set: the excess of the test loss against seconds, on logarithmic axes."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    columns = min(3, len(found))
    n_rows = -(-len(found) // columns)
    drawn, axes = drawing.figure(4.0 * columns, 3.4 * n_rows + 0.7, n_rows, columns)
    for axis, entry in zip(axes, found, strict=False):
        best = best_loss(entry)
        for row in entry["rows"]:
            points = sorted((point for each in points_of(row).values() for point in each), key=lambda p: p.seconds)
            seconds = [point.seconds for point in points]
            least = np.minimum.accumulate([point.loss for point in points])
            style = {ONE: "--", TWO: "-"}.get(row["name"], "-")
            color = COLORS.get(row["name"], drawing.OURS)
            excess = np.maximum(least / best - 1, NEAREST)
            axis.step(seconds, excess, style, where="post", color=color, marker="o", ms=2.5, lw=1.3, label=row["name"])
        for each in TOLERANCES:
            axis.axhline(each, color="black", lw=0.6, ls=":")
        axis.set(xscale="log", yscale="log", xlabel="seconds of a fit")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_ylim(NEAREST / 1.5, 1.0)
        axis.set_title(entry["name"], loc="left", fontsize=10)
    for axis in axes[::columns]:
        axis.set_ylabel("excess test loss, relative")
    for axis in axes[len(found) :]:
        axis.set_visible(False)
    named = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    drawn.legend(named.values(), named, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    drawing.save(drawn, path)


def page(stored: dict[str, dict], reading: str = "") -> str:
    """The page from the stored readings."""
    found = [stored[name] for name in SETS if name in stored]
    text = PAGE.format(
        budget=BUDGET,
        passes=", ".join(map(str, PASSES)),
        network_passes=", ".join(map(str, NETWORK_PASSES)),
        fits=BUDGET * len(PASSES),
        tuning_seed=TUNING_SEED,
        tolerances=", ".join(map(percent, TOLERANCES)),
        n_seeds=len(SEEDS),
        layers="-".join(map(str, LAYERS)),
        network_rows=NETWORK_ROWS,
        about="\n".join(dict.fromkeys(entry["about"]["text"] for entry in found)),
    )
    if not found:
        return text
    lost, n_pairs = losses(found)
    header = ["data", "goal", "parsgd", "ms", "other library", "ms", "other / parsgd"]
    parts = [
        SUMMARY.format(
            summary=summary(found),
            nearest=percent(NEAREST),
            n_losses=len(lost),
            n_pairs=n_pairs,
            losses=table(header, lost, words=(0, 2, 4)) if lost else "There is none in these readings.\n",
        )
    ]
    for entry in found:
        kind = "Network" if entry["network"] else "Logistic regression"
        left_out = f" Left out: {'; '.join(entry['left_out'])}." if entry["left_out"] else ""
        shown = {key: entry[key] for key in ("name", "n_rows", "n_columns", "n_classes")}
        best = number(best_loss(entry), 4)
        limit = number(entry["limit_s"])
        parts.append(
            SECTION.format(kind=kind, best=best, limit=limit, left_out=left_out, table=table_of(entry), **shown)
        )
    return "\n".join([text, *parts]) + reading


def main(arguments: list[str] | None = None) -> None:
    """Measure the data sets, store the readings after each, and write the page and its picture."""
    parser = STUDY.parser(__doc__, SETS, "DATASET", "2,000 generated rows, one pass or two")
    given = STUDY.parse(parser, arguments)

    def measure_set(name: str, _: Stored) -> dict[str, Any]:
        (title, limit_s), network = SETS[name], name in NETWORKS
        print(title, flush=True)
        problem = load(name, given.folder)
        passes = (1, 2) if given.quick else NETWORK_PASSES if network else PASSES
        rows, left_out = (network_rows if network else linear_rows)(problem)
        seeds = SEEDS[:2] if given.quick else SEEDS
        found = measure(rows, passes, limit_s, seeds, lambda text: print(f"  {text}", flush=True))
        problems.load.cache_clear()
        solvers.in_precision.cache_clear()
        return {
            "name": title,
            "network": network,
            "n_rows": problem.n_rows,
            "n_columns": problem.X.shape[1],
            "n_classes": problem.n_classes,
            "left_out": left_out,
            **found,
        }

    stored = STUDY.measure(given, measure_set)
    STUDY.write(given, stored, page)
    if stored:
        draw([stored[name] for name in SETS if name in stored], given.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
