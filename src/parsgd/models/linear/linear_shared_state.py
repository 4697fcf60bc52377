"""What workers share that step on the same weights of a linear model, and the state it makes in the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.utils import first_use


def shared_scalars(model: Any, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
    """The numbers besides the weights that all workers move, ``(rows, n_outputs)``, as a round begins with them."""
    sharing, sharing_linear = first_use.kernels("sharing"), first_use.kernels("sharing_linear")

    views = model.views(state)
    out = np.zeros((sharing_linear.N_BOARD, model.n_outputs))
    out[sharing.WORKERS], out[sharing.SCALE], out[sharing.CLOCK] = n_workers, 1.0, schedule_step
    out[sharing_linear.BOARD_INTERCEPT] = views["intercept"]
    if model.truncates:
        out[sharing_linear.BOARD_PENALTY] = views["penalty"]
    return out


def from_shared(model: Any, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray:
    """The state in plain numbers, a new one, of weights and a shared_scalars that nobody uses any more."""
    sharing, sharing_linear = first_use.kernels("sharing"), first_use.kernels("sharing_linear")

    shared_scalars, state = shared_scalars.reshape(-1, model.n_outputs), state.copy()
    views = model.views(state)
    # in one type: a scale of 1 leaves the bits
    views["coef"][:] *= shared_scalars[sharing.SCALE].astype(state.dtype)
    views["intercept"][:] = shared_scalars[sharing_linear.BOARD_INTERCEPT]
    if model.truncates:
        views["penalty"][:] = shared_scalars[sharing_linear.BOARD_PENALTY]
    return state
