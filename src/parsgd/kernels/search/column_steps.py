"""Parts of the steps of all columns: targets, losses, gradients, learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import types
from numba.extending import overload

from parsgd.kernels.linear.multi import evaluate_softmax
from parsgd.kernels.linear.row_ops import get_feature, get_span
from parsgd.kernels.loss_kernels import HINGE, LOG, evaluate, fold_factor, get_loss_code
from parsgd.kernels.losses import hinge, logistic
from parsgd.kernels.lowlevel.compiling import INLINE, inlined
from parsgd.kernels.lowlevel.fast_exp import exp
from parsgd.kernels.lowlevel.intrinsics import prefetch_to_second
from parsgd.kernels.schedules import INVSCALING, OPTIMAL
from parsgd.kernels.search.columns import (
    EXAMPLES,
    L1_NORM,
    LOSS,
    LOSS_FACTOR,
    LR_SCALE,
    PENALTY_SUM,
    SQUARED_NORM,
    STEP,
)

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.search.columns import Columns

U = np.uint64


def set_targets(target: float, columns: Columns, targets: np.ndarray, factors: np.ndarray) -> None:
    """Set the target and the class weight of each column for a row.

    The target is 1 or -1 for a class number, else the number itself.
    """
    raise NotImplementedError("only inside compiled code")


@overload(set_targets, jit_options=INLINE)
def _set_targets(target, columns, targets, factors):
    if isinstance(target, types.Integer):

        def classes(target, columns, targets, factors):
            for k in range(targets.shape[0]):
                targets[k] = columns.signs[U(target), k]
                factors[k] = columns.class_weights[U(target), k]

        return classes

    def numbers(target, columns, targets, factors):
        for k in range(targets.shape[0]):
            targets[k] = target
            factors[k] = 1.0

    return numbers


@inlined
def prefetch_columns(x: DenseRows | CsrRows, order: np.ndarray, position: int, w: np.ndarray, n_columns: int) -> None:
    """Prefetch the weights of the next row into the second-level cache; those of a sparse row may fill the first."""
    if position + 1 < order.shape[0]:
        begin, end = get_span(x, order[U(position + 1)])
        line = U(64 // w.itemsize)
        for p in range(begin, end):
            at = get_feature(x, p, begin) * n_columns
            for k in range(U(0), n_columns, line):
                prefetch_to_second(w, at + k)


@inlined
def evaluate_columns(
    columns: Columns,
    trains: np.ndarray,
    targets: np.ndarray,
    scores: np.ndarray,
    gradients: np.ndarray,
    state: np.ndarray,
) -> None:
    """Store the derivative of the loss at each column's score, and add the losses of columns that train on the row."""
    losses, factors = state[LOSS], state[LOSS_FACTOR]
    # separate loops for the most common losses: a loop without a choice of the loss is vectorized
    if get_loss_code(columns.loss) == LOG:
        for k in range(scores.shape[0]):
            z = targets[k] * scores[k]
            gradient, l, f = logistic(targets[k], z, exp(-abs(z)))
            gradients[k] = gradient
            losses[k] += trains[k] * l
            factors[k] *= f if trains[k] > 0.0 else 1.0
    elif get_loss_code(columns.loss) == HINGE:
        for k in range(scores.shape[0]):
            gradient, l, _ = hinge(columns.loss.parameter, targets[k], scores[k])
            gradients[k] = gradient
            losses[k] += trains[k] * l
    else:
        for k in range(scores.shape[0]):
            gradient, l, f = evaluate(columns.loss, targets[k], scores[k])
            gradients[k] = gradient
            if trains[k] > 0.0:
                losses[k] += l
                factors[k] *= f


@inlined
def evaluate_joint(
    columns: Columns, target: int, trains: np.ndarray, scores: np.ndarray, gradients: np.ndarray, state: np.ndarray
) -> None:
    """Store the softmax gradients of each group of adjacent columns; the first column of a group has its loss."""
    n = columns.n_joint
    for first in range(0, scores.shape[0] - n + 1, n):
        l, f = evaluate_softmax(scores[first : first + n], U(n), target, gradients[first : first + n])
        if trains[first] > 0.0:
            state[LOSS, first] += l
            state[LOSS_FACTOR, first] *= f


@inlined
def fold_factors(state: np.ndarray) -> None:
    """Move the logarithms of the running products into the sums before they overflow."""
    for k in range(state.shape[1]):
        state[LOSS, k], state[LOSS_FACTOR, k] = fold_factor(state[LOSS, k], state[LOSS_FACTOR, k])


@inlined
def set_rates(columns: Columns, trains: np.ndarray, state: np.ndarray, rates: np.ndarray) -> None:
    """Set the rate of each column, 0 for columns that do not train on the row, and count the row as a step."""
    if columns.schedule == OPTIMAL:
        for k in range(rates.shape[0]):
            rates[k] = 1.0 / (columns.alpha[k] * (columns.optimal_start[k] + state[STEP, k] - 1.0))
    elif columns.schedule == INVSCALING:
        for k in range(rates.shape[0]):
            rates[k] = columns.eta0[k] * columns.powers[U(state[STEP, k] - columns.first_step)]
    else:
        for k in range(rates.shape[0]):
            rates[k] = columns.eta0[k]
    for k in range(rates.shape[0]):
        rates[k] = rates[k] * state[LR_SCALE, k] if trains[k] > 0.0 else 0.0
        state[STEP, k] += trains[k]
        state[EXAMPLES, k] += trains[k]


@inlined
def add_penalties(columns: Columns, trains: np.ndarray, state: np.ndarray) -> None:
    """Add the penalty of each column that trains on the row."""
    for k in range(trains.shape[0]):
        squared, absolute = state[SQUARED_NORM, k], state[L1_NORM, k]
        penalty = (1.0 - columns.l1_ratio[k]) * 0.5 * squared + columns.l1_ratio[k] * absolute
        state[PENALTY_SUM, k] += trains[k] * columns.alpha[k] * penalty


@inlined
def weigh_gradients(row_weight: float, factors: np.ndarray, rates: np.ndarray, gradients: np.ndarray) -> None:
    """Multiply the gradients by the weights of row and class; 0 where the rate is 0."""
    for k in range(rates.shape[0]):
        gradients[k] = gradients[k] * row_weight * factors[k] if rates[k] > 0.0 else 0.0
