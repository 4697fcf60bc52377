"""SGD steps of a linear model with one output: binary classification, regression, one-class SVM.

One step on a batch B of rows, with learning rate eta; the order of operations is scikit-learn's, to reproduce its
results::

    g_i = dloss(y_i, w.x_i + b)                                    for i in B
    w   = (1 - eta alpha (1 - l1_ratio)) w - eta / |B| sum_i weight_i g_i x_i
    b   = b - decay eta / |B| sum_i weight_i g_i
    l1  : each weight of a row's features moves towards 0 by its pending penalty
          (Tsuruoka, Tsujii, Ananiadou, ACL 2009)

Weights are stored as ``scale * w``, so l2 shrinkage is one multiplication, not a pass over all weights.  Averages are
stored as ``scale_sum * w + mean``, so averaging costs no more than the step itself (Bottou, "SGD tricks", 2012).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from parsgd.kernels.linear.row_ops import (
    U,
    add,
    add_with_norms,
    compute_squared_norm,
    count_values_per_row,
    dot,
    get_feature,
    get_span,
    prefetch_row,
    prefetch_row_pointers,
)
from parsgd.kernels.linear.run_state import (
    INTERCEPT,
    L1_NORM,
    LOSS,
    LOSS_FACTOR,
    LR_SCALE,
    MEAN_INTERCEPT,
    PENALTY_SUM,
    SCALE,
    SCALE_SUM,
    SCHEDULE_STEP,
    SCHEDULE_STEPS_TAKEN,
    SQUARED_NORM,
    TOTAL_PENALTY,
)
from parsgd.kernels.loss_kernels import evaluate, fold_factor
from parsgd.kernels.lowlevel.compiling import inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.gil import reacquire_gil, release_gil
from parsgd.kernels.lowlevel.intrinsics import prefetch
from parsgd.kernels.schedules import PA1, PA2, compute_learning_rate

if TYPE_CHECKING:
    from parsgd.core import CsrRows, DenseRows
    from parsgd.kernels.linear.hyperparams import Hyperparams

# Rows between prefetch and use: 2 to 16 took equally long on 200k x 47k sparse rows, no prefetch 2.3 times as long.
ROWS_AHEAD = 8
# Larger weight arrays do not stay in a core's private cache, so they are prefetched.
CACHED_BYTES = 1 << 18
# Rows between prefetch and use of weights, if these are outside the core's private cache: with shared weights, or with
# many outputs.  Their indices were prefetched ROWS_AHEAD rows before.  Two workers on shared weights, 200k x 2M,
# reached 1.48 times the speed of one with 3 rows and 1.05 without, in runs minutes apart on a machine with other load.
WEIGHT_ROWS_AHEAD = 3


@inlined
def prefetch_next_rows(x: DenseRows | CsrRows, y: np.ndarray, order: np.ndarray, position: int) -> None:
    """Prefetch the row visited ``ROWS_AHEAD`` steps later, and the CSR pointers of the row after as many more."""
    n = order.shape[0]
    if position + ROWS_AHEAD < n:
        row = order[U(position + ROWS_AHEAD)]
        prefetch_row(x, row)
        prefetch(y, U(row))
        if position + 2 * ROWS_AHEAD < n:
            prefetch_row_pointers(x, order[U(position + 2 * ROWS_AHEAD)])


@inlined
def prefetch_next_weights(x: DenseRows | CsrRows, order: np.ndarray, position: int, w: np.ndarray, stride: int) -> None:
    """Prefetch the weights of the row visited ``WEIGHT_ROWS_AHEAD`` steps later; ``w[feature * stride + output]``."""
    if position + WEIGHT_ROWS_AHEAD < order.shape[0]:
        begin, end = get_span(x, order[U(position + WEIGHT_ROWS_AHEAD)])
        line = U(64 // w.itemsize)
        for p in range(begin, end):
            at = get_feature(x, p, begin) * stride
            for k in range(U(0), stride, line):
                prefetch(w, at + k)


@inlined
def apply_l1(
    x: DenseRows | CsrRows,
    row: int,
    w: np.ndarray,
    mean: np.ndarray,
    applied_l1: np.ndarray,
    scale: float,
    scale_sum: float,
    total_l1: float,
) -> None:
    """Apply the cumulative l1 penalty to the weights of a row's features."""
    begin, end = get_span(x, row)
    is_averaging = mean.shape[0] > 0
    for position in range(begin, end):
        k = get_feature(x, position, begin)
        before = w[k]
        after = before
        if scale * before > 0.0:
            after = w.dtype.type(larger(0.0, before - (total_l1 + applied_l1[k]) / scale))
        elif scale * before < 0.0:
            after = w.dtype.type(smaller(0.0, before + (total_l1 - applied_l1[k]) / scale))
        w[k] = after
        applied_l1[k] += scale * (after - before)
        if is_averaging:
            mean[k] -= scale_sum * (after - before)


