"""Gradients of a linear model on batches, and the step along summed gradients; in NumPy.

Used by algorithms with gradient messages. A step is that of `kernels/linear/single.py` on a whole batch, except that
the l1 penalty is applied to every weight immediately. The batch's gradient changes every weight anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parsgd.core import Rows, Totals
from parsgd.models.linear import linear_adagrad
from parsgd.models.row_matrix import as_matrix

if TYPE_CHECKING:
    from parsgd.models.linear.linear_model import Linear

_LARGEST = 1e12
# Divergence is detected from the parameters, as for compiled steps, not from NumPy's warnings.
_quiet = np.errstate(over="ignore", invalid="ignore")


@_quiet
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

    Returns the sums in the layout of the state followed by the number of examples, and the totals. With a
    passive-aggressive schedule the negated steps of the examples are summed. As in the compiled steps, a batch is
    divided by its number of examples, regardless of weights.
    """
    out = np.zeros(model.size + 1, dtype=np.float64)
    nothing, order = np.zeros(model.n_outputs), batch[first:end]
    if len(order) == 0:
        return out, Totals(0, 0, nothing, nothing)
    x, y = as_matrix(rows, model.n_features)[order], rows.y[order]
    views = model.views(state)
    margins = np.asarray(x @ views["coef"]) + views["intercept"]
    values, gradients = model.losses(margins, y)
    gradients = np.clip(gradients, -_LARGEST, _LARGEST)
    if model.schedule in ("pa1", "pa2"):
        gradients = _passive(model, x, values, gradients)
    factor = model.example_factors(y, rows.weight[order] if rows.weight.size else np.ones(len(y)))
    slopes = model.views(out[:-1])
    slopes["coef"][:] = np.asarray(x.T @ (factor * gradients))
    slopes["intercept"][:] = (factor * gradients).sum(axis=0)
    out[-1] = len(y)
    loss = np.zeros(model.n_outputs)
    loss[: values.shape[1]] = values.sum(axis=0)
    return out, Totals(len(y), 1, loss, loss + len(y) * _penalty(model, views))


@_quiet
def apply_gradient(
    model: Linear, state: np.ndarray, slopes: np.ndarray, schedule_step: float, lr_scale: np.ndarray
) -> np.ndarray:
    """Return the state after one step along the output of :func:`gradient_sum`, summed over a batch."""
    state = state.copy()
    if slopes[-1] <= 0.0:
        return state
    views, mean = model.views(state), model.views(slopes[:-1] / slopes[-1])
    if model.schedule == "adagrad":
        linear_adagrad.apply_gradient(model, views, mean, lr_scale)
        return state
    eta = lr_scale * model.rates(np.array(schedule_step))
    rate = lr_scale if model.schedule in ("pa1", "pa2") else eta
    coef = views["coef"].astype(np.float64)
    if model.penalty in ("l2", "elasticnet"):
        coef *= np.maximum(0.0, 1.0 - (1.0 - model.l1_share) * eta * model.alpha)
    coef -= rate * mean["coef"]
    if model.truncates:
        coef = np.sign(coef) * np.maximum(np.abs(coef) - eta * model.alpha * model.l1_share, 0.0)
    views["coef"][:] = coef
    if model.fit_intercept:
        moved = rate * mean["intercept"] + (eta * model.alpha if model.one_class else 0.0)
        views["intercept"] -= (moved * model.intercept_decay).astype(state.dtype)
    if model.average:
        # before averaging starts, the mean is the current iterate, so that it can be merged with means that have
        # started
        count = max(schedule_step - model.average + 1.0, 1.0)
        active = lr_scale > 0.0
        for part in ("coef", "intercept"):
            now = views[f"mean_{part}"] + (views[part] - views[f"mean_{part}"]) / count
            views[f"mean_{part}"][:] = np.where(active, now, views[f"mean_{part}"])
    return state


def _passive(model: Linear, x: Any, values: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    squares = np.asarray((x * x).sum(axis=1) if isinstance(x, np.ndarray) else x.multiply(x).sum(axis=1))
    squares = squares.reshape(-1, 1).astype(np.float64)
    if model.schedule == "pa1":
        sizes = np.where(squares > 0.0, np.minimum(model.eta0, values / np.maximum(squares, 1e-300)), 0.0)
    else:
        sizes = values / (squares + 0.5 / model.eta0)
    return np.sign(gradients) * sizes


def _penalty(model: Linear, views: dict[str, np.ndarray]) -> np.ndarray:
    """Return each output's penalty, the part of the objective apart from the loss."""
    if not model.measured or model.penalty is None or model.schedule in ("pa1", "pa2"):
        return np.zeros(model.n_outputs)
    coef = views["coef"].astype(np.float64)
    share = model.l1_share
    value = 0.5 * (1.0 - share) * (coef**2).sum(axis=0) + share * np.abs(coef).sum(axis=0)
    return model.alpha * (value + (views["intercept"] if model.one_class else 0.0))
