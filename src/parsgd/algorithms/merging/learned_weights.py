"""Learned merge weights, which minimize the merged model's loss on a few rows that the driver holds out.

With displacements ``d_i = w_i - w`` of the workers, the merged state is ``w + sum_i a_i d_i``.  For decisions linear in
the state, decisions are linear in ``a`` as well.  With ``Z_i = decision(w_i) - decision(w)`` on the sample, computed
once, the remaining problem is convex and has one unknown per worker::

    a = s t + (other shares):   L(decision(w) + sum_i a_i Z_i)
                                + L_s / 2 (r chi^2(a / s, t) + (sum_i a_i / s - 1)^2),        a_i >= 0

``t`` are the prior weights (by steps).  ``s`` is their best common factor, found first and without penalty; ``L_s`` is
the loss there.  ``chi^2(p, t) = sum_i p_i^2 / t_i - (sum_i p_i)^2`` measures the distance of the shares from ``t``, up
to a factor.  Most of the improvement comes from the factor ``s``.  A mean of runs at large learning rates moves too far
and a mean of short runs not far enough; no rule with weights that sum to 1 corrects this.

Five-fold cross-validation within the sample chooses among ``t``, ``s t``, and the shares at decreasing strengths ``r``.
It takes ``t`` if its loss is within one standard error of the best, else the first candidate within a quarter of one.

Weights are not negative.  On the four sets of docs/results/unequal-average.md, with ten workers of unequal speed,
negative weights (extrapolation away from a bad worker) brought no improvement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parsgd.core import AveragingModel, Rows, has_linear_state
from parsgd.utils import blas_threads, first_use

# Measured on adult, covtype, enron_spam and news20, ten workers of unequal speed, samples of 100 to 5,000 rows
# (docs/results/unequal-average.md): 100 rows suffice on three of them.  On the fourth, with few misclassified rows,
# 500 rows help little and 1,000 do.
_STRENGTHS, _FOLDS = (1.0, 0.1, 0.01), 5
# Standard errors by which the simplest candidate and the others may exceed the best one.
_ERRORS_OF_FIRST, _ERRORS = 1.0, 0.25
_SAMPLE_SHARE, _TOO_FEW_ROWS, _MIN_ROWS, _MAX_ROWS, _MAX_SHARE = 0.02, 100, 1000, 5000, 0.1
# More workers than this share weights in groups.
_MAX_WEIGHTS = 64
# Largest factor that a sample can support.
_MAX_FACTOR = 1024.0
# Fractions of the merged displacement that are tried for decisions not linear in the state.
_FRACTIONS = (1.0, 0.75, 0.5, 0.25)


def sample_rows(n_rows: int) -> int:
    """Return the number of rows to hold out for learning weights.

    It is 2 % of ``n_rows``, at least 1,000 and at most 5,000, but never more than a tenth.  It is 0 if fewer than 100
    rows would remain.

    >>> sample_rows(100_000), sample_rows(3000), sample_rows(500)
    (2000, 300, 0)
    """
    target = int(np.clip(int(_SAMPLE_SHARE * n_rows), _MIN_ROWS, _MAX_ROWS))
    n_held_out = min(target, int(_MAX_SHARE * n_rows))
    return n_held_out if n_held_out >= _TOO_FEW_ROWS else 0


def learn_weights(
    model: AveragingModel, sample: Rows, base: np.ndarray, states: Sequence[np.ndarray], towards: np.ndarray
) -> np.ndarray:
    """Return weights ``(n_workers,)`` on the displacements ``states[i] - base``, learned on ``sample``.

    The weights need not sum to 1.  ``towards (n_workers,)`` sums to 1; its zeros stay 0.  The result is deterministic,
    and its loss on the sample is never above that of ``towards``.  For decisions not linear in the state, the result is
    a fraction of ``towards``.

    Examples
    --------
    Two workers on the same data, one of which overshot by a factor of ten:

    >>> from parsgd.models.linear.linear_model import Linear
    >>> from parsgd.utils.row_arrays import rows_of
    >>> X = np.random.default_rng(0).standard_normal((500, 8))
    >>> w = np.arange(8.0)
    >>> model = Linear(8, loss="squared_error")
    >>> states = [np.append(w, 0.0), np.append(10 * w, 0.0)]
    >>> a = learn_weights(model, rows_of(X, X @ w), np.zeros(9), states, np.array([0.5, 0.5]))
    >>> merged = a @ np.array(states)
    >>> bool(np.allclose(merged[:-1], w, rtol=1e-2))
    True
    """
    towards = np.asarray(towards, dtype=float)
    moved = np.flatnonzero(towards)
    # with equal targets (one class), the loss cannot separate good weights from large ones
    if len(moved) < 2 or len(sample.y) < _FOLDS or np.all(sample.y == sample.y[:1]):
        return towards
    t = towards[moved]
    states = [states[int(i)] for i in moved]
    weights = np.zeros(len(towards))
    learn = _linear if has_linear_state(model) else _nonlinear
    # many small products: ten times as fast on one thread when the cores are busy, and the same bits everywhere
    with blas_threads.one_thread():
        weights[moved] = learn(model, sample, base, states, t)
    return weights


# -- linear in the state ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Objective:
    """Decisions on the sample: at the start ``(n_rows, n_out)``, and of the displacements ``(K, n_rows, n_out)``."""

    model: AveragingModel
    rows: Rows
    before: np.ndarray
    moves: np.ndarray

    def decision(self, weights: np.ndarray) -> np.ndarray:
        flat = weights @ self.moves.reshape(len(self.moves), -1)
        return self.before + flat.reshape(self.before.shape)

    def loss(self, weights: np.ndarray) -> float:
        return self.model.mean_loss(self.decision(weights), self.rows)[0]

    def is_homogeneous(self, weights: np.ndarray) -> bool:
        """Return True if the loss is proportional to the decisions, as the perceptron's; its minimum is at 0."""
        decision, loss = self.decision(weights), self.loss(weights)
        return bool(np.isclose(self.model.mean_loss(0.5 * decision, self.rows)[0], 0.5 * loss, rtol=1e-9, atol=0.0))

    def at(self, kept: np.ndarray) -> _Objective:
        """Return the objective on some of the rows."""
        return replace(
            self,
            rows=_select_rows(self.rows, kept),
            before=self.before[kept],
            moves=np.ascontiguousarray(self.moves[:, kept]),
        )

    def along(self, weights: np.ndarray) -> _Objective:
        """Return the objective of a single displacement, the weighted sum of all."""
        return replace(self, moves=np.tensordot(weights, self.moves, 1)[None])


