"""``TorchClassifier``: a PyTorch module for classification, with scikit-learn's API."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from sklearn.utils.validation import column_or_1d

from parsgd.core import Algorithm, Engine
from parsgd.errors import InvalidArgumentError
from parsgd.estimators.target_encoders import check_classes, class_numbers, classes_of
from parsgd.estimators.torch.components.input_tensors import tensor_of
from parsgd.estimators.torch.components.loss_making import COLUMN_PER_CLASS, ONE_COLUMN, family_of
from parsgd.estimators.torch.torch_estimator import TorchEstimator, fitting
from parsgd.estimators.torch.torch_params import check_weights
from parsgd.estimators.validation import param_validation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from parsgd.estimators.torch.trainer import Trainer
    from parsgd.estimators.validation.argument_types import CheckpointLike, ClassWeight, RandomState


class TorchClassifier(ClassifierMixin, TorchEstimator):
    """PyTorch module for classification, trained by several workers, with scikit-learn's API.

    Minimizes ``sum_i s_i loss(f(x_i), y_i) / sum_i s_i`` over the parameters of the module ``f``, by steps on batches.
    ``s_i`` are the weights of the rows (``sample_weight`` times ``class_weight``), and the sums of a step extend over
    its batch.

    Parameters
    ----------
    module : torch.nn.Module, class, function or None
        An instance is copied at every fit, with its parameters.  A class or function makes a module from the parameters
        ``module__name``, with initial parameters from ``random_state``.  If it has arguments ``n_features`` and
        ``n_outputs``, it gets the number of values per row and of output columns.  None: a network with one hidden
        layer of ``module__hidden=100`` units; further arguments are ``activation``, ``dropout`` and ``dtype``.
    loss : class, module, function or None
        Mean loss of a batch from ``(output, target)``; the target holds class numbers from 0.  A class gets the
        parameters ``loss__name``.  None: :class:`torch.nn.CrossEntropyLoss`, or for modules with one output column
        :class:`torch.nn.BCEWithLogitsLoss`.  Rows with weights need ``reduction="none"``, which losses of PyTorch get.
    optimizer : class or function
        Makes an optimizer from a list of parameters, with ``lr`` if it has such an argument, and the parameters
        ``optimizer__name``.
    lr : float or None
        Learning rate.  None: the default of the optimizer.
    max_epochs : int
        Passes of all workers together over the rows.
    batch_size : int
        Rows per step of one worker.
    algorithm, engine, n_workers
        As in :class:`Trainer`; by default one worker in this process.
    scheduler : class, function or None
        Makes a learning-rate scheduler from an optimizer and the parameters ``scheduler__name``.
    scheduler_interval, accumulate, clip_norm, autocast, optimizer_state, shuffle, drop_last, allow_unused, n_threads
        As in :class:`Trainer`.
    device : str
        Device of training and predictions.  Pickles hold the module on the CPU.
    early_stopping : bool
        Hold out ``validation_fraction`` of the rows, stratified by class, unless ``fit`` gets ``X_val``.  The fit ends
        after ``patience`` epochs without a smaller loss on them, and keeps the best parameters.
    validation_fraction : float
    patience : int
    warm_start : bool
        ``fit`` continues from the parameters of the previous fit, with new optimizers.
    input_type : {"float32", "float64", "int64"} or None
        Type of the module's inputs; None: that of its parameters.  Modules that begin with an embedding need
        ``"int64"``.
    class_weight : dict, "balanced" or None
        Factors on the weights of each class's rows.
    random_state : int, RandomState or None
        Seed of initial parameters, split, orders of rows, and the generators that the module draws from.
    checkpoint : str, path, Checkpoint or None
        Folder for checkpoints, from which ``fit(..., resume=True)`` continues; needs an int as ``random_state``.
    on_epoch : callable or None
        Called with the :class:`Trainer` after every epoch; returns True to stop.
    verbose : bool or int
        Show the progress.
    **components
        Parameters ``module__name``, ``loss__name``, ``optimizer__name`` and ``scheduler__name``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    module_ : torch.nn.Module
        The trained module, in evaluation mode.
    history_ : History
        One entry per round of the last fit.
    outcome_ : Outcome
        How the last fit ended.
    n_iter_ : int
        Epochs since the initial parameters were drawn.
    loss_curve_, validation_losses_ : list of float
        Mean losses of these epochs, on the batches just before their steps and on the validation rows.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if X has names.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        For an invalid parameter, invalid data, or a module that does not fit the data (a ValueError).
    parsgd.errors.DivergedError
        If a parameter or the loss becomes NaN or infinite (a ValueError).

    Examples
    --------
    >>> import torch
    >>> from parsgd.torch import TorchClassifier
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> def make_net(n_features, n_outputs, hidden=16):
    ...     return torch.nn.Sequential(
    ...         torch.nn.Linear(n_features, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, n_outputs)
    ...     )
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TorchClassifier(make_net, module__hidden=8, lr=0.02, max_epochs=20, random_state=0, n_threads=1)
    >>> model.fit(X, y).score(X, y) > 0.9
    True
    >>> search = GridSearchCV(model, {"module__hidden": [4, 8], "optimizer__weight_decay": [0.0, 0.1]}, cv=2)
    >>> bool(search.fit(X, y).best_score_ > 0.9)
    True
    """

    def __init__(
        self,
        module: torch.nn.Module | Callable[..., torch.nn.Module] | None = None,
        *,
        loss: Callable[..., Any] | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        lr: float | None = 1e-3,
        max_epochs: int = 10,
        batch_size: int = 32,
        algorithm: str | Algorithm = "local",
        engine: str | Engine = "auto",
        n_workers: int | None = 1,
        scheduler: Callable[..., Any] | None = None,
        scheduler_interval: str = "epoch",
        accumulate: int = 1,
        clip_norm: float | None = None,
        autocast: str | None = None,
        device: str = "cpu",
        optimizer_state: str = "keep",
        shuffle: bool = True,
        drop_last: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        warm_start: bool = False,
        input_type: str | None = None,
        class_weight: ClassWeight = None,
        allow_unused: bool = False,
        n_threads: int | None = None,
        random_state: RandomState = None,
        checkpoint: CheckpointLike = None,
        on_epoch: Callable[[Trainer], bool | None] | None = None,
        verbose: bool | int = False,
        **components: Any,
    ):
        self._store(locals())

    def _check_parameters(self) -> None:
        param_validation.check(
            self,
            "class_weight",
            lambda v: v is None or isinstance(v, dict) or isinstance(v, str) and v == "balanced",
            "a dict, 'balanced' or None",
        )
        super()._check_parameters()

    @fitting
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Make one pass over the given rows, from the current parameters, with new optimizers.

        Parameters
        ----------
        X : array-like or tensor of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
        sample_weight : array-like of shape (n_rows,), optional
        classes : array-like of shape (n_classes,)
            All classes of all calls; required in the first call.

        Returns
        -------
        self
        """
        if isinstance(self.class_weight, str):
            raise InvalidArgumentError(
                "class_weight='balanced' does not work with partial_fit, which does not get all of y. Compute the"
                " weights from a sample with sklearn.utils.compute_class_weight and pass them as a dict."
            )
        check_classes(classes)
        _check_partial_fit_first_call(self, classes)
        return self._partial_fit(X, y, sample_weight)

    # -- targets -------------------------------------------------------------------------------------------------------

    def _learn_targets(self, y: np.ndarray, warm: bool, partial: bool) -> None:
        check_classification_targets(y)
        y = column_or_1d(y)
        if not partial:
            classes = classes_of(y)
            if warm and not np.array_equal(classes, self.classes_):
                raise InvalidArgumentError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit."
                    f" Previously got {self.classes_}, `y` has {classes}"
                )
            self.classes_: np.ndarray = classes
        if len(self.classes_) < 2:
            raise InvalidArgumentError(
                f"{type(self).__name__} needs at least two classes, and y has one class, {self.classes_.tolist()[0]!r}."
            )

    def _encode(self, y: np.ndarray) -> np.ndarray:
        y = column_or_1d(y, warn=True)
        return class_numbers(self.classes_, y)

    def _all_weights(self, y: np.ndarray, encoded: np.ndarray, weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is not None:
            factors = compute_class_weight(self.class_weight, classes=self.classes_, y=column_or_1d(y))
            if not np.isfinite(factors).all():
                raise InvalidArgumentError(f"class_weight must be finite. The weights of the classes are {factors}.")
            check_weights(factors, "class_weight")
            weight = factors[encoded] if weight is None else factors[encoded] * weight
            check_weights(weight, "The product of sample_weight and class_weight")
        return weight

    def _stratify(self, y: np.ndarray) -> np.ndarray | None:
        return y

    # -- outputs -------------------------------------------------------------------------------------------------------

    def _count_outputs(self) -> int:
        n_classes = len(self.classes_)
        return 1 if n_classes == 2 and family_of(self.loss) in ONE_COLUMN else n_classes

    def _choose_loss(self, output: torch.Tensor) -> Any:
        n_classes, family = len(self.classes_), family_of(self.loss)
        found = 1 if output.ndim == 1 else output.shape[1]
        allowed = {n_classes, 1} if n_classes == 2 else {n_classes}
        if family in ONE_COLUMN:
            allowed = {1} if n_classes == 2 else set()
        elif family in COLUMN_PER_CLASS:
            allowed = {n_classes}
        if not allowed:
            raise InvalidArgumentError(
                f"The loss {_name(self.loss)} is for two classes, and y has {n_classes}. Use torch.nn.CrossEntropyLoss."
            )
        if found not in allowed:
            with_loss = "" if self.loss is None else f" with the loss {_name(self.loss)}"
            raise InvalidArgumentError(
                f"The module of {type(self).__name__} must have {' or '.join(map(str, sorted(allowed)))} output columns"
                f" for {n_classes} classes{with_loss}. It has {found}: its output has shape {tuple(output.shape)}."
            )
        if self.loss is not None:
            return self.loss
        return torch.nn.BCEWithLogitsLoss if found == 1 else torch.nn.CrossEntropyLoss

    def _target_tensor(self, y: np.ndarray, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if output.ndim == 1 or output.shape[1] == 1:
            return tensor_of(y, dtype, "y").reshape(len(y), *output.shape[1:])
        return tensor_of(y, torch.int64, "y")

    # -- predictions ---------------------------------------------------------------------------------------------------

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return the outputs of the module, ``(n_rows, n_classes)``.

        For two classes the result has shape ``(n_rows,)``: the output of the second class minus that of the first, or
        the single output.  It is positive where ``predict`` returns the second class.
        """
        output = self._outputs(X)
        if output.ndim == 1 or output.shape[1] == 1:
            output = output.reshape(len(output))
            return (torch.logit(output) if family_of(self.loss) == "one_probability" else output).numpy()
        return (output[:, 1] - output[:, 0] if output.shape[1] == 2 else output).numpy()

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Compute the probability of each class, ``(n_rows, n_classes)``.

        It is the softmax of the outputs, or the sigmoid of a single output.  Modules for :class:`torch.nn.NLLLoss` and
        :class:`torch.nn.BCELoss` return logarithms of probabilities and probabilities.
        """
        output = self._outputs(X)
        if output.ndim == 2 and output.shape[1] > 1:
            return torch.softmax(output, dim=1).numpy()
        output = output.reshape(len(output))
        second = output if family_of(self.loss) == "one_probability" else torch.sigmoid(output)
        return torch.stack([1 - second, second], dim=1).numpy()

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict classes ``(n_rows,)``."""
        decisions = self.decision_function(X)
        numbers = (decisions > 0).astype(np.int64) if decisions.ndim == 1 else decisions.argmax(axis=1)
        return self.classes_[numbers]


def _name(loss: Any) -> str:
    return getattr(loss, "__name__", type(loss).__name__)
