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

import functools
import math

import numba
import numpy as np

from parsgd.kernels.compiling import address_of, called, routine

# GRADIENT takes no step: the sums of gradients are what is wanted.
SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, GRADIENT = range(6)
U = np.uint64
# What a solver's step has besides: the places of its numbers.
MU, BETA1, BETA2, EPSILON = range(4)


# Each steps ``n`` weights at ``at`` along the summed gradients at ``g_at``, and returns their sum of squares.
# ``eta`` is the rate of this step, ``t`` its number from 1 on; ``decay`` is the penalty's part in the gradient,
# ``shrinkage`` what adamw takes of the weights instead.


@routine
def sgd(w, first, second, g, at, g_at, n, factor, decay, shrinkage, eta, t, hyper):
    number = w.dtype.type
    f, d, e = number(factor), number(decay), number(eta)
    total = number(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        x -= e * (f * g[U(g_at) + i] + d * x)
        w[U(at) + i] = x
        total += x * x
    return np.float64(total)


@routine
def momentum(w, first, second, g, at, g_at, n, factor, decay, shrinkage, eta, t, hyper):
    number = w.dtype.type
    f, d, e, mu = number(factor), number(decay), number(eta), number(hyper[MU])
    total = number(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        u = mu * first[U(at) + i] - e * (f * g[U(g_at) + i] + d * x)
        first[U(at) + i] = u
        x += u
        w[U(at) + i] = x
        total += x * x
    return np.float64(total)


@routine
def nesterov(w, first, second, g, at, g_at, n, factor, decay, shrinkage, eta, t, hyper):
    number = w.dtype.type
    f, d, e, mu = number(factor), number(decay), number(eta), number(hyper[MU])
    total = number(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        step = e * (f * g[U(g_at) + i] + d * x)
        u = mu * first[U(at) + i] - step
        first[U(at) + i] = u
        x += mu * u - step
        w[U(at) + i] = x
        total += x * x
    return np.float64(total)


@routine
def adam(w, first, second, g, at, g_at, n, factor, decay, shrinkage, eta, t, hyper):
    number = w.dtype.type
    f, d = number(factor), number(decay)
    rate = number(eta * math.sqrt(1.0 - hyper[BETA2] ** t) / (1.0 - hyper[BETA1] ** t))
    # rounded once: in float32, 1 - 0.999 has a relative error of 1e-5
    rest1, rest2 = number(1.0 - hyper[BETA1]), number(1.0 - hyper[BETA2])
    b1, b2, epsilon = number(hyper[BETA1]), number(hyper[BETA2]), number(hyper[EPSILON])
    shrink = number(1.0 - eta * shrinkage)
    total = number(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        slope = f * g[U(g_at) + i] + d * x
        m = b1 * first[U(at) + i] + rest1 * slope
        v = b2 * second[U(at) + i] + rest2 * (slope * slope)
        first[U(at) + i] = m
        second[U(at) + i] = v
        x = shrink * x - rate * m / (np.sqrt(v) + epsilon)
        w[U(at) + i] = x
        total += x * x
    return np.float64(total)


@functools.cache
def address(solver: int, dtype: str) -> int:
    """The address of a solver's step."""
    values = numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    place, number = numba.types.int64, numba.types.float64
    kinds = (values, values, values, values, place, place, place, *[number] * 5, numba.types.UniTuple(number, 4))
    # the gradient's solver takes no step, but a kernel may be asked for one
    return address_of((sgd, momentum, nesterov, adam, adam, sgd)[solver], kinds)


@called
def squares(values, at, n):
    """Sum of squares of a run of values."""
    total = values.dtype.type(0)
    for i in range(U(n)):
        total += values[U(at) + i] * values[U(at) + i]
    return total
