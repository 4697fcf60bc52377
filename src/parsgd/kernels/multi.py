"""A run of SGD steps for several outputs at once: one against all for any loss, or softmax.

The step is that of :mod:`parsgd.kernels.single` for each output, with the weights feature-major,
``w[feature * stride + output]``, so that one pass over a row serves every output: its non-zeros are read twice in all,
not twice per class.
"""

from __future__ import annotations

import numpy as np

from parsgd.kernels.compiling import inlined, kernel, spliced
from parsgd.kernels.elementary import exp
from parsgd.kernels.losses import SOFTMAX, evaluate, fold_factor, loss_code
from parsgd.kernels.rows import (
    U,
    add_outputs,
    add_outputs_measured,
    dot_outputs,
    feature,
    span,
    square_norm,
)
from parsgd.kernels.schedules import PA1, PA2, rate
from parsgd.kernels.single import (
    ABSOLUTE,
    CLOCK,
    FACTOR,
    GAIN,
    INTERCEPT,
    LOSS,
    MEAN_INTERCEPT,
    OBJECTIVE,
    OWN_CLOCK,
    PENALTY,
    SCALE,
    SQUARE,
    SUMMED,
    look_ahead,
    passive_step,
    prefetch_weights,
)


@inlined
def softmax(margins, n_outputs, target, gradients):
    """``gradients[k] = softmax(margins)[k] - [k = target]``; returns the loss as ``(l, f)``."""
    top = margins[0]
    for k in range(n_outputs):
        top = max(top, margins[k])
    total = 0.0
    for k in range(n_outputs):
        e = exp(margins[k] - top)
        gradients[k] = e
        total += e
    for k in range(n_outputs):
        gradients[k] /= total
    gradients[target] -= 1.0
    return top - margins[target], total


@inlined
def fold_scales(w, mean, stride, n_outputs, carry):
    """Multiply the scales into the weights, before they underflow."""
    for j in range(U(0), U(w.shape[0]), stride):
        for k in range(n_outputs):
            at = j + U(k)
            if mean.shape[0] > 0:
                mean[at] += carry[SUMMED, k] * w[at]
            w[at] *= carry[SCALE, k]
    for k in range(n_outputs):
        carry[SUMMED, k] = 0.0
        carry[SCALE, k] = 1.0


@inlined
def truncate_outputs(x, row, w, mean, paid, stride, n_outputs, carry):
    """Cumulative l1 penalty on the weights that the row touches, for every output."""
    begin, end = span(x, row)
    for position in range(begin, end):
        at = feature(x, position, begin) * stride
        for k in range(n_outputs):
            if carry[GAIN, k] == 0.0:  # a converged output stays, whatever its weights still owe
                continue
            scale, owed = carry[SCALE, k], carry[PENALTY, k]
            before = w[at + U(k)]
            after = before
            if scale * before > 0.0:
                after = w.dtype.type(max(0.0, before - (owed + paid[at + U(k)]) / scale))
            elif scale * before < 0.0:
                after = w.dtype.type(min(0.0, before + (owed - paid[at + U(k)]) / scale))
            w[at + U(k)] = after
            paid[at + U(k)] += scale * (after - before)
            if mean.shape[0] > 0:
                mean[at + U(k)] -= carry[SUMMED, k] * (after - before)


