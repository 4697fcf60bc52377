"""Rows of the array of scalars that workers share beside the weights, float64 ``(rows, n_outputs)``.

The first rows are common to all models; :mod:`parsgd.kernels.linear.shared_weights` describes their use.
"""

from __future__ import annotations

(
    LOCK,  # its first 8 bytes: the lock, held while a worker reads or writes the array
    ACTIVE_WORKERS,  # number of workers within a chunk of steps
    N_WORKERS,
    SCALE,  # the weights are SCALE times the stored ones
    SCHEDULE_STEP,  # schedule step of all workers together
) = range(5)
# Linear models.
INTERCEPT, TOTAL_PENALTY = 5, 6
N_LINEAR = 7
# Networks: squared norm of the first layer's weights, scale included.
SQUARED_NORM = 5
N_NETWORK = 6