def _linear(
    model: AveragingModel, sample: Rows, base: np.ndarray, states: Sequence[np.ndarray], t: np.ndarray
) -> np.ndarray:
    groups = _groups(model, sample, states)
    n_groups = groups.max() + 1
    whole = np.bincount(groups, t, n_groups)
    shares = t / whole[groups]
    before = np.asarray(model.decision(base, sample.x), dtype=np.float64)
    moves = np.zeros((n_groups, *before.shape))
    for group, share, state in zip(groups, shares, states, strict=True):
        moves[group] += share * (model.decision(state, sample.x) - before)
    return _cross_validate(_Objective(model, sample, before, moves), whole)[groups] * shares


def _groups(model: AveragingModel, sample: Rows, states: Sequence[np.ndarray]) -> np.ndarray:
    """Return the weight index of each worker; workers beyond the limit share weights with those of similar loss."""
    if len(states) <= _MAX_WEIGHTS:
        return np.arange(len(states))
    losses = [model.mean_loss(np.asarray(model.decision(state, sample.x)), sample)[0] for state in states]
    ranks = np.argsort(np.argsort(losses, kind="stable"), kind="stable")
    return ranks * _MAX_WEIGHTS // len(states)


def _cross_validate(problem: _Objective, t: np.ndarray) -> np.ndarray:
    """Return the weights that cross-validation within the sample chooses."""
    if problem.is_homogeneous(t):
        return t
    fold = np.arange(len(problem.rows.y)) % _FOLDS
    paths = [_candidates(problem.at(fold != k), t) for k in range(_FOLDS)]
    losses = np.array([[problem.at(fold == k).loss(a) for a in path] for k, path in enumerate(paths)])
    weights = _candidates(problem, t)[_simplest_candidate(losses)]
    return weights if problem.loss(weights) <= problem.loss(t) else t


def _simplest_candidate(losses: np.ndarray) -> int:
    """Return the first candidate within noise of the best one; ``losses (folds, candidates)``."""
    behind = losses - losses[:, [losses.mean(axis=0).argmin()]]
    noise = behind.std(axis=0, ddof=1) / np.sqrt(len(losses))
    errors = np.full(losses.shape[1], _ERRORS)
    errors[0] = _ERRORS_OF_FIRST
    # a relative difference of 1e-4 does not justify leaving the simpler weights
    allowed = errors * noise + 1e-4 * losses.mean(axis=0).min()
    return int(np.argmax(behind.mean(axis=0) <= allowed))


