"""Runs of the study of optimal time: a noisy quadratic, workers on a virtual clock, and the times to a small gradient.

    f(x) = (x - x*)^T A (x - x*) / 2,      gradient i of a worker:  A (x - x*) + h_worker + xi_i

``A`` is the tridiagonal matrix of the worst-case quadratic with largest eigenvalue L = 1, ``xi_i`` is normal with
``E |xi_i|^2 = sigma^2``, and ``h_worker``, whose mean is 0, makes the workers' objectives differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import norm

from parsgd import AsyncSGD, Malenia, MSync, Rennala, Ringleader, Ringmaster, Simulated
from parsgd.core import DenseRows, PlainModel, Rows, Totals
from parsgd.data.sources.array_source import ArraySource
from parsgd.errors import DivergedError
from parsgd.training.loop import fit

DIMENSIONS, N_ROWS = 20, 200_000
# L Delta / epsilon and sigma^2 / epsilon, with L = Delta = 1
CONDITION, NOISE = 100.0, 32.0
EPSILON = 1.0 / CONDITION
VARIANCE = NOISE * EPSILON
N_RATES = 10
MOST_HALVINGS = 2
# algorithms that are measured with up to so many workers
FOR_DIFFERENT_ROWS, MOST_OF_ALL = ("Malenia", "Malenia, auto", "Ringleader"), 100
TUNING_SEEDS, SEEDS = (0,), (1, 2, 3)
# a fit ends after this multiple of the lower bound's formula; longer ones are made if no rate is at the goal before
LIMITS, LIMITS_DIFFERENT = (0.3, 1.0, 4.0, 20.0), (0.3, 1.0)
# E |grad f|^2 is the mean of the seeds over windows of this fraction of the time so far
WINDOW = 0.1
HETEROGENEITY = 3.0


def pool(name: str) -> np.ndarray:
    """Return the seconds per gradient of the workers, sorted."""
    n = 32
    if name == "linear":
        return np.arange(1.0, n + 1)
    if name == "one slow":
        return np.append(np.ones(n - 1), 100.0)
    if name == "heavy-tailed":
        # quantiles of a Pareto distribution with exponent 1
        return 1.0 / (1.0 - (np.arange(n) + 0.5) / n)
    if name == "1,000 workers":
        return np.sqrt(np.arange(1.0, 1001.0))
    return np.ones(n)


# Name, and the standard deviation of the logarithm of a gradient's time.
POOLS = {"equal": 0.0, "linear": 0.0, "one slow": 0.0, "heavy-tailed": 0.0, "1,000 workers": 0.0, "random times": 1.5}


def best_m(tau: np.ndarray) -> int:
    """Return the m with the least ``tau_m (L Delta / epsilon + sigma^2 L Delta / (m epsilon^2))``."""
    m = np.arange(1, len(tau) + 1)
    return int(m[np.argmin(tau * (CONDITION + NOISE * CONDITION / m))])


def lower_bound(tau: np.ndarray, heterogeneous: bool) -> float:
    """Return the formula of the lower bound, without its constant."""
    n = len(tau)
    if heterogeneous:
        return float(tau[-1] * CONDITION + tau.mean() * NOISE * CONDITION / n)
    m = np.arange(1, n + 1)
    return float(np.min((CONDITION + NOISE * CONDITION / m) * m / np.cumsum(1.0 / tau)))


def own_bound(name: str, tau: np.ndarray, heterogeneous: bool) -> float:
    """Return the formula of an algorithm's own bound, without its constant; NaN if there is none."""
    n = len(tau)
    bracket = CONDITION + NOISE * CONDITION / n
    if heterogeneous:
        if name in ("Malenia", "Malenia, auto", "Ringleader"):
            return lower_bound(tau, True)
        return float(tau[-1] * bracket) if name == "wait for all" else math.nan
    if name.startswith(("Rennala", "Ringmaster")):
        return lower_bound(tau, False)
    if name.startswith(("Malenia", "Ringleader")):
        return lower_bound(tau, True)
    if name.startswith("m fastest"):
        m = best_m(tau)
        return float(tau[m - 1] * (CONDITION + NOISE * CONDITION / m))
    if name == "wait for all":
        return float(tau[-1] * bracket)
    return float(n / np.sum(1.0 / tau) * bracket)


