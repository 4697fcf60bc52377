"""Bounds of Zinkevich et al. 2010 beside measurements: on small problems with known constants, and on mail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bounds
import numpy as np
from scipy.optimize import minimize
from spam_runs import Setting, Spam, draws, objectives, sgd

LAMBDA, RATES, CHAINS, TIMES = 1e-3, (1.0, 0.5, 0.25), 200, 10
SMALL = """
## Bounds on small problems with known constants

`studies/bounds.py` has the bounds and the problems, and `tests/laws/test_bounds_of_averaging.py` tests the same
inequalities. eta* is the largest rate of lemma 3, `1 / (max |x|^2 c* + lambda)`. G is a bound on the gradients in the
ball that SGD from 0 cannot leave. "Unequal rows" has 40 rows in five dimensions with norms of 0.5 to 3, Huber's loss
and lambda = 0.5. "Coin" is least squares with one feature and targets -1 and 1, with lambda = 2. "Skewed" has one
feature, the targets 0, 0 and 10, Huber's loss and lambda = 0.05. "Linear" has one row whose residual stays in the
linear part of Huber's loss, with lambda = 0.5. Seeds are 0 and 1. For theorem 8 the measured values are
estimates below and above the distance, by the means and by coupled chains.

| statement | problem | rate | measured | bound |
|---|---|---|---|---|
"""
MAIL = """
## Converged chains on mail

There are {chains} chains of algorithm 1 with lambda = {lam:g}, each {times} relaxation times 1 / (eta lambda) long. The
table has their spread (mean squared distance of the weights from the mean of all chains) and that of means of ten
chains. Bias is the squared distance of the mean from the optimal weights, minus the part due to its own spread. G is
the largest gradient norm over all rows, at 0 and at the ends of 20 chains. "Bound" is theorem 10's with this G.
"Contraction" is the factor per step of the distance of two coupled runs, from 0 and from the end of a chain, over
1 / (eta lambda) steps. Lemma 3 has at most `1 - eta lambda`, the last number of its cell. The last columns are the
objective above its minimum.

| loss | eta | steps | spread | of means of 10 | ratio | bias | G | bound | contraction | one | of 10 | of {chains} |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def measure_small() -> list[dict[str, Any]]:
    """Return the measured value and the bound of each statement on small problems."""
    rows = []
    unequal, coin, skewed, linear = (
        bounds.rows_of_unequal_length(),
        bounds.coin(),
        bounds.skewed(),
        bounds.attaining(),
    )
    eta, lam = unequal.largest_rate, unequal.lam
    square = bounds.rows_of_unequal_length("squared_error")
    factor = bounds.measured_contraction(square, square.largest_rate, 0)
    rows.append(("lemma 3, one step", "unequal rows, squared loss", "eta*", factor, bounds.contraction(eta, lam)))
    wrong = bounds.largest_rate(square.norms, square.curvature, lam)
    factor = bounds.measured_contraction(square, wrong, 0)
    outside = "1 / (max abs x c* + lambda), not covered"
    rows.append(("the same", "the same", outside, factor, bounds.contraction(wrong, lam)))
    for name, problem in (("linear", linear), ("unequal rows", unequal)):
        for steps in (0, 10) if problem is linear else (0, 10, 100):
            most = bounds.distance(problem.first_gradient, problem.largest_rate, problem.lam, steps)
            found = bounds.measured_distance(problem, problem.largest_rate, steps, 2000, 0)
            rows.append((f"theorem 8, T = {steps}", name, "eta*", found, most))
    for part in (1.0, 0.5, 0.25):
        rate = part * skewed.largest_rate
        found = bounds.measured_bias(skewed, rate, 20_000, 0)[0]
        rows.append(("theorem 9", "skewed", f"{part:g} eta*", found, bounds.bias(skewed.G, rate)))
    for name, problem in (("coin", coin), ("unequal rows", unequal)):
        for part in (1.0, 0.5):
            rate = part * problem.largest_rate
            found = bounds.measured_spread(problem, rate, 20_000, 0)
            rows.append(("theorem 10", name, f"{part:g} eta*", found, bounds.spread(problem.G, rate, problem.lam)))
    for name, problem in (("coin", coin), ("unequal rows", unequal)):
        samples = problem.stationary(problem.largest_rate, 20_000, 0)
        rows.append(("theorem 11", name, "eta*", *bounds.measured_around(problem, samples, problem.minimizer)))
    for k in (10, 100):
        found = float(unequal.excess(bounds.averages(unequal, eta, k, 200, 0)).mean())
        most = bounds.excess_of_average(unequal.G, unequal.smoothness, eta, lam, k)
        rows.append((f"theorem 12, k = {k}", "unequal rows", "eta*", found, most))
    return [dict(zip(("statement", "problem", "rate", "measured", "bound"), row, strict=True)) for row in rows]


