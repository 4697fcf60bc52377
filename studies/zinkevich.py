"""Zinkevich, Weimer, Smola, Li 2010 on public data: algorithms 2 and 3, figures 1 to 3, and bounds.

Usage: python studies/zinkevich.py DATA_FOLDER [--jobs 1] [--out docs/results/zinkevich.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import datasets
import numba
import numpy as np
import scipy
import zinkevich_gap
import zinkevich_theory
from matplotlib.figure import Figure
from spam_runs import LOSSES, Found, Setting, Spam, curves, errors, machine, objectives, parallel_sgd, simu_parallel_sgd
from zinkevich_printed import MACHINES, N_ROWS, OBJECTIVES, PANELS, STATED, UPDATES, difference, reached

import parsgd
from parsgd import SGDRegressor, SimuParallel

LAMBDAS = (1e-3, 1e-6)
LARGE, GRID = 1.0, (0.01, 0.03, 0.1, 0.3, 1.0)
SEEDS = 5
COLORS = {1: "#999999", 10: "#4477aa", 100: "#cc3311"}
HEADER = """# Zinkevich et al. 2010

<!-- figures: python studies/zinkevich.py DATA_FOLDER -->

This page repeats the experiments of M. Zinkevich, M. Weimer, A. Smola, L. Li, "Parallelized Stochastic Gradient
Descent", NIPS 2010, on public data. `python studies/zinkevich.py DATA_FOLDER` writes it. We have read the main paper,
without its appendix.

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

Measured on {cpu}, {cores} cores, {jobs} used.
{versions}.

## Algorithms 2 and 3

In algorithm 2 each of k machines makes T steps on examples drawn from the whole set with replacement. In algorithm 3
the rows are partitioned at random into k parts of T = floor(m / k) rows. Each machine makes one pass over its own part.
Here both start at 0 and have T = floor(m / k). Both have a constant rate and average once. The last column is the
library's estimator, `SGDRegressor` with `SimuParallel()`. The cells are objective / test RMSE with Huber's loss,
divided by those of one sequential pass over all rows: means of seeds 0 to {seeds}.

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
READING = Path(__file__).with_name("readings") / "zinkevich.md"


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


def algorithms(data: Spam, equal: float) -> str:
    """Return the rows of the table of algorithms 2 and 3."""
    text, m = "", len(data.y)
    for lam in LAMBDAS:
        for eta in (STATED, equal, LARGE):
            setting = Setting("Huber", lam, eta)
            passes = [next(machine(setting, data, np.array([m]), 1000 + seed)) for seed in range(SEEDS)]
            base = values(setting, data, passes)
            for k in MACHINES[1:]:
                found = (
                    [parallel_sgd(setting, data, m // k, k, seed) for seed in range(SEEDS)],
                    [simu_parallel_sgd(setting, data, k, seed) for seed in range(SEEDS)],
                    [library(setting, data, k, seed) for seed in range(SEEDS)],
                )
                cells = ["{:.3f} / {:.3f}".format(*values(setting, data, weights) / base) for weights in found]
                text += f"| {lam:g} | {eta:.3g} | {k} | {m // k:,} | {' | '.join(cells)} |\n"
    return text


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


def versions() -> str:
    """Return the versions of what the runs depend on."""
    modules = {"NumPy": np, "SciPy": scipy, "Numba": numba, "parsgd": parsgd}
    return f"Python {platform.python_version()}, " + ", ".join(f"{k} {m.__version__}" for k, m in modules.items())


def cpu() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def figures(data: Spam, points: np.ndarray, equal: float, folder: Path, over: Callable) -> str:
    """Return the sections of the figures at all rates, and write their images."""
    text, all_found = "", {}
    for title, image, rate in (
        ("The stated rate, 0.001", "zinkevich.png", lambda *_: STATED),
        (f"The rate of equal eta n, {equal:.3g}", "zinkevich-equal.png", lambda *_: equal),
        ("Rates tuned for a sequential pass", "zinkevich-tuned.png", partial(tuned, data)),
        ("A large rate, 1", "zinkevich-large.png", lambda *_: LARGE),
    ):
        found = {
            (loss, lam): curves(Setting(loss, lam, rate(loss, lam)), data, points, over)
            for lam in LAMBDAS
            for loss in LOSSES
        }
        draw(found, title, len(data.y), folder / image)
        all_found[title] = found
        text += section(title, image, found, len(data.y))
        one, ten = np.max([curve.scatter for curve in found.values()], axis=0)
        text += f"\nAt the first point the standard deviation of the objective is at most {one:.2g} between single"
        text += f" machines\nand {ten:.2g} between groups of ten.\n"
        print(text[text.rindex("\n### ") :], flush=True)
    return text + beside(all_found) + needed()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with enron_spam.parquet")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/results/zinkevich.md"))
    given = parser.parse_args()
    X, X_test, y, y_test = datasets.enron_spam(given.folder)
    data = Spam(X, (2.0 * y - 1.0).astype(np.float32), X_test, 2.0 * y_test - 1.0)
    base, equal = round(10_000 * len(y) / N_ROWS), STATED * N_ROWS / len(y)
    points = base * 2 ** np.arange(8)
    text = HEADER.format(
        paper_rows=N_ROWS,
        n_rows=len(y),
        n_test=len(y_test),
        values=X.nnz / len(y),
        base=base,
        cpu=cpu(),
        cores=os.cpu_count(),
        jobs=given.jobs,
        versions=versions(),
        seeds=SEEDS - 1,
    )
    text += algorithms(data, equal)
    print(text, flush=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        text += FIGURES.format(equal=equal, grid=", ".join(map(str, GRID)))
        text += figures(data, points, equal, given.out.parent, pool.map)
        text += (
            zinkevich_gap.TEXT
            + zinkevich_gap.printed()
            + zinkevich_gap.EXPERIMENTS.format(equal=equal, few=zinkevich_gap.FEW)
        )
        text += zinkevich_gap.decays(data, points, pool.map) + zinkevich_gap.tables(data, points, pool.map)
        text += zinkevich_theory.section(data, pool.map)
    print(text[text.rindex("\n## ") :], flush=True)
    given.out.write_text(text + READING.read_text())


if __name__ == "__main__":
    main()
