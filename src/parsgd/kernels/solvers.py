"""How a gradient becomes a step: passes over a run of weights ``w`` and the solver's slots beside them.

With ``g = factor * (sum of gradients) + decay w``, at rate ``eta``::

    sgd        w = w - eta g
    momentum   v = mu v - eta g;   w = w + v
    Nesterov   v = mu v - eta g;   w = w + mu v - eta g
    adam       m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2
               w = w - eta sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)

and adamw first shrinks ``w`` by ``1 - eta alpha``.  Each pass returns the sum of squares of the new weights, which the
objective needs and which costs nothing here.

Sutskever et al., ICML 2013 (momentum, Nesterov); Kingma and Ba, ICLR 2015 (Adam); Loshchilov and Hutter, ICLR 2019
(AdamW).
"""

from __future__ import annotations

import math

import numpy as np

from parsgd.kernels.compiling import called

# GRADIENT takes no step: the sums of gradients are what is wanted.
SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, GRADIENT = range(6)
U = np.uint64


@called
def _sgd(w, g, at, g_at, n, factor, decay, eta):
    total = w.dtype.type(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        x -= eta * (factor * g[U(g_at) + i] + decay * x)
        w[U(at) + i] = x
        total += x * x
    return total


@called
def _momentum(w, v, g, at, g_at, n, factor, decay, eta, mu):
    total = w.dtype.type(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        u = mu * v[U(at) + i] - eta * (factor * g[U(g_at) + i] + decay * x)
        v[U(at) + i] = u
        x += u
        w[U(at) + i] = x
        total += x * x
    return total


@called
def _nesterov(w, v, g, at, g_at, n, factor, decay, eta, mu):
    total = w.dtype.type(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        step = eta * (factor * g[U(g_at) + i] + decay * x)
        u = mu * v[U(at) + i] - step
        v[U(at) + i] = u
        x += mu * u - step
        w[U(at) + i] = x
        total += x * x
    return total


@called
def _adam(w, m, v, g, at, g_at, n, factor, decay, eta, b1, b2, rest1, rest2, epsilon, shrink):
    # 1 - b1 and 1 - b2 are rounded once: computed from 0.999 in float32, the second is wrong by 1e-5 of its value
    total = w.dtype.type(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        slope = factor * g[U(g_at) + i] + decay * x
        first = b1 * m[U(at) + i] + rest1 * slope
        second = b2 * v[U(at) + i] + rest2 * (slope * slope)
        m[U(at) + i] = first
        v[U(at) + i] = second
        x = shrink * x - eta * first / (np.sqrt(second) + epsilon)
        w[U(at) + i] = x
        total += x * x
    return total


@called
def step(recipe, w, first, second, g, at, g_at, n, factor, decay, shrinkage, eta, t):
    """Step ``n`` weights at ``at`` along the summed gradients at ``g_at``; the sum of squares afterwards.

    ``eta`` is the rate of this step, ``t`` its number from 1 on; ``decay`` is the penalty's part in the gradient,
    ``shrinkage`` what adamw takes of the weights instead.
    """
    number = w.dtype.type
    f, d, e = number(factor), number(decay), number(eta)
    if recipe.solver == SGD:
        return _sgd(w, g, at, g_at, n, f, d, e)
    if recipe.solver == MOMENTUM:
        return _momentum(w, first, g, at, g_at, n, f, d, e, number(recipe.momentum))
    if recipe.solver == NESTEROV:
        return _nesterov(w, first, g, at, g_at, n, f, d, e, number(recipe.momentum))
    rate = eta * math.sqrt(1.0 - recipe.beta2**t) / (1.0 - recipe.beta1**t)
    shrink = number(1.0 - eta * shrinkage)
    return _adam(
        w, first, second, g, at, g_at, n, f, d, number(rate), number(recipe.beta1), number(recipe.beta2),
        number(1.0 - recipe.beta1), number(1.0 - recipe.beta2), number(recipe.epsilon), shrink,
    )  # fmt: skip


@called
def squares(values, at, n):
    """Sum of squares of a run of values."""
    total = values.dtype.type(0)
    for i in range(U(n)):
        total += values[U(at) + i] * values[U(at) + i]
    return total
