"""Parameters of the linear estimators, and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.estimator_base import ParallelEstimator
from parsgd.estimators.validation import param_validation
from parsgd.kernels import losses
from parsgd.models.linear.linear_model import SCHEDULES
from parsgd.utils.callers import warn

if TYPE_CHECKING:
    from parsgd.kernels.losses import UserLoss


class SGDParams(ParallelEstimator):
    """Constructor parameters of the linear estimators, with their checks."""

    loss: str | UserLoss
    penalty: str | None
    l1_ratio: float | None
    fit_intercept: bool
    tol: float | None
    epsilon: float
    learning_rate: str
    eta0: float
    n_iter_no_change: int
    average: bool | int
    batch_size: int

    # the losses that it accepts, as in parsgd.kernels.losses
    _serves = ""
    _passive_loss = ""

    def _check_parameters(self, partial: bool = False) -> None:
        param_validation.check_loss(self, losses.names(self._serves))
        param_validation.check_choice(self, "penalty", ("l2", "l1", "elasticnet", None))
        param_validation.check_choice(self, "learning_rate", SCHEDULES)
        param_validation.check_flag(self, "fit_intercept")
        param_validation.check_number(self, "l1_ratio", 0, 1, closed="both", optional=True)
        param_validation.check_number(self, "tol", 0, optional=True)
        param_validation.check_number(self, "eta0", 0, closed="neither")
        param_validation.check_number(self, "power_t", -np.inf, closed="neither")
        param_validation.check_number(self, "epsilon", 0)
        param_validation.check_number(self, "validation_fraction", 0, 1, closed="neither")
        param_validation.check_number(self, "n_iter_no_change", 1, whole=True)
        param_validation.check_number(self, "batch_size", 1, whole=True)
        param_validation.check(
            self,
            "average",
            lambda v: isinstance(v, (bool, np.bool_)) or param_validation.is_integral(v) and v > 0,
            "an int in the range (0, inf) or a bool",
        )
        super()._check_parameters()
        self._check_combinations(partial)

    def _check_combinations(self, partial: bool) -> None:
        if self.early_stopping and partial:
            raise InvalidArgumentError("early_stopping should be False with partial_fit")
        if self.learning_rate == "optimal" and self.alpha == 0:
            raise InvalidArgumentError(
                "alpha must be > 0 since learning_rate is 'optimal'. alpha is used to compute the optimal learning"
                " rate."
            )
        if self.learning_rate in ("pa1", "pa2") and self._described_loss.name != self._passive_loss:
            raise InvalidArgumentError(
                f"Learning rate '{self.learning_rate}' only works with loss '{self._passive_loss}'."
            )
        if self.learning_rate in ("adagrad", "auto") and self.average:
            raise InvalidArgumentError(
                f"average={self.average!r} does not work with learning_rate={self.learning_rate!r}, which applies the"
                " penalty of a weight at its next use: a mean of iterates would miss it. Use average=False."
            )
        if self.learning_rate == "auto" and self.batch_size > 1:
            raise InvalidArgumentError(
                f"batch_size={self.batch_size} does not work with learning_rate='auto', which limits the step of each"
                " row. Use batch_size=1 or another learning_rate."
            )
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise InvalidArgumentError("l1_ratio must be set when penalty is 'elasticnet'")

    @property
    def _described_loss(self) -> losses.Loss:
        """Everything that is known about the loss."""
        return losses.describe(self.loss)

    def _loss_parameter(self) -> float:
        parameter = self._described_loss.parameter
        return float(getattr(self, parameter)) if isinstance(parameter, str) else parameter

    def _warn_not_converged(self) -> None:
        if self.tol is not None and self.tol > -np.inf and self.n_iter_ == self.max_iter:
            warn(
                "Maximum number of iteration reached before convergence. Consider increasing max_iter to improve the"
                " fit.",
                ConvergenceWarning,
            )
        if self.power_t < 0:
            warn(
                "Negative values for `power_t` are deprecated in version 1.8 and will raise an error in 1.10. "
                "Use values in the range [0.0, inf) instead.",
                FutureWarning,
            )
