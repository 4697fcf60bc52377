"""SGD runs on hashed mail: algorithms 1, 2 and 3 of Zinkevich et al. 2010, and curves of averages of their runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from zinkevich_printed import MACHINES, Curves, points_of

from parsgd.models.linear.linear_model import Linear
from parsgd.utils.row_arrays import rows_of

LOSSES = {"Huber": "huber", "squared": "squared_error"}
GROUPS = 10


class Spam(NamedTuple):
    """Train and test rows, as matrices and as kernels take them."""

    X: object
    y: np.ndarray
    X_test: object
    y_test: np.ndarray

    @property
    def rows(self):
        return rows_of(self.X, self.y)


class Setting(NamedTuple):
    """A loss, lambda and rate; ``eta_t = eta / t^decay``; each machine starts at N(0, start^2 I)."""

    loss: str
    lam: float
    eta: float
    decay: float = 0.0
    start: float = 0.0

    def model(self, n_features: int) -> Linear:
        return Linear(
            n_features,
            dtype="float32",
            loss=LOSSES[self.loss],
            loss_parameter=1.0,
            alpha=self.lam,
            schedule="invscaling" if self.decay else "constant",
            power_t=self.decay,
            eta0=self.eta,
            fit_intercept=False,
            sparse=True,
            measured=False,
        )


class Found(NamedTuple):
    """After ``examples (n_points,)`` of each machine: relative objective and test RMSE by number of machines.

    ``base`` is the objective and RMSE of one sequential pass. ``scatter`` has the standard deviations of the relative
    objective at the first point, between single machines and between groups of ten.
    """

    setting: Setting
    base: np.ndarray
    scatter: np.ndarray
    examples: np.ndarray
    objective: Curves
    rmse: Curves

    @classmethod
    def of(cls, reading: dict[str, Any], n_rows: int) -> Found:
        """Return what a reading has stored."""
        objective, rmse = (
            {k: np.array(curve) for k, curve in zip(MACHINES, reading[name], strict=True)}
            for name in ("objective", "rmse")
        )
        setting = Setting(**{name: reading[name] for name in Setting._fields})
        base, scatter = np.array(reading["base"]), np.array(reading["scatter"])
        return cls(setting, base, scatter, points_of(n_rows), objective, rmse)

    def reading(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        curves = {"objective": self.objective, "rmse": self.rmse}
        return {
            **self.setting._asdict(),
            "base": self.base.tolist(),
            "scatter": self.scatter.tolist(),
            **{name: [curve[k].tolist() for k in MACHINES] for name, curve in curves.items()},
        }

    @property
    def diverged(self) -> bool:
        """Report a value that is not finite or very large."""
        values = [*self.objective.values(), *self.rmse.values()]
        return not (self.base[0] < 1e3 and all((each < 1e4).all() for each in values))


def objectives(setting: Setting, data: Spam, weights: np.ndarray) -> np.ndarray:
    """Return the training objective of each column of weights."""
    model, margins, rows = setting.model(data.X.shape[1]), data.X @ weights, data.rows
    losses = [model.mean_loss(np.ascontiguousarray(column)[:, None], rows)[0] for column in margins.T]
    return np.array(losses) + 0.5 * setting.lam * np.square(weights, dtype=np.float64).sum(axis=0)


def errors(data: Spam, weights: np.ndarray) -> np.ndarray:
    """Return the root mean squared error on the test rows of each column of weights."""
    return np.sqrt(np.square(data.X_test @ weights - data.y_test[:, None], dtype=np.float64).mean(axis=0))


def sgd(
    setting: Setting, data: Spam, order: np.ndarray, points: np.ndarray, start: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Run algorithm 1 on the examples ``order``, and yield the weights after each of ``points`` updates."""
    model = setting.model(data.X.shape[1])
    state = model.init(0)
    if start is not None:
        model.views(state)["coef"][:, 0] = start
    run, rows, done = model.sgd_run(state, 1.0, np.ones(1), 0), data.rows, 0
    for point in points:
        run.run(rows, order, done, point)
        run.finalize()
        yield model.views(state)["coef"][:, 0].copy()
        done = point


def draws(n_rows: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return draws with replacement, as in algorithm 1."""
    return rng.integers(0, n_rows, length).astype(np.int32)


def parallel_sgd(setting: Setting, data: Spam, T: int, k: int, seed: int) -> np.ndarray:
    """Run algorithm 2: T steps of each of k machines on draws from the whole set; return their mean weights."""
    generators = np.random.default_rng((2010, 2, seed)).spawn(k)
    last = [next(sgd(setting, data, draws(len(data.y), T, rng), np.array([T]))) for rng in generators]
    return np.mean(last, axis=0, dtype=np.float64)


def simu_parallel_sgd(setting: Setting, data: Spam, k: int, seed: int) -> np.ndarray:
    """Run algorithm 3: each of k machines makes one pass over its own floor(m / k) rows, shuffled; return the mean."""
    T = len(data.y) // k
    # a random partition whose parts are in random order
    order = np.random.default_rng((2010, 3, seed)).permutation(len(data.y)).astype(np.int32)
    last = [next(sgd(setting, data, order[i * T : (i + 1) * T], np.array([T]))) for i in range(k)]
    return np.mean(last, axis=0, dtype=np.float64)


def machine(setting: Setting, data: Spam, points: np.ndarray, number: int) -> Iterator[np.ndarray]:
    """Yield a machine's weights after each of ``points`` updates of its own permutation of all rows."""
    rng = np.random.default_rng((2010, number))
    order = rng.permutation(len(data.y)).astype(np.int32)
    start = None
    if setting.start:
        start = setting.start * rng.standard_normal(data.X.shape[1], dtype=np.float32)
    return sgd(setting, data, order, points, start)


def _group(setting: Setting, data: Spam, points: np.ndarray, numbers: range) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the weights of some machines, and those of the first; each ``(n_points, n_features)``."""
    first = np.array(list(machine(setting, data, points, numbers[0])))
    total = first.astype(np.float64)
    for number in numbers[1:]:
        for at, weights in enumerate(machine(setting, data, points, number)):
            total[at] += weights
    return (total / len(numbers)).astype(np.float32), first


def curves(setting: Setting, data: Spam, few: int = GROUPS) -> Found:
    """Average 100 machines at each point and after a pass; of one and ten machines, measure ``few`` and average."""
    points = np.append(points_of(len(data.y)), len(data.y))
    groups = [_group(setting, data, points, range(g, g + 10)) for g in range(0, 100, 10)]
    values = []
    for at in range(len(points)):
        tens = np.array([mean[at] for mean, _ in groups]).T
        firsts = np.array([first[at] for _, first in groups[:few]]).T
        weights = np.column_stack([firsts, tens[:, :few], tens.mean(axis=1)])
        values.append([objectives(setting, data, weights), errors(data, weights)])
    values = np.array(values)
    parts = [part.mean(axis=2) for part in np.split(values, (few, 2 * few), axis=2)]
    base = parts[0][-1]
    scatter = np.array([values[0, 0, at].std(ddof=1) / base[0] for at in (slice(few), slice(few, 2 * few))])
    objective, rmse = (dict(zip(MACHINES, (part[:-1, i] / base[i] for part in parts), strict=True)) for i in (0, 1))
    return Found(setting, base, scatter, points[:-1], objective, rmse)
