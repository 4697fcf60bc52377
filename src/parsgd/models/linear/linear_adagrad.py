"""AdaGrad for linear models: the compiled run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import Rows
from parsgd.core.padded import padded_zeros
from parsgd.kernels.linear import run_state as field
from parsgd.kernels.linear.hyperparams import Hyperparams
from parsgd.models.linear.linear_sgd_run import LinearSGDRun, without_cache
from parsgd.utils import first_use

if TYPE_CHECKING:
    from parsgd.models.linear.linear_model import Linear


class AdagradRun(LinearSGDRun):
    """A run of AdaGrad steps on a state, in place.

    Between :meth:`run` and :meth:`finalize` weights may have a pending penalty.
    """

    squares: np.ndarray
    batch_gradient: np.ndarray

    def __init__(
        self,
        model: Linear,
        state: np.ndarray,
        schedule_step: float,
        lr_scale: np.ndarray,
        schedule_step_size: float = 1.0,
    ):
        adagrad = first_use.kernels("linear.adagrad")
        super().__init__(model, state, schedule_step, lr_scale, schedule_step_size)
        self.kernel = first_use.kernels("linear.adagrad_multi").run_adagrad_multi
        if model.n_outputs == 1:
            self.kernel, self.scratch = adagrad.run_adagrad, tuple(padded_zeros((3, adagrad.BLOCK), model.dtype))
        if model.described_loss.is_compiled_separately:
            self.kernel = without_cache(self.kernel, self.hyperparams.loss)
        self.squares = model.part(state, "squares")
        penalised = model.penalty is not None and model.alpha > 0
        self.paid = padded_zeros(self.squares.size if penalised else 0, model.dtype)
        self.batch_gradient = padded_zeros(self.squares.size if model.batch_size > 1 else 0, model.dtype)
        self.run_state[field.INTERCEPT_SQUARES] = self.views["intercept_squares"]

    def run(self, rows: Rows, order: np.ndarray, start: int, stop: int) -> None:
        self.run_state[field.LR_SCALE] = self.lr_scale
        self.kernel(*rows, order, start, stop, *self._step_arguments(self.hyperparams))
        self.examples += stop - start

    def _step_arguments(self, hyperparams: Hyperparams) -> tuple[Any, ...]:
        state = (self.coef, self.squares, self.paid, self.batch_gradient, self.buffer, self.scratch, self.lanes)
        return (*state, hyperparams)

    def _compiled_run(self, kernels: Any, kernel_address: Callable[..., int], hyperparams: Hyperparams) -> Any:
        run = (
            super()
            ._compiled_run(kernels, kernel_address, hyperparams)
            ._replace(
                squares=self.squares,
                intercept_squares=self.model.part(self.state, "intercept_squares"),
                applied_penalty=self.paid,
            )
        )
        if not self.paid.size:
            return run
        apply_penalty_all = first_use.kernels("linear.adagrad").apply_penalty_all
        arguments = (self.coef, self.squares, self.paid, self.model.n_outputs, self.lanes, hyperparams)
        return run._replace(penalty_address=kernel_address(apply_penalty_all, arguments))

    def _kept(self) -> tuple[np.ndarray, ...]:
        return (self.state, self.lanes, self.paid)

    def _shrink_all(self) -> None:
        """Apply the pending penalties."""
        apply_penalty_all = first_use.kernels("linear.adagrad").apply_penalty_all
        apply_penalty_all(self.coef, self.squares, self.paid, self.model.n_outputs, self.lanes, self.hyperparams)

    def finalize(self) -> None:
        if self.paid.size:
            self._shrink_all()
        self.views["intercept"][:] = self.run_state[field.INTERCEPT]
        self.views["intercept_squares"][:] = self.run_state[field.INTERCEPT_SQUARES]
