"""A run of SGD steps for several outputs at once: one against all for any loss, or softmax.

The step is that of :mod:`parsgd.kernels.single` for each output, with the weights feature-major,
``w[feature * stride + output]``, so that one pass over a row serves every output: its non-zeros are read twice in all,
not twice per class.
"""

from __future__ import annotations

import numpy as np

from parsgd.kernels.compiling import inlined, kernel
from parsgd.kernels.elementary import exp
from parsgd.kernels.gil import release_gil, take_gil, values_per_row
from parsgd.kernels.losses import evaluate, evaluate_outputs, fold_factor
from parsgd.kernels.recipe import NEGLIGIBLE
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

# Weights of more than this do not stay in a core's own cache, so they are asked for ahead.
NEAR_BYTES = 1 << 18


@inlined
def softmax(margins, n_outputs, target, gradients):
    """``gradients[k] = softmax(margins)[k] - [k = target]``; returns the loss as ``(l, f)``."""
    top = margins[U(0)]
    for k in range(U(n_outputs)):
        top = margins[k] if margins[k] > top else top
    total = 0.0
    for k in range(U(n_outputs)):
        below = margins[k] - top
        e = 0.0 if below < -NEGLIGIBLE else exp(below)
        gradients[k] = e
        total += e
    for k in range(U(n_outputs)):
        gradients[k] /= total
    gradients[U(target)] -= 1.0
    return top - margins[U(target)], total


@inlined
def fold_scales(w, mean, stride, n_outputs, carry):
    """Multiply the scales into the weights, before they underflow."""
    for j in range(U(0), U(w.shape[0]), stride):
        for k in range(n_outputs):
            at = j + k
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


@inlined
def steps_from(gradients, target, eta, steps, carry, recipe):
    """``steps[k] = -eta gain_k factor_k gradients[k]``; whether any is not 0."""
    moved = False
    for k in range(steps.shape[0]):
        factor = recipe.positive[k] if target == k else recipe.negative[k]
        step = -eta * gradients[k] * carry[GAIN, k] * factor
        steps[k] = step
        moved |= step != 0.0
    return moved


@inlined
def passive_steps(scores, target, example, norm, steps, carry, recipe):
    """The steps of the passive-aggressive schedules; whether any is not 0."""
    moved = False
    for k in range(recipe.n_outputs):
        gradient, l, f = evaluate(recipe.loss, 1.0 if target == k else -1.0, scores[k])
        carry[LOSS, k] += l
        carry[FACTOR, k] *= f
        step = passive_step(recipe.schedule, recipe.eta0, norm, gradient, l + np.log(f))
        step *= (recipe.positive[k] if target == k else recipe.negative[k]) * carry[GAIN, k] * example
        steps[k] = step
        moved |= step != 0.0
    return moved


@inlined
def add_penalties(carry, recipe):
    """Add the penalty of each output to its objective; returns their sum, which a joint loss adds to its own."""
    total = 0.0
    for k in range(U(recipe.n_outputs)):
        mixed = (1.0 - recipe.l1_ratio) * 0.5 * carry[SQUARE, k] + recipe.l1_ratio * carry[ABSOLUTE, k]
        carry[OBJECTIVE, k] += recipe.alpha * mixed
        total += recipe.alpha * mixed
    return total


