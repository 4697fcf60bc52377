"""Learned merge weights: those that make the merged model's loss small on a few rows that the driver holds.

With moves ``d_i = w_i - w`` of the workers from where they set out, the merged state is ``w + sum_i a_i d_i``.  Where
decisions are linear in the state, so are they in ``a``: with ``Z_i = decision(w_i) - decision(w)`` on the sample,
computed once, what is left is a convex problem in as many unknowns as there are workers::

    a = s t + (other shares):   L(decision(w) + sum_i a_i Z_i)
                                + L_s / 2 (r chi^2(a / s, t) + (sum_i a_i / s - 1)^2),        a_i >= 0

``t`` are the weights to be pulled towards (by steps), ``s`` the best common factor on them, found first and without
any pull, and ``L_s`` the loss there; ``chi^2(p, t) = sum_i p_i^2 / t_i - (sum_i p_i)^2`` is how far the shares are from
``t``, in its own units, and blind to the factor.  Most of what there is to gain is in the factor: a mean of runs at
large rates is too long, a mean of short runs too short, and no rule that sums to 1 can mend that.

Five folds within the sample choose among ``t`` itself, ``s t``, and the shares at falling strengths ``r``: ``t`` if its
loss on the rows left out is within a standard error of the best one's, else the first that is within a quarter of one.

Weights are not negative.  On the four sets of docs/results/merging.md, with ten workers of unequal speed, negative ones
(that is, to extrapolate away from a bad worker) gained nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parsgd.core import Model, Rows
from parsgd.utils import blas_threads

# All of this measured on adult, covtype, enron_spam and news20, ten workers of unequal speed, samples of 100 to 5,000
# rows (docs/results/merging.md): 100 are enough to gain by on three of them; on the fourth, where few rows are wrong,
# 500 gain little, and 1,000 do.
_STRENGTHS, _FOLDS = (1.0, 0.1, 0.01), 5
# Standard errors that the simplest candidate may be behind the best, and the others.
_ERRORS_OF_FIRST, _ERRORS = 1.0, 0.25
_SAMPLE_SHARE, _FEWEST_ROWS, _ENOUGH_ROWS, _MOST_ROWS, _DEAREST_SHARE = 0.02, 100, 1000, 5000, 0.1
# With more workers than these they are weighed in groups.
_MOST_WEIGHTS = 64
# A factor beyond this is none that a sample could speak for.
_LONGEST = 1024.0
# Where decisions are not linear in the state: parts of the merged move that are tried.
_PARTS = (1.0, 0.75, 0.5, 0.25)


def sample_rows(n_rows: int) -> int:
    """How many of ``n_rows`` to hold back for learning weights: 2 %, at least 1,000 and at most 5,000; never more than
    a tenth, and none if that leaves less than 100.

    >>> sample_rows(100_000), sample_rows(3000), sample_rows(500)
    (2000, 300, 0)
    """
    wanted = int(np.clip(int(_SAMPLE_SHARE * n_rows), _ENOUGH_ROWS, _MOST_ROWS))
    held = min(wanted, int(_DEAREST_SHARE * n_rows))
    return held if held >= _FEWEST_ROWS else 0


def learn_weights(
    model: Model, sample: Rows, base: np.ndarray, states: Sequence[np.ndarray], towards: np.ndarray
) -> np.ndarray:
    """Weights ``(n_workers,)`` on the moves ``states[i] - base``, learned on ``sample``; they need not sum to 1.

    ``towards (n_workers,)`` sums to 1; who is 0 there stays 0.  Deterministic, and on the sample never worse than
    ``towards``.  Where decisions are not linear in the state, a part of the whole merged move.

    Examples
    --------
    Two workers of the same data, one of which overshot by a factor of ten:

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
    # targets that are all alike (one class) cannot tell good weights from long ones
    if len(moved) < 2 or len(sample.y) < _FOLDS or np.all(sample.y == sample.y[:1]):
        return towards
    t = towards[moved]
    states = [states[i] for i in moved]
    weights = np.zeros(len(towards))
    weigh = _linear if model.is_linear else _nonlinear
    # many small products: ten times as fast by one thread where cores are taken, and the same bits everywhere
    with blas_threads.one_thread():
        weights[moved] = weigh(model, sample, base, states, t)
    return weights


