"""Runs of the study of averages: bias and variance of averaged runs of SGD, and averages of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from benchmarks.time_to_goal import tasks
from parsgd import MLPClassifier, SimuParallel
from parsgd.models.linear.linear_model import Linear
from parsgd.utils.row_arrays import rows_of

NETWORK = "network"
# Task of benchmarks/time_to_goal, loss, and alpha.
SETS = {
    "adult": ("adult", "log_loss", 1e-4),
    "covtype": ("covtype", "log_loss", 1e-4),
    "enron_spam": ("enron_spam", "log_loss", 1e-6),
    "news20": ("news20_one_vs_all", "log_loss", 1e-6),
    "nycflights": ("nycflights", "squared_error", 1e-4),
    "fashion_mnist": ("fashion_mnist", "softmax", 1e-4),
}
# Of Fashion-MNIST the first rows only: the least objective of all of them takes minutes to find.
MOST_ROWS = 20_000
RATES = tuple(float(f"{digit}e{power}") for power in (-4, -3, -2, -1, 0, 1) for digit in (1, 3))
TIMES_RATE = (1, 4)
PASSES = (1 / 64, 1 / 8, 1)
COUNTS = (1, 2, 4, 8, 16, 32, 64)
# Numbers of runs that have their own best rate.
TUNED_COUNTS = (1, 8, 64)
# Averages looked at of each number of runs: all of the many, and sixteen of the few.
MOST_GROUPS = 16
# Doubling the number of runs is worth while if it takes this part of the excess away; runs that predict where it ends.
WORTH, PILOTS = 0.1, 8
LAYERS, NETWORK_PASSES, NETWORK_COUNTS, NETWORK_SEEDS = (64,), (1, 4), (1, 2, 4, 8, 16), (0, 1, 2)


@dataclass(frozen=True)
class Excess:
    """``E_K`` for each of COUNTS, and bias and variance by eight runs, at a rate and after a part of a pass."""

    rate: float
    part: float

    measured: Sequence[float]
    bias: float
    variance: float

    @property
    def balance(self) -> float:
        """k*."""
        return self.variance / self.bias if self.bias > 0.0 else np.inf

    @property
    def predicted_end(self) -> float:
        """The K from which on doubling takes less than WORTH of the excess away, by eight runs."""
        return self.balance * (0.5 / WORTH - 1.0)

    @property
    def measured_end(self) -> float:
        """The K from which on doubling takes less than WORTH of the excess away; inf: beyond the last one."""
        gain = 1.0 - np.divide(self.measured[1:], self.measured[:-1])
        below = np.flatnonzero(gain < WORTH)
        if len(below) == 0:
            return np.inf
        i = below[0]
        if i == 0:
            return 1.0
        part = (gain[i - 1] - WORTH) / (gain[i - 1] - gain[i])
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


def problem(name: str, folder: Path | None) -> Problem:
    """The model and the training rows."""
    task_name, loss, alpha = SETS[name]
    task = tasks.load(task_name, folder)
    X, y = (task.X[:MOST_ROWS], task.y[:MOST_ROWS]) if name == "fashion_mnist" else (task.X, task.y)
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


def tuned(given: Problem) -> float:
    """The rate after which one pass, of a run that is not used again, has the least objective."""

    def objective(eta: float) -> float:
        there = given._replace(model=replace(given.model, eta0=eta))
        return there.objective(run(there, [len(given.rows.y)], 10**6)[0])

    return RATES[int(np.nanargmin([objective(eta) for eta in RATES]))]


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


def objectives(given: Problem, states: list[np.ndarray], counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of runs in averages of some of the states, and the objectives of these averages."""
    groups = [(k, states[i : i + k]) for k in counts for i in range(0, min(len(states), MOST_GROUPS * k), k)]
    return np.array([k for k, _ in groups]), np.array([given.objective(mean_of(group)) for _, group in groups])


def excess(given: Problem, states: list[np.ndarray], floor: float, part: float) -> Excess:
    """The excess of averages of some of the states."""
    counts, found = objectives(given, states, COUNTS)
    found = found - floor
    measured = [float(found[counts == k].mean()) for k in COUNTS]
    alone, together = float(found[counts == 1][:PILOTS].mean()), float(found[counts == PILOTS][0])
    variance = (alone - together) / (1.0 - 1.0 / PILOTS)
    return Excess(given.model.eta0, part, measured, alone - variance, variance)


def by_rate(given: Problem, floor: float, least_rate: float) -> list[dict[str, Any]]:
    """The mean excess of averages of runs of one pass, at every rate from two below ``least_rate``."""
    found, best = [], np.inf
    for rate in RATES[max(0, RATES.index(least_rate) - 2) :]:
        there = given._replace(model=replace(given.model, eta0=rate))
        states = [run(there, [len(given.rows.y)], number)[0] for number in range(COUNTS[-1])]
        counts, reached = objectives(there, states, TUNED_COUNTS)
        means = [float(reached[counts == k].mean()) - floor for k in TUNED_COUNTS]
        if not means[-1] < 10.0 * best:
            # larger rates are worse for averages, too
            break
        best = min(best, means[-1])
        found.append({"rate": rate, "excess": [mean if np.isfinite(mean) else None for mean in means]})
    return found


def measure_linear(name: str, folder: Path | None) -> dict[str, Any]:
    """The excess for each rate and length."""
    given = problem(name, folder)
    n_rows, floor, eta = len(given.rows.y), least(given), tuned(given)
    lengths, found = [max(1, round(part * n_rows)) for part in PASSES], []
    for times in TIMES_RATE:
        there = given._replace(model=replace(given.model, eta0=times * eta))
        runs = [run(there, lengths, number) for number in range(COUNTS[-1])]
        for at, part in enumerate(PASSES):
            found.append(excess(there, [states[at] for states in runs], floor, part))
        print(f"  rate {times * eta:g}", flush=True)
    sizes = {"name": name, "n_rows": n_rows, "n_columns": given.X.shape[1], "least": floor}
    return {**sizes, "cases": [asdict(case) for case in found], "rates": by_rate(given, floor, eta)}


def measure_network(folder: Path | None, passes: Sequence[int], seeds: Sequence[int]) -> dict[str, Any]:
    """The training loss and the test error of averages of networks from one start, for each number of passes."""
    task = tasks.load("fashion_mnist", folder)
    X, y = task.X[:MOST_ROWS], task.y[:MOST_ROWS]

    def fit(n_passes: int, k: int, seed: int) -> tuple[float, float]:
        # each of K workers draws a K-th of the rows a pass
        model = MLPClassifier(
            LAYERS,
            batch_size=64,
            max_iter=n_passes * k,
            tol=0.0,
            n_iter_no_change=10**6,
            n_jobs=k,
            random_state=seed,
            algorithm=SimuParallel(partition="replicated"),
            engine="serial",
        ).fit(X, y)
        chosen = model.predict_proba(X)[np.arange(len(y)), y]
        loss, score = -np.log(np.maximum(chosen, 1e-12)).mean(), model.score(task.X_test, task.y_test)
        print(f"  {n_passes} passes, K = {k}, seed {seed}: {loss:.4f}, {1.0 - score:.2%}", flush=True)
        return float(loss), float(1.0 - score)

    rows = [
        {"passes": each, "fits": [[fit(each, k, seed) for seed in seeds] for k in NETWORK_COUNTS]} for each in passes
    ]
    return {"name": NETWORK, "n_rows": len(y), "rows": rows}