def make_steps(decorate, joint, full, shared):
    """Make the run of steps for several outputs, compiled by ``decorate``.

    ``joint``: for the softmax loss, else one against all.  ``full``, ``shared``: as for one output.
    """

    @decorate
    def steps_multi(x, y, weight, order, start, stop, w, mean, paid, buffer, scratch, tiny_scale, carry, recipe):
        """Visit ``order[start:stop]``; ``w`` and the slots are ``(n_features * stride,)``.  Returns where the visit
        ended: with ``shared``, before a scale becomes tiny.

        Work space: ``buffer`` (batch, stride) and ``scratch = (vectors (3, stride), numbers (2, stride))``.
        """
        token = np.int64(0)
        if not shared:
            token = release_gil((stop - start) * values_per_row(x) * buffer.shape[1] >= recipe.release_from)
        n_outputs, stride = U(recipe.n_outputs), U(buffer.shape[1])
        vectors, numbers = scratch
        margins, squares, absolutes = vectors[0], vectors[1], vectors[2]
        scores, gradients = numbers[0], numbers[1]
        l1_ratio = recipe.l1_ratio
        weighted = weight.shape[0] > 0
        passive = full and (recipe.schedule == PA1 or recipe.schedule == PA2)
        penalised = recipe.measured and recipe.penalised and not passive
        least_shrink = tiny_scale if shared else 0.0
        far = w.shape[0] * w.itemsize > NEAR_BYTES
        # a joint loss is the same for every output
        loss_sum, factor, objective = carry[LOSS, 0], carry[FACTOR, 0], carry[OBJECTIVE, 0]
        t = carry[CLOCK, 0]
        first = start
        while first < stop:
            last = min(first + recipe.batch_size, stop)
            share = 1.0 / (last - first)
            eta = rate(recipe.schedule, t, recipe.eta0, recipe.power_t, recipe.alpha, recipe.optimal_start)
            moved = False
            skipped = False
            for i in range(first, last):
                look_ahead(x, y, order, i)
                if far:
                    prefetch_weights(x, order, i, w, stride)
                row = order[U(i)]
                target = y[U(row)]
                dot_outputs(recipe.tiles, x, row, w, stride, margins)
                for k in range(stride):
                    scores[k] = margins[k] * carry[SCALE, k] + carry[INTERCEPT, k]
                if penalised:
                    objective += add_penalties(carry, recipe)
                example = weight[U(row)] * share if weighted else share
                steps = buffer[i - first]
                if full and passive:
                    norm = float(square_norm(x, row))
                    skipped = recipe.schedule == PA1 and norm == 0.0
                    moved |= passive_steps(scores, target, example, norm, steps, carry, recipe)
                elif joint:
                    l, f = softmax(scores, n_outputs, target, gradients)
                    loss_sum, factor = fold_factor(loss_sum + l, factor * f)
                    unit = -eta * example * recipe.positive[U(target)]
                    for k in range(n_outputs):
                        steps[k] = unit * gradients[k] * carry[GAIN, k]
                    moved = True
                else:
                    evaluate_outputs(
                        recipe.loss, target, scores, gradients, carry[LOSS], carry[FACTOR], recipe.n_outputs
                    )
                    moved |= steps_from(gradients, target, eta * example, steps, carry, recipe)
                if not joint and i & 15 == 0:  # 16 factors of at most n_outputs each cannot overflow
                    for k in range(n_outputs):
                        carry[LOSS, k], carry[FACTOR, k] = fold_factor(carry[LOSS, k], carry[FACTOR, k])
            if full and skipped and last - first == 1:
                first = last
                continue
            if recipe.shrinks:
                tiny = False
                for k in range(stride):
                    shrink = max(least_shrink, 1.0 - (1.0 - l1_ratio) * eta * carry[GAIN, k] * recipe.alpha)
                    carry[SCALE, k] *= shrink
                    tiny |= carry[SCALE, k] < tiny_scale
                    if recipe.measured:
                        carry[SQUARE, k] *= shrink * shrink
                        carry[ABSOLUTE, k] *= shrink
                if shared and tiny:
                    # others are using the weights: make this step and leave, to have the scales folded
                    stop = last
                elif tiny:
                    fold_scales(w, mean, stride, n_outputs, carry)
            if moved:
                for i in range(first, last):
                    row = order[U(i)]
                    steps = buffer[i - first]
                    if recipe.fit_intercept:
                        for k in range(stride):
                            carry[INTERCEPT, k] += steps[k] * recipe.intercept_decay
                    for k in range(stride):
                        steps[k] /= carry[SCALE, k]
                    if recipe.measured:
                        add_outputs_measured(recipe.tiles, x, row, steps, w, stride, squares, absolutes)
                        for k in range(n_outputs):
                            if steps[k] != 0.0:
                                scale = carry[SCALE, k]
                                carry[SQUARE, k] = squares[k] * scale * scale
                                carry[ABSOLUTE, k] = absolutes[k] * scale
                    else:
                        add_outputs(recipe.tiles, x, row, steps, w, stride)
                    if full and 0 < recipe.average_from <= t:
                        for k in range(n_outputs):
                            steps[k] *= -carry[SUMMED, k]
                        add_outputs(recipe.tiles, x, row, steps, mean, stride)
            if full and 0 < recipe.average_from <= t:
                for k in range(n_outputs):
                    if carry[GAIN, k] > 0.0:
                        carry[SUMMED, k] += carry[SCALE, k]
                        carry[MEAN_INTERCEPT, k] += (carry[INTERCEPT, k] - carry[MEAN_INTERCEPT, k]) / (
                            (t - recipe.average_from) / recipe.pace + 1.0
                        )
            if full and recipe.truncates:
                for k in range(n_outputs):
                    carry[PENALTY, k] += l1_ratio * eta * carry[GAIN, k] * recipe.alpha
                for i in range(first, last):
                    truncate_outputs(x, order[U(i)], w, mean, paid, stride, n_outputs, carry)
            t += recipe.pace
            first = last
        carry[OWN_CLOCK, 0] += t - carry[CLOCK, 0]
        for k in range(n_outputs):
            carry[CLOCK, k] = t
            if joint:
                carry[LOSS, k], carry[FACTOR, k], carry[OBJECTIVE, k] = loss_sum, factor, objective
        take_gil(token)
        return first

    return steps_multi


descend_softmax = make_steps(kernel, True, False, False)
descend_softmax_full = make_steps(kernel, True, True, False)
descend_multi = make_steps(kernel, False, False, False)
descend_multi_full = make_steps(kernel, False, True, False)
