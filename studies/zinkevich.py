"""Zinkevich, Weimer, Smola, Li 2010 on public data: 1, 10 and 100 machines, one average, at equal work of each machine.

Usage: python studies/zinkevich.py [DATA_FOLDER] [--out docs/results/zinkevich.md]
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

from parsgd.models.linear.linear_model import Linear
from parsgd.utils.row_arrays import rows_of

LOSSES = {"Huber": "huber", "squared": "squared_error"}
LAMBDAS = (1e-3, 1e-6)
MACHINES = (1, 10, 100)
SMALL, LARGE, GRID = 1e-3, 1.0, (0.01, 0.03, 0.1, 0.3, 1.0)
PASSES = 4
# Of the check of the theory: rates, chains, and how many relaxation times 1 / (eta lambda) a chain runs.
RATES, CHAINS, TIMES = (1.0, 0.5, 0.25), 200, 10
COLOURS, WIDTHS = {1: "#999999", 10: "#4477aa", 100: "#cc3311"}, {1: 2.0, 10: 3.4, 100: 1.4}
HEADER = """# Zinkevich et al. 2010

<!-- figures: python studies/zinkevich.py DATA_FOLDER -->

This page repeats the experiments of M. Zinkevich, M. Weimer, A. Smola, L. Li, "Parallelized Stochastic Gradient
Descent", NIPS 2010, on public data. `studies/zinkevich.py` writes it. The paper used 2,508,220 mails of a private
collection. This page uses `enron_spam`: {n_rows:,} mails to train on and {n_test:,} to test, with words hashed to 2^18
binary columns and rows of unit length. There are {values:.0f} values per row (the paper: 313), targets -1 and +1, and
no intercept. The objective is `lambda / 2 |w|^2` plus the mean loss: Huber's with threshold 1, or half the squared
error.

Each of 100 machines runs SGD at a constant rate over its own permutations of all rows. Its weights are recorded after
100, 200, 400, ... examples. A point is the average of the weights of k machines. Its objective on the training rows and
its root mean squared error on the test rows are divided by those of one sequential pass (mean of ten machines). For k =
1 and k = 10 a point is the mean over ten machines and over ten groups of ten.

