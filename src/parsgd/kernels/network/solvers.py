"""Solvers of networks: update rules for a range of weights ``w`` and their moments.

With ``g = factor * (sum of gradients) + decay w``, at learning rate ``eta``::

    sgd        w = w - eta g
    momentum   v = mu v - eta g;   w = w + v
    Nesterov   v = mu v - eta g;   w = w + mu v - eta g
    adam       m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2
               w = w - eta sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)

adamw first multiplies ``w`` by ``1 - eta alpha``.  Each routine returns the sum of squares of the new weights, which
the objective needs and which costs nothing here.

Sutskever et al., ICML 2013 (momentum, Nesterov); Kingma and Ba, ICLR 2015 (Adam); Loshchilov and Hutter, ICLR 2019
(AdamW).
"""

from __future__ import annotations

import functools
import math

import numba
import numpy as np

from parsgd.kernels.lowlevel.compiling import address_of, called, routine

# GRADIENT takes no step: only the summed gradients are needed.
SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, GRADIENT = range(6)
U = np.uint64
# Positions in ``solver_params``.
MU, BETA1, BETA2, EPSILON = range(4)


# Each routine updates ``n`` weights at ``at`` along the summed gradients at ``g_at``, and returns their sum of squares.
# ``eta`` is the learning rate of the step, ``t`` its number, from 1.  ``decay`` is the coefficient of the l2 penalty in
# the gradient, ``weight_decay`` that of adamw.


@routine
def sgd(
    w: np.ndarray,
    moment1: np.ndarray,
    moment2: np.ndarray,
    g: np.ndarray,
    at: int,
    g_at: int,
    n: int,
    factor: float,
    decay: float,
    weight_decay: float,
    eta: float,
    t: float,
    solver_params: np.ndarray,
) -> float:
    number = w.dtype.type
    f, d, e = number(factor), number(decay), number(eta)
    total = number(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        x -= e * (f * g[U(g_at) + i] + d * x)
        w[U(at) + i] = x
        total += x * x
    return np.float64(total)


# not one function with Nesterov's rule: the compiler would then fuse other products and sums, and change the last bit
@routine
def momentum(
    w: np.ndarray,
    moment1: np.ndarray,
    moment2: np.ndarray,
    g: np.ndarray,
    at: int,
    g_at: int,
    n: int,
    factor: float,
    decay: float,
    weight_decay: float,
    eta: float,
    t: float,
    solver_params: np.ndarray,
) -> float:
    number = w.dtype.type
    f, d, e, mu = number(factor), number(decay), number(eta), number(solver_params[MU])
    total = number(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        v = mu * moment1[U(at) + i] - e * (f * g[U(g_at) + i] + d * x)
        moment1[U(at) + i] = v
        x += v
        w[U(at) + i] = x
        total += x * x
    return np.float64(total)


@routine
def nesterov(
    w: np.ndarray,
    moment1: np.ndarray,
    moment2: np.ndarray,
    g: np.ndarray,
    at: int,
    g_at: int,
    n: int,
    factor: float,
    decay: float,
    weight_decay: float,
    eta: float,
    t: float,
    solver_params: np.ndarray,
) -> float:
    number = w.dtype.type
    f, d, e, mu = number(factor), number(decay), number(eta), number(solver_params[MU])
    total = number(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        step = e * (f * g[U(g_at) + i] + d * x)
        v = mu * moment1[U(at) + i] - step
        moment1[U(at) + i] = v
        x += mu * v - step
        w[U(at) + i] = x
        total += x * x
    return np.float64(total)


@routine
def adam(
    w: np.ndarray,
    moment1: np.ndarray,
    moment2: np.ndarray,
    g: np.ndarray,
    at: int,
    g_at: int,
    n: int,
    factor: float,
    decay: float,
    weight_decay: float,
    eta: float,
    t: float,
    solver_params: np.ndarray,
) -> float:
    number = w.dtype.type
    f, d = number(factor), number(decay)
    rate = number(eta * math.sqrt(1.0 - solver_params[BETA2] ** t) / (1.0 - solver_params[BETA1] ** t))
    # one rounding: in float32, 1 - 0.999 has a relative error of 1e-5
    rest1, rest2 = number(1.0 - solver_params[BETA1]), number(1.0 - solver_params[BETA2])
    b1, b2, epsilon = number(solver_params[BETA1]), number(solver_params[BETA2]), number(solver_params[EPSILON])
    shrink = number(1.0 - eta * weight_decay)
    total = number(0)
    for i in range(U(n)):
        x = w[U(at) + i]
        gradient = f * g[U(g_at) + i] + d * x
        m = b1 * moment1[U(at) + i] + rest1 * gradient
        v = b2 * moment2[U(at) + i] + rest2 * (gradient * gradient)
        moment1[U(at) + i] = m
        moment2[U(at) + i] = v
        x = shrink * x - rate * m / (np.sqrt(v) + epsilon)
        w[U(at) + i] = x
        total += x * x
    return np.float64(total)


@functools.cache
def get_step_address(solver: int, dtype: str) -> int:
    """Return the address of a solver's update."""
    values = numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    index, number = numba.types.int64, numba.types.float64
    scalars, params = [number] * 5, numba.types.UniTuple(number, 4)
    argument_types = (values, values, values, values, index, index, index, *scalars, params)
    # GRADIENT takes no step, but its kernel needs an address
    return address_of((sgd, momentum, nesterov, adam, adam, sgd)[solver], argument_types)


@called
def sum_squares(values: np.ndarray, at: int, n: int) -> float:
    """Return the sum of squares of ``values[at:at + n]``."""
    total = values.dtype.type(0)
    for i in range(U(n)):
        total += values[U(at) + i] * values[U(at) + i]
    return total
