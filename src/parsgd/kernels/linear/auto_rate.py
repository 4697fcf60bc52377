"""Steps of a linear model without a learning rate to choose, for any number of outputs.

AdaGrad (Duchi, Hazan, Singer, JMLR 12, 2011) in scaled coordinates.  Steps are limited like those of Polyak
("Introduction to Optimization", 1987) and of the passive-aggressive algorithms (Crammer et al., JMLR 7, 2006).  With
centers ``m_j`` and scales ``s_j`` of the features, a step on a row of weight c is, for the weight of feature j::

    z_j = (x_j - m_j) / s_j
    G_j = G_j + c (g z_j)^2                 g: derivative of the loss in the prediction p
    u_j = -eta c g z_j / sqrt(G_j)          and u_b likewise with z = 1, for the intercept
    f   = min(1, loss(y, p) / (|g| |d|))    d = sum_j u_j z_j + u_b, the change of the prediction
    w_j = penalize(w_j + f u_j / s_j),      b = b + f (u_b - sum_j u_j m_j / s_j)

The weights are those of the features as they are, so predictions do not depend on centers and scales.  Losses are
convex, and 0 at their least (that of Poisson's loss, ``y - y log y``, is subtracted).  So no step passes the point at
which the linear approximation of the loss is 0, and no row makes the fit diverge, whatever its size or weight.  Steps
are not limited where a loss is not positive, and with the perceptron's loss, which is 0 at its kink.  A row of weight c
counts as c rows while steps are small.  A limited step adds ``f^2 c (g z_j)^2`` to ``G_j``.

``eta`` is ``1 / sqrt(1 + mean |z|^2)`` (normalized adaptive gradient; Ross, Mineiro, Langford, UAI 2013), for a
regression times the standard deviation of the targets.  Softmax has one loss, so ``|g| |d|`` is the sum over its
outputs.  ``penalize`` is that of :mod:`parsgd.kernels.linear.adagrad`, for the weight ``w_j s_j`` of the scaled
feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.linear.adagrad import shrink_weight
from parsgd.kernels.linear.multi import add_penalties, evaluate_softmax
from parsgd.kernels.linear.row_ops import U, count_values_per_row, get_feature, get_span
from parsgd.kernels.linear.run_state import (
    INTERCEPT,
    INTERCEPT_SQUARES,
    L1_NORM,
    LOSS,
    LOSS_FACTOR,
    LR_SCALE,
    PENALTY_SUM,
    SCHEDULE_STEP,
    SCHEDULE_STEPS_TAKEN,
    SQUARED_NORM,
    TOTAL_PENALTY,
)
from parsgd.kernels.linear.single import prefetch_next_rows
from parsgd.kernels.loss_kernels import POISSON, SOFTMAX, evaluate, fold_factor, get_loss_code
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.linear.hyperparams import Hyperparams

# Under roots, so that a sum of 0 gives no step.  Float32 has no smaller number with all digits.
EPSILON = 1e-37


@inlined
def shrink_outputs(
    j: int,
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    inverse: float,
    middle: float,
    n_outputs: int,
    run_state: np.ndarray,
    l1: float,
    l2: float,
) -> None:
    """Apply the pending penalties to the weights of feature j, in its scale; ``inverse`` is 0 without a scale.

    The intercept changes with them, so that predictions at the center ``middle`` do not.
    """
    number = w.dtype.type
    scale = number(1.0) / inverse if inverse > number(0.0) else number(0.0)
    for k in range(n_outputs):
        at, total = j * n_outputs + k, number(run_state[TOTAL_PENALTY, k])
        before = w[at]
        w[at] = shrink_weight(before * scale, squares[at], total - applied_penalty[at], l1, l2) * inverse
        applied_penalty[at] = total
        run_state[INTERCEPT, k] += np.float64((before - w[at]) * middle)


@inlined
def store_norms(
    x: DenseRows | CsrRows,
    row: int,
    w: np.ndarray,
    inverse_scale: np.ndarray,
    n_outputs: int,
    run_state: np.ndarray,
) -> None:
    """Store the norms of the weights of a row's features in their scales, for all outputs."""
    begin, end = get_span(x, row)
    for k in range(n_outputs):
        run_state[SQUARED_NORM, k], run_state[L1_NORM, k] = 0.0, 0.0
    for position in range(begin, end):
        j = get_feature(x, position, begin)
        inverse = np.float64(inverse_scale[j])
        scale = 1.0 / inverse if inverse > 0.0 else 0.0
        for k in range(n_outputs):
            value = scale * np.float64(w[j * n_outputs + k])
            run_state[SQUARED_NORM, k] += value * value
            run_state[L1_NORM, k] += abs(value)


