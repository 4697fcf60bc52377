"""Parameters of the network estimators, and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.estimator_base import ParallelEstimator
from parsgd.estimators.validation import param_validation
from parsgd.models.network.forward import ACTIVATIONS
from parsgd.models.network.network_model import SCHEDULES, STARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

STOCHASTIC = ("sgd", "adam", "adamw")


def is_stochastic(estimator: Any) -> bool:
    """Return True for stochastic solvers, which ``partial_fit`` needs; raise AttributeError otherwise."""
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(
            f"partial_fit is only available for stochastic solvers, {', '.join(STOCHASTIC)}; {estimator.solver!r} is"
            " not one."
        )
    return True


class MLPParams(ParallelEstimator):
    """Constructor parameters of both network estimators, with their checks."""

    hidden_layer_sizes: int | Sequence[int]
    activation: str
    solver: str
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    tol: float
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: float
    clip_norm: float | None
    weight_init: str

    def _check_parameters(self) -> None:
        param_validation.check_choice(self, "activation", ACTIVATIONS)
        param_validation.check_choice(self, "solver", (*STOCHASTIC, "lbfgs"))
        param_validation.check_choice(self, "learning_rate", SCHEDULES)
        param_validation.check_choice(self, "weight_init", STARTS)
        param_validation.check_flag(self, "nesterovs_momentum")
        param_validation.check(
            self,
            "batch_size",
            lambda v: v == "auto" if isinstance(v, str) else param_validation.is_integral(v) and v >= 1,
            "an int in the range [1, inf) or 'auto'",
        )
        param_validation.check_number(self, "learning_rate_init", 0, closed="neither")
        param_validation.check_number(self, "power_t", 0)
        param_validation.check_number(self, "tol", 0)
        param_validation.check_number(self, "momentum", 0, 1, closed="both")
        param_validation.check_number(self, "validation_fraction", 0, 1)
        param_validation.check_number(self, "beta_1", 0, 1)
        param_validation.check_number(self, "beta_2", 0, 1)
        param_validation.check_number(self, "epsilon", 0, closed="neither")
        param_validation.check(
            self,
            "n_iter_no_change",
            lambda v: param_validation.is_integral(v) and v >= 1 or param_validation.is_real(v) and v == np.inf,
            "an int in the range [1, inf) or inf",
        )
        param_validation.check_number(self, "max_fun", 1, whole=True)
        param_validation.check_number(self, "dropout", 0, 1)
        param_validation.check_number(self, "clip_norm", 0, closed="neither", optional=True)
        super()._check_parameters()
        self._hidden_layers()
        if self.solver == "lbfgs" and (self.dropout > 0 or self.clip_norm is not None):
            raise InvalidArgumentError(
                "solver='lbfgs' minimizes the full objective: dropout and clip_norm work with the stochastic solvers"
                f" only, {', '.join(STOCHASTIC)}."
            )

    def _hidden_layers(self) -> tuple[int, ...]:
        """Return the sizes of the hidden layers; raise unless all are positive ints."""
        layer_sizes = self.hidden_layer_sizes
        sizes = (
            list(layer_sizes)
            if hasattr(layer_sizes, "__iter__") and not isinstance(layer_sizes, str)
            else [layer_sizes]
        )
        if not all(param_validation.is_integral(size) for size in sizes):
            raise InvalidArgumentError(
                f"The 'hidden_layer_sizes' parameter of {type(self).__name__} must be an int or a list of ints in the"
                f" range [1, inf). Got {layer_sizes!r} instead."
            )
        if any(size <= 0 for size in sizes):
            raise InvalidArgumentError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return tuple(int(size) for size in sizes)

    def _check_validation_set(self, X_val: Any, y_val: Any, partial: bool) -> None:
        param_validation.check_pair(X_val, y_val)
        if partial and self.early_stopping and X_val is None:
            raise InvalidArgumentError(
                # the beginning is scikit-learn's message
                "partial_fit does not support early_stopping=True without a validation set that stays the same in all"
                " calls: pass X_val and y_val."
            )
        if X_val is not None and self.solver == "lbfgs":
            raise InvalidArgumentError(
                "X_val and y_val work with the stochastic solvers only; solver='lbfgs' computes no score."
            )
