"""Second derivatives of the losses in the prediction ``p``, on arrays ``y`` and ``p`` of one shape.

Formulas use ``z = y p`` and ``r = p - y``. At a kink of the gradient the second derivative is that of either side. This
module imports neither NumPy nor SciPy, because :mod:`parsgd.kernels.losses` imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def squared_hinge(_: float, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return 2 for z < 1, else 0."""
    return 2.0 * (y * p < 1.0)


def log_loss(_: float, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return ``s(p) s(-p)``, where s is the logistic function."""
    from scipy.special import expit

    return expit(p) * expit(-p)


def modified_huber(_: float, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return 2 for -1 <= z < 1, else 0."""
    z = y * p
    return 2.0 * ((z >= -1.0) & (z < 1.0))


def squared_error(_: float, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return 1."""
    return 0.0 * p + 1.0


def huber(epsilon: float, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return 1 for abs(r) <= e, else 0."""
    return 1.0 * (abs(p - y) <= epsilon)


def squared_epsilon_insensitive(epsilon: float, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return 2 for abs(r) > e, else 0."""
    return 2.0 * (abs(p - y) > epsilon)


def poisson(_: float, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return ``exp(p)``."""
    from numpy import exp

    return exp(p.clip(max=700.0))
