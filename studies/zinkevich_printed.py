"""Figures 1 to 3 of Zinkevich et al. 2010, read off by eye, and measures of the gap between numbers of machines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MACHINES = (1, 10, 100)
# Training examples, recorded numbers of updates, and rate of the paper.
N_ROWS, UPDATES, STATED = 2_508_220, 10_000 * 2 ** np.arange(8), 1e-3
# ``(E_10 - E_100) / (E_1 - E_100)`` of an objective ``E_k = a + b / k``.
SHARE_OF_VARIANCE = (1 / 10 - 1 / 100) / (1 - 1 / 100)

Curves = dict[int, np.ndarray]


def points_of(n_rows: int) -> np.ndarray:
    """Return the recorded numbers of updates for other rows: the same fractions of a pass."""
    return round(UPDATES[0] * n_rows / N_ROWS) * 2 ** np.arange(len(UPDATES))


def equal_rate(n_rows: int) -> float:
    """Return the rate at which a pass has the paper's product eta n."""
    return STATED * N_ROWS / n_rows


class Panel(NamedTuple):
    """A printed panel: curves relative to one sequential pass at :data:`UPDATES`, and their reading error."""

    figure: str
    loss: str
    lam: float
    quantity: str
    error: float
    curves: Curves

    @property
    def title(self) -> str:
        return f"{self.figure}, {self.quantity}, {self.loss}, lambda = {self.lam:g}"


def _panel(figure: str, loss: str, lam: float, quantity: str, error: float, *curves: str) -> Panel:
    values = [np.array([float(value) for value in curve.split()]) for curve in curves]
    return Panel(figure, loss, lam, quantity, error, dict(zip(MACHINES, values, strict=True)))


PANELS = (
    _panel(
        *("Fig. 1", "Huber", 1e-3, "objective", 0.02),
        "3.15 2.85 2.56 2.31 2.05 1.78 1.47 1.18",
        "2.26 2.00 1.76 1.57 1.43 1.29 1.15 1.03",
        "2.04 1.78 1.55 1.39 1.27 1.16 1.06 1.00",
    ),
    _panel(
        *("Fig. 1", "squared", 1e-3, "objective", 0.03),
        "3.10 2.73 2.39 2.14 1.90 1.63 1.38 1.15",
        "2.12 1.90 1.66 1.50 1.36 1.23 1.11 1.02",
        "1.91 1.68 1.49 1.35 1.24 1.13 1.05 1.00",
    ),
    _panel(
        *("Fig. 2", "Huber", 1e-3, "RMSE", 0.03),
        "1.89 1.81 1.63 1.44 1.30 1.18 1.08 1.05",
        "1.61 1.51 1.38 1.26 1.18 1.11 1.06 1.02",
        "1.58 1.47 1.34 1.23 1.16 1.10 1.05 1.02",
    ),
    _panel(
        *("Fig. 2", "squared", 1e-3, "RMSE", 0.03),
        "1.69 1.60 1.49 1.33 1.24 1.15 1.08 1.02",
        "1.50 1.34 1.28 1.20 1.14 1.07 1.04 1.01",
        "1.45 1.34 1.26 1.19 1.13 1.07 1.04 1.01",
    ),
    _panel(
        *("Fig. 3", "Huber", 1e-6, "objective", 0.02),
        "2.75 2.36 2.00 1.75 1.56 1.39 1.24 1.11",
        "2.14 1.84 1.58 1.40 1.26 1.13 1.02 0.92",
        "2.03 1.75 1.52 1.35 1.22 1.11 0.99 0.89",
    ),
)
OBJECTIVES = tuple(panel for panel in PANELS if panel.quantity == "objective")


def reached(curve: np.ndarray, examples: np.ndarray, level: float = 1.0) -> float:
    """Return the examples at which a falling curve passes ``level``, on lines in log x; NaN if never."""
    below = np.flatnonzero(curve <= level + 1e-9)
    if len(below) == 0:
        return np.nan
    i = below[0]
    if i == 0:
        return float(examples[0])
    part = (curve[i - 1] - level) / max(curve[i - 1] - curve[i], 1e-300)
    return float(np.exp(np.log(examples[i - 1]) + part * np.log(examples[i] / examples[i - 1])))


def shifts(curves: Curves, examples: np.ndarray, n_rows: int, k: int = 100) -> np.ndarray:
    """Return, at each point, by how much one machine needs more examples to reach the value of k; NaN beyond a pass.

    The curve of one machine ends at 1 after a pass of ``n_rows``.
    """
    one, x = np.append(curves[1], 1.0), np.append(examples, n_rows)
    return np.array([reached(one, x, level) for level in curves[k]]) / examples


def shares(curves: Curves, error: float = 0.0, power: int = 1) -> np.ndarray:
    """Return ``(E_10 - E_100) / (E_1 - E_100)``, ``(n_points, 3)``: with errors in favor of less, as it is, of more.

    E is a power of the curves. Points at which the gap is below 0.02 or below four errors are NaN.
    """
    ways = []
    for e in (-error, 0.0, error):
        one, ten, hundred = (curves[1] - e) ** power, (curves[10] + e) ** power, (curves[100] - e) ** power
        known = curves[1] - curves[100] > max(0.02, 4.0 * error)
        ways.append(np.where(known, (ten - hundred) / np.where(known, one - hundred, 1.0), np.nan))
    return np.column_stack(ways)


def difference(curves: Curves, panel: Panel) -> float:
    """Return the mean distance of the logarithms of our values from the panel's."""
    return float(np.mean([abs(np.log(curves[k] / panel.curves[k])).mean() for k in MACHINES]))
