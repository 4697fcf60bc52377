"""Parameters of the network estimators, and their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.fitted import checkpoint_context
from parsgd.estimators.validation import param_validation
from parsgd.models.network.forward import ACTIVATIONS
from parsgd.models.network.network_model import SCHEDULES, STARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsgd.core import Algorithm, Engine
    from parsgd.estimators.validation.argument_types import CheckpointLike, RandomState

STOCHASTIC = ("sgd", "adam", "adamw")


def is_stochastic(estimator: Any) -> bool:
    """Return True for stochastic solvers, which ``partial_fit`` needs; raise AttributeError otherwise."""
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(
            f"partial_fit is only available for stochastic solvers, {', '.join(STOCHASTIC)}; {estimator.solver!r} is"
            " not one."
        )
    return True


class MLPParams(BaseEstimator):
    """Constructor parameters of both network estimators, with their checks."""

    def __init__(
        self,
        *,
        hidden_layer_sizes: int | Sequence[int],
        activation: str,
        solver: str,
        alpha: float,
        batch_size: int | str,
        learning_rate: str,
        learning_rate_init: float,
        power_t: float,
        max_iter: int,
        shuffle: bool,
        random_state: RandomState,
        tol: float,
        verbose: int,
        warm_start: bool,
        momentum: float,
        nesterovs_momentum: bool,
        early_stopping: bool,
        validation_fraction: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        n_iter_no_change: float,
        max_fun: int,
        dropout: float,
        clip_norm: float | None,
        weight_init: str,
        n_jobs: int | None,
        algorithm: str | Algorithm,
        engine: str | Engine,
        checkpoint: CheckpointLike,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.clip_norm = clip_norm
        self.weight_init = weight_init
        self.n_jobs = n_jobs
        self.algorithm = algorithm
        self.engine = engine
        self.checkpoint = checkpoint

    @param_validation.checked_once
    def _check_arguments(self, *partial: bool) -> None:
        self._check_parameters(*partial)

    def _check_parameters(self) -> None:
        """Raise for an invalid parameter, naming it, before any work starts."""
        param_validation.check_choice(self, "activation", ACTIVATIONS)
        param_validation.check_choice(self, "solver", (*STOCHASTIC, "lbfgs"))
        param_validation.check_choice(self, "learning_rate", SCHEDULES)
        param_validation.check_choice(self, "weight_init", STARTS)
        for name in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"):
            param_validation.check_flag(self, name)
        param_validation.check_number(self, "alpha", 0)
        param_validation.check(
            self,
            "batch_size",
            lambda v: v == "auto" if isinstance(v, str) else param_validation.is_integral(v) and v >= 1,
            "an int in the range [1, inf) or 'auto'",
        )
        param_validation.check_number(self, "learning_rate_init", 0, closed="neither")
        param_validation.check_number(self, "power_t", 0)
        param_validation.check_number(self, "max_iter", 1, whole=True)
        param_validation.check_number(self, "tol", 0)
        param_validation.check_verbose(self)
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
        param_validation.check_number(self, "n_jobs", -np.inf, whole=True, optional=True, closed="neither")
        checkpoint_context.check_checkpoint(self)
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