The text of the paper was not available to us. We know its algorithm, setting and findings from other texts. Two things
are from memory: that each machine has permutations of the whole set, and the content of the panels of its figures.
"""
READING = Path(__file__).with_name("readings") / "zinkevich.md"


class Spam(NamedTuple):
    """Train and test rows, as matrices and as kernels take them."""

    X: object
    y: np.ndarray
    X_test: object
    y_test: np.ndarray

    @property
    def rows(self):
        return rows_of(self.X, self.y)


class Curves(NamedTuple):
    """After ``examples (n_points,)`` of each machine: relative objective and test RMSE by number of machines, and what
    they are relative to."""

    eta: float
    base: np.ndarray
    examples: np.ndarray
    objective: dict[int, np.ndarray]
    rmse: dict[int, np.ndarray]


def model_of(data: Spam, loss: str, lam: float, eta: float) -> Linear:
    return Linear(
        data.X.shape[1],
        dtype="float32",
        loss=loss,
        loss_parameter=1.0,
        alpha=lam,
        schedule="constant",
        eta0=eta,
        fit_intercept=False,
        sparse=True,
        measured=False,
    )


def objectives(model: Linear, data: Spam, weights: np.ndarray) -> np.ndarray:
    """The training objective of each column of weights."""
    margins, rows = data.X @ weights, data.rows
    losses = [model.mean_loss(np.ascontiguousarray(column)[:, None], rows)[0] for column in margins.T]
    return np.array(losses) + 0.5 * model.alpha * np.square(weights, dtype=np.float64).sum(axis=0)


def errors(data: Spam, weights: np.ndarray) -> np.ndarray:
    """Root mean squared error on the test rows of each column of weights."""
    return np.sqrt(np.square(data.X_test @ weights - data.y_test[:, None], dtype=np.float64).mean(axis=0))


def machine(model: Linear, data: Spam, points: np.ndarray, replace: bool, number: int) -> list[np.ndarray]:
    """A machine's weights after so many examples of its permutations, or draws with replacement."""
    rng, n_rows = np.random.default_rng((2010, number)), len(data.y)
    passes = -(-points[-1] // n_rows)
    draw = partial(rng.integers, 0, n_rows, n_rows) if replace else partial(rng.permutation, n_rows)
    order = np.concatenate([draw() for _ in range(passes)]).astype(np.int32)
    state = model.init(0)
    sgd_run, rows, seen, done = model.sgd_run(state, 1.0, np.ones(1), 0), data.rows, [], 0
    for point in points:
        sgd_run.run(rows, order, done, point)
        sgd_run.finalize()
        seen.append(model.views(state)["coef"][:, 0].copy())
        done = point
    return seen


def group(model: Linear, data: Spam, points: np.ndarray, numbers: range) -> tuple[np.ndarray, np.ndarray]:
    """Of some machines: the sum of their weights, and the first one's; each ``(n_points, n_features)``."""
    first = np.array(machine(model, data, points, False, numbers[0]))
    total = first.astype(np.float64)
    for number in numbers[1:]:
        for at, weights in enumerate(machine(model, data, points, False, number)):
            total[at] += weights
    return total.astype(np.float32), first


def curves(data: Spam, loss: str, lam: float, eta: float, pool: ThreadPoolExecutor) -> Curves:
    n_rows = len(data.y)
    points = np.unique([*(100 * 2 ** np.arange(int(np.log2(PASSES * n_rows / 100)) + 1)), n_rows, PASSES * n_rows])
    model = model_of(data, loss, lam, eta)
    groups = list(pool.map(partial(group, model, data, points), [range(g, g + 10) for g in range(0, 100, 10)]))
    found = np.array(list(pool.map(partial(measured, model, data, groups), range(len(points)))))
    base = found[np.flatnonzero(points == n_rows)[0], :, 0]
    objective, rmse = (dict(zip(MACHINES, found[:, i].T / base[i], strict=True)) for i in range(2))
    return Curves(eta, base, points, objective, rmse)


def measured(model: Linear, data: Spam, groups: list, at: int) -> np.ndarray:
    """Objective and error ``(2, 3)`` of 1, 10 and 100 machines at one point."""
    tens = np.array([total[at] for total, _ in groups]).T / 10.0
    weights = np.column_stack([*(first[at] for _, first in groups), tens, tens.mean(axis=1)])
    return np.array(
        [
            [part.mean() for part in np.split(values, (10, 20))]
            for values in (objectives(model, data, weights), errors(data, weights))
        ]
    )


def tuned(data: Spam, loss: str, lam: float) -> float:
    """The rate of the grid whose one sequential pass (of a machine that is not used again) has the least objective."""
    found = []
    for eta in GRID:
        model = model_of(data, loss, lam, eta)
        last = machine(model, data, np.array([len(data.y)]), False, 10**6)[0]
        found.append(objectives(model, data, last[:, None])[0])
    return GRID[int(np.argmin(found))]


def reached(curve: np.ndarray, examples: np.ndarray) -> float:
    """Examples of each machine at which a falling curve passes 1, between points on a line in log x; nan if never."""
    below = np.flatnonzero(curve <= 1.0 + 1e-9)
    if len(below) == 0:
        return np.nan
    i = below[0]
    if i == 0:
        return float(examples[0])
    part = (curve[i - 1] - 1.0) / max(curve[i - 1] - curve[i], 1e-300)
    return float(np.exp(np.log(examples[i - 1]) + part * np.log(examples[i] / examples[i - 1])))


def section(title: str, found: dict[tuple[str, float], Curves], n_rows: int) -> str:
    """A table of a few points, and of the work that it takes to be as good as a sequential pass."""
    some = (400, 3200, n_rows, PASSES * n_rows)
    heads = [f"{x:,}" for x in some]
    text = f"\n## {title}\n\nThe cells are relative objective / relative test RMSE by number of examples"
    text += " per machine. The last columns are the examples at which the objective equals that of a sequential pass,"
    text += ' per machine and for all together in passes. "A pass" is the reference.\n\n'
    text += f"| loss | lambda | eta | a pass | machines | {' | '.join(heads)} | as good | all together |\n"
    text += "|---" * 11 + "|\n"
    for (loss, lam), one in found.items():
        at = [int(np.flatnonzero(one.examples == x)[0]) for x in some]
        for k in MACHINES:
            cells = [f"{one.objective[k][i]:.3f} / {one.rmse[k][i]:.3f}" for i in at]
            need = reached(one.objective[k], one.examples)
            what = f"{loss} | {lam:g} | {one.eta:g} | {one.base[0]:.4f} / {one.base[1]:.4f}" if k == 1 else "| | |"
            text += f"| {what} | {k} | {' | '.join(cells)} |"
            text += f" {need:,.0f} | {k * need / n_rows:.2g} |\n" if np.isfinite(need) else " never | |\n"
    return text


def draw(found: dict[tuple[str, float], Curves], title: str, n_rows: int, path: Path) -> None:
    figure = Figure(figsize=(7.4, 6.2), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for (loss, lam), one in found.items():
        for panel, values in zip(panels[LAMBDAS.index(lam)], (one.objective, one.rmse), strict=True):
            for k in MACHINES:
                style = "-" if loss == "Huber" else ":"
                panel.plot(one.examples, values[k], style, color=COLOURS[k], lw=WIDTHS[k])
    for panel, lam in zip(panels.ravel(), np.repeat(LAMBDAS, 2), strict=True):
        what = "training objective" if panel in panels[:, 0] else "test RMSE"
        panel.set_title(f"{what}, lambda = {lam:g}", fontsize=10)
        panel.axvline(n_rows, color="0.85", lw=1, zorder=0)
        panel.axhline(1.0, color="0.85", lw=1, zorder=0)
        panel.set_xscale("log")
        lines = [line.get_ydata() for line in panel.get_lines()[:-2]]
        panel.set_ylim(0.97 * min(map(np.min, lines)), min(max(map(np.max, lines)), 3.0))
    for panel in panels[1]:
        panel.set_xlabel("examples of each machine")
    for k in MACHINES:
        panels[0, 0].plot([], [], color=COLOURS[k], lw=WIDTHS[k], label=f"{k} machine{'s' * (k > 1)}")
    panels[0, 0].plot([], [], "k-", label="Huber")
    panels[0, 0].plot([], [], "k:", label="squared")
    panels[0, 0].legend(fontsize=8, frameon=False)
    figure.suptitle(f"{title}; one sequential pass (grey lines) = 1", fontsize=11)
    figure.savefig(path, dpi=100)


def theory(data: Spam, name: str, pool: ThreadPoolExecutor) -> str:
    """Many chains of draws with replacement, run until they settle: their spread, and what averages leave."""
    lam, lines = LAMBDAS[0], ""
    best = optimum(model_of(data, LOSSES[name], lam, 1.0), data)
    for eta in RATES:
        model = model_of(data, LOSSES[name], lam, eta)
        points = np.array([int(TIMES / (eta * lam))])
        chains = [run[0] for run in pool.map(partial(machine, model, data, points, True), range(CHAINS))]
        tens = [np.mean(chains[i : i + 10], axis=0, dtype=np.float64) for i in range(0, CHAINS, 10)]
        mean = np.mean(tens, axis=0)
        spread = [np.mean([np.square(w - mean).sum() for w in of]) * len(of) / (len(of) - 1) for of in (chains, tens)]
        bias = np.square(mean - best).sum() - spread[0] / CHAINS
        columns = np.column_stack([best, *chains[:20], *tens, mean]).astype(np.float32)
        least, *values = objectives(model, data, columns)
        excess = [np.mean(part) - least for part in np.split(np.array(values), (20, 20 + len(tens)))]
        bound = 4.0 * eta / ((2.0 - eta * lam) * lam)
        lines += f"| {name} | {eta:g} | {points[0]:,} | {spread[0]:.3g} | {spread[1]:.3g} |"
        lines += f" {spread[0] / spread[1]:.1f} | {bias:.2g} | {bound:.0f} | "
        lines += " | ".join(f"{value / least:.2%}" for value in excess) + " |\n"
    return lines


def optimum(model: Linear, data: Spam) -> np.ndarray:
    """The weights of least objective."""

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = model.gradient(weights, data.rows)
        return value, slope

    start = model.init(0).astype(np.float64)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-14}).x
    return model.views(found)["coef"][:, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/zinkevich.md"))
    given = parser.parse_args()
    X, X_test, y, y_test = datasets.enron_spam(given.folder)
    data = Spam(X, (2.0 * y - 1.0).astype(np.float32), X_test, 2.0 * y_test - 1.0)
    text = HEADER.format(n_rows=len(y), n_test=len(y_test), values=X.nnz / len(y))
    with ThreadPoolExecutor(2) as pool:
        for title, image, rate in (
            ("The paper's rate, eta = 0.001", "zinkevich.png", lambda *_: SMALL),
            ("Rates tuned for a sequential pass", "zinkevich-tuned.png", partial(tuned, data)),
            ("A large rate, eta = 1", "zinkevich-large.png", lambda *_: LARGE),
        ):
            found = {
                (name, lam): curves(data, loss, lam, rate(loss, lam), pool)
                for lam in LAMBDAS
                for name, loss in LOSSES.items()
            }
            draw(found, title, len(y), given.out.with_name(image))
            text += section(title, found, len(y)) + f"\n![{title}]({image})\n"
            print(text[text.rindex("\n## ") :], flush=True)
        text += THEORY.format(chains=CHAINS, lam=LAMBDAS[0], times=TIMES)
        text += "".join(theory(data, name, pool) for name in LOSSES)
    print(text[text.rindex("\n## ") :], flush=True)
    given.out.write_text(text + READING.read_text())


THEORY = """
## Spread, variance and bias of converged chains

There are {chains} chains of draws with replacement (the paper's algorithm 1) with lambda = {lam:g}, each {times}
relaxation times 1 / (eta lambda) long. Spread is the mean squared distance of the weights from the mean of all chains,
and the same for means of ten chains. Bias is the squared distance of that mean from the optimal weights, minus the part
due to its own spread. Bound is `4 eta G^2 / ((2 - eta lambda) lambda)`, theorem 10 of the paper, with G = 1. The last
columns are the objective above its minimum.

| loss | eta | examples | spread | of means of 10 | ratio | bias | bound | one chain | mean of 10 | mean of {chains} |
|---|---|---|---|---|---|---|---|---|---|---|
"""

if __name__ == "__main__":
    main()
