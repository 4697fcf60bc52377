"""AdaGrad steps of a linear model with one output: each weight has its own step size.

Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 12, 2011,
with diagonal matrices.  One step on a batch B, for the weight of feature j::

    g_j = 1 / |B| sum_i weight_i dloss(y_i, p_i) x_ij            for i in B
    G_j = G_j + g_j^2
    h_j = sqrt(G_j + 1e-20)
    w_j = penalize(w_j - eta g_j / h_j,  eta alpha / h_j)

The intercept has the same step without a penalty.  The first gradient moves a weight by eta, regardless of the
gradient's size.  (Exception: sums that cancel except for a rounding error near 1e-16.)  Weights of frequent features
soon take small steps, those of rare features still large ones.

``penalize(v, c)`` follows the gradient flow of the penalty, ``dv/dt = -l2 v - l1 sign(v)``, for the time c, or until 0.
With ``l1 = l1_ratio`` and ``l2 = 1 - l1_ratio``::

    penalize(v, c) = sign(v) max(0, |v| - (1 - e^(-l2 c)) / l2 (l2 |v| + l1))

To first order this is the paper's proximal step.  Successive times add up, so the penalty of a weight is applied when a
row next contains its feature.  A sparse row therefore costs only its stored values.  A weight that never had a gradient
has no step size, and no penalty is applied to it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import types
from numba.extending import overload

from parsgd.kernels.linear.row_ops import U, add, count_values_per_row, dot, get_feature, get_span, is_csr
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
from parsgd.kernels.loss_kernels import evaluate, fold_factor
from parsgd.kernels.lowlevel.compiling import EXACT, INLINE, inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.linear.hyperparams import Hyperparams

EPSILON = 1e-20
# Larger weight arrays are prefetched.  With two arrays of 1 MB a pass took 13.2 ms with prefetching, 11.8 ms without.
CACHED_BYTES = 1 << 22
# Number of values of a sparse row that are processed together.
BLOCK = 256
_BLOCK = U(BLOCK)


@inlined
def step_weight(w: float, squared_sum: float, g: float, eta: float, epsilon: float) -> float:
    """Return a weight after its step along ``g``; ``squared_sum`` includes ``g^2``; one type for all."""
    return w - eta * g / np.sqrt(squared_sum + epsilon)


def shrink_weight(w: float, squared_sum: float, pending: float, l1: float, l2: float) -> float:
    """Return a weight after the ``pending`` penalty, split by ``l1`` and ``l2``; all in the type of ``w``.

    ``pending`` is the accumulated ``eta alpha``, before division by the root of ``squared_sum``.
    """
    raise NotImplementedError("only inside compiled code")


@overload(shrink_weight, jit_options=EXACT)
def _shrink_weight(w, squared_sum, pending, l1, l2):
    number = np.float32 if w == types.float32 else np.float64
    epsilon, zero, one, two, part, most = (number(n) for n in (EPSILON, 0.0, 1.0, 2.0, 1.0 / 16.0, 100.0))
    t2, t3, t4, t5 = (number(1.0 / math.factorial(i)) for i in (2, 3, 4, 5))

    def implementation(w, squared_sum, pending, l1, l2):
        c = pending / np.sqrt(squared_sum + epsilon) if squared_sum > zero else zero
        # s = c (1 - e^-x) / x, x = l2 c, without a branch and without cancellation for small x: first for q = x / 16
        # from the series of e^q, then four times by 1 - e^-2q = (1 - e^-q) (2 - (1 - e^-q)); e^-100 is negligible
        q = part * smaller(l2 * c, most)
        p = one + q * (t2 + q * (t3 + q * (t4 + q * t5)))
        s = p / (one + q * p)
        d = q * s
        s *= part * c * (two - d)
        d *= two - d
        s *= two - d
        d *= two - d
        s *= two - d
        d *= two - d
        s *= two - d
        size = larger(abs(w) - s * (l2 * abs(w) + l1), zero)
        # not copysign: that calls the C library, which prevents vectorization
        return size if w > zero else -size

    return implementation


def apply_penalty(
    x: DenseRows | CsrRows,
    row: int,
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    total_penalty: float,
    l1: float,
    l2: float,
    scratch: tuple[np.ndarray, ...],
) -> None:
    """Apply the pending penalty to the weights of a row's features."""
    raise NotImplementedError("only inside compiled code")


def update_weights(
    x: DenseRows | CsrRows,
    row: int,
    gradient: float,
    eta: float,
    w: np.ndarray,
    squares: np.ndarray,
    scratch: tuple[np.ndarray, ...],
) -> None:
    """Take the step with gradient ``gradient * row``."""
    raise NotImplementedError("only inside compiled code")


# The weights of a sparse row are scattered, and scalar roots and divisions dominate the cost.  So they are gathered
# into ``scratch``, BLOCK at a time, computed there in vectors, and written back.  A feature that occurs twice in a row
# gets the penalty once and both steps.