def algorithms(tau: np.ndarray, jitter: float = 0.0) -> dict[str, Any]:
    """Return the algorithms, with the parameters of the theory where they have one.

    With random times ``m`` is the best one for the quantiles of their distribution.  A thousand workers are measured
    with the algorithms for equal rows; fits of the others take too long.
    """
    n, batch = len(tau), math.ceil(NOISE)
    m = best_m(np.sort(tau * np.exp(jitter * norm.ppf((np.arange(n) + 0.5) / n) - 0.5 * jitter**2)))
    found = {
        "wait for all": MSync(1.0, 1),
        "m fastest": MSync(m, 1),
        "m fastest, stops": MSync(m, 1, stops=True),
        "asynchronous": AsyncSGD(1, "constant"),
        "asynchronous, adaptive": AsyncSGD(1),
        "Rennala": Rennala(batch, 1),
        "Rennala, auto": Rennala("auto", 1),
        "Malenia": Malenia(max(batch, n), 1),
        "Malenia, auto": Malenia("auto", 1),
        "Ringmaster": Ringmaster(batch, 1),
        "Ringmaster, stops": Ringmaster(batch, 1, stops=True),
        "Ringmaster, auto": Ringmaster("auto", 1),
        "Ringleader": Ringleader(1),
    }
    if n > MOST_OF_ALL:
        for name in FOR_DIFFERENT_ROWS:
            del found[name]
    return found


@cache
def curvature() -> np.ndarray:
    """Return ``A``, with largest eigenvalue 1."""
    a = 2.0 * np.eye(DIMENSIONS) - np.eye(DIMENSIONS, k=1) - np.eye(DIMENSIONS, k=-1)
    return a / np.linalg.eigvalsh(a)[-1]


@cache
def start() -> np.ndarray:
    """Return ``x_0 - x*`` with ``f(x_0) - f(x*) = 1``, along a mean of all eigenvectors."""
    values, vectors = np.linalg.eigh(curvature())
    x = vectors @ (1.0 / np.sqrt(values))
    return x / math.sqrt(0.5 * x @ curvature() @ x)


@dataclass(frozen=True)
class NoisyQuadratic(PlainModel):
    """The quadratic as a model of rows, which are the noise of their gradients."""

    rate: float = 1.0
    capabilities = frozenset({"gradients"})
    divergence = "rate"

    def init(self, seed: int) -> np.ndarray:
        return start().copy()

    def sgd_run(self, *_: Any) -> Any:
        raise NotImplementedError("this model has gradients only")

    def gradient_sum(
        self, state: np.ndarray, rows: Rows, batch: np.ndarray, first: int, end: int, schedule_step: float, seed: int
    ) -> tuple[np.ndarray, Totals]:
        chosen, nothing = batch[first:end], np.zeros(1)
        noise = rows.x.data.reshape(-1, DIMENSIONS)[chosen].sum(axis=0)
        gradient = len(chosen) * (curvature() @ state) + noise
        return np.append(gradient, float(len(chosen))), Totals(len(chosen), 1, nothing, nothing)

    def apply_gradient(
        self, state: np.ndarray, slopes: np.ndarray, schedule_step: float, lr_scale: np.ndarray
    ) -> np.ndarray:
        return state - self.rate * float(lr_scale[0]) * slopes[:-1] / slopes[-1]


def source(seed: int, n_workers: int, heterogeneous: bool) -> ArraySource:
    """Return the rows; with heterogeneity, contiguous parts of equal size have different means."""
    rng = np.random.default_rng((seed, 7))
    noise = rng.standard_normal((N_ROWS, DIMENSIONS)) * math.sqrt(VARIANCE / DIMENSIONS)
    if heterogeneous:
        # the same at every seed, with slow workers unlike fast ones
        means = np.random.default_rng(1).standard_normal((n_workers, DIMENSIONS))
        means += 2.0 * np.linspace(-1.0, 1.0, n_workers)[:, None] * means[0]
        means -= means.mean(axis=0)
        means *= math.sqrt(HETEROGENEITY * EPSILON * n_workers / np.square(means).sum()) * 4.0
        for part, mean in zip(np.array_split(np.arange(N_ROWS), n_workers), means, strict=True):
            noise[part] += mean
    return ArraySource(Rows(DenseRows(noise.ravel(), DIMENSIONS), np.zeros(N_ROWS), np.empty(0)), neighbours=1)


class _Stop(Exception):
    """Ends a fit whose time is over."""


class _Watched:
    """An algorithm, with the clock and the squared norm of the gradient at every step."""

    def __init__(self, algorithm: Any, engine: _Engine, heterogeneous: bool, most_time: float):
        self._algorithm, self._engine, self._most_time = algorithm, engine, most_time
        traits = algorithm.traits
        self.traits = traits._replace(partition="contiguous") if heterogeneous else traits
        self.times: list[float] = [0.0]
        self.squares: list[float] = [float(np.square(curvature() @ start()).sum())]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def merge(self, fit_state: Any, reports: Sequence[Any]) -> Any:
        merged = self._algorithm.merge(fit_state, reports)
        now = self._engine.pool.now()
        if merged.state is not fit_state.state:
            self.times.append(now)
            self.squares.append(float(np.square(curvature() @ merged.state).sum()))
            if not self.squares[-1] < 1e6:
                raise _Stop
        if now > self._most_time:
            raise _Stop
        return merged


