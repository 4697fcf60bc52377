"""Zinkevich, Weimer, Smola, Li 2010 on public data: algorithms 2 and 3, figures 1 to 3, and bounds.

Usage: python studies/zinkevich.py DATA_FOLDER [--only algorithms ...] [--page-only]
       python studies/zinkevich.py --quick --only algorithms --stored FILE.json --out FILE.md

The readings are in studies/readings/zinkevich.json; the page and its pictures are written from all of them.
"""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

if __name__ == "__main__":
    # a script has its own folder first in the path, and needs the root of the repository, too
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import datasets
import zinkevich_gap
import zinkevich_theory
from spam_runs import LOSSES, Found, Setting, Spam, curves, errors, machine, objectives, parallel_sgd, simu_parallel_sgd
from stored_study import Stored, StoredStudy
from zinkevich_printed import (
    MACHINES,
    N_ROWS,
    OBJECTIVES,
    PANELS,
    STATED,
    UPDATES,
    difference,
    equal_rate,
    points_of,
    reached,
)

import parsgd
from benchmarks.time_to_goal import tasks
from parsgd import SGDRegressor, SimuParallel
from parsgd.utils import blas_threads

STUDY = StoredStudy("zinkevich", one_core=True, libraries=("parsgd", "numpy", "scipy", "numba"))
LAMBDAS = (1e-3, 1e-6)
LARGE, GRID = 1.0, (0.01, 0.03, 0.1, 0.3, 1.0)
SEEDS = 5
ALGORITHMS, SMALL = "algorithms", "small"
# Title and picture of each rate of the figures.
FIGURE_RATES = {
    "stated": ("The stated rate, 0.001", "zinkevich.png"),
    "equal": ("The rate of equal eta n, {equal:.3g}", "zinkevich-equal.png"),
    "tuned": ("Rates tuned for a sequential pass", "zinkevich-tuned.png"),
    "large": ("A large rate, 1", "zinkevich-large.png"),
}
GAPS = {f"gap-{panel.loss}-{panel.lam:g}": panel for panel in OBJECTIVES}
MAIL = {f"mail-{loss}": loss for loss in LOSSES}
PARTS = (ALGORITHMS, *FIGURE_RATES, *GAPS, SMALL, *MAIL)
# Seeds of the algorithms, rates and chains on mail.
QUICK, FULL = (2, (1.0,), 20), (SEEDS, zinkevich_theory.RATES, zinkevich_theory.CHAINS)
COLORS = {1: "#999999", 10: "#4477aa", 100: "#cc3311"}
HEADER = """# Zinkevich et al. 2010

<!-- figures: python studies/zinkevich.py DATA_FOLDER -->

This page repeats the experiments of M. Zinkevich, M. Weimer, A. Smola, L. Li, "Parallelized Stochastic Gradient
Descent", NIPS 2010, on public data. We have read the main paper, without its appendix.
`python studies/zinkevich.py DATA_FOLDER` writes this page from the readings in `studies/readings/zinkevich.json`, in
about {minutes} minutes of one core.

| | the paper | this page |
|---|---|---|
| data | mail of a private collection | Enron-Spam (Metsis et al. 2006), without exact duplicates |
| training rows | {paper_rows:,} | {n_rows:,} |
| test rows | the last 681,015 by time | {n_test:,}, drawn at random |
| features | hashed to 2^18 columns, binary, rows of unit length | the same |
| values per row | 313 | {values:.0f} |
| recorded after | 10,000 2^i updates, i = 0 ... 7 | {base} 2^i updates: the same fractions of a pass |
| targets, intercept | -1 and +1 | -1 and +1, no intercept |

The objective is `lambda / 2 |w|^2` plus the mean loss: Huber's with threshold 1, or half the squared error. The
threshold and the factor are our choice. Machine i draws from `numpy.random.default_rng((2010, i))`, for i = 0 ... 99.
The split of the data has seed 0.

{about}
"""
OF_ALGORITHMS = """
## Algorithms 2 and 3

In algorithm 2 each of k machines makes T steps on examples drawn from the whole set with replacement. In algorithm 3
the rows are partitioned at random into k parts of T = floor(m / k) rows. Each machine makes one pass over its own part.
Here both start at 0 and have T = floor(m / k). Both have a constant rate and average once. The last column is the
library's estimator, `SGDRegressor` with `SimuParallel()`. The cells are objective / test RMSE with Huber's loss,
divided by those of one sequential pass over all rows: means of seeds 0 to {last_seed}.

| lambda | eta | k | T | algorithm 2 | algorithm 3 | `SimuParallel()` |
|---|---|---|---|---|---|---|
"""
FIGURES = """
## Figures 1 to 3

This is the paper's procedure: up to 100 models, each on its own random permutation of the full training set, stored
after n updates and averaged over k. Values are divided by those of one sequential pass. For k = 1 and k = 10 a point is
the mean of ten machines and of ten groups of ten.

There are four rates: the stated one, eta = 0.001; {equal:.3g}, at which a pass has the paper's product eta n; the one
of {grid} with the least objective after one pass; and 1. The paper had eta = 0.001 for all runs.
"""


