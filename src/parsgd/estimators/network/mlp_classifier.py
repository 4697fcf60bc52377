"""``MLPClassifier``: feed-forward classifiers by parallel SGD, with scikit-learn's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target

from parsgd.errors import InvalidArgumentError
from parsgd.estimators import streaming
from parsgd.estimators.fitted.checkpoint_context import FitContext
from parsgd.estimators.network.mlp_base import BaseMLP
from parsgd.estimators.network.mlp_params import is_stochastic
from parsgd.estimators.network.network_validation import accuracy
from parsgd.estimators.sklearn_callbacks import with_callbacks
from parsgd.estimators.target_encoders import LabelEncoder, MultiLabelEncoder, check_classes
from parsgd.estimators.training_data import Examples, StreamedData
from parsgd.estimators.validation import param_validation
from parsgd.utils.floating import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from sklearn.utils import Tags

    from parsgd.core import Algorithm, Engine
    from parsgd.estimators.validation.argument_types import CheckpointLike, ClassWeight, MatrixLike, RandomState


class MLPClassifier(streaming.DatasetScore, ClassifierMixin, BaseMLP):
    """Feed-forward networks for classification, trained in matrix form by parallel stochastic gradient descent.

    Minimizes, with ``n = sum_i s_i``,

    ``1/n sum_i s_i loss(y_i, p(x_i)) + alpha / (2 n) sum_l |W_l|_2^2``

    where loss is the softmax cross-entropy, or for two classes and for multilabel targets the sigmoid cross-entropy.
    Drop-in for :class:`sklearn.neural_network.MLPClassifier` of scikit-learn 1.9: the arguments up to ``max_fun``,
    their defaults and the attributes are the same. With one worker, the same initial weights and ``shuffle=False`` a
    fit makes the same steps as scikit-learn. Additional parameters:

    Parameters
    ----------
    activation : {"identity", "logistic", "tanh", "relu", "gelu", "leaky_relu"}, default="relu"
        gelu is the tanh approximation; the slope of leaky_relu below 0 is 0.01.
    solver : {"lbfgs", "sgd", "adam", "adamw"}, default="adam"
        ``adamw`` shrinks the weights by ``learning_rate_init * alpha`` per step instead of penalizing them.
    batch_size : int or "auto", default="auto"
        Rows per step *of each worker* (with ``algorithm="minibatch"`` of all workers together).
    class_weight : dict, "balanced" or None, default=None
        Factors on the weights of each class's examples; not for multilabel targets.
    dropout : float, default=0.0
        Probability with which a hidden unit is left out of a step.
    clip_norm : float or None, default=None
        Maximum norm of a step's gradient.
    weight_init : {"glorot", "he"}, default="glorot"
    n_jobs, algorithm, engine, checkpoint
        As in :class:`parsgd.SGDClassifier`; no checkpoint with ``solver="lbfgs"``. :class:`parsgd.Hogwild` is for
        sparse rows and plain SGD.

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_in, n_out)
    intercepts_ : list of ndarray of shape (n_out,)
    classes_ : ndarray of shape (n_classes,)
    loss_, best_loss_ : float
    loss_curve_ : list of float
        Mean loss per epoch with the penalty, each batch's taken just before its step. In float32 the penalty in it is
        up to 16 steps old.
    validation_scores_, best_validation_score_ : list of float, float
        With ``early_stopping``; the weights of the best score are kept.
    t_ : int
        Examples visited.
    n_iter_, n_layers_, n_outputs_ : int
    out_activation_ : str
    history_, algorithm_, outcome_, resumed_from_
        As in :class:`parsgd.SGDClassifier`.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        For an invalid parameter or invalid data (a ValueError).
    parsgd.errors.DivergedError
        If the parameters become NaN or infinite (a ValueError).

    References
    ----------
    Zinkevich, Weimer, Smola, Li, "Parallelized Stochastic Gradient Descent", NIPS 2010.  Stich, "Local SGD Converges
    Fast and Communicates Little", ICLR 2019.

    Examples
    --------
    >>> from parsgd import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier(solver="sgd", learning_rate_init=0.1, batch_size=32, max_iter=20, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # 20 epochs are not convergence
    ...     model.fit(X / 16, y).score(X / 16, y) > 0.95
    True
    """

    _target_checks: ClassVar[dict[str, bool]] = {"multi_output": True}
    _score = staticmethod(accuracy)

    def __init__(
        self,
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
        class_weight: ClassWeight = None,
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
        param_validation.check(
            self,
            "class_weight",
            lambda v: v is None or isinstance(v, dict) or isinstance(v, str) and v == "balanced",
            "a dict, 'balanced' or None",
        )
        super()._check_parameters()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @available_if(is_stochastic)
    @with_callbacks
    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
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
        y : array-like of shape (n_rows,) or (n_rows, n_labels)
            Omit with a Dataset.
        sample_weight : array-like of shape (n_rows,), optional
        classes : array-like of shape (n_classes,)
            All classes of all calls; required in the first call.
        X_val, y_val : array-like, optional

        Returns
        -------
        self
        """
        self._check_arguments()
        self._check_validation_set(X_val, y_val, partial=True)
        if isinstance(self.class_weight, str):
            raise InvalidArgumentError(
                "class_weight='balanced' does not work with partial_fit, which does not get all of y. Compute the"
                " weights from a sample with sklearn.utils.compute_class_weight and pass them as a dict."
            )
        check_classes(classes)
        first = _check_partial_fit_first_call(self, classes)
        fitted = "coefs_" in vars(self)
        examples = self._columns(X, y, sample_weight, reset=not fitted)
        # also if an earlier first call set the classes and then failed
        if first or not fitted:
            arrays = not isinstance(examples, StreamedData)
            self._multilabel = arrays and type_of_target(examples.y).startswith("multilabel")
        self._fit_rows(examples, FitContext(self), True, X_val, y_val)
        return self

    def _learn_classes(self, examples: Examples, warm: bool) -> None:
        labels = examples.dataset.classes if isinstance(examples, StreamedData) else examples.y
        binarizer = LabelBinarizer().fit(labels)
        if not warm:
            self.classes_: np.ndarray = binarizer.classes_
            self._multilabel = binarizer.y_type_.startswith("multilabel")
            return
        classes = np.asarray(binarizer.classes_)
        if set(classes.tolist()) != set(self.classes_.tolist()):
            raise InvalidArgumentError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously"
                f" got {self.classes_}, `y` has {classes}"
            )

    def _encoder(self, dtype: Any, examples: Examples | None = None) -> LabelEncoder | MultiLabelEncoder:
        factors = None
        if examples is not None and self.class_weight is not None:
            if self._multilabel:
                raise InvalidArgumentError("class_weight does not work with multilabel targets; use sample_weight.")
            factors = examples.class_factors(self.class_weight, self.classes_)
        if self._multilabel:
            return MultiLabelEncoder(len(self.classes_), str(np.dtype(dtype)))
        form = "column" if len(self.classes_) <= 2 else "numbers"
        return LabelEncoder(self.classes_, form, str(np.dtype(dtype)), factors)

    def _count_outputs(self, examples: Examples) -> int:
        return len(self.classes_) if self._multilabel or len(self.classes_) > 2 else 1

    def _network_loss(self) -> dict[str, Any]:
        separate = self._multilabel or len(self.classes_) <= 2
        return {"loss": "sigmoid" if separate else "softmax"}

    @streaming.blockwise
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict classes ``(n_rows,)``, or 0 and 1 ``(n_rows, n_labels)``."""
        p = self._predicted(X)
        if self._multilabel:
            return (p > 0.5).astype(int)
        if p.shape[1] == 1:
            return self.classes_[np.minimum((p[:, 0] > 0.5).astype(int), len(self.classes_) - 1)]
        return self.classes_[p.argmax(axis=1)]

    @streaming.blockwise
    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Compute the probability of each class ``(n_rows, n_classes)``; for multilabel targets of each label."""
        p = self._predicted(X)
        return np.column_stack([1 - p, p]) if p.shape[1] == 1 else p

    @silent()
    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the logarithm of :meth:`predict_proba`."""
        return np.log(self.predict_proba(X))
