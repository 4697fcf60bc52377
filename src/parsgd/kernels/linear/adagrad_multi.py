"""AdaGrad steps of a linear model with several outputs; the formulas are those of :mod:`parsgd.kernels.linear.adagrad`.

Weights are feature-major: ``w[feature * n_outputs + output]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.linear.adagrad import CACHED_BYTES, EPSILON, shrink_weight, step_weight
from parsgd.kernels.linear.multi import add_penalties, evaluate_softmax
from parsgd.kernels.linear.row_ops import count_values_per_row, get_feature, get_span
from parsgd.kernels.linear.row_ops_multi import add_outputs, dot_outputs
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
from parsgd.kernels.linear.single import prefetch_next_rows, prefetch_next_weights
from parsgd.kernels.loss_kernels import SOFTMAX, evaluate_outputs, fold_factor, get_loss_code
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.extremes import smaller
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.linear.hyperparams import Hyperparams

U = np.uint64


@inlined
def apply_penalty_outputs(
    x: DenseRows | CsrRows,
    row: int,
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    n_outputs: int,
    run_state: np.ndarray,
    l1: float,
    l2: float,
) -> None:
    """Apply the pending penalties to the weights of a row's features, for all outputs."""
    begin, end = get_span(x, row)
    for position in range(begin, end):
        at = get_feature(x, position, begin) * n_outputs
        for k in range(n_outputs):
            total_penalty = w.dtype.type(run_state[TOTAL_PENALTY, k])
            w[at + k] = shrink_weight(w[at + k], squares[at + k], total_penalty - applied_penalty[at + k], l1, l2)
            applied_penalty[at + k] = total_penalty


@inlined
def update_outputs(
    x: DenseRows | CsrRows,
    row: int,
    gradients: np.ndarray,
    rates: np.ndarray,
    w: np.ndarray,
    squares: np.ndarray,
    n_outputs: int,
) -> None:
    """Take the step with gradients ``gradients[k] * row``, for all outputs k."""
    begin, end = get_span(x, row)
    epsilon = w.dtype.type(EPSILON)
    for position in range(begin, end):
        value = x.data[position]
        at = get_feature(x, position, begin) * n_outputs
        for k in range(n_outputs):
            g = gradients[k] * value
            squared_sum = squares[at + k] + g * g
            squares[at + k] = squared_sum
            w[at + k] = step_weight(w[at + k], squared_sum, g, rates[k], epsilon)


@inlined
def update_outputs_from_batch(
    x: DenseRows | CsrRows,
    row: int,
    batch_gradient: np.ndarray,
    rates: np.ndarray,
    w: np.ndarray,
    squares: np.ndarray,
    n_outputs: int,
) -> None:
    """Take the step along ``batch_gradient`` for a row's features and all outputs; sets their gradients to 0."""
    begin, end = get_span(x, row)
    epsilon, zero = w.dtype.type(EPSILON), w.dtype.type(0)
    for position in range(begin, end):
        at = get_feature(x, position, begin) * n_outputs
        for k in range(n_outputs):
            g = batch_gradient[at + k]
            batch_gradient[at + k] = zero
            squared_sum = squares[at + k] + g * g
            squares[at + k] = squared_sum
            w[at + k] = step_weight(w[at + k], squared_sum, g, rates[k], epsilon)


@inlined
def compute_norms_outputs(
    x: DenseRows | CsrRows, row: int, w: np.ndarray, n_outputs: int, run_state: np.ndarray
) -> None:
    """Store the norms of the weights of a row's features in ``run_state``, for all outputs."""
    begin, end = get_span(x, row)
    for k in range(n_outputs):
        run_state[SQUARED_NORM, k], run_state[L1_NORM, k] = 0.0, 0.0
    for position in range(begin, end):
        at = get_feature(x, position, begin) * n_outputs
        for k in range(n_outputs):
            weight = float(w[at + U(k)])
            run_state[SQUARED_NORM, k] += weight * weight
            run_state[L1_NORM, k] += abs(weight)


