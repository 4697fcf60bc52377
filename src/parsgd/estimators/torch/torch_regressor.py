"""``TorchRegressor``: a PyTorch module for regression, with scikit-learn's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import column_or_1d

from parsgd.errors import InvalidArgumentError
from parsgd.estimators.torch.components.input_tensors import tensor_of
from parsgd.estimators.torch.torch_estimator import TorchEstimator, fitting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from sklearn.utils import Tags


class TorchRegressor(RegressorMixin, TorchEstimator):
    """PyTorch module for regression, trained by several workers, with scikit-learn's API.

    Minimizes ``sum_i s_i loss(f(x_i), y_i) / sum_i s_i`` over the parameters of the module ``f``, by steps on batches.
    ``s_i`` are the weights of the rows, and the sums of a step extend over its batch.

    Parameters
    ----------
    module, optimizer, lr, max_epochs, batch_size, algorithm, engine, n_workers, ...
        As in :class:`TorchClassifier`.  A class or function gets ``n_outputs``, the number of targets.
    loss : class, module, function or None
        Mean loss of a batch from ``(output, target)``, both of shape ``(n_rows, n_outputs)``.  For a single target and
        a module with outputs ``(n_rows,)``, both have this shape.  None: :class:`torch.nn.MSELoss`.

    Attributes
    ----------
    n_outputs_ : int
        Number of targets.
    module_, history_, outcome_, n_iter_, loss_curve_, validation_losses_, n_features_in_, feature_names_in_
        As in :class:`TorchClassifier`.

    Raises
    ------
    parsgd.errors.InvalidArgumentError
        For an invalid parameter, invalid data, or a module that does not fit the data (a ValueError).
    parsgd.errors.DivergedError
        If a parameter or the loss becomes NaN or infinite (a ValueError).

    Examples
    --------
    >>> from parsgd.torch import TorchRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(200, 4, random_state=0)
    >>> model = TorchRegressor(lr=0.01, max_epochs=40, random_state=0, n_threads=1)
    >>> model.fit(X, y / y.std()).score(X, y / y.std()) > 0.95
    True
    """

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @fitting
    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Make one pass over the given rows, from the current parameters, with new optimizers.

        Parameters
        ----------
        X : array-like or tensor of shape (n_rows, ...)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        sample_weight : array-like of shape (n_rows,), optional

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict targets, of shape ``(n_rows,)`` for a single target, else ``(n_rows, n_outputs)``."""
        output = self._outputs(X).numpy()
        return output.reshape(len(output)) if self.n_outputs_ == 1 else output

    def _learn_targets(self, y: np.ndarray, warm: bool, partial: bool) -> None:
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if warm and n_outputs != self.n_outputs_:
            raise InvalidArgumentError(
                f"y has {n_outputs} targets per row, and had {self.n_outputs_} in the previous fit. Pass as many."
            )
        self.n_outputs_: int = n_outputs

    def _encode(self, y: np.ndarray) -> np.ndarray:
        if y.dtype.kind not in "biuf":
            try:
                y = y.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise InvalidArgumentError(
                    f"y of {type(self).__name__} must hold numbers. Its first value is {y.ravel()[0]!r}."
                ) from error
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs != self.n_outputs_:
            raise InvalidArgumentError(f"y_val has {n_outputs} targets per row, and y has {self.n_outputs_}.")
        return y

    def _count_outputs(self) -> int:
        return self.n_outputs_

    def _choose_loss(self, output: torch.Tensor) -> Any:
        found = 1 if output.ndim == 1 else output.shape[1]
        if found != self.n_outputs_:
            raise InvalidArgumentError(
                f"The module of {type(self).__name__} must have {self.n_outputs_} output{'s' * (self.n_outputs_ > 1)},"
                f" one per target. It has {found}: its output has shape {tuple(output.shape)}."
            )
        return torch.nn.MSELoss if self.loss is None else self.loss

    def _target_tensor(self, y: np.ndarray, output: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return tensor_of(y, dtype, "y").reshape(len(y), *output.shape[1:])
