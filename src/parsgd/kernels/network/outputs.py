"""The last layer of a network: from products to predictions, losses and errors, one batch at a time.

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

The error of an output is the derivative of the value in z, times the example's weight.  With these pairs of loss and
prediction it is ``p - y``, clipped to [-d, d] for huber, and its sign for absolute_error.  In logarithms, probabilities
are clipped to [eps, 1 - eps] of the type, as in scikit-learn.  Probabilities below e^-50 have the error 0, because some
processors handle subnormal numbers slowly.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import overload

from parsgd.kernels.linear.hyperparams import NEGLIGIBLE
from parsgd.kernels.lowlevel.compiling import INLINE
from parsgd.kernels.lowlevel.fast_exp import exp_same_dtype
from parsgd.kernels.network.activations import logistic

SOFTMAX, SIGMOID, SQUARED, ABSOLUTE, HUBER, POISSON = range(6)
U = np.uint64
EPS32, EPS64 = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)


def compute_errors(
    loss: int,
    parameter: float,
    y: np.ndarray,
    order: np.ndarray,
    first: int,
    rows: int,
    n: int,
    weight: np.ndarray,
    w: np.ndarray,
    bias: int,
    values: np.ndarray,
    at: int,
) -> float:
    """Replace the products of the last layer, ``(rows, n)`` at ``at``, by errors; returns the loss of the batch.

    ``y`` is ``(n_rows,)`` class numbers for softmax, else ``(n_rows, n)``.
    """
    raise NotImplementedError("only inside compiled code")


@overload(compute_errors, jit_options=INLINE)
def _compute_errors(loss, parameter, y, order, first, rows, n, weight, w, bias, values, at):
    return _softmax if y.ndim == 1 else _separate


def _softmax(loss, parameter, y, order, first, rows, n, weight, w, bias, values, at):
    zero, cutoff = values.dtype.type(0), values.dtype.type(-NEGLIGIBLE)
    low = EPS32 if values.itemsize == 4 else EPS64
    total = 0.0
    for r in range(U(rows)):
        row = order[U(first) + r]
        begin = U(at) + r * U(n)
        max_z = values[begin] + w[U(bias)]
        for k in range(U(n)):
            z = values[begin + k] + w[U(bias) + k]
            values[begin + k] = z
            max_z = z if z > max_z else max_z
        total_exp = zero
        for k in range(U(n)):
            e = zero if values[begin + k] - max_z < cutoff else exp_same_dtype(values[begin + k] - max_z)
            values[begin + k] = e
            total_exp += e
        target = begin + U(y[U(row)])
        weight_of_row = weight[U(row)] if weight.shape[0] > 0 else values.dtype.type(1)
        p = float(values[target]) / float(total_exp)
        p = low if p < low else (1.0 - low if p > 1.0 - low else p)
        total -= math.log(p) * weight_of_row
        unit = weight_of_row / total_exp
        for k in range(U(n)):
            values[begin + k] *= unit
        values[target] -= weight_of_row
    return total


def _separate(loss, parameter, y, order, first, rows, n, weight, w, bias, values, at):
    one, cutoff = values.dtype.type(1), values.dtype.type(-NEGLIGIBLE)
    low = EPS32 if values.itemsize == 4 else EPS64
    total = 0.0
    for r in range(U(rows)):
        row = order[U(first) + r]
        begin = U(at) + r * U(n)
        weight_of_row = weight[U(row)] if weight.shape[0] > 0 else one
        value = 0.0
        for k in range(U(n)):
            z = values[begin + k] + w[U(bias) + k]
            t = y[U(row), k]
            if loss == SIGMOID:
                p = one - one if z < cutoff else logistic(z, one)
                error = p - t
                q = low if p < low else (1.0 - low if p > 1.0 - low else p)
                if t == one:
                    value -= math.log(q)
                elif t == one - one:
                    value -= math.log(1.0 - q)
                else:
                    value -= t * math.log(q) + (1.0 - t) * math.log(1.0 - q)
            elif loss == POISSON:
                p = exp_same_dtype(z)
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
            values[begin + k] = error * weight_of_row
        total += value * weight_of_row
    return total