# -- linear in the state ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Objective:
    """Decisions on the sample: at the outset ``(n_rows, n_out)``, and of the workers' moves ``(K, n_rows, n_out)``."""

    model: Model
    rows: Rows
    before: np.ndarray
    moves: np.ndarray

    def decision(self, weights: np.ndarray) -> np.ndarray:
        flat = weights @ self.moves.reshape(len(self.moves), -1)
        return self.before + flat.reshape(self.before.shape)

    def loss(self, weights: np.ndarray) -> float:
        return self.model.mean_loss(self.decision(weights), self.rows)[0]

    def rewards_smallness(self, weights: np.ndarray) -> bool:
        """Whether the loss is in proportion to the decisions, as the perceptron's: it would have them all at 0."""
        decision, loss = self.decision(weights), self.loss(weights)
        return bool(np.isclose(self.model.mean_loss(0.5 * decision, self.rows)[0], 0.5 * loss, rtol=1e-9, atol=0.0))

    def at(self, kept: np.ndarray) -> _Objective:
        """Some of the rows."""
        return replace(
            self, rows=_kept(self.rows, kept), before=self.before[kept], moves=np.ascontiguousarray(self.moves[:, kept])
        )

    def along(self, weights: np.ndarray) -> _Objective:
        """All moves as one."""
        return replace(self, moves=np.tensordot(weights, self.moves, 1)[None])


def _linear(model: Model, sample: Rows, base: np.ndarray, states: Sequence[np.ndarray], t: np.ndarray) -> np.ndarray:
    groups = _groups(model, sample, states)
    n_groups = groups.max() + 1
    whole = np.bincount(groups, t, n_groups)
    shares = t / whole[groups]
    before = np.asarray(model.decision(base, sample.x), dtype=np.float64)
    moves = np.zeros((n_groups, *before.shape))
    for group, share, state in zip(groups, shares, states, strict=True):
        moves[group] += share * (model.decision(state, sample.x) - before)
    return _chosen(_Objective(model, sample, before, moves), whole)[groups] * shares


def _groups(model: Model, sample: Rows, states: Sequence[np.ndarray]) -> np.ndarray:
    """Which weight each worker shares: its own; or, of very many workers, that of those whose losses are like its."""
    if len(states) <= _MOST_WEIGHTS:
        return np.arange(len(states))
    losses = [model.mean_loss(np.asarray(model.decision(state, sample.x)), sample)[0] for state in states]
    ranks = np.argsort(np.argsort(losses, kind="stable"), kind="stable")
    return ranks * _MOST_WEIGHTS // len(states)


def _chosen(bench: _Objective, t: np.ndarray) -> np.ndarray:
    """The weights that the folds within the sample speak for."""
    if bench.rewards_smallness(t):
        return t
    fold = np.arange(len(bench.rows.y)) % _FOLDS
    paths = [_path(bench.at(fold != k), t) for k in range(_FOLDS)]
    losses = np.array([[bench.at(fold == k).loss(a) for a in path] for k, path in enumerate(paths)])
    weights = _path(bench, t)[_simplest(losses)]
    return weights if bench.loss(weights) <= bench.loss(t) else t


def _simplest(losses: np.ndarray) -> int:
    """The first candidate whose losses ``(folds, candidates)`` are behind the best one's by no more than noise."""
    behind = losses - losses[:, [losses.mean(axis=0).argmin()]]
    noise = behind.std(axis=0, ddof=1) / np.sqrt(len(losses))
    errors = np.full(losses.shape[1], _ERRORS)
    errors[0] = _ERRORS_OF_FIRST
    # a hundredth of a per cent is nothing to leave simpler weights for
    allowed = errors * noise + 1e-4 * losses.mean(axis=0).min()
    return int(np.argmax(behind.mean(axis=0) <= allowed))


