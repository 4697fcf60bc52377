"""The numbers that a run of SGD steps needs besides data and state, and the slots of what it carries along."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

# Numbers that a kernel loads at a time: 8 float32 are one vector of AVX2, 8 float64 one of AVX-512.
LANES = 8
# e^-x of a larger x counts as 0: less than the rounding of 1 in float64.  Steps of such a size make numbers that some
# processors are slow with (below 1e-38 in float32): 346 ns a row of covtype instead of 118.  It is compared such that
# NaN, neither larger nor smaller, stays NaN.
NEGLIGIBLE = 50.0


# A call that visits fewer numbers keeps the GIL: about half a millisecond.
KEEP_BELOW = 1 << 18
NEVER = (1 << 63) - 1
# Per thread: whether kernels of several workers are to run side by side.
_thread = threading.local()


def release_from() -> int:
    """Numbers that a kernel called by this thread must visit to release the GIL; 0 in one of several workers."""
    return 0 if getattr(_thread, "is_one_of_several", False) else KEEP_BELOW


def set_one_of_several(value: bool) -> None:
    """Say whether this thread works beside other workers, so that its kernels release the GIL however short."""
    _thread.is_one_of_several = value


def padded(n: int) -> int:
    """``n`` rounded up to whole vectors.

    >>> padded(20)
    24
    """
    return -(-n // LANES) * LANES


class Recipe(NamedTuple):
    """Hyper-parameters as compiled code takes them.

    ``positive``, ``negative`` ``(stride,)``: weight of an example where output k's target is the class, or is not.
    ``l1_ratio`` is 0 for an l2 penalty and 1 for l1.  ``average_from``: the step at which averaging begins, 0 for
    never.
    ``pace``: by how much a step moves the clock.
    ``measured``: whether to sum the regularised objective, by which scikit-learn stops.
    ``tiles``: how the outputs of a row are passed over (:func:`parsgd.kernels.rows.tiles_of`).
    ``release_from``: numbers that a call must visit for other Python threads to run meanwhile.
    """

    loss: Any
    schedule: int
    alpha: float
    l1_ratio: float
    shrinks: bool
    truncates: bool
    penalised: bool
    eta0: float
    power_t: float
    optimal_start: float
    fit_intercept: bool
    intercept_decay: float
    one_class: bool
    average_from: int
    pace: float
    batch_size: int
    measured: bool
    release_from: int
    n_outputs: int
    tiles: Any
    positive: np.ndarray
    negative: np.ndarray


# Rows of the carry, one column an output and room for whole vectors past the last one: what a run must remember between
# two calls, in float64.
(
    INTERCEPT,  # the bias
    SCALE,  # the weights are SCALE times the stored vector, so that l2 shrinkage is one multiplication
    SUMMED,  # sum of the scales since averaging began: sum of iterates = SUMMED * stored + slot
    MEAN_INTERCEPT,
    PENALTY,  # what every weight should have paid so far: l1 (Tsuruoka et al. 2009), of AdaGrad all of the penalty
    SQUARE,  # squared norm of the weights, as scikit-learn's stopping rule takes it
    ABSOLUTE,  # l1 norm, likewise
    LOSS,
    FACTOR,  # the loss is LOSS + log(FACTOR)
    OBJECTIVE,
    GAIN,
    CLOCK,
    GATHERED,  # AdaGrad's sum of squared gradients of the bias
    OWN_CLOCK,  # how far the run's own steps moved the clock since the last tally
    WAS_INTERCEPT,  # what some of the above were when the stretch began (see sharing.py)
    WAS_SCALE,
    WAS_PENALTY,
    WAS_CLOCK,
) = range(18)
N_SLOTS = 18
