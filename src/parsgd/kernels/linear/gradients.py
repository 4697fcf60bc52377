"""Gradients of a linear model summed over part of a batch, and the step along the sum over the whole batch.

Used by algorithms with gradient messages.  With gradients ``g_i = dloss(y_i, w.x_i + b)`` and weights ``s_i``::

    sums   G = sum_i s_i g_i x_i,  H = sum_i s_i g_i          over the examples i of one worker
    step   w = (1 - eta alpha (1 - l1_ratio)) w - eta G / |B|   and   b = b - decay eta H / |B|
           with the sums of all workers, and |B| the number of examples of the batch

The step is that of :mod:`parsgd.kernels.linear.single` on a whole batch, except that the l1 penalty is applied to every
weight at once: the gradient of a batch changes every weight anyway.  A step on part of the weights gives the same bits
as a step on all of them, so that several workers can share it out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from parsgd.core.round_group import LOSS as SUMMED_LOSS
from parsgd.core.round_group import LOSS_FACTOR as SUMMED_FACTOR
from parsgd.core.round_group import PENALTY_SUM as SUMMED_PENALTY
from parsgd.kernels.linear.adagrad import EPSILON, shrink_weight, step_weight
from parsgd.kernels.linear.multi import evaluate_softmax
from parsgd.kernels.linear.row_ops import add, compute_squared_norm, count_values_per_row, dot
from parsgd.kernels.linear.row_ops_multi import add_outputs, dot_outputs
from parsgd.kernels.linear.run_state import L1_NORM, SQUARED_NORM
from parsgd.kernels.linear.single import compute_passive_step, prefetch_next_rows
from parsgd.kernels.loss_kernels import evaluate
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.schedules import ADAGRAD, PA1, PA2, compute_learning_rate

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.linear.hyperparams import Hyperparams

U = np.uint64


@kernel
def compute_norms(coef: np.ndarray, lanes: np.ndarray, n_outputs: int) -> None:
    """Set the squared and the l1 norm of each output's weights in the run state ``lanes (N_FIELDS, n_lanes)``."""
    for k in range(U(n_outputs)):
        lanes[U(SQUARED_NORM), k], lanes[U(L1_NORM), k] = sum_weights(coef, k, n_outputs)


@inlined
def sum_weights(coef: np.ndarray, output: int, n_outputs: int) -> tuple[float, float]:
    """Return the sums of squares and of absolute values of an output's weights."""
    squares, sizes = 0.0, 0.0
    for at in range(U(output), U(coef.shape[0]), U(n_outputs)):
        value = np.float64(coef[at])
        squares += value * value
        sizes += abs(value)
    return squares, sizes


@inlined
def set_totals(
    totals: np.ndarray,
    losses: np.ndarray,
    examples: int,
    coef: np.ndarray,
    intercept: np.ndarray,
    is_joint: bool,
    hyperparams: Hyperparams,
) -> None:
    """Set ``totals (3, n_outputs)`` of ``examples`` examples with the summed ``losses``.

    Rows: summed losses, the factor 1, and the penalties.  With ``is_joint`` all outputs have the totals of the first
    loss.
    """
    n_outputs, penalty = U(hyperparams.n_outputs), 0.0
    passive = hyperparams.schedule == PA1 or hyperparams.schedule == PA2
    for k in range(n_outputs):
        penalty = penalty if is_joint else 0.0
        if hyperparams.tracks_objective and hyperparams.has_penalty and not passive:
            squares, sizes = sum_weights(coef, k, hyperparams.n_outputs)
            penalty += (1.0 - hyperparams.l1_ratio) * 0.5 * squares + hyperparams.l1_ratio * sizes
        if hyperparams.tracks_objective and hyperparams.is_one_class and not passive:
            penalty += np.float64(intercept[k])
        totals[SUMMED_LOSS, k], totals[SUMMED_FACTOR, k] = losses[U(0)] if is_joint else losses[k], 1.0
        totals[SUMMED_PENALTY, k] = examples * hyperparams.alpha * penalty
    if is_joint:
        totals[SUMMED_PENALTY, :] = totals[SUMMED_PENALTY, n_outputs - U(1)]