@spliced
def steps_multi(x, y, weight, order, start, stop, w, mean, paid, buffer, scratch, tiny_scale, carry, recipe):
    """Visit ``order[start:stop]``, or only so many of them that no scale becomes tiny where it may not be multiplied
    into the weights; where the visit ended."""
    n_outputs = carry.shape[1]
    stride = U(buffer.shape[1])
    vectors, numbers = scratch
    margins, squares, absolutes = vectors[0], vectors[1], vectors[2]
    scores, gradients = numbers[0], numbers[1]
    alpha, l1_ratio = recipe.alpha, recipe.l1_ratio
    weighted = weight.shape[0] > 0
    passive = recipe.schedule == PA1 or recipe.schedule == PA2
    joint = loss_code(recipe.loss) == SOFTMAX
    least_shrink = tiny_scale if recipe.shared else 0.0
    t = carry[CLOCK, 0]
    first = start
    while first < stop:
        last = min(first + recipe.batch_size, stop)
        share = 1.0 / (last - first)
        eta = rate(recipe.schedule, t, recipe.eta0, recipe.power_t, alpha, recipe.optimal_start)
        moved = False
        skipped = False
        for i in range(first, last):
            look_ahead(x, y, order, i)
            prefetch_weights(x, order, i, w, stride)
            row = order[U(i)]
            target = y[U(row)]
            dot_outputs(x, row, w, stride, margins)
            for k in range(n_outputs):
                scores[k] = margins[k] * carry[SCALE, k] + carry[INTERCEPT, k]
            if recipe.measured and recipe.penalised and not passive:
                joint_penalty = 0.0
                for k in range(n_outputs):
                    penalty = alpha * (
                        (1.0 - l1_ratio) * 0.5 * carry[SQUARE, k] + l1_ratio * carry[ABSOLUTE, k]
                    )
                    joint_penalty += penalty
                    if not joint:
                        carry[OBJECTIVE, k] += penalty
                if joint:
                    for k in range(n_outputs):
                        carry[OBJECTIVE, k] += joint_penalty
            if joint:
                l, f = softmax(scores, n_outputs, target, gradients)
                for k in range(n_outputs):
                    carry[LOSS, k] += l
                    carry[FACTOR, k] *= f
            norm = 0.0
            if passive:
                norm = float(square_norm(x, row))
                skipped = recipe.schedule == PA1 and norm == 0.0
            example = weight[U(row)] * share if weighted else share
            if joint:
                example *= recipe.positive[target]
            for k in range(n_outputs):
                sign = 1.0 if target == k else -1.0
                value = 0.0
                if joint:
                    gradient = gradients[k]
                else:
                    gradient, l, f = evaluate(recipe.loss, sign, scores[k])
                    carry[LOSS, k] += l
                    carry[FACTOR, k] *= f
                    if passive:
                        value = l + np.log(f)
                if passive:
                    step = passive_step(recipe.schedule, recipe.eta0, norm, gradient, value)
                else:
                    step = -eta * gradient
                if not joint:
                    step *= recipe.positive[k] if target == k else recipe.negative[k]
                step *= carry[GAIN, k] * example
                buffer[i - first, k] = step
                moved |= step != 0.0
            if i & 15 == 0:  # 16 factors of at most n_outputs each cannot overflow
                for k in range(n_outputs):
                    carry[LOSS, k], carry[FACTOR, k] = fold_factor(carry[LOSS, k], carry[FACTOR, k])
        if skipped and last - first == 1:
            first = last
            continue
        if recipe.shrinks:
            tiny = False
            for k in range(n_outputs):
                shrink = max(least_shrink, 1.0 - (1.0 - l1_ratio) * eta * carry[GAIN, k] * alpha)
                carry[SCALE, k] *= shrink
                carry[SQUARE, k] *= shrink * shrink
                carry[ABSOLUTE, k] *= shrink
                tiny |= carry[SCALE, k] < tiny_scale
            if tiny and recipe.shared:
                # others are using the weights: make this step and leave, to have the scales folded
                stop = last
            elif tiny:
                fold_scales(w, mean, stride, n_outputs, carry)
        if moved:
            for i in range(first, last):
                row = order[U(i)]
                steps = buffer[i - first]
                if recipe.fit_intercept:
                    for k in range(n_outputs):
                        carry[INTERCEPT, k] += steps[k] * recipe.intercept_decay
                for k in range(n_outputs):
                    steps[k] /= carry[SCALE, k]
                if recipe.measured:
                    add_outputs_measured(x, row, steps, w, stride, squares, absolutes)
                    for k in range(n_outputs):
                        if steps[k] != 0.0:
                            scale = carry[SCALE, k]
                            carry[SQUARE, k] = squares[k] * scale * scale
                            carry[ABSOLUTE, k] = absolutes[k] * scale
                else:
                    add_outputs(x, row, steps, w, stride)
                if 0 < recipe.average_from <= t:
                    for k in range(n_outputs):
                        steps[k] *= -carry[SUMMED, k]
                    add_outputs(x, row, steps, mean, stride)
        if 0 < recipe.average_from <= t:
            for k in range(n_outputs):
                if carry[GAIN, k] > 0.0:
                    carry[SUMMED, k] += carry[SCALE, k]
                    carry[MEAN_INTERCEPT, k] += (carry[INTERCEPT, k] - carry[MEAN_INTERCEPT, k]) / (
                        (t - recipe.average_from) / recipe.pace + 1.0
                    )
        if recipe.truncates:
            for k in range(n_outputs):
                carry[PENALTY, k] += l1_ratio * eta * carry[GAIN, k] * alpha
            for i in range(first, last):
                truncate_outputs(x, order[U(i)], w, mean, paid, stride, n_outputs, carry)
        t += recipe.pace
        first = last
    carry[OWN_CLOCK, 0] += t - carry[CLOCK, 0]
    for k in range(n_outputs):
        carry[CLOCK, k] = t
    return first


@kernel
def descend_multi(x, y, weight, order, start, stop, w, mean, paid, buffer, scratch, tiny_scale, carry, recipe):
    """Visit ``order[start:stop]``; ``w`` and the slots are ``(n_features * stride,)``.

    Room to work in: ``buffer`` (batch, stride) and ``scratch = (vectors (3, stride), scores (2, n_outputs))``.
    """
    steps_multi(x, y, weight, order, start, stop, w, mean, paid, buffer, scratch, tiny_scale, carry, recipe)
