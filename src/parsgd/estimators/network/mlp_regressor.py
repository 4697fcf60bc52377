"""``MLPRegressor``: feed-forward regressors by parallel SGD, with scikit-learn's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin

from parsgd.estimators import streaming
from parsgd.estimators.network.mlp_base import BaseMLP
from parsgd.estimators.target_encoders import ValueEncoder
from parsgd.estimators.training_data import Examples, StreamedData
from parsgd.estimators.validation import param_validation
from parsgd.estimators.validation.divergence_check import check_final_loss
from parsgd.models.network.forward import LOSSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsgd.core import Algorithm, Engine
    from parsgd.estimators.validation.argument_types import CheckpointLike, MatrixLike, RandomState
    from parsgd.models.network.network_model import Network
    from parsgd.training import loop

_LOSSES = tuple(name for name, loss in LOSSES.items() if loss.serves == "regressor")


class MLPRegressor(streaming.DatasetScore, RegressorMixin, BaseMLP):
    """Feed-forward networks for regression, trained in matrix form by parallel stochastic gradient descent.

    Minimizes, with ``n = sum_i s_i``,

    ``1/n sum_i s_i loss(y_i, p(x_i)) + alpha / (2 n) sum_l |W_l|_2^2``

    Drop-in for :class:`sklearn.neural_network.MLPRegressor` of scikit-learn 1.9: the arguments up to ``max_fun``, their
    defaults and the attributes are the same. With one worker, the same initial weights and ``shuffle=False`` a fit
    makes the same steps as scikit-learn. Additional parameters, apart from those of :class:`MLPClassifier`:

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber"}, default="squared_error"
        Half the squared error; half the Poisson deviance, with an exponential last layer, for targets >= 0; the
        absolute error; half the squared error up to ``delta`` and linear beyond. As in scikit-learn ``loss_curve_`` is
        the mean over outputs (the sum for poisson), while steps use the gradient of the sum.
    delta : float, default=1.0
        Threshold at which huber becomes linear, in units of the target.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        For an invalid parameter or invalid data (a ValueError).
    parsgd.errors.DivergedError
        If the parameters become NaN or infinite (a ValueError).

    Examples
    --------
    >>> from parsgd import MLPRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(solver="lbfgs", hidden_layer_sizes=(8,), alpha=10.0, max_iter=500, random_state=0)
    >>> model.fit(scale(X), scale(y)).score(scale(X), scale(y)) > 0.5
    True
    """

    _target_checks: ClassVar[dict[str, bool]] = {"multi_output": True, "y_numeric": True}

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: RandomState = None,
        tol: float = 1e-4,
        verbose: int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        delta: float = 1.0,
        dropout: float = 0.0,
        clip_norm: float | None = None,
        weight_init: str = "glorot",
        n_jobs: int | None = None,
        algorithm: str | Algorithm = "auto",
        engine: str | Engine = "auto",
        checkpoint: CheckpointLike = None,
    ) -> None:
        param_validation.store_arguments(self, locals())

    def _check_parameters(self) -> None:
        param_validation.check_choice(self, "loss", _LOSSES)
        param_validation.check_number(self, "delta", 0, closed="neither")
        super()._check_parameters()

    def _encoder(self, dtype: Any, examples: Examples | None = None) -> ValueEncoder:
        nonnegative = LOSSES[self.loss].nonnegative_targets
        return ValueEncoder(str(np.dtype(dtype)), self.loss if nonnegative else None, column=True)

    def _count_outputs(self, examples: Examples) -> int:
        return 1 if isinstance(examples, StreamedData) else examples.target.shape[1]

    def _network_loss(self) -> dict[str, Any]:
        return {"loss": self.loss, "loss_parameter": float(self.delta)}

    def _check_loss(self, model: Network, examples: Examples, fit: loop.Fit) -> None:
        if self.early_stopping:
            return  # the weights are those of the best epoch
        loss, parameter = LOSSES[model.loss], model.loss_parameter
        check_final_loss(
            fit,
            examples.head,
            lambda y: loss.evaluate(np.zeros_like(y), y, parameter)[0],
            "a smaller learning_rate_init",
            starts_at_zero=False,
        )

    @streaming.blockwise
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict targets, ``(n_rows,)`` or ``(n_rows, n_outputs)``."""
        p = self._predicted(X)
        return p.ravel() if p.shape[1] == 1 else p