def _candidates(problem: _Objective, t: np.ndarray) -> list[np.ndarray]:
    """Return the candidates, the simplest first: ``t``, its best multiple, and other shares at decreasing strengths.

    The last candidate starts from the scale of ``t`` instead.  If most workers are useless, the best multiple of ``t``
    is near 0, and so are the candidates around it.
    """
    factor = _factor(problem.along(t))
    path = [t, factor * t]
    unit = problem.loss(path[-1])
    for strength in _STRENGTHS:
        path.append(_shares(problem, factor, t, strength, unit, path[-1]) if factor > 0.0 else path[-1])
    free = _shares(problem, 1.0, t, _STRENGTHS[-1], unit, path[-1], pull=0.0)
    total = free.sum()
    path.append(free / total * _factor(problem.along(free / total)) if total > 0.0 else path[-1])
    return path


def _factor(line: _Objective) -> float:
    """Return the best multiple of one displacement.

    If the merged model classifies the whole sample correctly, the loss falls without bound as the displacement grows.
    The factor is therefore limited by the minimum with one additional row on which every decision is wrong.
    """
    mirrored, n_rows = replace(line, before=-line.before, moves=-line.moves), len(line.rows.y)

    def derivative(factor: float) -> float:
        return _loss_and_gradient(line, np.array([factor]))[1][0]

    def limited_derivative(factor: float) -> float:
        return derivative(factor) + _loss_and_gradient(mirrored, np.array([factor]))[1][0] / n_rows

    if derivative(1.0) >= 0.0:
        return _root(derivative, 0.0, 1.0)
    return (
        1.0 if limited_derivative(1.0) >= 0.0 else min(_root(derivative, 1.0, 2.0), _root(limited_derivative, 1.0, 2.0))
    )


def _root(derivative: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of a rising function, to a relative 1e-3; ``low`` if the function is positive there."""
    if derivative(low) >= 0.0:
        return low
    while derivative(high) < 0.0:
        if high >= _MAX_FACTOR:
            return high
        low, high = high, 2.0 * high
    optimize: Any = first_use.load("scipy.optimize")
    return float(optimize.brentq(derivative, low, high, xtol=1e-6, rtol=1e-3))


def _shares(
    problem: _Objective,
    factor: float,
    t: np.ndarray,
    strength: float,
    unit: float,
    start: np.ndarray,
    pull: float = 1.0,
) -> np.ndarray:
    """Solve the penalized problem of the module docstring, in ``v_i = a_i / (s sqrt(t_i))``."""
    root = np.sqrt(t)
    scale = factor * root

    def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = _loss_and_gradient(problem, v * scale)
        total = v @ root
        penalty = strength * (v @ v - total**2) + pull * (total - 1.0) ** 2
        derivative = strength * (v - total * root) + pull * (total - 1.0) * root
        return float(loss + 0.5 * unit * penalty), slope * scale + unit * derivative

    return _minimize(objective, start / scale) * scale


def _loss_and_gradient(problem: _Objective, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient in the weights."""
    loss, gradient = problem.model.mean_loss(problem.decision(weights), problem.rows)
    return loss, problem.moves.reshape(len(problem.moves), -1) @ gradient.reshape(-1)


def _minimize(objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray) -> np.ndarray:
    optimize: Any = first_use.load("scipy.optimize")
    bounds, options = [(0.0, None)] * len(start), {"maxiter": 50, "ftol": 1e-5}
    return optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


# -- not linear in the state -----------------------------------------------------------------------------------------


def _nonlinear(
    model: AveragingModel, sample: Rows, base: np.ndarray, states: Sequence[np.ndarray], t: np.ndarray
) -> np.ndarray:
    """Return ``t`` times the fraction of the merged displacement that cross-validation chooses."""
    mean = np.zeros(len(base))
    for weight, state in zip(t, states, strict=True):
        mean += weight * state
    fold = np.arange(len(sample.y)) % _FOLDS
    losses = np.empty((_FOLDS, len(_FRACTIONS)))
    for candidate, part in enumerate(_FRACTIONS):
        decision = model.decision((base + part * (mean - base)).astype(base.dtype), sample.x)
        for k in range(_FOLDS):
            losses[k, candidate] = model.mean_loss(decision[fold == k], _select_rows(sample, fold == k))[0]
    return _FRACTIONS[_simplest_candidate(losses)] * t


def _select_rows(rows: Rows, kept: np.ndarray) -> Rows:
    """Return some of the rows, with the targets and weights that a mean loss reads."""
    return rows._replace(y=rows.y[kept], weight=rows.weight[kept] if rows.weight.size else rows.weight)
