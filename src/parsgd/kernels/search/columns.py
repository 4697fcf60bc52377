"""Arrays of the compiled search: hyperparameters, work space and state of many linear models, a column for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

# Numbers of columns are multiples of this, so that each column is summed in the same order, whatever the others are:
# a pass over a row takes four vectors of 8.
PADDING = 32

(
    INTERCEPT,
    INTERCEPT_SQUARES,  # AdaGrad: sum of squared intercept gradients
    SCALE,  # weights = SCALE * stored weights, so that l2 shrinkage is one multiplication
    TOTAL_PENALTY,  # accumulated penalty per weight: l1 only (Tsuruoka et al., 2009); with AdaGrad l1 and l2
    LOSS,
    LOSS_FACTOR,  # summed loss = LOSS + log(LOSS_FACTOR)
    LR_SCALE,  # factor of the learning rate; 0: the column has converged
    STEP,  # schedule step of the next update
    EXAMPLES,
    SQUARED_NORM,  # squared norm of the weights, as in scikit-learn's stopping rule
    L1_NORM,  # l1 norm of the weights
    PENALTY_SUM,  # sum of the penalty over examples
) = range(12)
N_FIELDS = 12


class Columns(NamedTuple):
    """Hyperparameters of the columns, arrays ``(n_columns,)`` of float64, and settings that they share.

    ``powers``: ``t^-power_t`` of the inverse scaling schedule for the steps ``first_step``, ``first_step + 1``, ...
    ``l1_ratio``: share of l1 in the penalty.  ``optimal_start``: t0 of the optimal schedule.  ``signs`` and
    ``class_weights`` ``(n_classes, n_columns)``: target and weight of a column for a row of a class; not used for
    regression.  ``trains (n_kinds, n_columns)``: 1 if the column trains on rows of the kind, else 0.  ``n_joint``:
    adjacent columns of one softmax model; 0 for other losses.  ``tracks_penalty``: sum the penalty, for scikit-learn's
    stopping rule.
    """

    loss: Any
    schedule: int
    powers: np.ndarray
    first_step: float
    fit_intercept: bool
    intercept_decay: float
    has_l2: bool
    has_l1: bool
    tracks_penalty: bool
    n_joint: int
    alpha: np.ndarray
    l1_ratio: np.ndarray
    eta0: np.ndarray
    optimal_start: np.ndarray
    signs: np.ndarray
    class_weights: np.ndarray
    trains: np.ndarray
