"""``SGDRegressor``: linear regression by parallel SGD, with scikit-learn's API."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn import linear_model
from sklearn.base import RegressorMixin
from sklearn.model_selection import ShuffleSplit
from sklearn.utils import check_random_state
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted

from parsgd.estimators import streaming
from parsgd.estimators.fitted import checkpoint_context
from parsgd.estimators.fitted.checkpoint_context import FitContext
from parsgd.estimators.linear.linear_validation import LinearR2, validation_rows
from parsgd.estimators.linear.sgd_base import MAX_INT, BaseSGD, initial
from parsgd.estimators.sklearn_callbacks import with_callbacks
from parsgd.estimators.target_encoders import ValueEncoder
from parsgd.estimators.training_data import Examples
from parsgd.estimators.validation import param_validation
from parsgd.estimators.validation.input_validation import validate_data
from parsgd.kernels import losses

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.core import Algorithm, Engine
    from parsgd.estimators.validation.argument_types import CheckpointLike, MatrixLike, RandomState
    from parsgd.kernels.losses import UserLoss
    from parsgd.models.linear.linear_model import Linear


class SGDRegressor(streaming.DatasetScore, RegressorMixin, BaseSGD):
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
        scikit-learn's schedules, or ``"adagrad"``, as in :class:`parsgd.SGDClassifier`.
    n_jobs, algorithm, engine, batch_size, checkpoint
        As in :class:`parsgd.SGDClassifier`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    intercept_ : ndarray of shape (1,)
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
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.epsilon = epsilon
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.average = average
        self.quantile = quantile
        self.n_jobs = n_jobs
        self.algorithm = algorithm
        self.engine = engine
        self.batch_size = batch_size
        self.checkpoint = checkpoint

    def _check_parameters(self, partial: bool = False) -> None:
        super()._check_parameters(partial)
        param_validation.check_number(self, "quantile", 0, 1, closed="neither")

    @with_callbacks
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
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
            float32 stays float32; CSR indices may be 64 bits wide. A Dataset (:func:`parsgd.open_dataset`) is streamed.
        y : array-like of shape (n_rows,)
            Omit with a Dataset, which has its own targets and weights. For ``loss="poisson"``
            values >= 0.
        coef_init, intercept_init : array-like, optional
            Initial values: ``(n_features,)`` and ``(1,)``.
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
        if self.warm_start and getattr(self, "coef_", None) is not None:
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self.intercept_ if intercept_init is None else intercept_init
        self._clear("coef_", "intercept_")
        self.t_: float = 1.0
        with checkpoint_context.checkpointed(self, resume) as context:
            self._fit(X, y, sample_weight, context, coef_init, intercept_init, X_val, y_val)
        self._warn_not_converged()
        return self

    @with_callbacks
    def partial_fit(self, X: MatrixLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Make one pass of SGD over the given rows, starting from the current parameters.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
        y : array-like of shape (n_rows,)
            Omit with a Dataset.
        sample_weight : array-like of shape (n_rows,), optional

        Returns
        -------
        self
        """
        self._check_arguments(True)
        if not hasattr(self, "t_"):
            self.t_ = 1.0
        return self._fit(X, y, sample_weight, FitContext(self), None, None, None, None, partial=True)

    def _fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        context: FitContext,
        coef_init: ArrayLike | None,
        intercept_init: ArrayLike | None,
        X_val: MatrixLike | None,
        y_val: ArrayLike | None,
        partial: bool = False,
    ):
        first = getattr(self, "coef_", None) is None
        examples = self._examples(X, y, sample_weight, reset=first, copy=False, y_numeric=True)
        examples = examples.encode_targets(ValueEncoder(str(examples.dtype), self._nonnegative_loss))
        if not first:
            averaging = bool(self.average) and hasattr(self, "_standard_coef")
            coef_init = self._standard_coef if averaging else self.coef_
            intercept_init = self._standard_intercept if averaging else self.intercept_
        coef = initial(coef_init, (examples.shape[1],), examples.dtype, "coef_init")
        intercept = initial(intercept_init, (1,), examples.dtype, "intercept_init")
        model = self._linear(examples, 1)
        examples, monitor = self._validation(model, examples, context, X_val, y_val)
        seed = int(check_random_state(context.random_state).randint(0, MAX_INT)) if self.shuffle else 0
        self._run(model, examples, context, seed=seed, coef=coef, intercept=intercept, monitor=monitor, partial=partial)
        return self

    @property
    def _nonnegative_loss(self) -> str | None:
        """Name of the loss if it needs targets >= 0."""
        loss = self._described_loss
        return loss.name if loss.nonnegative_targets else None

    def _coef_attributes(self, coef: np.ndarray, intercept: np.ndarray) -> dict[str, np.ndarray]:
        return {"coef_": coef.ravel(), "intercept_": intercept}

    def _targets(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        return ValueEncoder(str(np.dtype(dtype)), self._nonnegative_loss)(y)[0]

    def _validation(
        self,
        model: Linear,
        examples: Examples,
        context: FitContext,
        X_val: MatrixLike | None,
        y_val: ArrayLike | None,
    ) -> tuple[Examples, Any]:
        param_validation.check_pair(X_val, y_val)
        if X_val is not None:
            X_val, y_val = validate_data(
                self,
                X_val,
                y_val,
                accept_sparse="csr",
                dtype=[examples.dtype],
                order="C",
                reset=False,
                y_numeric=True,
            )
            return examples, LinearR2(model, X_val, y_val, None)
        if not self.early_stopping:
            return examples, None
        random_state = context.random_state
        splitter = ShuffleSplit(test_size=self.validation_fraction, random_state=random_state)
        split = partial(validation_rows, self, splitter)
        examples, held_out = examples.hold_out(split, self.validation_fraction, random_state)
        return examples, LinearR2(model, *held_out)

    @streaming.blockwise
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict targets, ``(n_rows,)``: the mean or quantile; for poisson ``exp`` of the decision value."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False)
        decision = (safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_).ravel()
        return self._described_loss.predict(decision)