def library(setting: Setting, data: Spam, k: int, seed: int) -> np.ndarray:
    """Fit the library's estimator with algorithm 3, and return its weights."""
    fit = SGDRegressor(
        LOSSES[setting.loss],
        epsilon=1.0,
        alpha=setting.lam,
        learning_rate="constant",
        eta0=setting.eta,
        fit_intercept=False,
        max_iter=1,
        tol=None,
        random_state=seed,
        algorithm=SimuParallel(),
        n_jobs=k,
        engine="serial",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", parsgd.errors.TooFewRowsWarning)
        return np.ravel(fit.fit(data.X, data.y).coef_)


def measure_algorithms(data: Spam, n_seeds: int) -> list[dict[str, Any]]:
    """Return objective and test RMSE relative to a sequential pass, by algorithm."""
    rows, m = [], len(data.y)
    for lam in LAMBDAS:
        for eta in (STATED, equal_rate(m), LARGE):
            setting = Setting("Huber", lam, eta)
            passes = [next(machine(setting, data, np.array([m]), 1000 + seed)) for seed in range(n_seeds)]
            base = values(setting, data, passes)
            for k in MACHINES[1:]:
                found = (
                    [parallel_sgd(setting, data, m // k, k, seed) for seed in range(n_seeds)],
                    [simu_parallel_sgd(setting, data, k, seed) for seed in range(n_seeds)],
                    [library(setting, data, k, seed) for seed in range(n_seeds)],
                )
                relative = [(values(setting, data, weights) / base).tolist() for weights in found]
                rows.append({"lam": lam, "eta": eta, "k": k, "T": m // k, "seeds": n_seeds, "relative": relative})
                print(" ", algorithms_row(rows[-1]), end="", flush=True)
    return rows


def algorithms_row(row: dict[str, Any]) -> str:
    cells = ["{:.3f} / {:.3f}".format(*each) for each in row["relative"]]
    return f"| {row['lam']:g} | {row['eta']:.3g} | {row['k']} | {row['T']:,} | {' | '.join(cells)} |\n"


def values(setting: Setting, data: Spam, weights: list[np.ndarray]) -> np.ndarray:
    """Return objective and test RMSE, means over the given weights."""
    columns = np.column_stack(weights).astype(np.float32)
    return np.array([objectives(setting, data, columns).mean(), errors(data, columns).mean()])


def tuned(data: Spam, loss: str, lam: float) -> float:
    """Return the rate of the grid whose one sequential pass, of a machine not used again, has the least objective."""
    m, found = np.array([len(data.y)]), []
    for eta in GRID:
        setting = Setting(loss, lam, eta)
        found.append(objectives(setting, data, next(machine(setting, data, m, 10**6))[:, None])[0])
    return GRID[int(np.argmin(found))]


def section(title: str, image: str, found: dict[tuple[str, float], Found], n_rows: int) -> str:
    """Return a table of a few points and of the work for the value of a sequential pass."""
    some = (0, 2, 4, 6, 7)
    text = f"\n### {title}\n\n"
    text += "The cells are relative objective / relative test RMSE by number of updates per machine. The last column\n"
    text += (
        "gives the updates of all machines together, in passes, at which the objective is that of a sequential pass."
    )
    text += "\n\n| loss | lambda | eta | a pass | k | "
    examples = next(iter(found.values())).examples
    text += " | ".join(f"{examples[i]:,}" for i in some) + " | passes |\n" + "|---" * 11 + "|\n"
    for (loss, lam), one in found.items():
        for k in MACHINES:
            cells = [f"{one.objective[k][i]:.3f} / {one.rmse[k][i]:.3f}" for i in some]
            need = 1.0 if k == 1 else k * reached(one.objective[k], one.examples) / n_rows
            setting = f"{loss} | {lam:g} | {one.setting.eta:.3g} | {one.base[0]:.4f} / {one.base[1]:.4f}"
            cells += [f"{need:.3g}" if np.isfinite(need) else f"> {k * one.examples[-1] / n_rows:.2g}"]
            text += f"| {setting if k == 1 else '| | |'} | {k} | {' | '.join(cells)} |\n"
    return text + f"\n![{title}]({image})\n"


def beside(all_found: dict[str, dict[tuple[str, float], Found]]) -> str:
    """Return the printed curves beside ours."""
    text = "\n### The printed curves beside ours\n\n"
    text += f"The printed values are read off the figures by eye, with errors of {PANELS[0].error} to"
    text += f' {PANELS[1].error}.\n"Difference" is the mean distance of the natural logarithms.\n\n'
    text += "| panel | k | source | " + " | ".join(f"{n // 1000:,}k" for n in UPDATES) + " | difference |\n"
    text += "|---" * (len(UPDATES) + 4) + "|\n"
    for panel in PANELS:
        for k in MACHINES:
            name = panel.title if k == 1 else ""
            text += f"| {name} | {k} | **printed** | " + " | ".join(f"{value:.2f}" for value in panel.curves[k])
            text += " | |\n"
            for title, found in all_found.items():
                one = found[panel.loss, panel.lam]
                ours = one.objective if panel.quantity == "objective" else one.rmse
                gap = f"{difference(ours, panel):.2f}" if k == 1 else ""
                text += f"| | | {title} | " + " | ".join(f"{value:.2f}" for value in ours[k]) + f" | {gap} |\n"
    return text


def needed() -> str:
    """Return a table of the work at which the printed objectives are those of a sequential pass."""
    text = "\nThe printed objectives reach the value of a sequential pass after this many updates of all machines"
    text += " together, in\npasses:\n\n| panel | k = 10 | k = 100 |\n|---|---|---|\n"
    for panel in OBJECTIVES:
        passes = [k * reached(panel.curves[k], UPDATES) / N_ROWS for k in (10, 100)]
        most = [k * UPDATES[-1] / N_ROWS for k in (10, 100)]
        cells = [f"{p:.2g}" if np.isfinite(p) else f"> {m:.2g}" for p, m in zip(passes, most, strict=True)]
        text += f"| {panel.title} | {' | '.join(cells)} |\n"
    return text


def draw(found: dict[tuple[str, float], Found], title: str, n_rows: int, path: Path) -> None:
    """Draw the five panels: lines are our curves, circles the printed ones."""
    figure = Figure(figsize=(9.6, 6.2), layout="constrained")
    *panels, legend = figure.subplots(2, 3).ravel()
    for axes, panel in zip(panels, PANELS, strict=True):
        one = found[panel.loss, panel.lam]
        ours = one.objective if panel.quantity == "objective" else one.rmse
        for k, width in zip(MACHINES, (2.0, 3.4, 1.4), strict=True):
            axes.plot(one.examples / n_rows, ours[k], color=COLORS[k], lw=width)
            axes.plot(UPDATES / N_ROWS, panel.curves[k], "o:", color=COLORS[k], ms=4, lw=0.7, mfc="none")
        axes.set_title(f"{panel.figure}, {panel.loss}, lambda = {panel.lam:g}", fontsize=9)
        axes.set_ylabel(("training " if panel.quantity == "objective" else "test ") + panel.quantity, fontsize=9)
        axes.set_xscale("log")
        axes.axhline(1.0, color="0.85", lw=1, zorder=0)
    for axes in panels[2:]:
        axes.set_xlabel("updates of each machine, in passes", fontsize=9)
    legend.set_axis_off()
    for k in MACHINES:
        legend.plot([], [], color=COLORS[k], lw=2, label=f"k = {k}, measured")
        legend.plot([], [], "o:", color=COLORS[k], ms=4, mfc="none", label=f"k = {k}, printed")
    legend.legend(loc="center", fontsize=9, frameon=False)
    figure.suptitle(f"{title}; one sequential pass = 1", fontsize=11)
    figure.savefig(path, dpi=100)


def measure_rate(name: str, data: Spam) -> list[dict[str, Any]]:
    """Return the curves of each loss and lambda at a rate of the figures."""
    rates = {"stated": STATED, "equal": equal_rate(len(data.y)), "large": LARGE}
    found = []
    for lam in LAMBDAS:
        for loss in LOSSES:
            eta = tuned(data, loss, lam) if name == "tuned" else rates[name]
            found.append(curves(Setting(loss, lam, eta), data).reading())
            print(f"  {loss}, {lam:g}, {eta:.3g}", flush=True)
    return found


def loaded(entry: dict[str, Any]) -> dict[tuple[str, float], Found]:
    """Return the curves of a rate of the figures, by loss and lambda."""
    found = [Found.of(reading, entry["n_rows"]) for reading in entry["readings"]]
    return {(one.setting.loss, one.setting.lam): one for one in found}


def titles(n_rows: int) -> dict[str, str]:
    """Return the title of each rate of the figures."""
    return {name: title.format(equal=equal_rate(n_rows)) for name, (title, _) in FIGURE_RATES.items()}


def figures(stored: Stored, n_rows: int) -> str:
    """Return the sections of the figures at all rates that are stored."""
    text, title_of = FIGURES.format(equal=equal_rate(n_rows), grid=", ".join(map(str, GRID))), titles(n_rows)
    all_found = {name: loaded(stored[name]) for name in FIGURE_RATES if name in stored}
    for name, found in all_found.items():
        text += section(title_of[name], FIGURE_RATES[name][1], found, n_rows)
        one, ten = np.max([curve.scatter for curve in found.values()], axis=0)
        text += f"\nAt the first point the standard deviation of the objective is at most {one:.2g} between single"
        text += f" machines\nand {ten:.2g} between groups of ten.\n"
    return text + beside({title_of[name]: found for name, found in all_found.items()}) + needed()


def page(stored: Stored, observations: str = "") -> str:
    """Return the page from the stored readings."""
    entries = [stored[name] for name in PARTS if name in stored]
    first = entries[0]
    n_rows = first["n_rows"]
    text = HEADER.format(
        paper_rows=N_ROWS,
        n_rows=n_rows,
        n_test=first["n_test"],
        values=first["values_per_row"],
        base=points_of(n_rows)[0],
        minutes=math.ceil(sum(entry["about"]["seconds"] for entry in entries) / 60.0),
        about="\n".join(sorted({entry["about"]["text"] for entry in entries})),
    )
    if ALGORITHMS in stored:
        rows = stored[ALGORITHMS]["readings"]
        text += OF_ALGORITHMS.format(last_seed=rows[0]["seeds"] - 1) + "".join(map(algorithms_row, rows))
    if any(name in stored for name in FIGURE_RATES):
        text += figures(stored, n_rows)
    gaps = {panel.title: stored[name]["readings"] for name, panel in GAPS.items() if name in stored}
    if gaps:
        text += zinkevich_gap.section(gaps, n_rows)
    if SMALL in stored:
        text += zinkevich_theory.small(stored[SMALL]["readings"])
    chains = [row for name in MAIL if name in stored for row in stored[name]["readings"]]
    return text + (zinkevich_theory.mail(chains) if chains else "") + observations


def load(folder: Path | None) -> Spam:
    """Return the mail, or generated rows without a folder."""
    if folder is None:
        task = tasks.load("enron_spam", None)
        X, X_test, y, y_test = task.X, task.X_test, task.y, task.y_test
    else:
        X, X_test, y, y_test = datasets.enron_spam(folder)
    return Spam(X, (2.0 * y - 1.0).astype(np.float32), X_test, 2.0 * y_test - 1.0)


def measure(name: str, data: Spam, n_seeds: int, rates: tuple[float, ...], n_chains: int) -> dict[str, Any]:
    """Return the readings of a part, and the sizes of the data."""
    if name == ALGORITHMS:
        readings = measure_algorithms(data, n_seeds)
    elif name in FIGURE_RATES:
        readings = measure_rate(name, data)
    elif name in GAPS:
        readings = zinkevich_gap.measure(data, GAPS[name])
    elif name == SMALL:
        readings = zinkevich_theory.measure_small()
    else:
        readings = zinkevich_theory.measure_mail(data, MAIL[name], rates, n_chains)
    sizes = {"n_rows": len(data.y), "n_test": len(data.y_test), "values_per_row": data.X.nnz / len(data.y)}
    return {"name": name, **sizes, "readings": readings}


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts, store the readings after each, and write the page and its pictures."""
    parser = STUDY.parser(__doc__, PARTS, "PART", "2,000 generated rows, few seeds and chains")
    given = STUDY.parse(parser, arguments)
    data = None if given.page_only else load(given.folder)
    sizes = QUICK if given.quick else FULL
    with blas_threads.one_thread():
        stored = STUDY.measure(given, lambda name, _: measure(name, data, *sizes))
    STUDY.write(given, stored, page)
    for name, (_, picture) in FIGURE_RATES.items():
        if name in stored:
            n_rows = stored[name]["n_rows"]
            draw(loaded(stored[name]), titles(n_rows)[name], n_rows, given.out.parent / picture)


if __name__ == "__main__":
    main()