@overload(apply_penalty, jit_options=INLINE)
def _apply_penalty(x, row, w, squares, applied_penalty, total_penalty, l1, l2, scratch):
    if not is_csr(x):

        def implementation(x, row, w, squares, applied_penalty, total_penalty, l1, l2, scratch):
            for j in range(U(x.n_features)):
                w[j] = shrink_weight(w[j], squares[j], total_penalty - applied_penalty[j], l1, l2)
                applied_penalty[j] = total_penalty

        return implementation

    def implementation(x, row, w, squares, applied_penalty, total_penalty, l1, l2, scratch):
        begin, end = get_span(x, row)
        values, squared_sum, pending = scratch
        for at in range(begin, end, _BLOCK):
            n = smaller(end - at, _BLOCK)
            for q in range(n):
                j = get_feature(x, at + q, begin)
                values[q], squared_sum[q], pending[q] = w[j], squares[j], total_penalty - applied_penalty[j]
            for q in range(n):
                values[q] = shrink_weight(values[q], squared_sum[q], pending[q], l1, l2)
            for q in range(n):
                j = get_feature(x, at + q, begin)
                w[j], applied_penalty[j] = values[q], total_penalty

    return implementation


@overload(update_weights, jit_options=INLINE)
def _update_weights(x, row, gradient, eta, w, squares, scratch):
    if not is_csr(x):

        def implementation(x, row, gradient, eta, w, squares, scratch):
            begin, end = get_span(x, row)
            epsilon = w.dtype.type(EPSILON)
            for position in range(begin, end):
                j = get_feature(x, position, begin)
                g = gradient * x.data[position]
                squared_sum = squares[j] + g * g
                squares[j] = squared_sum
                w[j] = step_weight(w[j], squared_sum, g, eta, epsilon)

        return implementation

    def implementation(x, row, gradient, eta, w, squares, scratch):
        begin, end = get_span(x, row)
        epsilon, zero = w.dtype.type(EPSILON), w.dtype.type(0)
        steps, squared_sum, squared_gradients = scratch
        for at in range(begin, end, _BLOCK):
            n = smaller(end - at, _BLOCK)
            for q in range(n):
                squared_sum[q] = squares[get_feature(x, at + q, begin)]
            for q in range(n):
                g = gradient * x.data[at + q]
                squared_gradients[q] = g * g
                steps[q] = step_weight(zero, squared_sum[q] + g * g, g, eta, epsilon)
            for q in range(n):
                j = get_feature(x, at + q, begin)
                squares[j] += squared_gradients[q]
                w[j] += steps[q]

    return implementation


@inlined
def update_from_batch(
    x: DenseRows | CsrRows, row: int, batch_gradient: np.ndarray, eta: float, w: np.ndarray, squares: np.ndarray
) -> None:
    """Take the step along ``batch_gradient`` for the features of one row of the batch; sets their gradients to 0."""
    begin, end = get_span(x, row)
    epsilon, zero = w.dtype.type(EPSILON), w.dtype.type(0)
    for position in range(begin, end):
        j = get_feature(x, position, begin)
        g = batch_gradient[j]
        batch_gradient[j] = zero
        squared_sum = squares[j] + g * g
        squares[j] = squared_sum
        w[j] = step_weight(w[j], squared_sum, g, eta, epsilon)


@inlined
def compute_norms(x: DenseRows | CsrRows, row: int, w: np.ndarray) -> tuple[float, float]:
    """Return the sums of squares and of absolute values of the weights of a row's features."""
    begin, end = get_span(x, row)
    squared_norm, l1_norm = w.dtype.type(0), w.dtype.type(0)
    for position in range(begin, end):
        weight = w[get_feature(x, position, begin)]
        squared_norm += weight * weight
        l1_norm += abs(weight)
    return squared_norm, l1_norm


