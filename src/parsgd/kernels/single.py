"""A run of SGD steps for one output: binary classification, regression, one-class SVM.

One step on a batch B of rows, at rate eta (all in the order of scikit-learn, whose results it repeats)::

    g_i = dloss(y_i, w.x_i + b)                                    for i in B
    w   = (1 - eta alpha (1 - l1_ratio)) w - eta / |B| sum_i weight_i g_i x_i
    b   = b - decay eta / |B| sum_i weight_i g_i
    l1  : every touched weight moves towards 0 by what it still owes   (Tsuruoka, Tsujii, Ananiadou, ACL 2009)

The weights are held as ``scale * w``, so that l2 shrinkage costs one multiplication instead of a pass over all weights,
and averages as ``summed * w + mean``, so that averaging costs no more than the step itself (Bottou, "SGD tricks",
2012).
"""

from __future__ import annotations

import numpy as np

from parsgd.kernels import recipe as slot
from parsgd.kernels.compiling import inlined, kernel
from parsgd.kernels.gil import release_gil, take_gil, values_per_row
from parsgd.kernels.intrinsics import prefetch
from parsgd.kernels.losses import evaluate, fold_factor
from parsgd.kernels.rows import U, add, add_measured, dot, feature, prefetch_row, prefetch_span, span, square_norm
from parsgd.kernels.schedules import PA1, PA2, rate

INTERCEPT, SCALE, SUMMED, MEAN_INTERCEPT = slot.INTERCEPT, slot.SCALE, slot.SUMMED, slot.MEAN_INTERCEPT
PENALTY, SQUARE, ABSOLUTE, LOSS = slot.PENALTY, slot.SQUARE, slot.ABSOLUTE, slot.LOSS
FACTOR, OBJECTIVE, GAIN, CLOCK, OWN_CLOCK = slot.FACTOR, slot.OBJECTIVE, slot.GAIN, slot.CLOCK, slot.OWN_CLOCK

# Rows to prefetch ahead: 2 to 16 took alike on 200k x 47k sparse rows, none 2.3 times as long.
AHEAD = 8
# Rows ahead whose weights are asked for, where these are not in the worker's own cache: other workers write to them,
# or there are many outputs.  Their indices were asked for AHEAD rows ahead.  Two workers on shared weights, 200k x 2M:
# 1.48 times one worker's speed with 3 rows, 1.05 with none, in runs minutes apart on a machine that others used.
NEAR = 3


@inlined
def look_ahead(x, y, order, position):
    """Prefetch the rows that will be visited ``AHEAD`` steps later, and the pointers of those after them."""
    n = order.shape[0]
    if position + AHEAD < n:
        row = order[U(position + AHEAD)]
        prefetch_row(x, row)
        prefetch(y, U(row))
        if position + 2 * AHEAD < n:
            prefetch_span(x, order[U(position + 2 * AHEAD)])


