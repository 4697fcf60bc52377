"""When does averaging help?  Bias against variance of one-shot averages of 1 to 64 runs, on six data sets.

Usage: python studies/averaging.py DATA_FOLDER [--out docs/results/averaging.md]
"""

from __future__ import annotations

import argparse
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

from parsgd import MLPClassifier, SimuParallel
from parsgd.models.linear.linear_model import Linear
from parsgd.utils import blas_threads
from parsgd.utils.row_arrays import rows_of

# Loss, alpha: as in the other studies.
PROBLEMS = {
    "adult": ("log_loss", 1e-4),
    "covtype": ("log_loss", 1e-4),
    "enron_spam": ("log_loss", 1e-6),
    "news20": ("log_loss", 1e-6),
    "nycflights": ("squared_error", 1e-4),
    "fashion_mnist": ("softmax", 1e-4),
}
# Of Fashion-MNIST the first rows only: the least objective of all of them takes minutes to find.
MOST_ROWS = 20_000
RATES = tuple(float(f"{digit}e{power}") for power in (-4, -3, -2, -1, 0, 1) for digit in (1, 3))
TIMES_RATE = (1, 4)
PASSES = (1 / 64, 1 / 8, 1)
COUNTS = (1, 2, 4, 8, 16, 32, 64)
# Averages looked at of each number of runs: all of the many, and sixteen of the few.
MOST_GROUPS = 16
# Doubling the number of runs is worth while if it takes this part of the excess away; runs that predict where it ends.
WORTH, PILOTS = 0.1, 8
NETWORK, NETWORK_PASSES, NETWORK_COUNTS = (64,), (1, 4), (1, 2, 4, 8, 16)
HEADER = """# Benefit of averaging

<!-- figures: python studies/averaging.py DATA_FOLDER -->

This page measures how many averaged runs are useful. `studies/averaging.py` writes it. It averages K = 1 ... 64
independent runs of SGD that start at 0, each over its own permutations of all training rows. The rate is constant: of
{n_rates} rates (1, 3, 10, 30, ... times 1e-4) the one at which one pass of a run has the least objective, and four
times that rate. Runs are a 64th of a pass, an eighth, and a whole pass long. Fashion-MNIST (softmax) has its first
20,000 rows.

The excess E is the training objective above its minimum (by L-BFGS). If a run ends at bias plus noise, the average of K
runs has `E_K = B + V / K`. The bias B comes from too few steps and from the effect of a constant rate on the mean;
averaging does not reduce it. V is the variance between runs. Both are in units of the objective and estimated **from
eight runs only**: `V = (E_1 - E_8) / (1 - 1/8)` and `B = E_1 - V`.

The ratio `k* = V / B` predicts the effect of K: doubling K reduces the excess by the fraction `1/2 / (1 + K / k*)`,
less than a tenth beyond `4 k*`. "Ends at" is that K, predicted and measured with 64 runs (between powers of two on a
line; ">64" if doublings help to the end). The last two columns are the excess of the average of 64, predicted and
measured.
"""
NETWORKS = """
## A network

Fashion-MNIST (20,000 rows), 784-64-10, Adam with its defaults, batches of 64, `SimuParallel(partition="replicated")`
from one common start. The figures are the training loss and, in brackets, the test error, for one seed.

"""
READING = Path(__file__).with_name("readings") / "averaging.md"


class Excess(NamedTuple):
    """``E_K`` for each of COUNTS, and what eight runs say: bias and variance."""

    measured: np.ndarray
    bias: float
    variance: float

    @property
    def balance(self) -> float:
        """k*."""
        return self.variance / self.bias if self.bias > 0.0 else np.inf

    @property
    def predicted_end(self) -> float:
        return self.balance * (0.5 / WORTH - 1.0)

    @property
    def measured_end(self) -> float:
        """The K from which on doubling takes less than WORTH of the excess away; inf: beyond the last one."""
        lr_scale = 1.0 - self.measured[1:] / self.measured[:-1]
        below = np.flatnonzero(lr_scale < WORTH)
        if len(below) == 0:
            return np.inf
        i = below[0]
        if i == 0:
            return 1.0
        part = (lr_scale[i - 1] - WORTH) / (lr_scale[i - 1] - lr_scale[i])
        return float(COUNTS[i - 1] * (COUNTS[i] / COUNTS[i - 1]) ** part)


class Problem(NamedTuple):
    model: Linear
    X: Any
    rows: Any

    def objective(self, state: np.ndarray) -> float:
        """The training objective."""
        model = self.model
        coef = model.views(state)["coef"].astype(np.float64)
        decision = model.decision(state, self.X)
        return model.mean_loss(decision, self.rows)[0] + 0.5 * model.alpha * float(np.square(coef).sum())


