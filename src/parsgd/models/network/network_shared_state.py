"""Scalars of a network that workers on shared parameters share, and the conversion back to a state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.shared import shared_scalars as row

if TYPE_CHECKING:
    from parsgd.models.network.network_model import Network


def shared_scalars(model: Network, state: np.ndarray, schedule_step: float, n_workers: int) -> np.ndarray:
    """Return the shared numbers apart from the parameters, ``(rows, 1)``, at the start of a round."""
    out = np.zeros((row.N_NETWORK, 1))
    out[row.N_WORKERS], out[row.SCALE], out[row.SCHEDULE_STEP] = n_workers, 1.0, schedule_step
    if model.alpha > 0.0 and model.solver != "adamw":
        coef = model.views(state)["coefs"][0]
        out[row.SQUARED_NORM] = float(np.vdot(coef, coef))
    return out


def from_shared(model: Network, state: np.ndarray, shared_scalars: np.ndarray) -> np.ndarray:
    """Return a new unscaled state from parameters and shared scalars that no worker uses any more."""
    state = state.copy()
    scale = shared_scalars.reshape(-1, 1)[row.SCALE, 0]
    if scale != 1.0:
        model.views(state)["coefs"][0] *= state.dtype.type(scale)
    return state