@inlined
def prefetch_weights(x, order, position, w, stride):
    """Ask for the weights of the row that comes ``NEAR`` steps later; ``w[feature * stride + output]``."""
    if position + NEAR < order.shape[0]:
        begin, end = span(x, order[U(position + NEAR)])
        line = U(64 // w.itemsize)
        for p in range(begin, end):
            at = feature(x, p, begin) * stride
            for k in range(U(0), stride, line):
                prefetch(w, at + k)


@inlined
def truncate(x, row, w, mean, paid, scale, summed, owed):
    """Cumulative l1 penalty on the weights that the row touches."""
    begin, end = span(x, row)
    averaging = mean.shape[0] > 0
    for position in range(begin, end):
        k = feature(x, position, begin)
        before = w[k]
        after = before
        if scale * before > 0.0:
            after = w.dtype.type(max(0.0, before - (owed + paid[k]) / scale))
        elif scale * before < 0.0:
            after = w.dtype.type(min(0.0, before + (owed - paid[k]) / scale))
        w[k] = after
        paid[k] += scale * (after - before)
        if averaging:
            mean[k] -= summed * (after - before)


@inlined
def passive_step(schedule, eta0, norm, gradient, value):
    """The passive-aggressive step towards the target, in place of ``-eta * gradient``."""
    if schedule == PA1:
        size = min(eta0, value / norm) if norm > 0.0 else 0.0
    else:
        size = value / (norm + 0.5 / eta0)
    return -size if gradient > 0.0 else (size if gradient < 0.0 else 0.0)


def make_steps(decorate, full, shared):
    """Make the run of steps for one output, compiled by ``decorate``.

    ``full``: with what few fits use: averaging, l1 penalties, passive-aggressive schedules, the offset of a one-class
    SVM.  Without it a kernel compiles in half the time.  ``shared``: on weights that other workers step on, too.
    """

    @decorate
    def steps_single(x, y, weight, order, start, stop, w, mean, paid, buffer, scratch, tiny_scale, carry, recipe):
        """Visit ``order[start:stop]``; updates ``w`` (n_features,), the slots ``mean`` and ``paid`` (or empty),
        ``carry``.  Returns where the visit ended: with ``shared``, before a scale becomes tiny.

        ``buffer`` (batch,) is work space; ``scratch`` is for the kernel of several outputs, whose twin this is.
        """
        token = np.int64(0)
        if not shared:
            token = release_gil((stop - start) * values_per_row(x) >= recipe.release_from)
        intercept, scale, summed = carry[INTERCEPT, 0], carry[SCALE, 0], carry[SUMMED, 0]
        mean_intercept, owed = carry[MEAN_INTERCEPT, 0], carry[PENALTY, 0]
        square, absolute = carry[SQUARE, 0], carry[ABSOLUTE, 0]
        loss_sum, factor, objective = carry[LOSS, 0], carry[FACTOR, 0], carry[OBJECTIVE, 0]
        gain, t = carry[GAIN, 0], carry[CLOCK, 0]
        positive, negative = recipe.positive[0], recipe.negative[0]
        weighted = weight.shape[0] > 0
        passive = full and (recipe.schedule == PA1 or recipe.schedule == PA2)
        alpha, l1_ratio = recipe.alpha, recipe.l1_ratio
        least_shrink = tiny_scale if shared else 0.0
        first = start
        while first < stop:
            last = min(first + recipe.batch_size, stop)
            eta = gain * rate(recipe.schedule, t, recipe.eta0, recipe.power_t, alpha, recipe.optimal_start)
            # What does not depend on the prediction is computed apart from what does: from one
            # prediction to the next the processor can only wait, so the chain between them is kept short.
            pace = -eta / (last - first)
            if full and passive:
                pace = gain / (last - first)
            penalty = alpha * ((1.0 - l1_ratio) * 0.5 * square + l1_ratio * absolute)
            step = 0.0
            moved = False
            skipped = False
            for i in range(first, last):
                look_ahead(x, y, order, i)
                if shared:
                    prefetch_weights(x, order, i, w, U(1))
                row = order[U(i)]
                target = y[U(row)]
                factor_of_row = pace * (positive if target > 0.0 else negative)
                if weighted:
                    factor_of_row *= weight[U(row)]
                p = dot(x, row, w) * scale + intercept
                gradient, l, f = evaluate(recipe.loss, target, p)
                loss_sum += l
                factor *= f
                loss_sum, factor = fold_factor(loss_sum, factor)
                if recipe.measured and not (full and passive):
                    if recipe.penalised:
                        objective += penalty
                    if full and recipe.one_class:
                        objective += intercept * alpha
                if full and passive:
                    norm = float(square_norm(x, row))
                    skipped = recipe.schedule == PA1 and norm == 0.0
                    gradient = passive_step(recipe.schedule, recipe.eta0, norm, gradient, l + np.log(f))
                step = factor_of_row * gradient
                moved |= step != 0.0
                if recipe.batch_size > 1:
                    buffer[U(i - first)] = step
            if full and skipped and last - first == 1:
                first = last
                continue
            if recipe.shrinks:
                shrink = max(least_shrink, 1.0 - (1.0 - l1_ratio) * eta * alpha)
                scale *= shrink
                square *= shrink * shrink
                absolute *= shrink
                if shared and scale < tiny_scale:
                    # others are using the weights: make this step and leave, to have the scale folded
                    stop = last
                elif scale < tiny_scale:
                    if full and mean.shape[0] > 0:
                        for k in range(mean.shape[0]):
                            mean[k] += summed * w[k]
                        summed = 0.0
                    for k in range(w.shape[0]):
                        w[k] *= scale
                    scale = 1.0
            if moved:
                unit = 1.0 / scale
                for i in range(first, last):
                    row = order[U(i)]
                    if recipe.batch_size > 1:
                        step = buffer[U(i - first)]
                    c = step * unit
                    if recipe.measured:
                        s, a = add_measured(x, row, c, w)
                        square = s * scale * scale
                        absolute = a * scale
                    else:
                        add(x, row, c, w)
                    if full and summed != 0.0:
                        add(x, row, -summed * c, mean)
                    if recipe.fit_intercept:
                        intercept += step * recipe.intercept_decay
            if full and recipe.one_class and recipe.fit_intercept:
                intercept -= eta * alpha * recipe.intercept_decay
            if full and 0 < recipe.average_from <= t:
                summed += scale
                mean_intercept += (intercept - mean_intercept) / ((t - recipe.average_from) / recipe.pace + 1.0)
            if full and recipe.truncates:
                owed += l1_ratio * eta * alpha
                for i in range(first, last):
                    truncate(x, order[U(i)], w, mean, paid, scale, summed, owed)
            t += recipe.pace
            first = last
        carry[INTERCEPT, 0], carry[SCALE, 0], carry[SUMMED, 0] = intercept, scale, summed
        carry[MEAN_INTERCEPT, 0], carry[PENALTY, 0] = mean_intercept, owed
        carry[SQUARE, 0], carry[ABSOLUTE, 0] = square, absolute
        carry[LOSS, 0], carry[FACTOR, 0], carry[OBJECTIVE, 0] = loss_sum, factor, objective
        carry[OWN_CLOCK, 0] += t - carry[CLOCK, 0]
        carry[CLOCK, 0] = t
        take_gil(token)
        return first

    return steps_single


descend_single = make_steps(kernel, False, False)
descend_single_full = make_steps(kernel, True, False)
