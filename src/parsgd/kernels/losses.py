"""Losses of one prediction ``p`` at target ``y``, and their derivatives in ``p``.

All built-in losses share one compiled function, told apart by a number, so one kernel serves them all.  A user's loss
is compiled into a kernel of its own.

A loss is returned in two parts, ``l`` and ``f`` with ``loss = l + log(f)``, because a sum of logarithms is the
logarithm of a product: the logistic loss then costs one multiplication where it would cost a logarithm (see
:func:`fold_factor`).

====  ==========================  ==============================================================
code  name                        loss at z = y p (classes y = -1, +1) or r = y - p
====  ==========================  ==============================================================
0     hinge, perceptron           max(0, t - z), t = 1 (hinge) or 0 (perceptron)
1     squared_hinge               max(0, 1 - z)^2
2     log_loss                    log(1 + exp(-z))
3     modified_huber              max(0, 1 - z)^2 for z >= -1, else -4 z
4     squared_error               r^2 / 2
5     huber                       r^2 / 2 for abs(r) <= e, else e (abs(r) - e / 2)
6     epsilon_insensitive         max(0, abs(r) - e)
7     squared_epsilon_insensitive max(0, abs(r) - e)^2
8     quantile                    q r for r >= 0, else (q - 1) r
9     poisson                     exp(p) - y p
10    softmax                     log(sum_k exp(p_k)) - p_y, over all outputs at once
====  ==========================  ==============================================================
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba.extending import overload

from parsgd.kernels.compiling import INLINE, inlined, kernel
from parsgd.kernels.elementary import exp
from parsgd.kernels.recipe import NEGLIGIBLE

HINGE, SQUARED_HINGE, LOG, MODIFIED_HUBER, SQUARED, HUBER, EPSILON, SQUARED_EPSILON, QUANTILE, POISSON = range(10)
SOFTMAX = 10

# As in scikit-learn: one example may not move the weights by more than this, times the rate.
MAX_GRADIENT = 1e12


class BuiltinLoss(NamedTuple):
    """Which loss, and its one number: threshold, epsilon or quantile."""

    code: int
    parameter: float


@inlined
def hinge(threshold, y, p):
    """``(gradient, l, f)`` of the hinge and the perceptron loss."""
    short = threshold - y * p
    return (-y if short >= 0.0 else 0.0), max(short, 0.0), 1.0


@inlined
def logistic(y, z, e):
    """``(gradient, l, f)`` of the logistic loss at ``z = y p``, given ``e = exp(-abs(z))``."""
    e = 0.0 if abs(z) > NEGLIGIBLE else e
    return -y * (e if z > 0.0 else 1.0) / (1.0 + e), max(-z, 0.0), 1.0 + e


@inlined
def builtin(code, parameter, y, p):
    """``(gradient, l, f)`` of the built-in loss ``code``.

    Choices that depend on the data are written as selections, not as branches: a branch on a margin's sign is guessed
    wrong half of the time, and cost as much as the rest of a dense row.
    """
    if code == HINGE:
        return hinge(parameter, y, p)
    z = y * p
    if code == LOG:
        # the C library's: of a single number it is 6 ns faster than ours
        return logistic(y, z, math.exp(-abs(z)))
    r = p - y
    if code == SQUARED:
        return r, 0.5 * r * r, 1.0
    if code == SQUARED_HINGE:
        short = max(1.0 - z, 0.0)
        return -2.0 * y * short, short * short, 1.0
    if code == MODIFIED_HUBER:
        short = max(1.0 - z, 0.0)
        far = z < -1.0
        return (-4.0 * y if far else -2.0 * y * short), (-4.0 * z if far else short * short), 1.0
    if code == HUBER:
        near = abs(r) <= parameter
        gradient = r if near else math.copysign(parameter, r)
        return gradient, (0.5 * r * r if near else parameter * (abs(r) - 0.5 * parameter)), 1.0
    if code == EPSILON:
        excess = max(abs(r) - parameter, 0.0)
        return (math.copysign(1.0, r) if excess > 0.0 else 0.0), excess, 1.0
    if code == SQUARED_EPSILON:
        excess = max(abs(r) - parameter, 0.0)
        return math.copysign(2.0 * excess, r), excess * excess, 1.0
    if code == QUANTILE:
        slope = -parameter if r < 0.0 else (1.0 - parameter if r > 0.0 else 0.0)
        return slope, slope * r, 1.0
    if code == POISSON:
        rate = 0.0 if p < -NEGLIGIBLE else math.exp(min(p, 700.0))
        return rate - y, rate - y * p, 1.0
    return np.nan, np.nan, 1.0


def evaluate(loss, y, p):
    """``(gradient, l, f)`` of ``loss``, which is a :class:`BuiltinLoss` or the numbers of a user's loss."""
    raise NotImplementedError("only inside compiled code")