def small(rows: list[dict[str, Any]]) -> str:
    """Return the section on small problems."""
    text = SMALL
    for row in rows:
        # estimates below and above, or one value
        measured = row["measured"] if isinstance(row["measured"], Sequence) else [row["measured"]]
        cell = " to ".join(f"{value:.3g}" for value in measured)
        text += f"| {row['statement']} | {row['problem']} | {row['rate']} | {cell} | {row['bound']:.3g} |\n"
    return text


def chain(setting: Setting, data: Spam, steps: int, number: int, start: np.ndarray | None = None) -> np.ndarray:
    """Return the weights of a chain of algorithm 1 after ``steps`` steps."""
    order = draws(len(data.y), steps, np.random.default_rng((2010, 8, number)))
    return next(sgd(setting, data, order, np.array([steps]), start))


def measure_mail(data: Spam, loss: str, rates: Sequence[float], n_chains: int) -> list[dict[str, Any]]:
    """Return spread, bias and contraction of many chains at each rate."""
    best, rows = optimum(Setting(loss, LAMBDA, 1.0), data), []
    for eta in rates:
        setting, relaxation = Setting(loss, LAMBDA, eta), int(1.0 / (eta * LAMBDA))
        steps = TIMES * relaxation
        ends = [chain(setting, data, steps, number) for number in range(n_chains)]
        tens = [np.mean(ends[i : i + 10], axis=0, dtype=np.float64) for i in range(0, n_chains, 10)]
        mean = np.mean(tens, axis=0)
        spread = [np.mean([np.square(w - mean).sum() for w in of]) * len(of) / (len(of) - 1) for of in (ends, tens)]
        columns = np.column_stack([best, *ends[:20], *tens, mean]).astype(np.float32)
        least, *values = objectives(setting, data, columns)
        excess = [np.mean(part) - least for part in np.split(np.array(values), (20, 20 + len(tens)))]
        there, here = (chain(setting, data, relaxation, n_chains, start) for start in (ends[0], None))
        row = {
            "loss": loss,
            "eta": eta,
            "chains": n_chains,
            "steps": steps,
            "spread": [float(each) for each in spread],
            "bias": float(np.square(mean - best).sum() - spread[0] / n_chains),
            "G": gradient_norm(setting, data, np.column_stack([np.zeros_like(best), *ends[:20]]).astype(np.float32)),
            "contraction": float((np.linalg.norm(there - here) / np.linalg.norm(ends[0])) ** (1.0 / relaxation)),
            "least": float(least),
            "excess": [float(each) for each in excess],
        }
        rows.append(row)
        print(" ", mail_row(row), end="", flush=True)
    return rows


def mail_row(row: dict[str, Any]) -> str:
    """Return a row of the table of chains on mail."""
    eta, G, (one, tens) = row["eta"], row["G"], row["spread"]
    text = f"| {row['loss']} | {eta:g} | {row['steps']:,} | {one:.3g} | {tens:.3g} | {one / tens:.1f} |"
    text += f" {row['bias']:.2g} | {G:.2f} | {bounds.spread(G, eta, LAMBDA):.0f} |"
    text += f" {row['contraction']:.5f}, {bounds.contraction(eta, LAMBDA):.5f} | "
    return text + " | ".join(f"{value / row['least']:.2%}" for value in row["excess"]) + " |\n"


def mail(rows: list[dict[str, Any]]) -> str:
    """Return the section on chains on mail."""
    head = MAIL.format(chains=rows[0]["chains"], lam=LAMBDA, times=TIMES)
    return head + "".join(mail_row(row) for row in rows)


def gradient_norm(setting: Setting, data: Spam, weights: np.ndarray) -> float:
    """Return the largest norm of ``L' x + lambda w`` over rows and columns of weights."""
    margins = data.X @ weights
    slopes = margins - data.y[:, None]
    if setting.loss == "Huber":
        slopes = np.clip(slopes, -1.0, 1.0)
    # rows of unit length
    squares = slopes**2 + 2.0 * setting.lam * slopes * margins
    return float(np.sqrt((squares + setting.lam**2 * np.square(weights).sum(axis=0)).max()))


def optimum(setting: Setting, data: Spam) -> np.ndarray:
    """Return the weights of least objective."""
    model = setting.model(data.X.shape[1])

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        return model.gradient(weights, data.rows)

    start = model.init(0).astype(np.float64)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-14}).x
    return model.views(found)["coef"][:, 0]