@kernel
def run_adagrad_multi(
    x: DenseRows | CsrRows,
    y: np.ndarray,
    weight: np.ndarray,
    order: np.ndarray,
    start: int,
    stop: int,
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    batch_gradient: np.ndarray,
    buffer: np.ndarray,
    scratch: tuple[np.ndarray, ...],
    run_state: np.ndarray,
    hyperparams: Hyperparams,
) -> None:
    """Visit ``order[start:stop]``; the arrays ``w`` to ``batch_gradient`` are ``(n_features * n_outputs,)``.

    Work space: ``buffer`` (batch, n_lanes) and ``scratch``, a pair of arrays ``(3, n_lanes)`` in the type of the
    weights and ``(2, n_lanes)`` in float64.  ``n_lanes`` is ``n_outputs``, rounded up to whole vectors.
    """
    token = release_gil((stop - start) * count_values_per_row(x) * buffer.shape[1] * 4 >= hyperparams.release_gil_from)
    n, n_outputs, n_lanes = hyperparams.n_outputs, U(hyperparams.n_outputs), U(buffer.shape[1])
    vectors, numbers = scratch
    margins, rates, sums = vectors[0], vectors[1], vectors[2]
    scores, gradients = numbers[0], numbers[1]
    number = w.dtype.type
    l1, l2 = number(hyperparams.l1_ratio), number(1.0 - hyperparams.l1_ratio)
    has_weights, has_penalty = weight.shape[0] > 0, applied_penalty.shape[0] > 0
    exceeds_cache = w.shape[0] * w.itemsize > CACHED_BYTES
    is_softmax = get_loss_code(hyperparams.loss) == SOFTMAX
    for k in range(n_lanes):
        rates[k] = number(run_state[LR_SCALE, k] * hyperparams.eta0)
    losses, loss_factors = run_state[LOSS], run_state[LOSS_FACTOR]
    # softmax has one loss for all outputs
    loss_sum, loss_factor, penalty_sum = run_state[LOSS, 0], run_state[LOSS_FACTOR, 0], run_state[PENALTY_SUM, 0]
    t = run_state[SCHEDULE_STEP, 0]
    first = start
    while first < stop:
        last = smaller(first + hyperparams.batch_size, stop)
        inverse_batch = 1.0 / (last - first)
        for k in range(n_lanes):
            sums[k] = 0
        for i in range(first, last):
            prefetch_next_rows(x, y, order, i)
            if exceeds_cache:
                prefetch_next_weights(x, order, i, w, n_outputs)
                prefetch_next_weights(x, order, i, squares, n_outputs)
            row = order[U(i)]
            target = y[U(row)]
            if has_penalty:
                apply_penalty_outputs(x, row, w, squares, applied_penalty, n_outputs, run_state, l1, l2)
            dot_outputs(hyperparams.tiles, x, row, w, n_outputs, margins)
            for k in range(n_lanes):
                scores[k] = margins[k] + run_state[INTERCEPT, k]
            if hyperparams.tracks_objective and hyperparams.has_penalty:
                penalty_sum += add_penalties(run_state, hyperparams)
            row_weight = weight[U(row)] * inverse_batch if has_weights else inverse_batch
            if is_softmax:
                l, f = evaluate_softmax(scores, n_outputs, target, gradients)
                row_weight *= hyperparams.positive_weight[target]
                loss_sum, loss_factor = fold_factor(loss_sum + l, loss_factor * f)
            else:
                evaluate_outputs(hyperparams.loss, target, scores, gradients, losses, loss_factors, n)
            g = buffer[i - first]
            for k in range(n_outputs):
                class_weight = hyperparams.positive_weight[k] if target == k else hyperparams.negative_weight[k]
                if is_softmax:
                    class_weight = 1.0
                # a converged output keeps its weights
                g[k] = gradients[k] * row_weight * class_weight if run_state[LR_SCALE, k] > 0.0 else 0.0
                sums[k] += g[k]
            if not is_softmax and i & 15 == 0:  # 16 factors, each at most n_outputs, cannot overflow
                for k in range(n_outputs):
                    losses[k], loss_factors[k] = fold_factor(losses[k], loss_factors[k])
            if hyperparams.batch_size > 1:
                add_outputs(hyperparams.tiles, x, row, g, batch_gradient, n_outputs)
        for i in range(first, last):
            row = order[U(i)]
            if hyperparams.batch_size > 1:
                update_outputs_from_batch(x, row, batch_gradient, rates, w, squares, n_outputs)
            else:
                update_outputs(x, row, buffer[0], rates, w, squares, n_outputs)
            if hyperparams.tracks_objective:
                compute_norms_outputs(x, row, w, n_outputs, run_state)
        for k in range(n_outputs):
            eta = run_state[LR_SCALE, k] * hyperparams.eta0
            if hyperparams.fit_intercept:
                step = float(sums[k])
                run_state[INTERCEPT_SQUARES, k] += step * step
                squared_sum = run_state[INTERCEPT_SQUARES, k]
                run_state[INTERCEPT, k] = step_weight(run_state[INTERCEPT, k], squared_sum, step, eta, EPSILON)
            run_state[TOTAL_PENALTY, k] += eta * hyperparams.alpha
        t += hyperparams.steps_per_tick
        first = last
    run_state[SCHEDULE_STEPS_TAKEN, 0] += t - run_state[SCHEDULE_STEP, 0]
    for k in range(n_outputs):
        run_state[SCHEDULE_STEP, k] = t
        if is_softmax:
            losses[k], loss_factors[k], run_state[PENALTY_SUM, k] = loss_sum, loss_factor, penalty_sum
    reacquire_gil(token)