@kernel
def run_adagrad(
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
    """Visit ``order[start:stop]``; updates ``w`` and ``squares`` (n_features,), and ``run_state``.

    ``applied_penalty`` (n_features,) is the part of ``run_state[TOTAL_PENALTY]`` applied to each weight; empty without
    a penalty.  ``batch_gradient`` (n_features,) is all zeros between batches; empty for batches of 1.  ``scratch`` is
    three arrays ``(BLOCK,)``.  ``buffer`` is unused: it gives the kernel for several outputs the same signature.
    """
    token = release_gil((stop - start) * count_values_per_row(x) * 4 >= hyperparams.release_gil_from)
    number = w.dtype.type
    intercept, squared_sum = run_state[INTERCEPT, 0], run_state[INTERCEPT_SQUARES, 0]
    total_penalty, t = run_state[TOTAL_PENALTY, 0], run_state[SCHEDULE_STEP, 0]
    squared_norm, l1_norm = run_state[SQUARED_NORM, 0], run_state[L1_NORM, 0]
    loss_sum, loss_factor, penalty_sum = run_state[LOSS, 0], run_state[LOSS_FACTOR, 0], run_state[PENALTY_SUM, 0]
    positive_weight, negative_weight = hyperparams.positive_weight[0], hyperparams.negative_weight[0]
    has_weights, has_penalty = weight.shape[0] > 0, applied_penalty.shape[0] > 0
    exceeds_cache = w.shape[0] * w.itemsize > CACHED_BYTES
    alpha, l1_ratio = hyperparams.alpha, hyperparams.l1_ratio
    l1, l2 = number(l1_ratio), number(1.0 - l1_ratio)
    eta = run_state[LR_SCALE, 0] * hyperparams.eta0
    typed_eta = number(eta)
    # a converged output keeps its weights
    active = 1.0 if eta > 0.0 else 0.0
    first = start
    while first < stop:
        last = smaller(first + hyperparams.batch_size, stop)
        inverse_batch = active / (last - first)
        penalty = alpha * ((1.0 - l1_ratio) * 0.5 * squared_norm + l1_ratio * l1_norm)
        intercept_gradient = active * alpha if hyperparams.is_one_class else 0.0
        gradient = 0.0
        for i in range(first, last):
            prefetch_next_rows(x, y, order, i)
            if exceeds_cache:
                prefetch_next_weights(x, order, i, w, U(1))
                prefetch_next_weights(x, order, i, squares, U(1))
            row = order[U(i)]
            target = y[U(row)]
            if has_penalty:
                apply_penalty(x, row, w, squares, applied_penalty, number(total_penalty), l1, l2, scratch)
            p = dot(x, row, w) + intercept
            gradient, l, f = evaluate(hyperparams.loss, target, p)
            loss_sum += l
            loss_factor *= f
            loss_sum, loss_factor = fold_factor(loss_sum, loss_factor)
            if hyperparams.tracks_objective:
                penalty_sum += penalty if hyperparams.has_penalty else 0.0
                penalty_sum += intercept * alpha if hyperparams.is_one_class else 0.0
            gradient *= inverse_batch * (positive_weight if target > 0.0 else negative_weight)
            if has_weights:
                gradient *= weight[U(row)]
            intercept_gradient += gradient
            if hyperparams.batch_size > 1:
                add(x, row, gradient, batch_gradient)
        for i in range(first, last):
            row = order[U(i)]
            if hyperparams.batch_size > 1:
                update_from_batch(x, row, batch_gradient, typed_eta, w, squares)
            elif gradient != 0.0:
                update_weights(x, row, number(gradient), typed_eta, w, squares, scratch)
            if hyperparams.tracks_objective:
                s, a = compute_norms(x, row, w)
                squared_norm, l1_norm = float(s), float(a)
        if hyperparams.fit_intercept:
            squared_sum += intercept_gradient * intercept_gradient
            intercept = step_weight(intercept, squared_sum, intercept_gradient, eta, EPSILON)
        total_penalty += eta * alpha
        t += hyperparams.steps_per_tick
        first = last
    run_state[INTERCEPT, 0], run_state[INTERCEPT_SQUARES, 0] = intercept, squared_sum
    run_state[TOTAL_PENALTY, 0] = total_penalty
    run_state[SQUARED_NORM, 0], run_state[L1_NORM, 0] = squared_norm, l1_norm
    run_state[LOSS, 0], run_state[LOSS_FACTOR, 0], run_state[PENALTY_SUM, 0] = loss_sum, loss_factor, penalty_sum
    run_state[SCHEDULE_STEPS_TAKEN, 0] += t - run_state[SCHEDULE_STEP, 0]
    run_state[SCHEDULE_STEP, 0] = t
    reacquire_gil(token)


@kernel
def apply_penalty_all(
    w: np.ndarray,
    squares: np.ndarray,
    applied_penalty: np.ndarray,
    stride: int,
    run_state: np.ndarray,
    hyperparams: Hyperparams,
) -> None:
    """Apply the pending penalty to all weights; with several outputs ``w[feature * stride + output]``."""
    token = release_gil(w.shape[0] >= hyperparams.release_gil_from)
    l1, l2 = w.dtype.type(hyperparams.l1_ratio), w.dtype.type(1.0 - hyperparams.l1_ratio)
    # outputs with equal penalties are one run of adjacent weights, which takes a tenth of the time
    step = U(1)
    for k in range(U(1), U(stride)):
        if run_state[TOTAL_PENALTY, k] != run_state[TOTAL_PENALTY, 0]:
            step = U(stride)
    for k in range(step):
        total_penalty = w.dtype.type(run_state[TOTAL_PENALTY, k])
        if step == U(1):
            for at in range(U(w.shape[0])):
                w[at] = shrink_weight(w[at], squares[at], total_penalty - applied_penalty[at], l1, l2)
                applied_penalty[at] = total_penalty
        else:
            for at in range(k, U(w.shape[0]), step):
                w[at] = shrink_weight(w[at], squares[at], total_penalty - applied_penalty[at], l1, l2)
                applied_penalty[at] = total_penalty
    reacquire_gil(token)
