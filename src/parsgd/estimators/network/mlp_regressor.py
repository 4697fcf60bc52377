"""``MLPRegressor``: feed-forward regressors by parallel SGD, with scikit-learn's API."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import streaming
from parsgd.estimators.fitted import checkpoint_context
from parsgd.estimators.fitted.checkpoint_context import FitContext
from parsgd.estimators.network.mlp_base import BaseMLP
from parsgd.estimators.network.mlp_params import is_stochastic
from parsgd.estimators.network.network_validation import NetworkR2
from parsgd.estimators.sklearn_callbacks import with_callbacks
from parsgd.estimators.target_encoders import ValueEncoder
from parsgd.estimators.validation import param_validation
from parsgd.models.network.forward import LOSSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from parsgd.core import Algorithm, Engine
    from parsgd.estimators.validation.argument_types import CheckpointLike, MatrixLike, RandomState
    from parsgd.models.network.network_model import Network

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
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            dropout=dropout,
            clip_norm=clip_norm,
            weight_init=weight_init,
            n_jobs=n_jobs,
            algorithm=algorithm,
            engine=engine,
            checkpoint=checkpoint,
        )
        self.loss = loss
        self.delta = delta

    def _check_parameters(self) -> None:
        param_validation.check_choice(self, "loss", _LOSSES)
        param_validation.check_number(self, "delta", 0, closed="neither")
        super()._check_parameters()

    @with_callbacks
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: ArrayLike | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
            float32 stays float32. A Dataset (:func:`parsgd.open_dataset`) is streamed.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Omit with a Dataset, which has its own targets and weights. For ``loss="poisson"``
            values >= 0.
        sample_weight : array-like of shape (n_rows,), optional
        X_val, y_val : array-like, optional
            Validation set. ``history_`` records its R^2; with ``early_stopping=True`` the R^2 decides when to stop.
        resume : bool, default=False
            Resume from the last checkpoint in the folder ``checkpoint``, if there is one.

        Returns
        -------
        self
        """
        self._check_arguments()
        warm = self.warm_start and hasattr(self, "coefs_")
        with checkpoint_context.checkpointed(self, resume) as context:
            self._fit_values(X, y, sample_weight, context, False, X_val, y_val, reset=not warm)
        self._warn_not_converged()
        return self

    @available_if(is_stochastic)
    @with_callbacks
    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Make one pass over the given rows, from the current parameters and solver moments.

        ``early_stopping=True`` needs ``X_val`` and ``y_val``, on which every call is scored. After ``n_iter_no_change``
        calls without improvement the best weights are restored and ``outcome_`` is ``Outcome.CONVERGED``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Omit with a Dataset.
        sample_weight : array-like of shape (n_rows,), optional
        X_val, y_val : array-like, optional

        Returns
        -------
        self
        """
        self._check_arguments()
        self._fit_values(
            X,
            y,
            sample_weight,
            FitContext(self),
            True,
            X_val,
            y_val,
            reset=not hasattr(self, "coefs_"),
        )
        return self

    def _fit_values(
        self,
        X: MatrixLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        context: FitContext,
        partial: bool,
        X_val: MatrixLike | None,
        y_val: ArrayLike | None,
        reset: bool,
    ) -> None:
        self._check_validation_set(X_val, y_val, partial)
        examples = self._examples(X, y, sample_weight, reset, y_numeric=True)
        if not streaming.is_streamed(X) and examples.y.ndim == 2 and examples.y.shape[1] == 1:
            examples = replace(examples, y=column_or_1d(examples.y, warn=True))
        dtype = examples.dtype
        examples = examples.encode_targets(ValueEncoder(str(dtype), self._nonnegative_loss, column=True))
        self.n_outputs_: int = 1 if streaming.is_streamed(X) else examples.target.shape[1]
        held_out = None
        if X_val is not None:
            X_val, y_val = self._read(X_val, y_val, reset=False, y_numeric=True)
            held_out = (X_val.astype(dtype, copy=False), self._targets(y_val, dtype), None)
            if held_out[1].shape[1] != self.n_outputs_:
                raise InvalidArgumentError(
                    f"y_val has {held_out[1].shape[1]} targets per row, y has {self.n_outputs_}."
                )
        self._fit_network(examples, context, partial, held_out, stratify=False)

    def _targets(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """Encode targets as ``(n_rows, n_outputs)``."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return ValueEncoder(str(np.dtype(dtype)), self._nonnegative_loss, column=True)(y)[0]

    @property
    def _nonnegative_loss(self) -> str | None:
        """Name of the loss if it needs targets >= 0."""
        return self.loss if LOSSES[self.loss].nonnegative_targets else None

    def _network_loss(self) -> dict[str, Any]:
        return {"loss": self.loss, "loss_parameter": float(self.delta)}

    def _monitor(self, model: Network, X: MatrixLike, y: ArrayLike | None, weight: np.ndarray | None):
        return NetworkR2(model, X, y, weight)

    @streaming.blockwise
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict targets, ``(n_rows,)`` or ``(n_rows, n_outputs)``."""
        p = self._predicted(X)
        return p.ravel() if p.shape[1] == 1 else p