@overload(evaluate, jit_options=INLINE)
def _evaluate(loss, y, p):
    if loss.instance_class is BuiltinLoss:

        def implementation(loss, y, p):
            gradient, l, f = builtin(loss.code, loss.parameter, y, p)
            return min(max(gradient, -MAX_GRADIENT), MAX_GRADIENT), l, f

        return implementation

    value, slope = loss.instance_class.value, loss.instance_class.slope

    def implementation(loss, y, p):
        # times 1.0: they may return ints
        gradient = 1.0 * slope(loss, y, p)
        return min(max(gradient, -MAX_GRADIENT), MAX_GRADIENT), 1.0 * value(loss, y, p), 1.0

    return implementation


def evaluate_outputs(loss, target, scores, gradients, losses, factors, n_outputs):
    """One against all: the ``gradients`` at the ``scores`` of all outputs where the class is ``target``.

    Adds to ``losses`` and multiplies ``factors`` (see :func:`fold_factor`).  All have room past ``n_outputs`` for whole
    vectors, where they may get anything that is finite.
    """
    raise NotImplementedError("only inside compiled code")


@overload(evaluate_outputs, jit_options=INLINE)
def _evaluate_outputs(loss, target, scores, gradients, losses, factors, n_outputs):
    def one_by_one(loss, target, scores, gradients, losses, factors, n_outputs):
        for k in range(n_outputs):
            gradient, l, f = evaluate(loss, 1.0 if target == k else -1.0, scores[k])
            gradients[k] = gradient
            losses[k] += l
            factors[k] *= f

    if loss.instance_class is not BuiltinLoss:
        return one_by_one
    others = inlined(one_by_one)

    # loops of their own for the two that everybody uses: without a choice in it a loop is vectorised
    def implementation(loss, target, scores, gradients, losses, factors, n_outputs):
        if loss.code == LOG:
            for k in range(scores.shape[0]):
                y = 1.0 if target == k else -1.0
                z = y * scores[k]
                gradient, l, f = logistic(y, z, exp(-abs(z)))
                gradients[k] = gradient
                losses[k] += l
                factors[k] *= f
        elif loss.code == HINGE:
            for k in range(scores.shape[0]):
                gradient, l, _ = hinge(loss.parameter, 1.0 if target == k else -1.0, scores[k])
                gradients[k] = gradient
                losses[k] += l
        else:
            others(loss, target, scores, gradients, losses, factors, n_outputs)

    return implementation


def loss_code(loss):
    """The code of a built-in loss; -1 for a user's."""
    raise NotImplementedError("only inside compiled code")


@overload(loss_code, jit_options=INLINE)
def _loss_code(loss):
    if loss.instance_class is BuiltinLoss:
        return lambda loss: loss.code
    return lambda loss: -1


@inlined
def fold_factor(loss_sum, factor):
    """Move a running product into the sum as its logarithm before it can overflow: ``(sum, product)``."""
    if factor > 1e100:
        return loss_sum + math.log(factor), 1.0
    return loss_sum, factor


def is_builtin(loss) -> bool:
    return isinstance(loss, BuiltinLoss)


@kernel
def evaluate_all(loss, y, p, gradient, value):
    """Loss and derivative of each prediction: ``y, p, gradient, value`` are ``(n,)`` float64."""
    for i in range(p.shape[0]):
        g, l, f = evaluate(loss, y[i], p[i])
        gradient[i] = g
        value[i] = l + math.log(f)
