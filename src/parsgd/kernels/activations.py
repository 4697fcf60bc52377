"""Activations of hidden layers, and their derivatives; dropout.

====  ===========  ===================================  ======================================
code  name         a(z)                                 a'(z), from the value a where it will do
====  ===========  ===================================  ======================================
0     identity     z                                    1
1     logistic     1 / (1 + e^-z)                       a (1 - a)
2     tanh         tanh z                               1 - a^2
3     relu         max(0, z)                            1 if a > 0 else 0
4     gelu         z s(2 c (z + 0.044715 z^3)),         stored on the way forward
                   s the logistic, c = sqrt(2 / pi)
5     leaky_relu   z if z > 0 else 0.01 z               1 if a > 0 else 0.01
====  ===========  ===================================  ======================================

gelu is the form with tanh of Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

Values lie row by row in one flat array: value ``j`` of row ``r`` of a layer at ``at`` is ``values[at + r * n + j]``.
"""

from __future__ import annotations

import math

import numpy as np

from parsgd.kernels.compiling import called, inlined
from parsgd.kernels.elementary import exp_in

IDENTITY, LOGISTIC, TANH, RELU, GELU, LEAKY_RELU = range(6)
LEAK = 0.01
_GELU_RATE, _GELU_CUBE = 2.0 * math.sqrt(2.0 / math.pi), 0.044715
U = np.uint64


@inlined
def logistic(z, one):
    """The logistic function, in the type of ``z``; ``one`` is 1 in it."""
    return one / (one + exp_in(-z))


@inlined
def bias_identity(values, at, rows, n, w, bias):
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] += w[U(bias) + j]


@inlined
def bias_logistic(values, at, rows, n, w, bias):
    one = values.dtype.type(1)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] = logistic(values[begin + j] + w[U(bias) + j], one)


@inlined
def bias_tanh(values, at, rows, n, w, bias):
    one, two = values.dtype.type(1), values.dtype.type(2)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] = two * logistic(two * (values[begin + j] + w[U(bias) + j]), one) - one


@inlined
def bias_relu(values, at, rows, n, w, bias):
    zero = values.dtype.type(0)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            # written so that NaN stays NaN
            values[begin + j] = zero if z < zero else z


@inlined
def bias_leaky_relu(values, at, rows, n, w, bias):
    zero, leak = values.dtype.type(0), values.dtype.type(LEAK)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            values[begin + j] = z if z > zero else leak * z


@inlined
def bias_gelu(values, slopes, at, rows, n, w, bias):
    one, three = values.dtype.type(1), values.dtype.type(3)
    rate, cube = values.dtype.type(_GELU_RATE), values.dtype.type(_GELU_CUBE)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            s = logistic(rate * (z + cube * z * z * z), one)
            values[begin + j] = z * s
            slopes[begin + j] = s + z * s * (one - s) * rate * (one + three * cube * z * z)


@called
def activate(code, values, slopes, at, rows, n, w, bias):
    """Add the bias ``w[bias:bias + n]`` to a layer's products and apply the activation, in place."""
    if code == RELU:
        bias_relu(values, at, rows, n, w, bias)
    elif code == TANH:
        bias_tanh(values, at, rows, n, w, bias)
    elif code == LOGISTIC:
        bias_logistic(values, at, rows, n, w, bias)
    elif code == GELU:
        bias_gelu(values, slopes, at, rows, n, w, bias)
    elif code == LEAKY_RELU:
        bias_leaky_relu(values, at, rows, n, w, bias)
    else:
        bias_identity(values, at, rows, n, w, bias)


@called
def differentiate(code, values, slopes, e, at, count):
    """Multiply ``count`` errors at ``e`` by the derivatives at the values of their layer at ``at``."""
    zero, one = values.dtype.type(0), values.dtype.type(1)
    if slopes.shape[0] > 0:
        for i in range(U(count)):
            values[U(e) + i] *= slopes[U(at) + i]
    elif code == RELU:
        for i in range(U(count)):
            error, a = values[U(e) + i], values[U(at) + i]  # read before choosing: no branch, so it is vectorised
            values[U(e) + i] = error if a > zero else zero
    elif code == TANH:
        for i in range(U(count)):
            a = values[U(at) + i]
            values[U(e) + i] *= one - a * a
    elif code == LOGISTIC:
        for i in range(U(count)):
            a = values[U(at) + i]
            values[U(e) + i] *= a * (one - a)
    elif code == LEAKY_RELU:
        leak = values.dtype.type(LEAK)
        for i in range(U(count)):
            error, a = values[U(e) + i], values[U(at) + i]
            values[U(e) + i] = error * (one if a > zero else leak)


@inlined
def _mixed(x):
    """A hash of 32 bits in which every bit of the input moves every bit of the output."""
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@inlined
def mask_key(seed, step, layer):
    """The key of the dropout mask of a layer at a step: masks repeat when the fit does, however it is cut."""
    key = _mixed(np.uint32(np.uint64(seed) & np.uint64(0xFFFFFFFF)))
    key = _mixed(np.uint32(key ^ np.uint32(np.uint64(step) & np.uint64(0xFFFFFFFF))))
    return _mixed(np.uint32(key + np.uint32(layer)))


@called
def drop(code, keep, key, shift, values, slopes, at, count):
    """Dropout (Srivastava et al., JMLR 2014): keep each value with probability ``keep`` and divide it by that.

    ``slopes`` takes the derivative, mask included.  ``shift``: how many values of the batch lie before these.
    """
    zero, one = values.dtype.type(0), values.dtype.type(1)
    unit, leak = values.dtype.type(1.0 / keep), values.dtype.type(LEAK)
    limit = np.uint32(min(keep * 4294967296.0, 4294967295.0))
    for i in range(U(count)):
        kept = _mixed(np.uint32(np.uint32(i + U(shift)) ^ key)) <= limit
        factor = unit if kept else zero
        a = values[U(at) + i]
        slope = one
        if code == GELU:
            slope = slopes[U(at) + i]
        elif code == RELU:
            slope = one if a > zero else zero
        elif code == TANH:
            slope = one - a * a
        elif code == LOGISTIC:
            slope = a * (one - a)
        elif code == LEAKY_RELU:
            slope = one if a > zero else leak
        values[U(at) + i] = a * factor
        slopes[U(at) + i] = slope * factor
