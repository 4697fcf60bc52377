"""Repetitions of the study of standard errors: generated rows, fits, and intervals of several methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg, special

from parsgd import SGDClassifier, SGDRegressor
from parsgd.errors import InvalidArgumentError

LEVEL = 0.95
Z = float(special.ndtri((1.0 + LEVEL) / 2.0))
# quantile of the limit of random scaling (Abadir and Paruolo 1997, table 1), given by Lee et al. 2022
RANDOM_SCALING = 6.747
# shards of the intervals from independent workers
WORKERS = 8
# first rates of the methods that read the rows once; each has the one with the best coverage
RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# length of intervals, relative to the ideal one, above which the iterates have diverged
MAX_LENGTH = 20.0
# exponent of their rates, as in Lee et al. 2022
POWER = 0.505
CORRELATION = 0.5
# share of quadratic terms in the score of a misspecified model
QUADRATIC = {"linear": 1.0, "logistic": 0.75}
# first rate of the fits
RATE = {"linear": 0.1, "logistic": 0.5}
SIGNAL = {"linear": 1.0, "logistic": 1.5}
Interval = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Cell:
    """A problem: ``model`` is linear or logistic, ``design`` that of the rows.

    Rows are normal, with correlation ``0.5^abs(i - j)`` unless ``design="independent"``.  The noise of
    ``"heteroscedastic"`` has the variance ``(1 + 3 x_1^2) / 4``.  In ``"misspecified"`` the score has a term ``x_1^2 -
    1`` that the model lacks.
    """

    model: str
    design: str
    n: int
    d: int
    passes: int = 20

    @property
    def name(self) -> str:
        return f"{self.model}, {self.design}, n = {self.n:,}, d = {self.d}"

    @cached_property
    def root(self) -> np.ndarray:
        """Cholesky factor L of the covariance: rows are ``L z``."""
        if self.design == "independent":
            return np.eye(self.d)
        return np.linalg.cholesky(linalg.toeplitz(CORRELATION ** np.arange(self.d)))

    @cached_property
    def direction(self) -> np.ndarray:
        """Coefficients of the score in terms of z, of norm ``SIGNAL``."""
        beta = self.root.T @ np.where(np.arange(self.d) % 2, -1.0, 1.0)
        return SIGNAL[self.model] * beta / np.linalg.norm(beta)

    @cached_property
    def truth(self) -> np.ndarray:
        """Coefficients with the least expected loss, the intercept last."""
        z, intercept = self.direction, 0.0
        if self.model == "logistic" and self.design == "misspecified":
            first, others, intercept = _best_logistic(self.direction)
            z = np.append(first, others * self.direction[1:])
        return np.append(linalg.solve_triangular(self.root.T, z, lower=False), intercept)

    def draw(self, random: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows ``(*shape, d)`` and targets ``(*shape,)``: numbers, or 0 and 1."""
        z = random.standard_normal((*shape, self.d))
        x = z if self.design == "independent" else z @ self.root.T
        score, first = z @ self.direction, z[..., 0]
        if self.design == "misspecified":
            score += QUADRATIC[self.model] * (first**2 - 1.0)
        if self.model == "logistic":
            return x, (random.random(shape) < special.expit(score)).astype(float)
        scale = np.sqrt((1.0 + 3.0 * first**2) / 4.0) if self.design == "heteroscedastic" else 1.0
        return x, score + scale * random.standard_normal(shape)

    def estimator(self, n: int, **settings: Any) -> Any:
        """Return the estimator of all fits; the average starts after the first pass."""
        given = {
            "penalty": None,
            "average": n,
            "learning_rate": "invscaling",
            "eta0": RATE[self.model],
            "power_t": 0.5,
            "max_iter": self.passes,
            "tol": None,
            "n_jobs": 1,
        }
        given |= settings
        return SGDRegressor(**given) if self.model == "linear" else SGDClassifier("log_loss", **given)


def _best_logistic(direction: np.ndarray) -> tuple[float, float, float]:
    """Return the best logistic model of a score with a quadratic term: coefficient of z_1, factor of the others, b.

    By symmetry the other coefficients keep their direction, so that the expected loss is an integral over two normal
    numbers (Gauss-Hermite quadrature).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    weights /= weights.sum()
    first, others = (each.ravel() for each in np.meshgrid(nodes, nodes, indexing="ij"))
    weight = np.outer(weights, weights).ravel()
    others = others * np.linalg.norm(direction[1:])
    truth = special.expit(direction[0] * first + others + QUADRATIC["logistic"] * (first**2 - 1.0))
    z, found = np.column_stack([first, others, np.ones(len(first))]), np.array([direction[0], 1.0, 0.0])
    for _ in range(50):
        chances = special.expit(z @ found)
        hessian = (z * (weight * chances * (1 - chances))[:, None]).T @ z
        found -= np.linalg.solve(hessian, z.T @ (weight * (chances - truth)))
    return float(found[0]), float(found[1]), float(found[2])


# -- intervals of one repetition -----------------------------------------------------------------------------


def parameters(model: Any) -> np.ndarray:
    return np.append(model.coef_, model.intercept_)


def estimated(model: Any, x: np.ndarray, y: np.ndarray, correct: bool) -> Interval | None:
    """Return parsgd's intervals, center and half-width; None if they are refused."""
    try:
        model.estimate_uncertainty(x, y, correct=correct)
    except InvalidArgumentError:
        return None
    t = float(special.stdtrit(model._degrees, (1.0 + LEVEL) / 2.0))
    return parameters(model), t * np.append(model.coef_std_, model.intercept_std_)