def problem(name: str, folder: Path) -> Problem:
    X, _, y, _ = getattr(datasets, name)(folder)
    if name == "fashion_mnist":
        X, y = X[:MOST_ROWS], y[:MOST_ROWS]
    loss, alpha = PROBLEMS[name]
    classes = 0 if loss == "squared_error" else len(np.unique(y))
    outputs = classes if classes > 2 else 1
    targets = y.astype(np.float32) if classes == 0 else (2.0 * y - 1.0).astype(np.float32) if classes == 2 else y
    model = Linear(
        X.shape[1],
        outputs,
        "float32",
        loss,
        alpha=alpha,
        schedule="constant",
        sparse=hasattr(X, "indptr"),
        positive=(1.0,) * outputs,
        negative=(1.0,) * outputs,
        measured=False,
    )
    return Problem(model, X, rows_of(X, targets))


def run(given: Problem, lengths: list[int], number: int) -> list[np.ndarray]:
    """The states of one run after so many steps."""
    model, order = given.model, np.random.default_rng((number, 64)).permutation(len(given.rows.y)).astype(np.int32)
    state, states, done = model.init(0), [], 0
    sgd_run = model.sgd_run(state, 1.0, np.ones(model.n_outputs), 0)
    for length in lengths:
        sgd_run.run(given.rows, order, done, length)
        sgd_run.finalize()
        states.append(state.copy())
        done = length
    return states


def tuned(given: Problem, pool: ThreadPoolExecutor) -> float:
    """The rate after which one pass, of a run that is not used again, has the least objective."""

    def objective(eta: float) -> float:
        there = given._replace(model=replace(given.model, eta0=eta))
        return there.objective(run(there, [len(given.rows.y)], 10**6)[0])

    return RATES[int(np.nanargmin(list(pool.map(objective, RATES))))]


def least(given: Problem) -> float:
    """The least objective, by L-BFGS; products in float32, as everything here, and sums in float64."""
    model = given.model

    def objective(state: np.ndarray) -> tuple[float, np.ndarray]:
        decision = model.decision(state.astype(np.float32), given.X)
        value, slopes = model.mean_loss(decision, given.rows)
        coef, out = model.views(state)["coef"], np.zeros(model.size)
        model.views(out)["coef"][:] = given.X.T @ slopes.astype(np.float32) + model.alpha * coef
        model.views(out)["intercept"][:] = slopes.sum(axis=0)
        return value + 0.5 * model.alpha * float(np.square(coef).sum()), out

    start, options = np.zeros(model.size), {"maxiter": 400, "ftol": 1e-9}
    return float(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).fun)


def mean_of(states: list[np.ndarray]) -> np.ndarray:
    """Their mean, without a copy of all of them."""
    total = states[0].astype(np.float64)
    for state in states[1:]:
        total += state
    return (total / len(states)).astype(np.float32)


def excess(given: Problem, states: list[np.ndarray], floor: float, pool: ThreadPoolExecutor) -> Excess:
    """Of the averages of some of the states."""
    groups = [(k, states[i : i + k]) for k in COUNTS for i in range(0, min(len(states), MOST_GROUPS * k), k)]
    found = np.array(list(pool.map(lambda group: given.objective(mean_of(group[1])), groups))) - floor
    counts = np.array([k for k, _ in groups])
    measured = np.array([found[counts == k].mean() for k in COUNTS])
    alone, together = found[counts == 1][:PILOTS].mean(), found[counts == PILOTS][0]
    variance = (alone - together) / (1.0 - 1.0 / PILOTS)
    return Excess(measured, alone - variance, variance)


def linear(name: str, folder: Path, pool: ThreadPoolExecutor) -> dict[tuple[float, float], Excess]:
    """The excess for each rate and length."""
    given = problem(name, folder)
    n_rows, floor, eta = len(given.rows.y), least(given), tuned(given, pool)
    lengths, found = [max(1, round(part * n_rows)) for part in PASSES], {}
    for times in TIMES_RATE:
        there = given._replace(model=replace(given.model, eta0=times * eta))
        runs = list(pool.map(partial(run, there, lengths), range(COUNTS[-1])))
        for at, part in enumerate(PASSES):
            found[times * eta, part] = excess(there, [states[at] for states in runs], floor, pool)
    return found


def table(found: dict[str, dict[tuple[float, float], Excess]]) -> str:
    text = "\n## Measured and predicted\n\n| data | rate | passes | E_1 | E_8 | E_64 | B | V | k* | ends at, predicted"
    text += " | measured | E_64 predicted | measured / predicted |\n|" + "---|" * 13 + "\n"
    for name, cases in found.items():
        for (eta, part), one in cases.items():
            first, eighth, last = one.measured[[0, 3, 6]]
            predicted = one.bias + one.variance / COUNTS[-1]
            text += f"| {name} | {eta:g} | {part:.3g} | {first:.3g} | {eighth:.3g} | {last:.3g} | {one.bias:.2g} |"
            text += f" {one.variance:.2g} | {one.balance:.2g} | {k_of(one.predicted_end)} |"
            text += f" {k_of(one.measured_end)} |"
            text += f" {predicted:.3g} | {last / predicted:.2f} |\n" if predicted > 0.0 else " B < 0 | |\n"
    return text