@inlined
def limit_steps(
    gradients: np.ndarray, changes: np.ndarray, losses: np.ndarray, is_softmax: bool, parts: np.ndarray
) -> None:
    """Set the part of each output's step that does not pass the zero of the loss's linear approximation.

    It is 1 where a loss is not positive.
    """
    total = 0.0
    for k in range(parts.shape[0]):
        slope = abs(gradients[k] * np.float64(changes[k]))
        total += slope
        parts[k] = losses[k] / slope if slope > losses[k] and losses[k] > 0.0 else 1.0
    if is_softmax:
        for k in range(parts.shape[0]):
            parts[k] = losses[0] / total if total > losses[0] and losses[0] > 0.0 else 1.0


@kernel
def run_auto(
    x: DenseRows | CsrRows,
    y: np.ndarray,
    weight: np.ndarray,
    order: np.ndarray,
    start: int,
    stop: int,
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    center: np.ndarray,
    inverse_scale: np.ndarray,
    vectors: np.ndarray,
    numbers: np.ndarray,
    limited: bool,
    run_state: np.ndarray,
    hyperparams: Hyperparams,
) -> None:
    """Visit ``order[start:stop]``; ``w``, ``squares`` and ``applied_penalty`` are ``(n_features * n_outputs,)``.

    ``center (n_features,)`` is empty for CSR rows, which are not centered, and without an intercept.
    ``inverse_scale (n_features,)`` is 0 for a feature without a scale.  Steps are ``limited`` unless the loss is the
    perceptron's.  Work space: ``vectors (5, n_outputs)`` in the type of the weights, and ``numbers (5, n_outputs)`` in
    float64.
    """
    n_outputs = U(hyperparams.n_outputs)
    n_values = (stop - start) * count_values_per_row(x) * hyperparams.n_outputs * 4
    token = release_gil(n_values >= hyperparams.release_gil_from)
    number = w.dtype.type
    margins, steps, roots, changes, moved = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    scores, gradients, row_weights, losses, parts = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    l1, l2 = number(hyperparams.l1_ratio), number(1.0 - hyperparams.l1_ratio)
    has_weights, has_penalty, has_center = weight.shape[0] > 0, applied_penalty.shape[0] > 0, center.shape[0] > 0
    is_softmax, is_poisson = get_loss_code(hyperparams.loss) == SOFTMAX, get_loss_code(hyperparams.loss) == POISSON
    epsilon, t, penalties = number(EPSILON), run_state[SCHEDULE_STEP, 0], run_state[PENALTY_SUM, 0]
    for i in range(start, stop):
        prefetch_next_rows(x, y, order, i)
        row = order[U(i)]
        target = y[U(row)]
        begin, end = get_span(x, row)
        if has_penalty:
            for position in range(begin, end):
                j = get_feature(x, position, begin)
                middle = center[j] if has_center else number(0.0)
                shrink_outputs(j, w, squares, applied_penalty, inverse_scale[j], middle, n_outputs, run_state, l1, l2)
        for k in range(n_outputs):
            margins[k], changes[k], moved[k] = number(0.0), number(0.0), number(0.0)
        for position in range(begin, end):
            value, at = x.data[position], get_feature(x, position, begin) * n_outputs
            for k in range(n_outputs):
                margins[k] += value * w[at + k]
        for k in range(n_outputs):
            scores[k] = margins[k] + run_state[INTERCEPT, k]
            row_weights[k] = weight[U(row)] if has_weights else 1.0
        if is_softmax:
            l, f = evaluate_softmax(scores, n_outputs, target, gradients)
            total, factor = fold_factor(run_state[LOSS, 0] + l, run_state[LOSS_FACTOR, 0] * f)
            for k in range(n_outputs):
                losses[k] = l + np.log(f)
                row_weights[k] *= hyperparams.positive_weight[U(target)]
                # softmax has one loss for all outputs
                run_state[LOSS, k], run_state[LOSS_FACTOR, k] = total, factor
        else:
            for k in range(n_outputs):
                sign = np.float64(target)
                if n_outputs > U(1):
                    sign = 1.0 if target == k else -1.0
                g, l, f = evaluate(hyperparams.loss, sign, scores[k])
                gradients[k], losses[k] = g, l + np.log(f)
                if is_poisson:
                    losses[k] -= sign - sign * np.log(sign) if sign > 0.0 else 0.0
                run_state[LOSS, k], run_state[LOSS_FACTOR, k] = fold_factor(
                    run_state[LOSS, k] + l, run_state[LOSS_FACTOR, k] * f
                )
                row_weights[k] *= hyperparams.positive_weight[k] if sign > 0.0 else hyperparams.negative_weight[k]
        if hyperparams.tracks_objective and hyperparams.has_penalty:
            penalties += add_penalties(run_state, hyperparams)
        # the changes of the predictions
        for k in range(n_outputs):
            eta = run_state[LR_SCALE, k] * hyperparams.eta0
            steps[k] = number(eta * row_weights[k] * gradients[k])
            roots[k] = number(np.sqrt(row_weights[k]) * gradients[k]) if eta > 0.0 else number(0.0)
            if hyperparams.fit_intercept:
                squared = run_state[INTERCEPT_SQUARES, k] + row_weights[k] * gradients[k] * gradients[k]
                changes[k] = steps[k] / number(np.sqrt(squared + EPSILON))
        for position in range(begin, end):
            j = get_feature(x, position, begin)
            z = (x.data[position] - center[j] if has_center else x.data[position]) * inverse_scale[j]
            at = j * n_outputs
            for k in range(n_outputs):
                g = roots[k] * z
                changes[k] += z * z * steps[k] / np.sqrt(squares[at + k] + g * g + epsilon)
        if not limited:
            for k in range(n_outputs):
                losses[k] = 0.0
        limit_steps(gradients, changes, losses, is_softmax, parts)
        # the steps
        for position in range(begin, end):
            j = get_feature(x, position, begin)
            middle = center[j] if has_center else number(0.0)
            z = (x.data[position] - middle) * inverse_scale[j]
            factor, at = z * inverse_scale[j], j * n_outputs
            for k in range(n_outputs):
                part = number(parts[k])
                g = roots[k] * z
                u = part * factor * steps[k] / np.sqrt(squares[at + k] + g * g + epsilon)
                squares[at + k] += part * part * g * g
                w[at + k] -= u
                moved[k] += u * middle
        for k in range(n_outputs):
            eta = run_state[LR_SCALE, k] * hyperparams.eta0
            if hyperparams.fit_intercept and eta > 0.0:
                squared = row_weights[k] * gradients[k] * gradients[k]
                root = np.sqrt(run_state[INTERCEPT_SQUARES, k] + squared + EPSILON)
                run_state[INTERCEPT_SQUARES, k] += parts[k] * parts[k] * squared
                step = eta * row_weights[k] * gradients[k] * parts[k] / root
                run_state[INTERCEPT, k] += np.float64(moved[k]) - step
            run_state[TOTAL_PENALTY, k] += eta * hyperparams.alpha
        if hyperparams.tracks_objective:
            store_norms(x, row, w, inverse_scale, n_outputs, run_state)
        t += hyperparams.steps_per_tick
    run_state[SCHEDULE_STEPS_TAKEN, 0] += t - run_state[SCHEDULE_STEP, 0]
    for k in range(n_outputs):
        run_state[SCHEDULE_STEP, k] = t
        if is_softmax:
            run_state[PENALTY_SUM, k] = penalties
    reacquire_gil(token)


@kernel
def shrink_all(
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    center: np.ndarray,
    inverse_scale: np.ndarray,
    n_outputs: int,
    run_state: np.ndarray,
    hyperparams: Hyperparams,
) -> None:
    """Apply the pending penalties to all weights."""
    token = release_gil(w.shape[0] >= hyperparams.release_gil_from)
    number = w.dtype.type
    l1, l2 = number(hyperparams.l1_ratio), number(1.0 - hyperparams.l1_ratio)
    for j in range(U(inverse_scale.shape[0])):
        middle = center[j] if center.shape[0] > 0 else number(0.0)
        shrink_outputs(j, w, squares, applied_penalty, inverse_scale[j], middle, U(n_outputs), run_state, l1, l2)
    reacquire_gil(token)
