"""Fields of the run state of linear models, float64 ``(N_FIELDS, n_lanes)``: everything kept between two kernel calls.

One column per output, padded to whole vectors.
"""

from __future__ import annotations

(
    INTERCEPT,
    SCALE,  # weights = SCALE * stored weights, so l2 shrinkage is one multiplication
    SCALE_SUM,  # sum of SCALE since averaging began: sum of iterates = SCALE_SUM * stored weights + mean
    MEAN_INTERCEPT,
    TOTAL_PENALTY,  # accumulated penalty per weight: l1 only (Tsuruoka et al., 2009); of AdaGrad l1 and l2
    SQUARED_NORM,  # squared norm of the weights, as in scikit-learn's stopping rule
    L1_NORM,  # l1 norm of the weights
    LOSS,
    LOSS_FACTOR,  # summed loss = LOSS + log(LOSS_FACTOR)
    PENALTY_SUM,  # sum of the penalty over examples: summed objective = summed loss + PENALTY_SUM
    LR_SCALE,  # factor of the learning rate; 0: the output has converged
    SCHEDULE_STEP,
    INTERCEPT_SQUARES,  # AdaGrad: sum of squared intercept gradients
    SCHEDULE_STEPS_TAKEN,  # schedule steps of this run since its totals were last taken
    START_INTERCEPT,  # values at the start of a chunk on shared weights (shared_weights.py)
    START_SCALE,
    START_TOTAL_PENALTY,
    START_SCHEDULE_STEP,
) = range(18)
N_FIELDS = 18
