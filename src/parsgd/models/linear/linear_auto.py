"""Linear models with ``learning_rate="auto"``: scales of the features, and the compiled run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core.padded import padded_zeros
from parsgd.kernels.linear.hyperparams import Hyperparams
from parsgd.models.linear.linear_adagrad import AdagradRun
from parsgd.models.linear.linear_sgd_run import without_cache
from parsgd.utils import first_use

if TYPE_CHECKING:
    from parsgd.models.linear.linear_model import Linear


@dataclass(frozen=True, eq=False)
class FeatureScales:
    """``center``, ``inverse_scale`` ``(n_features,)`` in the model's dtype; ``center`` is empty for CSR rows."""

    center: np.ndarray
    inverse_scale: np.ndarray

    def scaled(self, coef: np.ndarray) -> np.ndarray:
        """Return the weights of the scaled features for ``coef (n_features, n_outputs)``, flat."""
        inverse = self.inverse_scale
        scale = np.divide(1.0, inverse, out=np.zeros(len(inverse)), where=inverse > 0.0)
        return (coef * scale[:, None]).ravel()


class AutoRun(AdagradRun):
    """A run of steps without a learning rate to choose, on a state, in place."""

    def __init__(
        self,
        model: Linear,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        schedule_step_size: float = 1.0,
    ):
        super().__init__(model, state, schedule_step, lr_scale, schedule_step_size)
        assert model.scales is not None
        self.scales = model.scales
        self.work = padded_zeros((5, model.n_outputs), model.dtype), padded_zeros((5, model.n_outputs))
        self.kernel = first_use.kernels("linear.auto_rate").run_auto
        if model.described_loss.is_compiled_separately:
            self.kernel = without_cache(self.kernel, self.hyperparams.loss)

    def _step_arguments(self, hyperparams: Hyperparams) -> tuple[Any, ...]:
        scales = (self.scales.center, self.scales.inverse_scale)
        limited = self.model.described_loss.name != "perceptron"
        return (self.coef, self.squares, self.paid, *scales, *self.work, limited, self.lanes, hyperparams)

    def _compiled_run(self, kernels: Any, kernel_address: Callable[..., int], hyperparams: Hyperparams) -> Any:
        raise NotImplementedError("the model does not offer compiled rounds")

    def _shrink_all(self) -> None:
        shrink_all = first_use.kernels("linear.auto_rate").shrink_all
        scales, n_outputs = (self.scales.center, self.scales.inverse_scale), self.model.n_outputs
        shrink_all(self.coef, self.squares, self.paid, *scales, n_outputs, self.lanes, self.hyperparams)
