"""Bounds of Zinkevich et al. 2010 as functions of their constants, and small problems on which they can be checked.

The objective is ``c(w) = mean_i c_i(w)`` with ``c_i(w) = lambda / 2 |w|^2 + L(x_i . w, y_i)``. ``G`` bounds the norm of
the gradients of ``c_i``. ``curvature`` (c* in the paper) is the Lipschitz constant of L' in the prediction,
``smoothness`` that of the gradients. D^T is the distribution of the weights after T steps from 0, D* its limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize


def largest_rate(squared_norms: np.ndarray, curvature: float, lam: float) -> float:
    """Return the largest rate of lemma 3: ``1 / (max |x|^2 c* + lambda)``; the norm is squared."""
    return 1.0 / (float(np.max(squared_norms)) * curvature + lam)


def contraction(eta: float, lam: float, steps: int = 1) -> float:
    """Return the bound of lemma 3 on the distance of two runs on the same examples, relative to their start."""
    return (1.0 - eta * lam) ** steps


def distance(G: float, eta: float, lam: float, steps: int) -> float:
    """Return the bound of theorem 8 on the Wasserstein distance of D^T to D*."""
    return G / lam * contraction(eta, lam, steps)


def bias(G: float, eta: float) -> float:
    """Return the bound of theorem 9 on ``c(mean of D*) - min c``."""
    return 2.0 * eta * G**2


def spread(G: float, eta: float, lam: float) -> float:
    """Return the bound of theorem 10 on the mean of ``|w - argmin c|^2`` in D*."""
    return 4.0 * eta * G**2 / ((2.0 - eta * lam) * lam)


def excess_around(smoothness: float, distance_2: float, excess: float) -> float:
    """Return the bound of theorem 11 on the mean of ``c(w) - min c``.

    ``distance_2`` is the second-order Wasserstein distance of w from a point, and ``excess`` that point's
    ``c - min c``.
    """
    return distance_2 * math.sqrt(2.0 * smoothness * excess) + 0.5 * smoothness * distance_2**2 + excess


def steps_of_average(eta: float, lam: float, k: int) -> float:
    """Return the number of steps of each machine in theorem 12."""
    return (math.log(k) - (math.log(eta) + math.log(lam))) / (2.0 * eta * lam)


def excess_of_average(G: float, smoothness: float, eta: float, lam: float, k: int) -> float:
    """Return the bound of theorem 12 on the mean of ``c(v) - min c``, where v is the mean of k machines."""
    size = 8.0 * eta * G**2
    return size * math.sqrt(smoothness / (k * lam)) + size * smoothness / (k * lam) + bias(G, eta)


@dataclass(frozen=True)
class Problem:
    """Rows ``X (m, d)`` with targets ``y (m,)``; the loss is Huber's with threshold 1, logistic, or half the square."""

    X: np.ndarray
    y: np.ndarray
    loss: str
    lam: float

    @property
    def curvature(self) -> float:
        return {"huber": 1.0, "squared_error": 1.0, "log_loss": 0.25}[self.loss]

    @property
    def norms(self) -> np.ndarray:
        return np.linalg.norm(self.X, axis=1)

    @property
    def largest_rate(self) -> float:
        return largest_rate(self.norms**2, self.curvature, self.lam)

    @property
    def smoothness(self) -> float:
        return 1.0 / self.largest_rate

    @property
    def first_gradient(self) -> float:
        """Largest gradient norm at 0; SGD from 0 stays in the ball of radius ``first_gradient / lam`` (lemma 3)."""
        return float((np.abs(self.slopes(np.zeros_like(self.y), self.y)) * self.norms).max())

    @property
    def G(self) -> float:
        """Bound on the norm of the gradients in that ball."""
        radius = self.first_gradient / self.lam
        ends = [np.abs(self.slopes(side * self.norms * radius, self.y)) for side in (-1.0, 1.0)]
        return float((np.maximum(*ends) * self.norms).max()) + self.lam * radius

    def values(self, p: np.ndarray, y: np.ndarray) -> np.ndarray:
        r = p - y
        if self.loss == "log_loss":
            return np.logaddexp(0.0, -y * p)
        return 0.5 * r**2 if self.loss == "squared_error" else np.where(abs(r) <= 1.0, 0.5 * r**2, abs(r) - 0.5)

    def slopes(self, p: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the derivatives of the loss in the prediction."""
        if self.loss == "log_loss":
            return -y / (1.0 + np.exp(y * p))
        return p - y if self.loss == "squared_error" else np.clip(p - y, -1.0, 1.0)

    def objective(self, w: np.ndarray) -> np.ndarray:
        """Return c of weights ``(..., d)``."""
        return self.values(w @ self.X.T, self.y).mean(axis=-1) + 0.5 * self.lam * np.square(w).sum(axis=-1)

    def gradient(self, w: np.ndarray) -> np.ndarray:
        return self.slopes(self.X @ w, self.y) @ self.X / len(self.y) + self.lam * w

    @cached_property
    def minimizer(self) -> np.ndarray:
        start, options = np.zeros(self.X.shape[1]), {"gtol": 1e-12, "ftol": 1e-16, "maxiter": 1000}
        return minimize(self.objective, start, jac=self.gradient, method="L-BFGS-B", options=options).x

    def excess(self, w: np.ndarray) -> np.ndarray:
        """Return ``c(w) - min c``."""
        return self.objective(w) - self.objective(self.minimizer)

    def step(self, w: np.ndarray, rows: np.ndarray, eta: float) -> np.ndarray:
        """Return weights ``(n, d)`` after one step of each on its own row."""
        x = self.X[rows]
        slopes = self.slopes((w * x).sum(axis=1), self.y[rows])
        return (1.0 - eta * self.lam) * w - eta * slopes[:, None] * x

    def chains(self, eta: float, steps: int, start: np.ndarray, seed: int) -> np.ndarray:
        """Run algorithm 1 from each of ``start (n, d)``; the same seed draws the same examples."""
        rng, w = np.random.default_rng(seed), start
        for _ in range(steps):
            w = self.step(w, rng.integers(len(self.y), size=len(w)), eta)
        return w

    def stationary(self, eta: float, n_chains: int, seed: int) -> np.ndarray:
        """Return samples ``(n_chains, d)`` at distance less than ``1e-6 / lambda`` of D* by theorem 8."""
        steps = math.ceil(math.log(1e-6 / self.first_gradient) / math.log1p(-eta * self.lam))
        return self.chains(eta, steps, np.zeros((n_chains, self.X.shape[1])), seed)


def attaining() -> Problem:
    """Return a row whose residual never leaves the linear part of Huber's loss: theorem 8 holds with equality."""
    return Problem(np.ones((1, 1)), np.array([10.0]), "huber", 0.5)


def coin() -> Problem:
    """Return targets -1 and +1 of one feature: least squares whose spread has a closed form."""
    return Problem(np.ones((2, 1)), np.array([-1.0, 1.0]), "squared_error", 2.0)


def skewed() -> Problem:
    """Return one feature with targets 0, 0, 10 and Huber's loss: the mean of D* is not the minimizer."""
    return Problem(np.ones((3, 1)), np.array([0.0, 0.0, 10.0]), "huber", 0.05)


def rows_of_unequal_length(loss: str = "huber") -> Problem:
    """Return 40 rows of five features with norms between 0.5 and 3."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 5))
    X *= np.linspace(0.5, 3.0, 40)[:, None] / np.linalg.norm(X, axis=1, keepdims=True)
    return Problem(X, np.where(X @ np.ones(5) + rng.standard_normal(40) > 0.0, 1.0, -1.0), loss, 0.5)


def measured_contraction(problem: Problem, eta: float, seed: int, n_pairs: int = 200) -> float:
    """Return the largest ratio of distances after and before a step, over all rows and random pairs of weights.

    In half of the pairs, the weights differ in a direction orthogonal to the row.
    """
    rng, m, d = np.random.default_rng(seed), *problem.X.shape
    rows = np.repeat(np.arange(m), n_pairs)
    w, move = rng.standard_normal((2, len(rows), d))
    x = problem.X[rows]
    flat = np.arange(len(rows)) % 2 == 0 if d > 1 else np.zeros(len(rows), bool)
    move[flat] -= ((move * x).sum(axis=1) / (x * x).sum(axis=1))[flat, None] * x[flat]
    ends = problem.step(w + move, rows, eta) - problem.step(w, rows, eta)
    return float((np.linalg.norm(ends, axis=1) / np.linalg.norm(move, axis=1)).max())


def measured_distance(problem: Problem, eta: float, steps: int, n_chains: int, seed: int) -> tuple[float, float]:
    """Return estimates below and above the Wasserstein distance of order 2 of D^steps to D*.

    Chains from 0 and from samples of D* see the same examples: a coupling. Below is the distance of their means.
    """
    samples = problem.stationary(eta, n_chains, seed)
    there = problem.chains(eta, steps, samples, seed + 1)
    here = problem.chains(eta, steps, np.zeros_like(samples), seed + 1)
    below = np.linalg.norm(here.mean(axis=0) - there.mean(axis=0))
    return float(below), float(np.sqrt(np.square(here - there).sum(axis=1).mean()))


def measured_bias(problem: Problem, eta: float, n_chains: int, seed: int, steps: int = 100) -> tuple[float, float]:
    """Return ``c(mean of D*) - min c`` and the part of it that is expected from sampling noise."""
    w = problem.stationary(eta, n_chains, seed)
    total, rng = np.zeros_like(w), np.random.default_rng(seed + 1)
    for _ in range(steps):
        w = problem.step(w, rng.integers(len(problem.y), size=n_chains), eta)
        total += w / steps
    noise = 0.5 * problem.smoothness * total.var(axis=0).sum() / n_chains
    return float(problem.excess(total.mean(axis=0))), float(noise)


def measured_spread(problem: Problem, eta: float, n_chains: int, seed: int) -> float:
    """Return the mean squared distance of samples of D* from the minimizer."""
    samples = problem.stationary(eta, n_chains, seed)
    return float(np.square(samples - problem.minimizer).sum(axis=1).mean())


def averages(problem: Problem, eta: float, k: int, n_averages: int, seed: int, steps: int | None = None) -> np.ndarray:
    """Return means of k chains from 0, ``(n_averages, d)``, by default of theorem 12's length."""
    if steps is None:
        steps = math.ceil(steps_of_average(eta, problem.lam, k))
    d = problem.X.shape[1]
    return problem.chains(eta, steps, np.zeros((k * n_averages, d)), seed).reshape(n_averages, k, d).mean(axis=1)


def measured_around(problem: Problem, samples: np.ndarray, point: np.ndarray) -> tuple[float, float]:
    """Return the mean excess of samples, and theorem 11's bound on it from a point."""
    distance_2 = math.sqrt(np.square(samples - point).sum(axis=1).mean())
    bound = excess_around(problem.smoothness, distance_2, float(problem.excess(point)))
    return float(problem.excess(samples).mean()), bound