@inlined
def compute_passive_step(hyperparams: Hyperparams, norm: float, gradient: float, value: float) -> float:
    """Return the passive-aggressive step towards the target, which replaces ``-eta * gradient``."""
    if hyperparams.schedule == PA1:
        size = smaller(hyperparams.eta0, value / norm) if norm > 0.0 else 0.0
    else:
        size = value / (norm + 0.5 / hyperparams.eta0)
    return -size if gradient > 0.0 else (size if gradient < 0.0 else 0.0)


def make_run(
    decorate: Callable[[Callable[..., int]], Callable[..., int]], full: bool, shared: bool
) -> Callable[..., int]:
    """Make the SGD run for one output, compiled by ``decorate``.

    ``full``: with averaging, l1 penalties, passive-aggressive schedules and the offset of a one-class SVM.  Without
    these rarely used parts a kernel compiles in half the time.  ``shared``: other workers update the same weights.
    """

    @decorate
    def run_single(
        x, y, weight, order, start, stop, w, mean, applied_l1, buffer, scratch, tiny_scale, run_state, hyperparams
    ):
        """Visit ``order[start:stop]``; updates ``w``, ``mean``, ``applied_l1`` (n_features,), and ``run_state``.

        ``mean`` and ``applied_l1`` are empty if unused.  Returns the end of the visit; with ``shared`` it may be before
        ``stop``, at a tiny scale.  ``buffer`` (batch,) is work space.  ``scratch`` is unused: it gives the kernel for
        several outputs the same signature.
        """
        token = np.int64(0)
        if not shared:
            token = release_gil((stop - start) * count_values_per_row(x) >= hyperparams.release_gil_from)
        intercept, scale, scale_sum = run_state[INTERCEPT, 0], run_state[SCALE, 0], run_state[SCALE_SUM, 0]
        mean_intercept, total_l1 = run_state[MEAN_INTERCEPT, 0], run_state[TOTAL_PENALTY, 0]
        squared_norm, l1_norm = run_state[SQUARED_NORM, 0], run_state[L1_NORM, 0]
        loss_sum, loss_factor, penalty_sum = run_state[LOSS, 0], run_state[LOSS_FACTOR, 0], run_state[PENALTY_SUM, 0]
        lr_scale, t = run_state[LR_SCALE, 0], run_state[SCHEDULE_STEP, 0]
        positive_weight, negative_weight = hyperparams.positive_weight[0], hyperparams.negative_weight[0]
        has_weights = weight.shape[0] > 0
        passive = full and (hyperparams.schedule == PA1 or hyperparams.schedule == PA2)
        alpha, l1_ratio = hyperparams.alpha, hyperparams.l1_ratio
        min_shrink = tiny_scale if shared else 0.0
        exceeds_cache = w.shape[0] * w.itemsize > CACHED_BYTES
        first = start
        while first < stop:
            last = smaller(first + hyperparams.batch_size, stop)
            eta = lr_scale * compute_learning_rate(hyperparams, t)
            # Terms that do not depend on the prediction are computed apart, which shortens the chain of dependent
            # operations between predictions.
            batch_factor = -eta / (last - first)
            if full and passive:
                batch_factor = lr_scale / (last - first)
            penalty = alpha * ((1.0 - l1_ratio) * 0.5 * squared_norm + l1_ratio * l1_norm)
            step = 0.0
            intercept_step = -eta * alpha
            moved = False
            skipped = False
            for i in range(first, last):
                prefetch_next_rows(x, y, order, i)
                if shared and exceeds_cache:
                    prefetch_next_weights(x, order, i, w, U(1))
                row = order[U(i)]
                target = y[U(row)]
                row_factor = batch_factor * (positive_weight if target > 0.0 else negative_weight)
                if has_weights:
                    row_factor *= weight[U(row)]
                p = dot(x, row, w) * scale + intercept
                gradient, l, f = evaluate(hyperparams.loss, target, p)
                loss_sum += l
                loss_factor *= f
                loss_sum, loss_factor = fold_factor(loss_sum, loss_factor)
                if hyperparams.tracks_objective and not (full and passive):
                    if hyperparams.has_penalty:
                        penalty_sum += penalty
                    if full and hyperparams.is_one_class:
                        penalty_sum += intercept * alpha
                if full and passive:
                    norm = float(compute_squared_norm(x, row))
                    skipped = hyperparams.schedule == PA1 and norm == 0.0
                    gradient = compute_passive_step(hyperparams, norm, gradient, l + np.log(f))
                step = row_factor * gradient
                moved |= step != 0.0
                if hyperparams.batch_size > 1:
                    buffer[U(i - first)] = step
            if full and skipped and last - first == 1:
                first = last
                continue
            if hyperparams.has_l2:
                shrink = larger(min_shrink, 1.0 - (1.0 - l1_ratio) * eta * alpha)
                scale *= shrink
                squared_norm *= shrink * shrink
                l1_norm *= shrink
                if shared and scale < tiny_scale:
                    # other workers use the weights: finish this step and return, so that the scale is folded
                    stop = last
                elif scale < tiny_scale:
                    if full and mean.shape[0] > 0:
                        for k in range(mean.shape[0]):
                            mean[k] += scale_sum * w[k]
                        scale_sum = 0.0
                    for k in range(w.shape[0]):
                        w[k] *= scale
                    scale = 1.0
            if moved:
                unit = 1.0 / scale
                for i in range(first, last):
                    row = order[U(i)]
                    if hyperparams.batch_size > 1:
                        step = buffer[U(i - first)]
                    c = step * unit
                    if hyperparams.tracks_objective:
                        s, a = add_with_norms(x, row, c, w)
                        squared_norm = s * scale * scale
                        l1_norm = a * scale
                    else:
                        add(x, row, c, w)
                    if full and scale_sum != 0.0:
                        add(x, row, -scale_sum * c, mean)
                    if full and hyperparams.is_one_class:
                        intercept_step += step
                    elif hyperparams.fit_intercept:
                        intercept += step * hyperparams.intercept_decay
            if full and hyperparams.is_one_class and hyperparams.fit_intercept:
                # in one sum, as in scikit-learn: on rows without values rounding decides whether the loss is 0
                intercept += intercept_step * hyperparams.intercept_decay
            if full and 0 < hyperparams.average_from <= t:
                scale_sum += scale
                mean_intercept += (intercept - mean_intercept) / (
                    (t - hyperparams.average_from) / hyperparams.steps_per_tick + 1.0
                )
            if full and hyperparams.has_l1:
                total_l1 += l1_ratio * eta * alpha
                for i in range(first, last):
                    apply_l1(x, order[U(i)], w, mean, applied_l1, scale, scale_sum, total_l1)
            t += hyperparams.steps_per_tick
            first = last
        run_state[INTERCEPT, 0], run_state[SCALE, 0], run_state[SCALE_SUM, 0] = intercept, scale, scale_sum
        run_state[MEAN_INTERCEPT, 0], run_state[TOTAL_PENALTY, 0] = mean_intercept, total_l1
        run_state[SQUARED_NORM, 0], run_state[L1_NORM, 0] = squared_norm, l1_norm
        run_state[LOSS, 0], run_state[LOSS_FACTOR, 0], run_state[PENALTY_SUM, 0] = loss_sum, loss_factor, penalty_sum
        run_state[SCHEDULE_STEPS_TAKEN, 0] += t - run_state[SCHEDULE_STEP, 0]
        run_state[SCHEDULE_STEP, 0] = t
        reacquire_gil(token)
        return first

    return run_single


run_sgd_single: Callable[..., int] = make_run(kernel, False, False)
run_sgd_single_full: Callable[..., int] = make_run(kernel, True, False)
