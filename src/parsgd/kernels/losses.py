"""Losses of one prediction ``p`` at target ``y``, and their derivatives in ``p``.

All built-in losses share one compiled function and are selected by a code, so one kernel serves them all.  A user's
loss is compiled into a separate kernel.

A loss is returned in two parts, ``l`` and ``f`` with ``loss = l + log(f)``: a sum of logarithms is the logarithm of a
product.  The logistic loss then costs one multiplication instead of a logarithm (:func:`fold_factor`).

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
from parsgd.kernels.extremes import larger, smaller
from parsgd.kernels.fast_exp import exp
from parsgd.kernels.hyperparams import NEGLIGIBLE

HINGE, SQUARED_HINGE, LOG, MODIFIED_HUBER, SQUARED, HUBER, EPSILON, SQUARED_EPSILON, QUANTILE, POISSON = range(10)
SOFTMAX = 10

# Gradients are clipped to this, as in scikit-learn.
MAX_GRADIENT = 1e12


class BuiltinLoss(NamedTuple):
    """A built-in loss: its code and its parameter (threshold, epsilon or quantile)."""

    code: int
    parameter: float


@inlined
def hinge(threshold, y, p):
    """Return ``(gradient, l, f)`` of the hinge and the perceptron loss."""
    violation = threshold - y * p
    return (-y if violation >= 0.0 else 0.0), larger(violation, 0.0), 1.0


@inlined
def logistic(y, z, e):
    """Return ``(gradient, l, f)`` of the logistic loss at ``z = y p``, given ``e = exp(-abs(z))``."""
    e = 0.0 if abs(z) > NEGLIGIBLE else e
    return -y * (e if z > 0.0 else 1.0) / (1.0 + e), larger(-z, 0.0), 1.0 + e


@inlined
def evaluate_builtin(code, parameter, y, p):
    """Return ``(gradient, l, f)`` of the built-in loss ``code``.

    Choices that depend on the data are selections, not branches.  The sign of a margin is mispredicted half of the
    time, and a misprediction costs as much as the rest of a dense row.
    """
    if code == HINGE:
        return hinge(parameter, y, p)
    z = y * p
    if code == LOG:
        # math.exp of the C library is 6 ns faster than fast_exp for a single value
        return logistic(y, z, math.exp(-abs(z)))
    r = p - y
    if code == SQUARED:
        return r, 0.5 * r * r, 1.0
    if code == SQUARED_HINGE:
        violation = larger(1.0 - z, 0.0)
        return -2.0 * y * violation, violation * violation, 1.0
    if code == MODIFIED_HUBER:
        violation = larger(1.0 - z, 0.0)
        is_far = z < -1.0
        return (-4.0 * y if is_far else -2.0 * y * violation), (-4.0 * z if is_far else violation * violation), 1.0
    if code == HUBER:
        is_near = abs(r) <= parameter
        gradient = r if is_near else math.copysign(parameter, r)
        return gradient, (0.5 * r * r if is_near else parameter * (abs(r) - 0.5 * parameter)), 1.0
    if code == EPSILON:
        excess = larger(abs(r) - parameter, 0.0)
        return (math.copysign(1.0, r) if excess > 0.0 else 0.0), excess, 1.0
    if code == SQUARED_EPSILON:
        excess = larger(abs(r) - parameter, 0.0)
        return math.copysign(2.0 * excess, r), excess * excess, 1.0
    if code == QUANTILE:
        gradient = -parameter if r < 0.0 else (1.0 - parameter if r > 0.0 else 0.0)
        return gradient, gradient * r, 1.0
    if code == POISSON:
        rate = 0.0 if p < -NEGLIGIBLE else math.exp(smaller(p, 700.0))
        return rate - y, rate - y * p, 1.0
    return np.nan, np.nan, 1.0


def evaluate(loss, y, p):
    """Return ``(gradient, l, f)`` of ``loss``, a :class:`BuiltinLoss` or the parameters of a user's loss."""
    raise NotImplementedError("only inside compiled code")


@overload(evaluate, jit_options=INLINE)
def _evaluate(loss, y, p):
    if loss.instance_class is BuiltinLoss:

        def implementation(loss, y, p):
            gradient, l, f = evaluate_builtin(loss.code, loss.parameter, y, p)
            return smaller(larger(gradient, -MAX_GRADIENT), MAX_GRADIENT), l, f

        return implementation

    value, derivative = loss.instance_class.value, loss.instance_class.gradient

    def implementation(loss, y, p):
        # times 1.0: a user's functions may return ints
        gradient = 1.0 * derivative(loss, y, p)
        return smaller(larger(gradient, -MAX_GRADIENT), MAX_GRADIENT), 1.0 * value(loss, y, p), 1.0

    return implementation


def evaluate_outputs(loss, target, scores, gradients, losses, factors, n_outputs):
    """Evaluate all outputs, one-vs-rest, for an example of class ``target``: store ``gradients`` at ``scores``.

    Adds to ``losses`` and multiplies ``factors`` (:func:`fold_factor`).  All arrays are padded to whole vectors; the
    values past ``n_outputs`` may become any finite number.
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

    # separate loops for the two most common losses: a loop without a choice of the loss is vectorized
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


def get_loss_code(loss):
    """Return the code of a built-in loss; -1 for a user's."""
    raise NotImplementedError("only inside compiled code")


@overload(get_loss_code, jit_options=INLINE)
def _get_loss_code(loss):
    if loss.instance_class is BuiltinLoss:
        return lambda loss: loss.code
    return lambda loss: -1


@inlined
def fold_factor(loss_sum, factor):
    """Move the logarithm of a running product into the sum before it can overflow; returns ``(sum, product)``."""
    if factor > 1e100:
        return loss_sum + math.log(factor), 1.0
    return loss_sum, factor


@kernel
def evaluate_all(loss, y, p, gradient, value):
    """Compute loss and derivative of each prediction; ``y, p, gradient, value`` are ``(n,)`` float64."""
    for i in range(p.shape[0]):
        g, l, f = evaluate(loss, y[i], p[i])
        gradient[i] = g
        value[i] = l + math.log(f)
