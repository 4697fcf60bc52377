"""Rows of the array of scalars that workers share beside the weights, float64 ``(rows, n_outputs)``.

The first rows are common to all models; :mod:`parsgd.kernels.shared.shared_weights` describes their use.
"""

from __future__ import annotations

(
    LOCK,  # its first 8 bytes: the lock, held while a worker reads or writes the array
    ACTIVE_WORKERS,  # number of workers within a chunk of steps
    N_WORKERS,
    SCALE,  # the weights are SCALE times the stored ones
    SCHEDULE_STEP,  # schedule step of all workers together
    FOLDED,  # logarithm of the product of all scales that were multiplied into the weights
    TICKETS,  # number of workers that have begun
) = range(7)
# Linear models.
INTERCEPT, TOTAL_PENALTY = 7, 8
N_LINEAR = 9
# Networks: squared norm of the first layer's weights, scale included.
SQUARED_NORM = 7
N_NETWORK = 8
