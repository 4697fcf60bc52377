"""``MLPRegressor``: feed-forward regressors by parallel SGD, behind scikit-learn's face."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import checkpoint_context, param_validation, streaming
from parsgd.estimators.network.mlp_base import BaseMLP, is_stochastic
from parsgd.estimators.sklearn_callbacks import with_callbacks
from parsgd.estimators.target_encoders import ValueEncoder

LOSSES = ("squared_error", "poisson", "absolute_error", "huber")


class MLPRegressor(RegressorMixin, BaseMLP):
    """Feed-forward networks for regression, trained in matrix form by parallel stochastic gradient descent.

    Minimises, with ``n = sum_i s_i``,

    ``1/n sum_i s_i loss(y_i, p(x_i)) + alpha / (2 n) sum_l |W_l|_2^2``

    Drop-in for :class:`sklearn.neural_network.MLPRegressor` of scikit-learn 1.9: the arguments up to ``max_fun``, their
    defaults and the attributes are the same, and with one worker, the same first weights and ``shuffle=False`` a fit
    repeats scikit-learn's steps.  Further, besides what :class:`MLPClassifier` describes:

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber"}, default="squared_error"
        Half the squares; half the Poisson deviance, with an exponential last layer, for targets from 0 on; absolute
        differences; half the squares up to ``delta`` and linear beyond.  As in scikit-learn ``loss_curve_`` has the
        mean over several outputs (of poisson their sum), while steps follow the gradient of the sum.
    delta : float, default=1.0
        Where huber becomes linear, in units of the target.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        For a parameter or data that cannot be used (a ValueError).
    parsgd.errors.DivergedError
        When the parameters leave the finite numbers (a ValueError).

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
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        delta=1.0,
        dropout=0.0,
        clip_norm=None,
        weight_init="glorot",
        n_jobs=None,
        algorithm="auto",
        engine="auto",
        checkpoint=None,
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes, activation=activation, solver=solver, alpha=alpha,
            batch_size=batch_size, learning_rate=learning_rate, learning_rate_init=learning_rate_init, power_t=power_t,
            max_iter=max_iter, shuffle=shuffle, random_state=random_state, tol=tol, verbose=verbose,
            warm_start=warm_start, momentum=momentum, nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping, validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2,
            epsilon=epsilon, n_iter_no_change=n_iter_no_change, max_fun=max_fun, dropout=dropout, clip_norm=clip_norm,
            weight_init=weight_init, n_jobs=n_jobs, algorithm=algorithm, engine=engine,
            checkpoint=checkpoint,
        )  # fmt: skip
        self.loss = loss
        self.delta = delta

    def _check_parameters(self) -> None:
        param_validation.check_choice(self, "loss", LOSSES)
        param_validation.check_number(self, "delta", 0, closed="neither")
        super()._check_parameters()

    @with_callbacks
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None, resume=False):
        """Fit the model.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
            float32 stays float32.  A Dataset (:func:`parsgd.open_dataset`) is read while it is trained on.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Not given with a Dataset, which has its own, as it has weights.  For ``loss="poisson"`` not negative.
        sample_weight : array-like of shape (n_rows,), optional
        X_val, y_val : array-like, optional
            Your own validation set.  Its R^2 is in ``history_``, and with ``early_stopping=True`` it decides.
        resume : bool, default=False
            Go on from the last checkpoint in the folder ``checkpoint``, if there is one.

        Returns
        -------
        self
        """
        self._check_arguments()
        again = self.warm_start and hasattr(self, "coefs_")
        with checkpoint_context.keeping(self, resume):
            self._fit_numbers(X, y, sample_weight, False, X_val, y_val, reset=not again)
        self._warn_of_the_end()
        return self

    @available_if(is_stochastic)
    @with_callbacks
    def partial_fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None):
        """One pass over the given rows, going on from the present state, the solver's moments included.

        With ``early_stopping=True`` give ``X_val`` and ``y_val``: every call is scored on them, and after
        ``n_iter_no_change`` calls without improvement the best weights are put back and ``outcome_`` says
        ``Outcome.CONVERGED``.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Not given with a Dataset.
        sample_weight : array-like of shape (n_rows,), optional
        X_val, y_val : array-like, optional

        Returns
        -------
        self
        """
        self._check_arguments()
        self._fit_numbers(X, y, sample_weight, True, X_val, y_val, reset=not hasattr(self, "coefs_"))
        return self

    def _fit_numbers(self, X, y, sample_weight, partial, X_val, y_val, reset) -> None:
        self._check_validation_set(X_val, y_val, partial)
        examples = self._examples(X, y, sample_weight, reset, y_numeric=True)
        if not streaming.is_streamed(X) and examples.y.ndim == 2 and examples.y.shape[1] == 1:
            examples = replace(examples, y=column_or_1d(examples.y, warn=True))
        dtype = examples.dtype
        examples = examples.posed(ValueEncoder(str(dtype), self.loss, column=True))
        self.n_outputs_ = 1 if streaming.is_streamed(X) else examples.target.shape[1]
        held = None
        if X_val is not None:
            X_val, y_val = self._read(X_val, y_val, reset=False, y_numeric=True)
            held = (X_val.astype(dtype, copy=False), self._targets(y_val, dtype), None)
            if held[1].shape[1] != self.n_outputs_:
                raise InvalidArgumentError(f"y_val has {held[1].shape[1]} targets a row, y has {self.n_outputs_}.")
        self._fit_network(examples, partial, held, stratify=False)

    def _targets(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """``(n_rows, n_outputs)``."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return ValueEncoder(str(np.dtype(dtype)), self.loss, column=True)(y)[0]

    def _network_loss(self) -> dict[str, Any]:
        return {"loss": self.loss, "loss_parameter": float(self.delta)}

    def _monitor(self, model, X, y, weight):
        return NetworkR2(model, X, y, weight)

    def score(self, X, y=None, sample_weight=None):
        """R^2 of the predictions; a Dataset brings its own targets and weights."""
        if streaming.is_streamed(X):
            return streaming.score_of(self, X, y, sample_weight)
        return super().score(X, y, sample_weight)

    @streaming.blockwise
    def predict(self, X):
        """Predicted targets, ``(n_rows,)`` or ``(n_rows, n_outputs)``."""
        p = self._predicted(X)
        return p.ravel() if p.shape[1] == 1 else p


class NetworkR2:
    """Coefficient of determination of a state on held-back rows; picklable."""

    def __init__(self, model, X, y: np.ndarray, weight: np.ndarray | None):
        self.model, self.X, self.y, self.weight = model, X, y, weight

    def __call__(self, state: np.ndarray) -> np.ndarray:
        # a state that diverges has the score NaN, and no warnings
        with np.errstate(over="ignore", invalid="ignore"):
            predicted = self.model.predict(state, self.X)
            if not np.isfinite(predicted).all():
                return np.array([np.nan])
            return np.array([r2_score(self.y, predicted, sample_weight=self.weight)])