def k_of(k: float) -> str:
    return ">64" if k > COUNTS[-1] else f"{max(k, 1.0):.2g}"


def summary(found: dict[str, dict[tuple[float, float], Excess]]) -> str:
    """How many runs each set has a use for, and what they bring."""
    text = "\n## Overview\n\nRuns of one pass: the number from which a doubling reduces the excess by less than a"
    text += " tenth, and the excess of averages of 8 and 64 relative to one run at the tuned rate.\n\n"
    text += "| data | tuned rate: ends at | 8 runs | 64 runs | four times it: ends at | 1 run | 8 runs | 64 runs |\n"
    text += "|" + "---|" * 8 + "\n"
    for name, cases in found.items():
        small, large = (one for (_, part), one in cases.items() if part == PASSES[-1])
        base = small.measured[0]
        few, many = small.measured / base, large.measured / base
        text += f"| {name} | {k_of(small.measured_end)} | {few[3]:.2f} | {few[6]:.2f} |"
        text += f" {k_of(large.measured_end)} | {many[0]:.2f} | {many[3]:.2f} | {many[6]:.2f} |\n"
    return text


def draw(found: dict[str, dict[tuple[float, float], Excess]], path: Path) -> None:
    figure = Figure(figsize=(7.4, 6.0), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    colours = dict(zip(PASSES, ("#ccbb44", "#4477aa", "#cc3311"), strict=True))
    for panel, (name, cases) in zip(panels.ravel(), found.items(), strict=True):
        rates = sorted({eta for eta, _ in cases})
        for (eta, part), one in cases.items():
            colour, large = colours[part], eta == rates[1]
            panel.plot(COUNTS, one.measured, "s" if large else "o", color=colour, ms=4, mfc="white" if large else None)
            smooth = np.geomspace(1, COUNTS[-1], 50)
            panel.plot(smooth, one.bias + one.variance / smooth, "--" if large else "-", color=colour, lw=1.2)
        panel.set(xscale="log", yscale="log")
        panel.set_title(name, fontsize=10)
        panel.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
        panel.tick_params(labelsize=8)
    for part, colour in colours.items():
        length = "1" if part == 1 else f"1/{round(1 / part)}"
        panels[0, 0].plot([], [], "o-", color=colour, ms=4, label=f"{length} pass")
    panels[0, 0].plot([], [], "ks--", mfc="white", ms=4, lw=1.2, label="4x the rate")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    for panel in panels[1]:
        panel.set_xlabel("runs averaged", fontsize=9)
    figure.suptitle("Objective above the least: averages of K runs, and B + V / K of eight runs (lines)", fontsize=10)
    figure.savefig(path, dpi=100)


def network(folder: Path) -> str:
    """Averages of networks from one start."""
    X, X_test, y, y_test = datasets.fashion_mnist(folder)
    X, y = X[:MOST_ROWS], y[:MOST_ROWS]
    text = NETWORKS + f"| passes of each | {' | '.join(f'K = {k}' for k in NETWORK_COUNTS)} |\n"
    text += "|" + "---|" * (len(NETWORK_COUNTS) + 1) + "\n"
    for passes in NETWORK_PASSES:
        cells = []
        for k in NETWORK_COUNTS:
            # each of K workers draws a K-th of the rows a pass
            model = MLPClassifier(
                NETWORK,
                batch_size=64,
                max_iter=passes * k,
                tol=0.0,
                n_iter_no_change=10**6,
                n_jobs=k,
                random_state=0,
                algorithm=SimuParallel(partition="replicated"),
                engine="threads",
            ).fit(X, y)
            chosen = model.predict_proba(X)[np.arange(len(y)), y]
            loss, wrong = -np.log(np.maximum(chosen, 1e-12)).mean(), 1.0 - model.score(X_test, y_test)
            cells.append(f"{loss:.4f} ({wrong:.2%})")
        text += f"| {passes} | {' | '.join(cells)} |\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/averaging.md"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    found = {}
    with ThreadPoolExecutor(2) as pool, blas_threads.one_thread():
        for name in PROBLEMS:
            found[name] = linear(name, given.folder, pool)
            print(table({name: found[name]}), flush=True)
    draw(found, given.out.with_suffix(".png"))
    text = HEADER.format(n_rates=len(RATES)) + summary(found) + "\n![Excess by number of runs](averaging.png)\n"
    text += table(found) + network(given.folder)
    print(text[text.index("\n## A network") :])
    given.out.write_text(text + READING.read_text())


if __name__ == "__main__":
    main()
