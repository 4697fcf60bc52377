"""Hyper-parameters of the SGD kernels of linear models, and constants that need no compiled code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

# Values per vector load: 8 float32 fill one AVX2 register, 8 float64 one AVX-512 register.
LANES = 8
# e^-x counts as 0 for larger x: it is below the rounding error of 1 in float64.  Such tiny steps would create subnormal
# numbers (below 1e-38 in float32), which some processors handle slowly: 346 instead of 118 ns per row of covtype.
# Comparisons with it are written such that NaN stays NaN.
NEGLIGIBLE = 50.0


def pad_to_lanes(n: int) -> int:
    """Round ``n`` up to a multiple of the vector length.

    >>> pad_to_lanes(20)
    24
    """
    return -(-n // LANES) * LANES


class Hyperparams(NamedTuple):
    """Hyper-parameters in the form that compiled code takes.

    ``positive_weight``, ``negative_weight`` ``(n_lanes,)``: class weights of an example in and not in the class of
    output k.  ``l1_ratio``: 0 for l2, 1 for l1.  ``average_from``: schedule step at which averaging begins; 0 disables
    it.  ``steps_per_tick``: schedule steps per update.  ``tracks_objective``: sum the regularized objective, for
    scikit-learn's stopping rule.  ``tiles``: a value of :func:`parsgd.kernels.linear.row_ops_multi.choose_tiles`.
    ``release_gil_from``: number of values from which a call releases the GIL.
    """

    loss: Any
    schedule: int
    alpha: float
    l1_ratio: float
    has_l2: bool
    has_l1: bool
    has_penalty: bool
    eta0: float
    power_t: float
    optimal_start: float
    fit_intercept: bool
    intercept_decay: float
    is_one_class: bool
    average_from: int
    steps_per_tick: float
    batch_size: int
    tracks_objective: bool
    release_gil_from: int
    n_outputs: int
    tiles: Any
    positive_weight: np.ndarray
    negative_weight: np.ndarray
