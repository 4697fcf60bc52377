"""What workers share that step on the same parameters of a network, and the state it makes in the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.kernels import shared_scalars as row


def shared_scalars(model: Any, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
    """The numbers besides the parameters that all workers move, ``(rows, 1)``, as a round begins with them."""
    out = np.zeros((row.N_NETWORK, 1))
    out[row.N_WORKERS], out[row.SCALE], out[row.SCHEDULE_STEP] = n_workers, 1.0, schedule_step
    if model.alpha > 0.0 and model.solver != "adamw":
        coef = model.views(state)["coefs"][0]
        out[row.SQUARED_NORM] = float(np.vdot(coef, coef))
    return out


def from_shared(model: Any, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray:
    """The state in plain numbers, a new one, from parameters and shared scalars that no worker uses any more."""
    state = state.copy()
    scale = shared_scalars.reshape(-1, 1)[row.SCALE, 0]
    if scale != 1.0:
        model.views(state)["coefs"][0] *= state.dtype.type(scale)
    return state