def _path(bench: _Objective, t: np.ndarray) -> list[np.ndarray]:
    """Candidates, the simplest first: ``t``, the best multiple of it, and other shares at falling strengths.

    The last ones are anew at the scale of ``t``: where most workers are useless, so is the multiple of ``t`` that the
    others are found around, and it is next to nothing.
    """
    factor = _factor(bench.along(t))
    path = [t, factor * t]
    unit = bench.loss(path[-1])
    for strength in _STRENGTHS:
        path.append(_shares(bench, factor, t, strength, unit, path[-1]) if factor > 0.0 else path[-1])
    free = _shares(bench, 1.0, t, _STRENGTHS[-1], unit, path[-1], pull=0.0)
    total = free.sum()
    path.append(free / total * _factor(bench.along(free / total)) if total > 0.0 else path[-1])
    return path


def _factor(line: _Objective) -> float:
    """The best multiple of one move.

    On a sample that the merged model gets wholly right, losses fall for ever as the move is made longer.  So the move
    is made longer only as far as it would be with one row more on which every decision points the wrong way.
    """
    mirrored, n_rows = replace(line, before=-line.before, moves=-line.moves), len(line.rows.y)

    def rise(factor: float) -> float:
        return _slope(line, np.array([factor]))[1][0]

    def doubted_rise(factor: float) -> float:
        return rise(factor) + _slope(mirrored, np.array([factor]))[1][0] / n_rows

    if rise(1.0) >= 0.0:
        return _root(rise, 0.0, 1.0)
    return 1.0 if doubted_rise(1.0) >= 0.0 else min(_root(rise, 1.0, 2.0), _root(doubted_rise, 1.0, 2.0))


def _root(rise: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function passes 0, to a thousandth; ``low`` if it is above 0 already."""
    if rise(low) >= 0.0:
        return low
    while rise(high) < 0.0:
        if high >= _LONGEST:
            return high
        low, high = high, 2.0 * high
    from scipy.optimize import brentq

    return float(brentq(rise, low, high, xtol=1e-6, rtol=1e-3))


def _shares(
    bench: _Objective, factor: float, t: np.ndarray, strength: float, unit: float, start: np.ndarray, pull: float = 1.0
) -> np.ndarray:
    """The penalised problem of this module's first lines, in ``v_i = a_i / (s sqrt(t_i))``."""
    root = np.sqrt(t)
    scale = factor * root

    def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = _slope(bench, v * scale)
        total = v @ root
        penalty = strength * (v @ v - total**2) + pull * (total - 1.0) ** 2
        rise = strength * (v - total * root) + pull * (total - 1.0) * root
        return loss + 0.5 * unit * penalty, slope * scale + unit * rise

    return _minimise(objective, start / scale) * scale


def _slope(bench: _Objective, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss, and its gradient in the weights."""
    loss, gradient = bench.model.mean_loss(bench.decision(weights), bench.rows)
    return loss, bench.moves.reshape(len(bench.moves), -1) @ gradient.reshape(-1)


def _minimise(objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray) -> np.ndarray:
    from scipy.optimize import minimize

    bounds = [(0.0, None)] * len(start)
    return minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50, "ftol": 1e-5}
    ).x


# -- not linear in the state -----------------------------------------------------------------------------------------


def _nonlinear(model: Model, sample: Rows, base: np.ndarray, states: Sequence[np.ndarray], t: np.ndarray) -> np.ndarray:
    """The part of the merged move that the sample speaks for."""
    mean = np.zeros(len(base))
    for weight, state in zip(t, states, strict=True):
        mean += weight * state
    fold = np.arange(len(sample.y)) % _FOLDS
    losses = np.empty((_FOLDS, len(_PARTS)))
    for candidate, part in enumerate(_PARTS):
        decision = model.decision((base + part * (mean - base)).astype(base.dtype), sample.x)
        for k in range(_FOLDS):
            losses[k, candidate] = model.mean_loss(decision[fold == k], _kept(sample, fold == k))[0]
    return _PARTS[_simplest(losses)] * t


def _kept(rows: Rows, kept: np.ndarray) -> Rows:
    """What a mean loss looks at, targets and weights, of some rows."""
    return rows._replace(y=rows.y[kept], weight=rows.weight[kept] if rows.weight.size else rows.weight)