class _Engine(Simulated):
    """The simulated engine, whose pool can be asked for the time."""

    def open(self, *arguments: Any) -> Any:
        pool = super().open(*arguments)
        object.__setattr__(self, "pool", pool)
        return pool


@dataclass(frozen=True)
class Path:
    """Times of steps, and squared norms of the gradient after them."""

    times: np.ndarray
    squares: np.ndarray

    def mean(self, begin: float, end: float) -> float:
        """Return the mean over a period of the squared norm, which is constant between steps."""
        first, last = np.searchsorted(self.times, (begin, end), side="right")
        edges = np.concatenate([[begin], self.times[first:last], [end]])
        return float(np.diff(edges) @ self.squares[first - 1 : last] / (end - begin))


def path(
    algorithm: Any, tau: np.ndarray, jitter: float, rate: float, seed: int, heterogeneous: bool, most: float
) -> Path:
    """Return the path of one fit, which ends at the virtual time ``most``."""
    engine = _Engine(speeds=tuple(1.0 / tau), rate=1.0, jitter=jitter, seed=seed)
    watched = _Watched(algorithm, engine, heterogeneous, most)
    rows = _rows(seed, len(tau), heterogeneous)
    with suppress(_Stop, DivergedError):
        fit(NoisyQuadratic(rate), watched, engine, rows, n_workers=len(tau), seed=seed + 1, max_epochs=50)
    return Path(np.array(watched.times), np.array(watched.squares))


_rows = cache(source)


def time_to(paths: Sequence[Path], most: float) -> float:
    """Return the first time at which the mean over the seeds and a window is at ``EPSILON``; infinite without one."""
    grid = np.geomspace(most / 2000.0, most, 400)
    for at in grid:
        if np.mean([each.mean((1.0 - WINDOW) * at, at) for each in paths]) <= EPSILON:
            return float(at)
    return math.inf


@dataclass(frozen=True)
class Row:
    """The readings of an algorithm: the time to the goal over the lower bound's formula, and over its own."""

    name: str
    rate: float
    at_edge: bool
    time: float | None
    over_lower_bound: float | None
    over_own_bound: float | None


@dataclass(frozen=True)
class Readings:
    """The readings of a pool of workers."""

    pool: str
    heterogeneous: bool
    n_workers: int
    lower_bound: float
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


def rates(n_workers: int) -> tuple[float, ...]:
    """Return the rates that are tried: a factor of 2 apart, or of 4 for many workers, whose fits take long."""
    powers = range(0, N_RATES + 2, 2) if n_workers > MOST_OF_ALL else range(N_RATES)
    return tuple(2.0**-power for power in powers)


def measure(name: str, heterogeneous: bool, log: Callable[[str], None], quick: bool = False) -> Readings:
    """Tune the rate of every algorithm on one seed, and measure it on others."""
    tau, jitter = pool(name), POOLS[name]
    tau = tau[:4] if quick else tau
    bound, tried = lower_bound(tau, heterogeneous), rates(len(tau))
    limits = LIMITS[:1] if quick else LIMITS_DIFFERENT if heterogeneous else LIMITS
    found = Readings(name, heterogeneous, len(tau), bound)
    for label, algorithm in algorithms(tau, jitter).items():
        least, best = math.inf, tried[0]
        for limit in limits:
            for rate in tried[2:4] if quick else tried:
                # the rest of a fit that is slower than the best one changes no choice
                most = min(limit * bound, 1.5 * least)
                paths = [path(algorithm, tau, jitter, rate, seed, heterogeneous, most) for seed in TUNING_SEEDS]
                at = time_to(paths, most)
                if at < least:
                    least, best = at, rate
            if math.isfinite(least):
                break
        at = math.inf
        # a rate at which the noise ends near the goal may miss it with other seeds; then half of it
        for halvings in range(MOST_HALVINGS + 1) if math.isfinite(least) else ():
            rate = best / 2**halvings
            most = min(limits[-1] * bound, 2.5 * 2**halvings * least)
            at = time_to([path(algorithm, tau, jitter, rate, seed, heterogeneous, most) for seed in SEEDS], most)
            if math.isfinite(at):
                best = rate
                break
        own = own_bound(label, tau, heterogeneous)
        reached = math.isfinite(at)
        row = Row(
            label,
            best,
            best in (tried[0], tried[-1]),
            at if reached else None,
            at / bound if reached else None,
            at / own if reached and math.isfinite(own) else None,
        )
        found.rows.append(row)
        log(f"{name}, {label}: rate {best:g}; {at:.4g}, over the lower bound {at / bound:.3g}, own {at / own:.3g}")
    return found


def stored(found: Readings) -> dict[str, Any]:
    return asdict(found)


def loaded(entry: dict[str, Any]) -> Readings:
    return replace(Readings(**entry), rows=[Row(**row) for row in entry["rows"]])