@inlined
def compute_gradient(
    x: DenseRows | CsrRows, row: int, target: float, p: float, hyperparams: Hyperparams
) -> tuple[float, float]:
    """Return gradient and loss of one output; of passive-aggressive schedules the negated step."""
    gradient, l, f = evaluate(hyperparams.loss, target, p)
    value = l + math.log(f)
    if hyperparams.schedule == PA1 or hyperparams.schedule == PA2:
        gradient = -compute_passive_step(hyperparams, float(compute_squared_norm(x, row)), gradient, value)
    return gradient, value


def make_gradient(is_softmax: bool, is_single: bool) -> Callable[..., None]:
    """Make the kernel that sums gradients for softmax, for one output, or for several outputs one-vs-rest."""

    @kernel
    def sum_gradients(
        x,
        y,
        weight,
        order,
        start,
        first,
        end,
        stop,
        schedule_step,
        totals,
        gradient,
        coef,
        intercept,
        scratch,
        hyperparams,
    ):
        """Set ``gradient`` and ``totals`` to the sums over the examples ``order[first:end]`` of a batch.

        ``gradient``: sums in the layout of ``coef`` and ``intercept``, then the number of examples.  ``totals`` as in
        :func:`set_totals`.  ``scratch``: work arrays ``(2, n_lanes)`` in the type of the weights and ``(4, n_lanes)``
        in float64.  ``start``, ``stop`` and ``schedule_step`` are unused: networks need them.
        """
        token = release_gil((end - first) * count_values_per_row(x) * coef.shape[0] >= hyperparams.release_gil_from)
        n_outputs, n_weights = hyperparams.n_outputs, coef.shape[0]
        vectors, numbers = scratch
        margins, steps = vectors[0], vectors[1]
        scores, gradients, losses, slopes = numbers[0], numbers[1], numbers[2], numbers[3]
        losses[:] = 0.0
        slopes[:] = 0.0
        steps[:] = 0.0
        gradient[:] = 0.0
        sums = gradient[:n_weights]
        for i in range(first, end):
            prefetch_next_rows(x, y, order, i)
            row = order[U(i)]
            target = y[U(row)]
            row_weight = np.float64(weight[U(row)]) if weight.shape[0] > 0 else 1.0
            if is_single:
                p = dot(x, row, coef) + np.float64(intercept[U(0)])
                one, loss = compute_gradient(x, row, target, p, hyperparams)
                losses[U(0)] += loss
                class_weight = hyperparams.positive_weight[0] if target > 0.0 else hyperparams.negative_weight[0]
                one *= class_weight * row_weight
                slopes[U(0)] += one
                if one != 0.0:
                    add(x, row, one, sums)
            else:
                dot_outputs(hyperparams.tiles, x, row, coef, n_outputs, margins)
                for k in range(U(n_outputs)):
                    scores[k] = np.float64(margins[k]) + np.float64(intercept[k])
                if is_softmax:
                    l, f = evaluate_softmax(scores, U(n_outputs), target, gradients)
                    losses[U(0)] += l + math.log(f)
                for k in range(U(n_outputs)):
                    if is_softmax:
                        one = gradients[k] * hyperparams.positive_weight[U(target)]
                    else:
                        is_target = target == k
                        one, loss = compute_gradient(x, row, 1.0 if is_target else -1.0, scores[k], hyperparams)
                        losses[k] += loss
                        one *= hyperparams.positive_weight[k] if is_target else hyperparams.negative_weight[k]
                    one *= row_weight
                    slopes[k] += one
                    steps[k] = one
                add_outputs(hyperparams.tiles, x, row, steps, sums, n_outputs)
        for k in range(U(n_outputs)):
            gradient[U(n_weights) + k] = slopes[k]
        gradient[U(gradient.shape[0] - 1)] = end - first
        set_totals(totals, losses, end - first, coef, intercept, is_softmax, hyperparams)
        reacquire_gil(token)

    return sum_gradients


