"""``SGDOneClassSVM``: a linear one-class SVM by parallel SGD, with scikit-learn's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn import linear_model
from sklearn.base import OutlierMixin

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import streaming
from parsgd.estimators.fitted.transaction import snapshot
from parsgd.estimators.linear.sgd_base import BaseSGD
from parsgd.estimators.sklearn_callbacks import with_callbacks
from parsgd.estimators.target_encoders import OneClassEncoder
from parsgd.estimators.training_data import Examples
from parsgd.estimators.validation import param_validation
from parsgd.kernels import losses
from parsgd.utils.floating import silent

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.core import Algorithm, Engine
    from parsgd.estimators.validation.argument_types import CheckpointLike, MatrixLike, RandomState
    from parsgd.models.linear.linear_model import Linear


class SGDOneClassSVM(OutlierMixin, BaseSGD):
    """Linear one-class SVM (outlier detection) trained by parallel stochastic gradient descent.

    Minimizes ``nu / 2 |w|^2 + nu b + 1/n sum_i max(0, 1 - (x_i . w + b))`` with ``b = 1 - offset``.

    Drop-in for :class:`sklearn.linear_model.SGDOneClassSVM` of scikit-learn 1.9. Additional parameters:

    Parameters
    ----------
    learning_rate : str
        scikit-learn's schedules, or ``"adagrad"``, as in :class:`parsgd.SGDClassifier`.
    n_jobs, algorithm, engine, batch_size, checkpoint
        As in :class:`parsgd.SGDClassifier`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    offset_ : ndarray of shape (1,)
    n_iter_, t_, history_, algorithm_, outcome_, resumed_from_
        As in :class:`parsgd.SGDClassifier`.

    References
    ----------
    Schölkopf, Platt, Shawe-Taylor, Smola, Williamson, "Estimating the support of a high-dimensional distribution",
    Neural Computation 13, 2001.

    Examples
    --------
    >>> from parsgd import SGDOneClassSVM
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> model = SGDOneClassSVM(nu=0.1, random_state=0).fit(X)
    >>> float((model.predict(X) == 1).mean()) > 0.8, model.predict([[-5.0, -3.0, -1.0, 0.0]])
    (True, array([-1], dtype=int32))
    """

    _serves = losses.ONE_CLASS
    _target_checks = None
    _intercept_argument = "offset_init"
    loss_functions: ClassVar[dict[str, tuple[Any, ...]]] = linear_model.SGDOneClassSVM.loss_functions
    _passive_loss = "epsilon_insensitive"  # so pa1 and pa2 are refused, as in scikit-learn
    # parameters of the base class, fixed here as in scikit-learn
    loss = "hinge"
    penalty = "l2"
    l1_ratio: float = 0.0
    epsilon: float = 0.1
    early_stopping = False
    validation_fraction: float = 0.1
    n_iter_no_change = 5

    def __init__(
        self,
        nu: float = 0.5,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        random_state: RandomState = None,
        learning_rate: str = "optimal",
        eta0: float = 0.01,
        power_t: float = 0.5,
        warm_start: bool = False,
        average: bool | int = False,
        n_jobs: int | None = None,
        algorithm: str | Algorithm = "auto",
        engine: str | Engine = "auto",
        batch_size: int = 1,
        checkpoint: CheckpointLike = None,
    ) -> None:
        param_validation.store_arguments(self, locals())

    @property
    def alpha(self) -> float:
        """Strength of the penalty, and of the linear term in ``b``: ``nu``, as in scikit-learn 1.9."""
        return self.nu

    def _check_parameters(self, partial: bool = False) -> None:
        param_validation.check_number(self, "nu", 0, 1, closed="right")
        if self.learning_rate == "auto":
            raise InvalidArgumentError(
                "learning_rate='auto' does not work with SGDOneClassSVM, whose objective has a linear term that no loss"
                " limits. Use learning_rate='optimal' or 'adagrad'."
            )
        super()._check_parameters(partial)

    @with_callbacks
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        coef_init: ArrayLike | None = None,
        offset_init: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        resume: bool = False,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
            A Dataset (:func:`parsgd.open_dataset`) is streamed; its targets are ignored.
        y : ignored
        coef_init, offset_init : array-like, optional
            Initial values: ``(n_features,)`` and ``(1,)``.
        sample_weight : array-like of shape (n_rows,), optional
        resume : bool, default=False
            Resume from the last checkpoint in the folder ``checkpoint``, if there is one.

        Returns
        -------
        self
        """
        intercept_init = None if offset_init is None else 1.0 - np.asarray(offset_init, dtype=float)
        return self._fit_anew(X, y, sample_weight, resume, coef_init, intercept_init)

    @property
    def _intercept(self) -> np.ndarray:
        return 1.0 - self.offset_

    def _model_and_encoder(self, examples: Examples) -> tuple[Linear, OneClassEncoder]:
        return self._linear(examples, 1, one_class=True), OneClassEncoder(str(examples.dtype))

    def _start(self, *arguments: Any) -> tuple[np.ndarray | None, np.ndarray]:
        coef, intercept = super()._start(*arguments)
        # the default offset is 0
        return coef, np.ones(1) if intercept is None else intercept

    def _coef_attributes(self, coef: np.ndarray, intercept: np.ndarray) -> dict[str, np.ndarray]:
        return {"coef_": coef.ravel(), "offset_": 1.0 - intercept}

    @streaming.blockwise
    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Compute the signed distance to the hyperplane, ``(n_rows,)``: positive for inliers."""
        return (self._products(X) - self.offset_).ravel()

    @silent()
    def score_samples(self, X: MatrixLike) -> np.ndarray:
        """Compute scores without the offset, ``(n_rows,)``."""
        self = snapshot(self)  # another thread may be fitting
        return self.decision_function(X) + self.offset_

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict 1 for inliers, -1 for outliers."""
        return np.where(self.decision_function(X) >= 0, 1, -1).astype(np.int32)
