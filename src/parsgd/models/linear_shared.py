"""What workers share that step on the same weights of a linear model, and the state it makes in the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from parsgd.kernels import shared_scalars


def board(model: Any, state: np.ndarray, clock: float, n_workers: int) -> np.ndarray:
    """The numbers besides the weights that all workers move, ``(rows, n_outputs)``, as a round begins with them."""
    views = model.views(state)
    out = np.zeros((shared_scalars.N_LINEAR, model.n_outputs))
    out[shared_scalars.N_WORKERS], out[shared_scalars.SCALE], out[shared_scalars.SCHEDULE_STEP] = n_workers, 1.0, clock
    out[shared_scalars.INTERCEPT] = views["intercept"]
    if model.truncates:
        out[shared_scalars.TOTAL_PENALTY] = views["penalty"]
    return out


def settled(model: Any, state: np.ndarray, board: np.ndarray) -> np.ndarray:
    """The state in plain numbers, a new one, of weights and a board that nobody uses any more."""
    board, state = board.reshape(-1, model.n_outputs), state.copy()
    views = model.views(state)
    # in one type: a scale of 1 leaves the bits
    views["coef"][:] *= board[shared_scalars.SCALE].astype(state.dtype)
    views["intercept"][:] = board[shared_scalars.INTERCEPT]
    if model.truncates:
        views["penalty"][:] = board[shared_scalars.TOTAL_PENALTY]
    return state
