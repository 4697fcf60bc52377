"""What workers share that step on the same weights of a linear model, and the state it makes in the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.kernels import shared_scalars as row


def shared_scalars(model: Any, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
    """The numbers besides the weights that all workers move, ``(rows, n_outputs)``, as a round begins with them."""
    views = model.views(state)
    out = np.zeros((row.N_LINEAR, model.n_outputs))
    out[row.N_WORKERS], out[row.SCALE], out[row.SCHEDULE_STEP] = n_workers, 1.0, schedule_step
    out[row.INTERCEPT] = views["intercept"]
    if model.truncates:
        out[row.TOTAL_PENALTY] = views["penalty"]
    return out


def from_shared(model: Any, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray:
    """The state in plain numbers, a new one, from weights and shared scalars that no worker uses any more."""
    shared_scalars, state = shared_scalars.reshape(-1, model.n_outputs), state.copy()
    views = model.views(state)
    # in one type: a scale of 1 leaves the bits
    views["coef"][:] *= shared_scalars[row.SCALE].astype(state.dtype)
    views["intercept"][:] = shared_scalars[row.INTERCEPT]
    if model.truncates:
        views["penalty"][:] = shared_scalars[row.TOTAL_PENALTY]
    return state
