"""``SGDClassifier``: linear classifiers by parallel SGD, with scikit-learn's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn import linear_model
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils.extmath import softmax
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import streaming
from parsgd.estimators.fitted.checkpoint_context import FitContext
from parsgd.estimators.linear.linear_validation import accuracy
from parsgd.estimators.linear.sgd_base import BaseSGD
from parsgd.estimators.linear.two_classes import difference, difference_in_place, with_difference
from parsgd.estimators.linear.uncertainty.uncertain_linear import UncertainClassifier
from parsgd.estimators.sklearn_callbacks import with_callbacks
from parsgd.estimators.target_encoders import LabelEncoder, check_classes, class_numbers, classes_of
from parsgd.estimators.training_data import Examples, StreamedData
from parsgd.estimators.validation import param_validation
from parsgd.kernels import losses
from parsgd.models.linear.linear_model import Linear
from parsgd.utils.floating import silent

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.core import Algorithm, Engine
    from parsgd.estimators.validation.argument_types import CheckpointLike, ClassWeight, MatrixLike, RandomState
    from parsgd.kernels.losses import UserLoss


class SGDClassifier(streaming.DatasetScore, UncertainClassifier, LinearClassifierMixin, BaseSGD):
    """Linear classifiers (SVM, logistic regression, softmax) trained by parallel stochastic gradient descent.

    Minimizes, for each class against the rest or for all classes at once (``loss="softmax"``),

    ``1/n sum_i s_i loss(y_i, x_i . w + b) + alpha ((1 - l1_ratio) / 2 |w|_2^2 + l1_ratio |w|_1)``

    Drop-in for :class:`sklearn.linear_model.SGDClassifier` of scikit-learn 1.9: the arguments up to ``average``, their
    defaults and the attributes are the same. With one worker a binary fit makes the same steps as scikit-learn.
    Additional parameters:

    Parameters
    ----------
    loss : str or object, default="hinge"
        scikit-learn's nine losses, ``"softmax"`` (multinomial logistic regression, one pass for all classes), or an
        object with ``loss(self, y, p)`` and ``gradient(self, y, p)``, where y is -1 or +1 and p the decision value. The
        attributes of the object must be numbers. It is compiled on first use, once per class definition.
    learning_rate : str, default="optimal"
        scikit-learn's schedules, or ``"adagrad"``: one rate per weight, ``eta0`` over the root of the sum of its
        squared gradients (Duchi, Hazan, Singer, JMLR 12, 2011). It needs few passes, on sparse rows often one. Use
        ``eta0`` from 0.05 (dense, standardized) to 1 (sparse rows of length 1), and ``average=False``.  With
        ``algorithm="auto"``, K workers average at ``sqrt(K)`` times ``eta0``, which makes the progress of one worker.
        ``"auto"`` needs no ``eta0`` and no scaled columns: AdaGrad in the scales of the columns, with steps that end
        where the linear approximation of the row's loss is 0.  Its penalty is that of the scaled columns
        (docs/tuning.md).
    n_jobs : int or None, default=None
        Workers for *one* fit, also a binary one; 1 is serial SGD. None and -1 choose the number from the data size, up
        to all cores; small data get one worker. -2 leaves one core free. A positive number is used as is, but with
        ``algorithm="auto"`` on threads it is a limit: fewer workers are used if more are predicted to take longer.
        :func:`joblib.parallel_config` sets a lower limit; inside another parallel loop the limit is one worker.
        One-against-all fits with fewer than 200 rows per worker use one worker if ``algorithm="auto"``; as in
        scikit-learn, ``n_jobs`` then changes no model.
    verbose : int, default=0
        1: a progress view on a terminal or in a notebook, otherwise one plain line per second, nothing if ``CI`` is
        set. 2: one line per round. See docs/progress.md, also for callbacks (``set_callbacks``).
    algorithm : str or object, default="auto"
        Parallel algorithm: ``"auto"``, ``"simuparallel"``, ``"weighted"``, ``"local"``, ``"minibatch"``,
        ``"delayed"``, ``"asynchronous"``, ``"elastic"``, ``"hogwild"``. ``algorithm_`` records the choice and its
        reason. :class:`parsgd.Hogwild`, on shared memory without averages, suits few sparse rows of many features.
    engine : {"auto", "serial", "threads", "processes", "simulated"} or object, default="auto"
        Where the workers run. ``"serial"`` runs them one after another in this thread, with the same results, for
        debugging. :class:`parsgd.Simulated` does the same on a virtual clock, with chosen speeds, delays and failures
        of up to thousands of workers.
    batch_size : int, default=1
        Rows per step; the step uses the mean of their gradients.
    checkpoint : str, path, :class:`parsgd.Checkpoint` or None, default=None
        Folder in which ``fit`` saves checkpoints between rounds, about every 10 seconds; :class:`parsgd.Checkpoint`
        sets the interval. ``fit(..., resume=True)`` resumes an interrupted fit. ``partial_fit`` saves none: save the
        model between calls.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
    intercept_ : ndarray of shape (1,) or (n_classes,)
    classes_ : ndarray of shape (n_classes,)
    n_iter_ : int
        Passes over the data before stopping.
    t_ : float
        Steps of each worker, plus one; with ``algorithm="hogwild"`` the steps of all workers together.
    history_ : parsgd.training.reporting.history.History
        List with a dict per round: time, progress, loss, work of each worker.  The module lists the keys.
        ``to_frame()`` converts it to a table.
    algorithm_ : Choice
        ``name``, ``why``, ``algorithm``, ``n_workers``.
    outcome_ : parsgd.errors.Outcome
        Reason why the fit ended.
    coef_std_, intercept_std_, covariance_
        Standard errors, after :meth:`estimate_uncertainty`.
    resumed_from_ : int or None
        With ``checkpoint``: the round from which the fit resumed; None if it started.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        For an invalid parameter or invalid data (a ValueError).
    parsgd.errors.DivergedError
        If the parameters become NaN or infinite (a ValueError); names the round and the epoch.
    parsgd.errors.CheckpointError
        If no checkpoint can be written, or the fit cannot resume from the existing one (a ValueError).

    References
    ----------
    Zinkevich, Weimer, Smola, Li, "Parallelized Stochastic Gradient Descent", NIPS 2010.

    Examples
    --------
    >>> from parsgd import SGDClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = SGDClassifier(loss="log_loss", n_jobs=2, random_state=0).fit(X / 16, y)
    >>> model.score(X / 16, y) > 0.95
    True
    """

    _serves = losses.CLASSIFIER
    _passive_loss = "hinge"
    _score = staticmethod(accuracy)
    # scikit-learn's table of losses, part of its public attributes: name -> (class, *arguments)
    loss_functions: ClassVar[dict[str, tuple[Any, ...]]] = linear_model.SGDClassifier.loss_functions

    def __init__(
        self,
        loss: str | UserLoss = "hinge",
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
        n_jobs: int | None = None,
        random_state: RandomState = None,
        learning_rate: str = "optimal",
        eta0: float = 0.01,
        power_t: float = 0.5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: ClassWeight = None,
        warm_start: bool = False,
        average: bool | int = False,
        algorithm: str | Algorithm = "auto",
        engine: str | Engine = "auto",
        batch_size: int = 1,
        checkpoint: CheckpointLike = None,
    ) -> None:
        param_validation.store_arguments(self, locals())

    @with_callbacks
    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Make one pass of SGD over the given rows, starting from the current parameters.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_rows, n_features), or Dataset
        y : array-like of shape (n_rows,)
            Omit with a Dataset.
        classes : array-like of shape (n_classes,)
            All classes of all calls; required in the first call.
        sample_weight : array-like of shape (n_rows,), optional

        Returns
        -------
        self
        """
        self._check_arguments(True)
        first = "classes_" not in vars(self)
        if first and isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise InvalidArgumentError(
                "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' weights, use"
                " compute_class_weight('balanced', classes=classes, y=y). In place of y you can use a large enough"
                " sample of the full training set target to properly estimate the class frequency distributions. Pass"
                " the resulting weights as the class_weight parameter."
            )
        check_classes(classes)
        examples = self._examples(X, y, sample_weight, reset=first)
        _check_partial_fit_first_call(self, classes)
        return self._fit_rows(examples, y, FitContext(self), partial=True)

    def _learn_classes(self, examples: Examples) -> None:
        classes = examples.dataset.classes if isinstance(examples, StreamedData) else classes_of(examples.y)
        if classes.dtype.kind in "iubU":
            self.classes_: np.ndarray = classes
        else:
            _check_partial_fit_first_call(self, classes)  # raises for invalid labels

    def _model_and_encoder(self, examples: Examples) -> tuple[Linear, LabelEncoder]:
        """Build the model, and the encoder of labels to targets: -1 and 1, or class numbers."""
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise InvalidArgumentError(f"The number of classes has to be greater than one; got {n_classes} class")
        class_weight = np.ones(n_classes)
        if self.class_weight is not None:
            class_weight = examples.class_factors(self.class_weight, self.classes_)
        single = n_classes == 2 and not self._described_loss.joint
        positive = class_weight[1:] if single else class_weight
        negative = class_weight[:1] if single else np.ones(n_classes)
        model = self._linear(
            examples,
            1 if single else n_classes,
            positive=tuple(map(float, positive)),
            negative=tuple(map(float, negative)),
        )
        return model, LabelEncoder(self.classes_, "signs" if single else "numbers", str(examples.dtype))

    def _coef_shape(self, model: Linear) -> tuple[int, ...]:
        return (model.n_outputs, model.n_features)

    def _coef_attributes(self, coef: np.ndarray, intercept: np.ndarray) -> dict[str, np.ndarray]:
        if len(coef) == 2:
            # averages are stored in both forms
            is_free = coef.flags.f_contiguous and not coef.flags.owndata and not self.average
            coef = difference_in_place(coef) if is_free else difference(coef)
            intercept = difference(intercept)
        return {"coef_": coef, "intercept_": intercept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        with_difference(self)

    def _other_draws(self, model: Linear) -> tuple[int, int]:
        # one-against-all draws a seed per class, of which the common row order takes the first
        return (1, 0) if model.n_outputs == 1 else (0, len(self.classes_) - 1)

    def _validation_targets(self, y: np.ndarray) -> np.ndarray:
        return class_numbers(self.classes_, y)

    def _check_proba(self) -> bool:
        if not self._described_loss.has_probabilities:
            raise AttributeError(f"probability estimates are not available for loss={self.loss!r}")
        return True

    @available_if(_check_proba)
    @streaming.blockwise
    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Compute the probability of each class, ``(n_rows, n_classes)``.

        ``softmax``: the model's own. ``log_loss``: logistic probabilities of the classes, normalized to sum to one.
        ``modified_huber``: ``(clip(decision, -1, 1) + 1) / 2``, normalized (Zadrozny and Elkan, KDD 2002).
        """
        loss, scores = self._described_loss, self.decision_function(X)
        if loss.joint:
            return softmax(np.column_stack([-scores, scores]) / 2 if scores.ndim == 1 else scores, copy=True)
        scores = loss.probability.values(scores)
        if scores.ndim == 1:
            return np.column_stack([1 - scores, scores])
        total = scores.sum(axis=1, keepdims=True)
        scores = np.where(total == 0, 1.0, scores)
        return scores / scores.sum(axis=1, keepdims=True)

    @available_if(_check_proba)
    @silent()
    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the logarithm of :meth:`predict_proba`."""
        return np.log(self.predict_proba(X))

    @streaming.blockwise
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict classes, ``(n_rows,)``."""
        return super().predict(X)

    @streaming.blockwise
    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Compute ``X coef_^T + intercept_``: ``(n_rows,)`` for two classes, else ``(n_rows, n_classes)``."""
        scores = self._products(X) + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores
