"""What workers share that step on the same parameters of a network, and the state it makes in the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.utils import first_use


def shared_scalars(model: Any, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
    """The numbers besides the parameters that all workers move, ``(rows, 1)``, as a round begins with them."""
    network, sharing = first_use.kernels("network"), first_use.kernels("sharing")

    out = np.zeros((network.N_BOARD, 1))
    out[sharing.WORKERS], out[sharing.SCALE], out[sharing.CLOCK] = n_workers, 1.0, schedule_step
    if model.alpha > 0.0 and model.solver != "adamw":
        coef = model.views(state)["coefs"][0]
        out[network.BOARD_SQUARE] = float(np.vdot(coef, coef))
    return out


def from_shared(model: Any, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray:
    """The state in plain numbers, a new one, of parameters and a shared_scalars that nobody uses any more."""
    sharing = first_use.kernels("sharing")

    state = state.copy()
    scale = shared_scalars.reshape(-1, 1)[sharing.SCALE, 0]
    if scale != 1.0:
        model.views(state)["coefs"][0] *= state.dtype.type(scale)
    return state
