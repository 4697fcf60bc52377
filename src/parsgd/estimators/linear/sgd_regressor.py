"""``SGDRegressor``: linear regression by parallel SGD, with scikit-learn's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn import linear_model
from sklearn.base import RegressorMixin

from parsgd.estimators import streaming
from parsgd.estimators.linear.sgd_base import BaseSGD
from parsgd.estimators.linear.uncertainty.uncertain_linear import UncertainRegressor
from parsgd.estimators.target_encoders import ValueEncoder
from parsgd.estimators.training_data import Examples
from parsgd.estimators.validation import param_validation
from parsgd.kernels import losses

if TYPE_CHECKING:
    from parsgd.core import Algorithm, Engine
    from parsgd.estimators.validation.argument_types import CheckpointLike, MatrixLike, RandomState
    from parsgd.kernels.losses import UserLoss
    from parsgd.models.linear.linear_model import Linear


class SGDRegressor(streaming.DatasetScore, UncertainRegressor, RegressorMixin, BaseSGD):
    """Linear regression trained by parallel stochastic gradient descent.

    Minimizes ``1/n sum_i s_i loss(y_i, x_i . w + b) + alpha ((1 - l1_ratio) / 2 |w|_2^2 + l1_ratio |w|_1)``.

    Drop-in for :class:`sklearn.linear_model.SGDRegressor` of scikit-learn 1.9: the arguments up to ``average``, their
    defaults and the attributes are the same. With one worker it makes the same steps as scikit-learn. Additional
    parameters:

    Parameters
    ----------
    loss : str or object, default="squared_error"
        scikit-learn's four losses, ``"quantile"`` (also called ``"pinball"``), ``"poisson"`` (the decision value is the
        logarithm of the predicted mean), or an object with ``loss(self, y, p)`` and ``gradient(self, y, p)`` with
        numeric attributes.
    quantile : float in (0, 1), default=0.5
        Quantile that ``loss="quantile"`` estimates.
    learning_rate : str
        scikit-learn's schedules, ``"adagrad"`` or ``"auto"``, as in :class:`parsgd.SGDClassifier`.
    n_jobs, algorithm, engine, batch_size, checkpoint
        As in :class:`parsgd.SGDClassifier`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    intercept_ : ndarray of shape (1,)
    coef_std_, intercept_std_, covariance_
        Standard errors, after :meth:`estimate_uncertainty`.
    n_iter_, t_, history_, algorithm_, outcome_, resumed_from_
        As in :class:`parsgd.SGDClassifier`.

    Examples
    --------
    >>> from parsgd import SGDRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> X, y = load_diabetes(return_X_y=True)
    >>> SGDRegressor(random_state=0).fit(scale(X), y).score(scale(X), y) > 0.5
    True
    """

    _serves = losses.REGRESSOR
    _passive_loss = "epsilon_insensitive"
    _target_checks: ClassVar[dict[str, bool]] = {"y_numeric": True}
    loss_functions: ClassVar[dict[str, tuple[Any, ...]]] = linear_model.SGDRegressor.loss_functions

    def __init__(
        self,
        loss: str | UserLoss = "squared_error",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        l1_ratio: float | None = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        epsilon: float = 0.1,
        random_state: RandomState = None,
        learning_rate: str = "invscaling",
        eta0: float = 0.01,
        power_t: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        average: bool | int = False,
        quantile: float = 0.5,
        n_jobs: int | None = None,
        algorithm: str | Algorithm = "auto",
        engine: str | Engine = "auto",
        batch_size: int = 1,
        checkpoint: CheckpointLike = None,
    ) -> None:
        param_validation.store_arguments(self, locals())

    def _check_parameters(self, partial: bool = False) -> None:
        super()._check_parameters(partial)
        param_validation.check_number(self, "quantile", 0, 1, closed="neither")

    def _model_and_encoder(self, examples: Examples) -> tuple[Linear, ValueEncoder]:
        loss = self._described_loss
        encoder = ValueEncoder(str(examples.dtype), loss.name if loss.nonnegative_targets else None)
        return self._linear(examples, 1), encoder

    def _other_draws(self, model: Linear) -> tuple[int, int]:
        return 0, 1

    @streaming.blockwise
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict targets, ``(n_rows,)``: the mean or quantile; for poisson ``exp`` of the decision value."""
        return self._described_loss.predict((self._products(X) + self.intercept_).ravel())