def classical(cell: Cell, start: np.ndarray, x: np.ndarray, y: np.ndarray) -> Interval:
    """Return the intervals of least squares or maximum likelihood at the exact optimum, which assume a true model."""
    z, found = np.column_stack([x, np.ones(len(y))]), start.copy()
    for _ in range(1 if cell.model == "linear" else 4):
        p = z @ found
        gradient, curvature = _derivatives(cell, p, y)
        hessian = (z * curvature[:, None]).T @ z
        found -= np.linalg.solve(hessian, z.T @ gradient)
    residual_variance = 1.0
    if cell.model == "linear":
        residual_variance = float(np.sum((y - z @ found) ** 2)) / (len(y) - z.shape[1])
    return found, Z * np.sqrt(residual_variance * np.diagonal(np.linalg.inv(hessian)))


def unchecked(cell: Cell, model: Any, x: np.ndarray, y: np.ndarray) -> Interval:
    """Return sandwich intervals around a state, without any test of the state."""
    z, center = np.column_stack([x, np.ones(len(y))]), parameters(model)
    gradient, curvature = _derivatives(cell, z @ center, y)
    inverse = np.linalg.inv((z * curvature[:, None]).T @ z)
    root = inverse @ (z * gradient[:, None]).T
    return center, Z * np.sqrt(np.sum(root**2, axis=1) * len(y) / (len(y) - z.shape[1]))


def _derivatives(cell: Cell, p: np.ndarray, y: np.ndarray) -> Interval:
    if cell.model == "linear":
        return p - y, np.ones(len(y))
    chances = special.expit(p)
    return chances - y, chances * (1.0 - chances)


def spread(cell: Cell, x: np.ndarray, y: np.ndarray, seed: int) -> Interval:
    """Return the mean of fits to disjoint shards, and t times their spread."""
    fits = []
    for shard in np.array_split(np.arange(len(y)), WORKERS):
        model = cell.estimator(len(shard), random_state=seed).fit(x[shard], y[shard])
        fits.append(parameters(model))
    t = float(special.stdtrit(WORKERS - 1, (1.0 + LEVEL) / 2.0))
    return np.mean(fits, axis=0), t * np.std(fits, axis=0, ddof=1) / np.sqrt(WORKERS)


# -- methods of one pass, all repetitions at once ------------------------------------------------------------


def one_pass(cell: Cell, repetitions: int, seed: int) -> dict[str, dict[float, Interval]]:
    """Run averaged SGD once over n rows in all repetitions; return intervals by method and first rate.

    ``"batch means"``: Chen, Lee, Tong, Zhang 2020, section 4, with ``n^0.25`` batches.
    ``"random scaling"``: Lee, Liao, Seo, Shin 2022.
    """
    random, n, p = np.random.default_rng(seed), cell.n, cell.d + 1
    n_batches = round(n**0.25)
    ends = np.ceil((np.arange(1, n_batches + 2) * n ** (1 - POWER) / (n_batches + 1)) ** (1 / (1 - POWER))).astype(int)
    ends[-1] = n
    w = {rate: np.zeros((repetitions, p)) for rate in RATES}
    sums = {rate: np.zeros((repetitions, p)) for rate in RATES}
    # sums over s of s^2 mean_s^2 and s^2 mean_s
    squares = {rate: np.zeros((2, repetitions, p)) for rate in RATES}
    batches: dict[float, list[np.ndarray]] = {rate: [] for rate in RATES}
    edges = set(ends.tolist())
    z = np.ones((repetitions, p))
    with np.errstate(all="ignore"):
        for t in range(1, n + 1):
            z[:, :-1], y = cell.draw(random, repetitions)
            for rate in RATES:
                gradient = _derivatives(cell, np.einsum("rp,rp->r", z, w[rate]), y)[0]
                w[rate] -= (rate * t**-POWER * gradient)[:, None] * z
                sums[rate] += w[rate]
                squares[rate][0] += sums[rate] ** 2
                squares[rate][1] += t * sums[rate]
                if t in edges:
                    batches[rate].append(sums[rate].copy())
        found: dict[str, dict[float, Interval]] = {"batch means": {}, "random scaling": {}}
        for rate in RATES:
            mean, (a, b) = sums[rate] / n, squares[rate]
            total = n * (n + 1) * (2 * n + 1) / 6
            scaling = np.maximum(a - 2 * mean * b + mean**2 * total, 0.0) / n**2
            found["random scaling"][rate] = mean, RANDOM_SCALING * np.sqrt(scaling / n)
            sizes = np.diff(ends)[:, None, None]
            means = np.diff(np.stack(batches[rate]), axis=0) / sizes
            late = (batches[rate][-1] - batches[rate][0]) / (n - ends[0])
            variance = (sizes * (means - late) ** 2).mean(axis=0)
            found["batch means"][rate] = mean, Z * np.sqrt(variance / n)
    return found


