"""What workers share that step on the same parameters of a network, and the state it makes in the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.kernels import shared_scalars


def board(model: Any, state: np.ndarray, clock: float, n_workers: int) -> np.ndarray:
    """The numbers besides the parameters that all workers move, ``(rows, 1)``, as a round begins with them."""
    out = np.zeros((shared_scalars.N_NETWORK, 1))
    out[shared_scalars.N_WORKERS], out[shared_scalars.SCALE], out[shared_scalars.SCHEDULE_STEP] = n_workers, 1.0, clock
    if model.alpha > 0.0 and model.solver != "adamw":
        coef = model.views(state)["coefs"][0]
        out[shared_scalars.SQUARED_NORM] = float(np.vdot(coef, coef))
    return out


def settled(model: Any, state: np.ndarray, board: np.ndarray) -> np.ndarray:
    """The state in plain numbers, a new one, of parameters and a board that nobody uses any more."""
    state = state.copy()
    scale = board.reshape(-1, 1)[shared_scalars.SCALE, 0]
    if scale != 1.0:
        model.views(state)["coefs"][0] *= state.dtype.type(scale)
    return state
