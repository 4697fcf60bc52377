"""Learning-rate schedules: the learning rate ``eta`` at step ``t`` = 1, 2, ...

==========  ============================================================================================
constant    eta0
optimal     1 / (alpha (t0 + t - 1)), t0 such that the first step moves a typical weight (Bottou)
invscaling  eta0 / t^power_t
adaptive    eta0, divided by 5 whenever the loss stops decreasing (the caller passes that as the lr scale)
pa1         eta0 caps the step min(eta0, loss / |x|^2)              (Crammer et al., JMLR 7, 2006)
pa2         loss / (|x|^2 + 1 / (2 eta0))
adagrad     eta0 / sqrt(sum of squared gradients of the weight), see adagrad.py
auto        the same in the scales of the features, with limited steps, see auto_rate.py
==========  ============================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsgd.kernels.lowlevel.compiling import inlined

if TYPE_CHECKING:
    from parsgd.kernels.linear.hyperparams import Hyperparams

CONSTANT, OPTIMAL, INVSCALING, ADAPTIVE, PA1, PA2, ADAGRAD, AUTO = range(8)


@inlined
def compute_learning_rate(hyperparams: Hyperparams, t: float) -> float:
    """Return the learning rate at schedule step ``t``, before the lr scale; of pa1, pa2 and adagrad ``eta0``."""
    if hyperparams.schedule == OPTIMAL:
        return 1.0 / (hyperparams.alpha * (hyperparams.optimal_start + t - 1.0))
    if hyperparams.schedule == INVSCALING:
        return hyperparams.eta0 / t**hyperparams.power_t
    return hyperparams.eta0
