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

import functools
import math

import numba
import numpy as np

from parsgd.kernels.compiling import address_of, inlined, routine
from parsgd.kernels.elementary import exp_in

IDENTITY, LOGISTIC, TANH, RELU, GELU, LEAKY_RELU = range(6)
LEAK = 0.01
_GELU_RATE, _GELU_CUBE = 2.0 * math.sqrt(2.0 / math.pi), 0.044715
U = np.uint64


@inlined
def logistic(z, one):
    """The logistic function, in the type of ``z``; ``one`` is 1 in it."""
    return one / (one + exp_in(-z))


# -- the way up: add the bias ``w[bias:bias + n]`` to a layer's products and apply the activation, in place ------------


@routine
def identity(values, slopes, at, rows, n, w, bias):
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] += w[U(bias) + j]


@routine
def logistic_unit(values, slopes, at, rows, n, w, bias):
    one = values.dtype.type(1)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] = logistic(values[begin + j] + w[U(bias) + j], one)


@routine
def tanh(values, slopes, at, rows, n, w, bias):
    one, two = values.dtype.type(1), values.dtype.type(2)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] = two * logistic(two * (values[begin + j] + w[U(bias) + j]), one) - one


@routine
def relu(values, slopes, at, rows, n, w, bias):
    zero = values.dtype.type(0)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            # written so that NaN stays NaN
            values[begin + j] = zero if z < zero else z


@routine
def leaky_relu(values, slopes, at, rows, n, w, bias):
    zero, leak = values.dtype.type(0), values.dtype.type(LEAK)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            values[begin + j] = z if z > zero else leak * z


@routine
def gelu(values, slopes, at, rows, n, w, bias):
    one, three = values.dtype.type(1), values.dtype.type(3)
    rate, cube = values.dtype.type(_GELU_RATE), values.dtype.type(_GELU_CUBE)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            s = logistic(rate * (z + cube * z * z * z), one)
            values[begin + j] = z * s
            slopes[begin + j] = s + z * s * (one - s) * rate * (one + three * cube * z * z)


# -- the way down: multiply ``count`` errors at ``e`` by the derivatives at the values of their layer at ``at`` ------


@routine
def identity_slopes(values, slopes, e, at, count):
    pass


@routine
def stored_slopes(values, slopes, e, at, count):
    for i in range(U(count)):
        values[U(e) + i] *= slopes[U(at) + i]


@routine
def logistic_slopes(values, slopes, e, at, count):
    one = values.dtype.type(1)
    for i in range(U(count)):
        a = values[U(at) + i]
        values[U(e) + i] *= a * (one - a)


@routine
def tanh_slopes(values, slopes, e, at, count):
    one = values.dtype.type(1)
    for i in range(U(count)):
        a = values[U(at) + i]
        values[U(e) + i] *= one - a * a


@routine
def relu_slopes(values, slopes, e, at, count):
    zero = values.dtype.type(0)
    for i in range(U(count)):
        error, a = values[U(e) + i], values[U(at) + i]  # read before choosing: no branch, so it is vectorised
        values[U(e) + i] = error if a > zero else zero


@routine
def leaky_relu_slopes(values, slopes, e, at, count):
    zero, one, leak = values.dtype.type(0), values.dtype.type(1), values.dtype.type(LEAK)
    for i in range(U(count)):
        error, a = values[U(e) + i], values[U(at) + i]
        values[U(e) + i] = error * (one if a > zero else leak)


# Both ways of each activation, by its code.  gelu's derivative is stored on the way up.
UNITS = (identity, logistic_unit, tanh, relu, gelu, leaky_relu)
SLOPES = (identity_slopes, logistic_slopes, tanh_slopes, relu_slopes, stored_slopes, leaky_relu_slopes)


@functools.cache
def addresses(code: int, dtype: str, dropout: bool) -> tuple[int, int, int]:
    """The addresses of an activation, of its derivative, and of dropout; the last is 0 without dropout."""
    values = numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    place = numba.types.int64
    up = address_of(UNITS[code], (values, values, place, place, place, values, place))
    down = address_of(stored_slopes if dropout else SLOPES[code], (values, values, place, place, place))
    if not dropout:
        return up, down, 0
    number, key = numba.types.float64, numba.types.uint32
    return up, down, address_of(drop, (place, number, key, place, values, values, place, place))


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


@routine
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