sum_gradients_single: Callable[..., None] = make_gradient(False, True)
sum_gradients_multi: Callable[..., None] = make_gradient(False, False)
sum_gradients_softmax: Callable[..., None] = make_gradient(True, False)


@inlined
def step_values(
    values: np.ndarray,
    extra: np.ndarray,
    sums: np.ndarray,
    begin: int,
    end: int,
    output: int,
    is_weight: bool,
    examples: float,
    schedule_step: float,
    lr_scale: np.ndarray,
    hyperparams: Hyperparams,
) -> None:
    """Step on ``values[begin:end]``, weights or intercepts, along ``sums``; the first value is that of ``output``."""
    n_outputs, number = U(hyperparams.n_outputs), values.dtype.type
    alpha, l1_ratio = hyperparams.alpha, hyperparams.l1_ratio
    passive = hyperparams.schedule == PA1 or hyperparams.schedule == PA2
    offset = alpha if not is_weight and hyperparams.is_one_class else 0.0
    decay = 1.0 if is_weight else hyperparams.intercept_decay
    base_rate = compute_learning_rate(hyperparams, schedule_step)
    mean_count = larger(schedule_step - hyperparams.average_from + 1.0, 1.0)
    k = U(output)
    for i in range(U(begin), U(end)):
        eta, g, value = lr_scale[k] * base_rate, np.float64(sums[i]) / examples, np.float64(values[i])
        is_active = lr_scale[k] > 0.0
        if not (is_weight or hyperparams.fit_intercept):
            pass
        elif hyperparams.schedule == ADAGRAD:
            g = g + offset if is_active else 0.0
            squared_sum = np.float64(extra[i]) + g * g
            value = step_weight(value, squared_sum, g, eta, EPSILON)
            if is_weight and hyperparams.has_penalty:
                value = shrink_weight(value, squared_sum, eta * alpha, l1_ratio, 1.0 - l1_ratio)
            extra[i] = number(squared_sum)
        else:
            if is_weight and hyperparams.has_l2:
                value *= larger(0.0, 1.0 - (1.0 - l1_ratio) * eta * alpha)
            value -= ((lr_scale[k] if passive else eta) * g + eta * offset) * decay
            if is_weight and hyperparams.has_l1:
                value = math.copysign(larger(abs(value) - eta * alpha * l1_ratio, 0.0), value)
        values[i] = number(value)
        # before averaging starts, the mean is the current iterate: it may be merged with means that have started
        if hyperparams.average_from > 0 and is_active:
            mean = np.float64(extra[i])
            extra[i] = number(mean + (np.float64(values[i]) - mean) / mean_count)
        k += U(1)
        if k == n_outputs:
            k = U(0)


@kernel
def step_along(
    begin: int,
    end: int,
    examples: float,
    schedule_step: float,
    gradient: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    extra_coef: np.ndarray,
    extra_intercept: np.ndarray,
    lr_scale: np.ndarray,
    hyperparams: Hyperparams,
) -> None:
    """Step on the values ``[begin, end)`` of ``coef`` followed by ``intercept``, in place.

    ``gradient``: sums over ``examples`` examples, in the same layout.  ``extra_coef``, ``extra_intercept``: means of
    the iterates, or AdaGrad's sums of squares; else empty.
    """
    if not examples > 0.0:
        return
    token = release_gil(end - begin >= hyperparams.release_gil_from)
    n_weights, output = coef.shape[0], np.int64(U(begin) % U(hyperparams.n_outputs))
    last = smaller(end, n_weights)
    step_values(coef, extra_coef, gradient, begin, last, output, True, examples, schedule_step, lr_scale, hyperparams)
    first, last, sums = larger(begin - n_weights, 0), larger(end - n_weights, 0), gradient[n_weights:]
    step_values(
        intercept, extra_intercept, sums, first, last, first, False, examples, schedule_step, lr_scale, hyperparams
    )
    reacquire_gil(token)
