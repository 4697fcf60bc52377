"""The last layer: from products to predictions, losses and errors, one batch at a time.

====  ==========================  ===================  =================================================
code  loss                        prediction           value of one example
====  ==========================  ===================  =================================================
0     softmax cross-entropy       e^z_k / sum_j e^z_j  -log p_y
1     sigmoid cross-entropy       1 / (1 + e^-z)       -sum_k (y_k log p_k + (1 - y_k) log(1 - p_k))
2     squared_error               z                    sum_k r_k^2 / 2,  r = p - y
3     absolute_error              z                    sum_k abs(r_k)
4     huber                       z                    sum_k r_k^2 / 2 within d of 0, else d (abs(r_k) - d / 2)
5     poisson                     e^z                  sum_k y_k log(y_k / p_k) - y_k + p_k
====  ==========================  ===================  =================================================

The error of an output is the derivative of the value in z, times the example's weight; each of these losses goes with
its prediction so that this is ``p - y`` (clipped to [-d, d] for huber, its sign for absolute_error).  Probabilities are
kept away from 0 and 1 by the type's epsilon when logarithms are taken, as scikit-learn does; those below e^-50 have the
error 0, because some processors are slow with the least numbers of a type.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import overload

from parsgd.kernels.activations import logistic
from parsgd.kernels.compiling import INLINE
from parsgd.kernels.elementary import exp_in
from parsgd.kernels.recipe import NEGLIGIBLE

SOFTMAX, SIGMOID, SQUARED, ABSOLUTE, HUBER, POISSON = range(6)
U = np.uint64


def errors_of(loss, parameter, y, order, first, rows, n, weight, w, bias, values, at):
    """Turn the products of the last layer, ``(rows, n)`` at ``at``, into errors in place; the loss of the batch.

    ``y`` is ``(n_rows,)`` class numbers for softmax, else ``(n_rows, n)`` numbers.
    """
    raise NotImplementedError("only inside compiled code")


@overload(errors_of, jit_options=INLINE)
def _errors_of(loss, parameter, y, order, first, rows, n, weight, w, bias, values, at):
    return _softmax if y.ndim == 1 else _separate


def _softmax(loss, parameter, y, order, first, rows, n, weight, w, bias, values, at):
    zero, lost = values.dtype.type(0), values.dtype.type(-NEGLIGIBLE)
    low = np.finfo(values.dtype).eps
    total = 0.0
    for r in range(U(rows)):
        row = order[U(first) + r]
        begin = U(at) + r * U(n)
        top = values[begin] + w[U(bias)]
        for k in range(U(n)):
            z = values[begin + k] + w[U(bias) + k]
            values[begin + k] = z
            top = z if z > top else top
        mass = zero
        for k in range(U(n)):
            e = zero if values[begin + k] - top < lost else exp_in(values[begin + k] - top)
            values[begin + k] = e
            mass += e
        target = begin + U(y[U(row)])
        share = weight[U(row)] if weight.shape[0] > 0 else values.dtype.type(1)
        p = float(values[target]) / float(mass)
        p = low if p < low else (1.0 - low if p > 1.0 - low else p)
        total -= math.log(p) * share
        unit = share / mass
        for k in range(U(n)):
            values[begin + k] *= unit
        values[target] -= share
    return total


def _separate(loss, parameter, y, order, first, rows, n, weight, w, bias, values, at):
    one, lost = values.dtype.type(1), values.dtype.type(-NEGLIGIBLE)
    low = np.finfo(values.dtype).eps
    total = 0.0
    for r in range(U(rows)):
        row = order[U(first) + r]
        begin = U(at) + r * U(n)
        share = weight[U(row)] if weight.shape[0] > 0 else one
        value = 0.0
        for k in range(U(n)):
            z = values[begin + k] + w[U(bias) + k]
            t = y[U(row), k]
            if loss == SIGMOID:
                p = one - one if z < lost else logistic(z, one)
                error = p - t
                q = low if p < low else (1.0 - low if p > 1.0 - low else p)
                if t == one:
                    value -= math.log(q)
                elif t == one - one:
                    value -= math.log(1.0 - q)
                else:
                    value -= t * math.log(q) + (1.0 - t) * math.log(1.0 - q)
            elif loss == POISSON:
                p = exp_in(z)
                error = p - t
                value += p - t
                if t > one - one:
                    value += t * (math.log(t) - z)
            else:
                error = z - t
                size = abs(error)
                if loss == SQUARED:
                    value += 0.5 * error * error
                elif loss == ABSOLUTE:
                    value += size
                    error = one if error > one - one else (-one if error < one - one else error)
                else:
                    near = size <= parameter
                    value += 0.5 * error * error if near else parameter * (size - 0.5 * parameter)
                    edge = values.dtype.type(parameter)
                    error = edge if error > edge else (-edge if error < -edge else error)
            values[begin + k] = error * share
        total += value * share
    return total
