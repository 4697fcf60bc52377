"""Norms of the weights of a linear model at the start of a run; the steps update them."""

from __future__ import annotations

import numpy as np

from parsgd.kernels.linear.run_state import L1_NORM, SQUARED_NORM
from parsgd.kernels.lowlevel.compiling import kernel

U = np.uint64


@kernel
def compute_norms(coef: np.ndarray, lanes: np.ndarray, n_outputs: int) -> None:
    """Set the squared and the l1 norm of each output's weights in the run state ``lanes (N_FIELDS, n_lanes)``."""
    for k in range(U(n_outputs)):
        squares, sizes = 0.0, 0.0
        for at in range(k, U(coef.shape[0]), U(n_outputs)):
            value = np.float64(coef[at])
            squares += value * value
            sizes += abs(value)
        lanes[U(SQUARED_NORM), k], lanes[U(L1_NORM), k] = squares, sizes
