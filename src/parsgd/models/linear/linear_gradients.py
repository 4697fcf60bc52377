"""Gradients of a linear model: on batches, with the step along their sum, and on all rows.

Those on batches serve algorithms with gradient messages.  :mod:`parsgd.kernels.linear.gradients` has their formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import Rows, Totals
from parsgd.core.padded import padded_zeros
from parsgd.core.round_group import LOSS, PENALTY_SUM, RoundGroup
from parsgd.kernels.lowlevel.gil_threshold import NEVER
from parsgd.models.linear.linear_sgd_run import without_cache
from parsgd.models.row_matrix import as_matrix
from parsgd.utils import first_use

if TYPE_CHECKING:
    from parsgd.kernels.linear.hyperparams import Hyperparams
    from parsgd.models.linear.linear_model import Linear


def gradient_sum(
    model: Linear,
    state: np.ndarray,
    rows: Rows,
    batch: np.ndarray,
    first: int,
    end: int,
    schedule_step: float,
    seed: int,
) -> tuple[np.ndarray, Totals]:
    """Sum the gradients of the loss over the examples ``batch[first:end]``.

    Returns the sums in the layout of the weights and the intercepts, followed by the number of examples, and the
    totals.  With a passive-aggressive schedule the negated steps of the examples are summed.  As in the compiled steps,
    a batch is divided by its number of examples, regardless of weights.
    """
    out, totals = np.empty(model.n_gradients, dtype=model.dtype), np.empty((3, model.n_outputs))
    kernel, hyperparams = _sum_kernel(model), _hyperparams(model)
    arguments = _sum_arguments(model, state, out, hyperparams)
    kernel(*rows, batch, 0, first, end, len(batch), schedule_step, totals, *arguments)
    return out, Totals(end - first, int(end > first), totals[LOSS], totals[LOSS] + totals[PENALTY_SUM])


def apply_gradient(
    model: Linear, state: np.ndarray, slopes: np.ndarray, schedule_step: float, lr_scale: np.ndarray
) -> np.ndarray:
    """Return the state after one step along the output of :func:`gradient_sum`, summed over a batch."""
    state, hyperparams = state.copy(), _hyperparams(model)
    arguments = _step_arguments(model, state, lr_scale, hyperparams)
    _step_kernel(model)(0, len(slopes) - 1, float(slopes[-1]), float(schedule_step), slopes, *arguments)
    return state


def prepare_gradient_rounds(
    model: Linear,
    state: np.ndarray,
    gradient: np.ndarray,
    lr_scale: np.ndarray,
    seed: int,
    rows: Rows,
    order: np.ndarray,
    group: RoundGroup,
    worker: int,
) -> Callable[[RoundGroup, np.ndarray], int]:
    hyperparams = model.make_hyperparams()._replace(release_gil_from=NEVER)
    sums = _sum_arguments(model, state, gradient, hyperparams)
    steps = _step_arguments(model, state, lr_scale, hyperparams)
    run_batches = first_use.kernels("rounds.batch_rounds").run_batches
    return partial(run_batches, tuple(rows), worker, _sum_kernel(model), sums, _step_kernel(model), steps, True)


def full_gradient(model: Linear, state: np.ndarray, rows: Rows) -> tuple[float, np.ndarray]:
    """Return the objective (summed over outputs) and its gradient in the state, on all of ``rows``; float64."""
    x = as_matrix(rows, model.n_features)
    views = model.views(state)
    margins = np.asarray(x @ views["coef"].astype(np.float64)) + views["intercept"]
    values, gradients = model.losses(margins, rows.y)
    factor = model.example_factors(rows.y, rows.weight if rows.weight.size else np.ones(len(rows.y)))
    n = len(rows.y)
    coef = views["coef"].astype(np.float64)
    strength = 0.0 if model.penalty is None else model.alpha
    value = float((factor * values).sum()) / n + strength * (
        0.5 * (1.0 - model.l1_share) * float((coef**2).sum()) + model.l1_share * float(np.abs(coef).sum())
    )
    out = np.zeros(model.size)
    slopes = model.views(out)
    slopes["coef"][:] = np.asarray(x.T @ (factor * gradients)) / n
    slopes["coef"] += strength * ((1.0 - model.l1_share) * coef + model.l1_share * np.sign(coef))
    if model.fit_intercept:
        slopes["intercept"][:] = (factor * gradients).sum(axis=0) / n
    return value, out


def _hyperparams(model: Linear) -> Hyperparams:
    hyperparams = model.make_hyperparams()
    # a user's compiled code may raise, so Numba handles the GIL
    return hyperparams._replace(release_gil_from=NEVER) if model.described_loss.is_compiled_separately else hyperparams


def _sum_kernel(model: Linear) -> Any:
    kind = "single" if model.n_outputs == 1 else "softmax" if model.described_loss.joint else "multi"
    return _own_kernel(model, f"sum_gradients_{kind}")


def _step_kernel(model: Linear) -> Any:
    return _own_kernel(model, "step_along")


def _own_kernel(model: Linear, name: str) -> Any:
    kernel = getattr(first_use.kernels("linear.gradients"), name)
    return without_cache(kernel, model.compiled_loss()) if model.described_loss.is_compiled_separately else kernel


def _sum_arguments(model: Linear, state: np.ndarray, gradient: np.ndarray, hyperparams: Hyperparams) -> tuple[Any, ...]:
    """Return the arguments of the sum after the totals."""
    scratch = padded_zeros((2, model.n_lanes), model.dtype), padded_zeros((4, model.n_lanes))
    return gradient, model.part(state, "coef"), model.part(state, "intercept"), scratch, hyperparams


def _step_arguments(
    model: Linear, state: np.ndarray, lr_scale: np.ndarray, hyperparams: Hyperparams
) -> tuple[Any, ...]:
    """Return the arguments of the step after the gradient."""
    extra = "squares" if model.schedule == "adagrad" else "mean_coef"
    extra_intercept = "intercept_squares" if model.schedule == "adagrad" else "mean_intercept"
    parts = (model.part(state, name) for name in ("coef", "intercept", extra, extra_intercept))
    return *parts, lr_scale, hyperparams
