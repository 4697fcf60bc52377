"""Activations of hidden layers, their derivatives, and dropout.

====  ===========  ===================================  ======================================
code  name         a(z)                                 a'(z), computed from a where possible
====  ===========  ===================================  ======================================
0     identity     z                                    1
1     logistic     1 / (1 + e^-z)                       a (1 - a)
2     tanh         tanh z                               1 - a^2
3     relu         max(0, z)                            1 if a > 0 else 0
4     gelu         z s(2 c (z + 0.044715 z^3)),         stored in the forward pass
                   s the logistic, c = sqrt(2 / pi)
5     leaky_relu   z if z > 0 else 0.01 z               1 if a > 0 else 0.01
====  ===========  ===================================  ======================================

gelu is the tanh approximation of Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

Layers are stored row by row in one flat array.  Value ``j`` of row ``r`` of an ``n``-unit layer that starts at ``at``
is ``values[at + r * n + j]``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numba
import numpy as np

from parsgd.kernels.lowlevel.compiling import address_of, inlined, routine
from parsgd.kernels.lowlevel.fast_exp import exp_same_dtype

IDENTITY, LOGISTIC, TANH, RELU, GELU, LEAKY_RELU = range(6)
LEAK = 0.01
_GELU_RATE, _GELU_CUBE = 2.0 * math.sqrt(2.0 / math.pi), 0.044715
U = np.uint64


@inlined
def logistic(z: float, one: float) -> float:
    """Return the logistic function of ``z``, in the type of ``z``; ``one`` is 1 in that type."""
    return one / (one + exp_same_dtype(-z))


# -- forward pass: add the biases ``w[bias:bias + n]`` to a layer's products and apply the activation, in place --------


@routine
def identity_forward(
    values: np.ndarray, derivatives: np.ndarray, at: int, rows: int, n: int, w: np.ndarray, bias: int
) -> None:
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] += w[U(bias) + j]


@routine
def logistic_forward(
    values: np.ndarray, derivatives: np.ndarray, at: int, rows: int, n: int, w: np.ndarray, bias: int
) -> None:
    one = values.dtype.type(1)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] = logistic(values[begin + j] + w[U(bias) + j], one)


@routine
def tanh_forward(
    values: np.ndarray, derivatives: np.ndarray, at: int, rows: int, n: int, w: np.ndarray, bias: int
) -> None:
    one, two = values.dtype.type(1), values.dtype.type(2)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            values[begin + j] = two * logistic(two * (values[begin + j] + w[U(bias) + j]), one) - one


@routine
def relu_forward(
    values: np.ndarray, derivatives: np.ndarray, at: int, rows: int, n: int, w: np.ndarray, bias: int
) -> None:
    zero = values.dtype.type(0)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            # this form keeps NaN
            values[begin + j] = zero if z < zero else z


@routine
def leaky_relu_forward(
    values: np.ndarray, derivatives: np.ndarray, at: int, rows: int, n: int, w: np.ndarray, bias: int
) -> None:
    zero, leak = values.dtype.type(0), values.dtype.type(LEAK)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            values[begin + j] = z if z > zero else leak * z


@routine
def gelu_forward(
    values: np.ndarray, derivatives: np.ndarray, at: int, rows: int, n: int, w: np.ndarray, bias: int
) -> None:
    one, three = values.dtype.type(1), values.dtype.type(3)
    rate, cube = values.dtype.type(_GELU_RATE), values.dtype.type(_GELU_CUBE)
    for r in range(U(rows)):
        begin = U(at) + r * U(n)
        for j in range(U(n)):
            z = values[begin + j] + w[U(bias) + j]
            s = logistic(rate * (z + cube * z * z * z), one)
            values[begin + j] = z * s
            derivatives[begin + j] = s + z * s * (one - s) * rate * (one + three * cube * z * z)


# -- backward pass: multiply ``count`` errors at ``e`` by the derivatives at the values of their layer at ``at`` -------


@routine
def identity_backward(values: np.ndarray, derivatives: np.ndarray, e: int, at: int, count: int) -> None:
    pass


@routine
def stored_backward(values: np.ndarray, derivatives: np.ndarray, e: int, at: int, count: int) -> None:
    for i in range(U(count)):
        values[U(e) + i] *= derivatives[U(at) + i]


@routine
def logistic_backward(values: np.ndarray, derivatives: np.ndarray, e: int, at: int, count: int) -> None:
    one = values.dtype.type(1)
    for i in range(U(count)):
        a = values[U(at) + i]
        values[U(e) + i] *= a * (one - a)


@routine
def tanh_backward(values: np.ndarray, derivatives: np.ndarray, e: int, at: int, count: int) -> None:
    one = values.dtype.type(1)
    for i in range(U(count)):
        a = values[U(at) + i]
        values[U(e) + i] *= one - a * a


@routine
def relu_backward(values: np.ndarray, derivatives: np.ndarray, e: int, at: int, count: int) -> None:
    zero = values.dtype.type(0)
    for i in range(U(count)):
        error, a = values[U(e) + i], values[U(at) + i]  # read before choosing: without a branch the loop is vectorized
        values[U(e) + i] = error if a > zero else zero


@routine
def leaky_relu_backward(values: np.ndarray, derivatives: np.ndarray, e: int, at: int, count: int) -> None:
    zero, one, leak = values.dtype.type(0), values.dtype.type(1), values.dtype.type(LEAK)
    for i in range(U(count)):
        error, a = values[U(e) + i], values[U(at) + i]
        values[U(e) + i] = error * (one if a > zero else leak)


# Both passes of each activation, by its code.  The forward pass of gelu stores the derivative.
FORWARD: tuple[Callable[..., None], ...] = (
    identity_forward,
    logistic_forward,
    tanh_forward,
    relu_forward,
    gelu_forward,
    leaky_relu_forward,
)
BACKWARD: tuple[Callable[..., None], ...] = (
    identity_backward,
    logistic_backward,
    tanh_backward,
    relu_backward,
    stored_backward,
    leaky_relu_backward,
)


@functools.cache
def get_addresses(code: int, dtype: str, dropout: bool) -> tuple[int, int, int]:
    """Return the addresses of an activation, of its derivative and of dropout; the last is 0 without dropout."""
    values = numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    index = numba.types.int64
    forward = address_of(FORWARD[code], (values, values, index, index, index, values, index))
    backward = address_of(stored_backward if dropout else BACKWARD[code], (values, values, index, index, index))
    if not dropout:
        return forward, backward, 0
    number, key = numba.types.float64, numba.types.uint32
    return forward, backward, address_of(apply_dropout, (index, number, key, index, values, values, index, index))


@inlined
def _mix_bits(x):
    """Hash 32 bits: every bit of the input affects every bit of the output."""
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@inlined
def make_mask_key(seed: int, step: float, layer: int) -> int:
    """Return the key of a layer's dropout mask at a step.

    It depends on nothing else, so a resumed fit and a batch in parts draw the same masks.
    """
    key = _mix_bits(np.uint32(np.uint64(seed) & np.uint64(0xFFFFFFFF)))
    key = _mix_bits(np.uint32(key ^ np.uint32(np.uint64(step) & np.uint64(0xFFFFFFFF))))
    return _mix_bits(np.uint32(key + np.uint32(layer)))


@routine
def apply_dropout(
    code: int,
    keep_probability: float,
    key: int,
    offset: int,
    values: np.ndarray,
    derivatives: np.ndarray,
    at: int,
    count: int,
) -> None:
    """Apply dropout: keep each value with probability ``keep_probability``, divided by it.

    Srivastava et al., JMLR 2014.  Stores the derivatives, mask included, in ``derivatives``.  ``offset``: number of
    values of the batch before these.
    """
    zero, one = values.dtype.type(0), values.dtype.type(1)
    inverse_keep, leak = values.dtype.type(1.0 / keep_probability), values.dtype.type(LEAK)
    limit = np.uint32(min(keep_probability * 4294967296.0, 4294967295.0))
    for i in range(U(count)):
        is_kept = _mix_bits(np.uint32(np.uint32(i + U(offset)) ^ key)) <= limit
        factor = inverse_keep if is_kept else zero
        a = values[U(at) + i]
        derivative = one
        if code == GELU:
            derivative = derivatives[U(at) + i]
        elif code == RELU:
            derivative = one if a > zero else zero
        elif code == TANH:
            derivative = one - a * a
        elif code == LOGISTIC:
            derivative = a * (one - a)
        elif code == LEAKY_RELU:
            derivative = one if a > zero else leak
        values[U(at) + i] = a * factor
        derivatives[U(at) + i] = derivative * factor
