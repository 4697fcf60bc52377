"""Access to weights that several workers update at the same time, and to their shared scalars.

Weights are updated without a lock (Niu, Recht, Re, Wright, "Hogwild!", NIPS 2011).  If two workers update one weight at
the same moment, one update may be lost; with sparse rows that is rare.  The few scalars that *every* step updates would
lose updates all the time.  They are in a separate array (:mod:`parsgd.kernels.shared.shared_scalars`), protected by a
lock.  A worker copies them, takes a **chunk** of steps with its copies, and then adds the changes.  So no change is
lost, and copies are outdated by at most a chunk.

Weights are stored as ``SCALE * w``, with one scale for all workers.  When it is tiny, no worker begins a chunk until it
has been folded.  The first worker to find no other within a chunk multiplies it into the weights.
"""

from __future__ import annotations

import numpy as np

from parsgd.kernels.lowlevel.atomics import lock, unlock
from parsgd.kernels.lowlevel.compiling import called, inlined
from parsgd.kernels.shared.shared_scalars import ACTIVE_WORKERS, FOLDED, SCALE


@inlined
def has_tiny_scale(shared_scalars: np.ndarray, tiny: float) -> bool:
    """Return whether a scale is below ``tiny``, or NaN."""
    is_tiny = False
    for k in range(shared_scalars.shape[1]):
        is_tiny |= not shared_scalars[SCALE, k] >= tiny
    return is_tiny


@called
def fold_shared_scales(shared_scalars: np.ndarray, w: np.ndarray, stride: int) -> None:
    """Multiply the scales into the weights, ``w[feature * stride + output]``."""
    for k in range(shared_scalars.shape[1]):
        scale = w.dtype.type(shared_scalars[SCALE, k])
        for at in range(k, w.shape[0], stride):
            w[at] *= scale
        shared_scalars[FOLDED, k] += np.log(shared_scalars[SCALE, k])
        shared_scalars[SCALE, k] = 1.0


@called
def begin_chunk(shared_scalars: np.ndarray, w: np.ndarray, stride: int, tiny: float) -> None:
    """Begin a chunk; the caller holds the lock afterwards and must release it."""
    lock(shared_scalars)
    while has_tiny_scale(shared_scalars, tiny):
        if shared_scalars[ACTIVE_WORKERS, 0] == 0.0:
            fold_shared_scales(shared_scalars, w, stride)
        else:
            unlock(shared_scalars)
            lock(shared_scalars)
    shared_scalars[ACTIVE_WORKERS, 0] += 1.0


@called
def end_chunk(shared_scalars: np.ndarray) -> None:
    """End a chunk; the caller holds the lock afterwards and must release it."""
    lock(shared_scalars)
    shared_scalars[ACTIVE_WORKERS, 0] -= 1.0
