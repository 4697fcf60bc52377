"""Compiled losses: evaluation of one prediction, of all outputs of a row, and of arrays.

All built-in losses (:data:`parsgd.kernels.losses.BUILTIN`) share one compiled function and are selected by a code, so
one kernel serves them all. Other losses are compiled into separate kernels (:mod:`parsgd.kernels.user_losses`).

A loss is returned in two parts, ``l`` and ``f`` with ``loss = l + log(f)``. The products of the ``f`` of many examples
are kept below overflow by :func:`fold_factor`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba.extending import overload

from parsgd.kernels.losses import BUILTIN, describe, hinge, logistic
from parsgd.kernels.lowlevel.compiling import INLINE, inlined, kernel
from parsgd.kernels.lowlevel.extremes import larger, smaller
from parsgd.kernels.lowlevel.fast_exp import exp

if TYPE_CHECKING:
    from parsgd.kernels.user_losses import Numbers

HINGE, LOG, SOFTMAX, POISSON = (describe(name).code for name in ("hinge", "log_loss", "softmax", "poisson"))

# Gradients are clipped to this, as in scikit-learn.
MAX_GRADIENT = 1e12


class BuiltinLoss(NamedTuple):
    """A built-in loss: its code and its parameter (threshold, epsilon or quantile)."""

    code: int
    parameter: float


# compiled code may call these two; the other formulas are reached through their codes
overload(hinge, jit_options=INLINE, strict=False)(lambda threshold, y, p: hinge)
overload(logistic, jit_options=INLINE, strict=False)(lambda y, z, e: logistic)


def _choose_formula() -> Callable[[int, float, float, float], tuple[float, float, float]]:
    """Compile a function of ``(code, parameter, y, p)`` that evaluates the formula with this code.

    Its source is generated, because a chain of compiled functions would take longer to compile.
    """
    formulas = {loss.code: loss.formula for loss in BUILTIN if loss.formula is not None}
    lines = [f"    if code == {code}: return formula_{code}(parameter, y, p)" for code in formulas]
    source = "\n".join(["def evaluate_builtin(code, parameter, y, p):", *lines, "    return nan, nan, 1.0"])
    scope = {f"formula_{code}": inlined(formula) for code, formula in formulas.items()}
    scope |= {"nan": np.nan, "__name__": __name__}
    exec(source, scope)
    return inlined(scope["evaluate_builtin"])


evaluate_builtin: Callable[[int, float, float, float], tuple[float, float, float]] = _choose_formula()


def evaluate(loss: BuiltinLoss | Numbers, y: float, p: float) -> tuple[float, float, float]:
    """Return ``(gradient, l, f)`` of ``loss``, a :class:`BuiltinLoss` or the parameters of a user's loss."""
    raise NotImplementedError("only inside compiled code")


@overload(evaluate, jit_options=INLINE)
def _evaluate(loss, y, p):
    if loss.instance_class is BuiltinLoss:

        def implementation(loss, y, p):
            gradient, l, f = evaluate_builtin(loss.code, loss.parameter, y, p)
            return smaller(larger(gradient, -MAX_GRADIENT), MAX_GRADIENT), l, f

        return implementation

    formula = loss.instance_class.formula

    def implementation(loss, y, p):
        gradient, l, f = formula(loss, y, p)
        return smaller(larger(gradient, -MAX_GRADIENT), MAX_GRADIENT), l, f

    return implementation


def evaluate_outputs(
    loss: BuiltinLoss | Numbers,
    target: int,
    scores: np.ndarray,
    gradients: np.ndarray,
    losses: np.ndarray,
    factors: np.ndarray,
    n_outputs: int,
) -> None:
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


def get_loss_code(loss: BuiltinLoss | Numbers) -> int:
    """Return the code of a built-in loss; -1 for a user's."""
    raise NotImplementedError("only inside compiled code")


@overload(get_loss_code, jit_options=INLINE)
def _get_loss_code(loss):
    if loss.instance_class is BuiltinLoss:
        return lambda loss: loss.code
    return lambda loss: -1


@inlined
def fold_factor(loss_sum: float, factor: float) -> tuple[float, float]:
    """Move the logarithm of a running product into the sum before it can overflow; returns ``(sum, product)``."""
    if factor > 1e100:
        return loss_sum + math.log(factor), 1.0
    return loss_sum, factor


@kernel
def evaluate_all(
    loss: BuiltinLoss | Numbers, y: np.ndarray, p: np.ndarray, gradient: np.ndarray, value: np.ndarray
) -> None:
    """Compute loss and derivative of each prediction; ``y, p, gradient, value`` are ``(n,)`` float64."""
    for i in range(p.shape[0]):
        g, l, f = evaluate(loss, y[i], p[i])
        gradient[i] = g
        value[i] = l + math.log(f)