# -- cells ---------------------------------------------------------------------------------------------------


def measure_cell(cell: Cell, repetitions: int, others: bool, seed: int = 0) -> dict[str, Any]:
    """Measure coverage and length of the methods; ``others`` adds workers' spread and the methods of one pass."""
    found: dict[str, list[Interval | None]] = {"plug-in": [], "corrected": [], "classical": []}
    if others:
        found[f"spread of {WORKERS} workers"] = []
    for turn in range(repetitions):
        x, y = cell.draw(np.random.default_rng((seed, turn)), cell.n)
        model = cell.estimator(cell.n, random_state=turn).fit(x, y)
        exact = classical(cell, parameters(model), x, y)
        found["plug-in"].append(estimated(model, x, y, False))
        found["corrected"].append(estimated(model, x, y, True))
        found["classical"].append(exact)
        if others:
            found[f"spread of {WORKERS} workers"].append(spread(cell, x, y, turn))
    sd = np.std([interval[0] for interval in found["classical"] if interval], axis=0, ddof=1)
    methods = {name: summary(cell, intervals, sd) for name, intervals in found.items()}
    if others:
        for name, by_rate in one_pass(cell, repetitions, seed).items():
            tried = {rate: summary(cell, list(zip(*interval, strict=True)), sd) for rate, interval in by_rate.items()}
            usable = [rate for rate in tried if tried[rate]["length"] < MAX_LENGTH] or list(tried)
            best = min(usable, key=lambda rate: abs(tried[rate]["coverage"] - LEVEL))
            methods[name] = {**tried[best], "rate": best}
    return {"cell": cell.name, "repetitions": repetitions, "methods": methods}


def summary(cell: Cell, intervals: list[Interval | None], sd: np.ndarray) -> dict[str, float]:
    """Return the share of refusals, coverage of all parameters and of the first, and length relative to the ideal one.

    The ideal length is that of the standard deviation ``sd`` of the exact estimates over the repetitions.
    """
    made = [interval for interval in intervals if interval is not None]
    refused = 1.0 - len(made) / len(intervals)
    if not made:
        return {"refused": refused, "coverage": np.nan, "first": np.nan, "length": np.nan}
    center, half = (np.array(each) for each in zip(*made, strict=True))
    covered = np.abs(center - cell.truth) <= half
    length = float(np.mean(half / (Z * sd)))
    return {"refused": refused, "coverage": covered.mean(), "first": covered[:, 0].mean(), "length": length}


def measure_early(model: str, repetitions: int, n: int, passes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Measure fits that end early, with and without an average: refusals, and coverage with and without the test."""
    rows = []
    for each in passes:
        cell = Cell(model, "correlated", n, 20, each)
        settings: dict[str, dict[str, Any]] = {"average": {"average": True}, "last iterate": {"average": False}}
        for name, given in settings.items():
            methods: dict[str, Callable[[Any, np.ndarray, np.ndarray], Interval | None]] = {
                "unchecked": lambda fit, x, y, cell=cell: unchecked(cell, fit, x, y),
                "plug-in": lambda fit, x, y: estimated(fit, x, y, False),
                "corrected": lambda fit, x, y: estimated(fit, x, y, True),
            }
            found: dict[str, list[Interval | None]] = {method: [] for method in methods}
            for turn in range(repetitions):
                x, y = cell.draw(np.random.default_rng((1, turn)), n)
                fit = cell.estimator(n, random_state=turn, **given).fit(x, y)
                for method, interval in methods.items():
                    found[method].append(interval(fit, x, y))
            sd = np.ones(cell.d + 1)
            measured = {method: summary(cell, each_found, sd) for method, each_found in found.items()}
            about = {"model": model, "state": name, "passes": each, "repetitions": repetitions}
            rows.append({**about, "methods": measured})
    return rows
