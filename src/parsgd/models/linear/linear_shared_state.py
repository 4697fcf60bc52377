"""Scalars of a linear model that workers on shared weights share, and the conversion back to a state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.shared import shared_scalars as row

if TYPE_CHECKING:
    from parsgd.models.linear.linear_model import Linear


def shared_scalars(model: Linear, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
    """Return the shared numbers apart from the weights, ``(rows, n_outputs)``, at the start of a round."""
    views = model.views(state)
    out = np.zeros((row.N_LINEAR, model.n_outputs))
    out[row.N_WORKERS], out[row.SCALE], out[row.SCHEDULE_STEP] = n_workers, 1.0, schedule_step
    out[row.INTERCEPT] = views["intercept"]
    if model.truncates:
        out[row.TOTAL_PENALTY] = views["penalty"]
    return out


def from_shared(model: Linear, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray:
    """Return a new unscaled state from weights and shared scalars that no worker uses any more."""
    shared_scalars, state = shared_scalars.reshape(-1, model.n_outputs), state.copy()
    views = model.views(state)
    # computed in the state's dtype: a scale of 1 leaves the bits unchanged
    views["coef"][:] *= shared_scalars[row.SCALE].astype(state.dtype)
    views["intercept"][:] = shared_scalars[row.INTERCEPT]
    if model.truncates:
        views["penalty"][:] = shared_scalars[row.TOTAL_PENALTY]
    return state
