"""Merge rules: pure functions from what the workers did to how much each counts.

Every rule returns weights ``(n_workers,)`` on the moves ``w_i - w`` that the workers made from the state ``w`` they set
out from; they are 0 for a worker that made no step, and with equal workers all of them are ``1 / n_workers``.  Most sum
to 1: these weigh the states ``w_i`` themselves, and ``w`` falls out.  :func:`merge` takes either kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.core import MergeResult, Report
from parsgd.utils.tree_reduce import weighted_sum

# Weights sum to 1 if they do so but for rounding.
_SUMS_TO_ONE = 1e-12


def uniform(steps: np.ndarray) -> np.ndarray:
    """Every worker that moved counts alike (Zinkevich et al. 2010).

    >>> uniform(np.array([10, 10, 0]))
    array([0.5, 0.5, 0. ])
    """
    return _normalised((np.asarray(steps) > 0).astype(float))


def by_steps(steps: np.ndarray) -> np.ndarray:
    """In proportion to the steps made.

    >>> by_steps(np.array([30, 10]))
    array([0.75, 0.25])
    """
    return _normalised(np.asarray(steps, dtype=float))


def wp_sgd(log_contractions: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """WP-SGD's weights: each worker counts in inverse proportion to the distance that its steps have left.

    A run of T steps is still ``rho^T`` of its first distance away from where SGD settles (Zinkevich et al. 2010,
    lemma 3, with ``rho = 1 - eta alpha``), so ``weight_i ~ rho^(T_max - T_i)``: weights fall exponentially with the
    delay ``T_max - T_i`` (our reading of Cheng, Li and Zhang, arXiv 1708.04801).  ``log_contractions`` are
    ``T_i log(rho)``.

    >>> wp_sgd(np.log(0.999) * np.array([1000, 500]), np.array([1000, 500])).round(3)
    array([0.623, 0.377])
    """
    moved = np.asarray(steps) > 0
    if not moved.any():
        return np.zeros(len(moved))
    logs = np.asarray(log_contractions, dtype=float)
    return _normalised(np.where(moved, np.exp(logs[moved].min() - np.where(moved, logs, 0.0)), 0.0))


def by_examples(examples: np.ndarray) -> np.ndarray:
    """In proportion to the examples visited: where batches differ in size, not the same as by steps.

    >>> by_examples(np.array([30, 10]))
    array([0.75, 0.25])
    """
    return _normalised(np.asarray(examples, dtype=float))


def inverse_loss(losses: np.ndarray, steps: np.ndarray, sharpness: float = 1.0) -> np.ndarray:
    """``a_i ~ exp(-sharpness l_i / l)``, where ``l`` is the mean of the workers' mean losses ``l_i``.

    Relative losses make the sharpness a pure number: a worker whose loss is twice the mean counts ``1 / e`` of an
    average one at sharpness 1.  Weights from the workers' own performance are WASGD's idea (Guo, Xiao, Ye, Zhu,
    "Weighted Aggregating Stochastic Gradient Descent for Parallel Deep Learning", arXiv 2004.03749); this form is our
    reading of it.

    >>> inverse_loss(np.array([0.5, 1.5]), np.array([10, 10])).round(3)
    array([0.731, 0.269])
    """
    losses, moved = np.asarray(losses, dtype=float), np.asarray(steps) > 0
    mean = losses[moved].mean() if moved.any() else 0.0
    if not mean > 0.0 or not np.isfinite(mean):
        return uniform(steps)
    relative = losses / mean
    return _normalised(np.where(moved, np.exp(-sharpness * (relative - relative[moved].min())), 0.0))


def fednova(steps: np.ndarray, shares: np.ndarray, momentum: float = 0.0) -> np.ndarray:
    """FedNova's normalised moves: ``w - tau sum_i p_i d_i / A_i`` with ``d_i = w - w_i``, so ``a_i = p_i tau / A_i``.

    ``p_i`` are the workers' shares of the rows, and ``A_i`` is how far ``tau_i`` steps of unit length go: ``tau_i``,
    and with momentum rho ``(tau_i - rho (1 - rho^tau_i) / (1 - rho)) / (1 - rho)``; ``tau = sum_i p_i A_i``.  Who made
    more steps does not pull the merged model towards its own rows, for which the weights of others grow: they sum to
    more than 1 where steps are unequal (Wang, Liu, Liang, Joshi, Poor, "Tackling the Objective Inconsistency Problem in
    Heterogeneous Federated Optimization", NeurIPS 2020; the closed form is ours).

    >>> fednova(np.array([10, 20]), np.array([0.5, 0.5]))
    array([0.75 , 0.375])
    """
    steps, shares = np.asarray(steps, dtype=float), np.asarray(shares, dtype=float)
    moved = (steps > 0) & (shares > 0)
    if not moved.any():
        return np.zeros(len(steps))
    p = _normalised(np.where(moved, shares, 0.0))
    far = steps if momentum == 0.0 else (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)
    return np.where(moved, p * np.dot(p, far) / np.where(moved, far, 1.0), 0.0)


def bias_corrected(whole: np.ndarray, part: np.ndarray, fraction: float) -> np.ndarray:
    """SAVGM's ``(w - r w') / (1 - r)``: a worker's solution ``w`` on its shard, and ``w'`` on a fraction ``r`` of it.

    An average over shards keeps the bias that each one's smallness brings, of order ``1 / n`` in its rows; on
    ``r n`` rows it is ``1 / r`` times as large, so that in this difference it cancels.  Linear: to correct each
    worker's solution and to correct their averages are the same (Zhang, Duchi, Wainwright, "Communication-Efficient
    Algorithms for Statistical Optimization", JMLR 14, 2013; the formula is our reading).

    >>> bias_corrected(np.array([1.1]), np.array([1.4]), 0.25)
    array([1.])
    """
    return (whole - fraction * part) / (1.0 - fraction)


def merge(
    state: np.ndarray, reports: Sequence[Report], weights: np.ndarray, nonnegative: slice = slice(0, 0)
) -> MergeResult:
    """``w + sum_i a_i (w_i - w)`` for the old state ``w``, which stays if no worker moved.

    ``nonnegative`` is the part of a state (``Model.nonnegative``) that weights summing to more than 1 could make
    negative: of it the mean is taken.

    >>> from parsgd.testing.contracts._fixtures import small_report
    >>> merge(np.array([1.0]), [small_report(0, np.array([3.0]))], np.array([0.5])).state
    array([2.])
    """
    weights = np.asarray(weights, dtype=float)
    states = [report.state for report in reports]
    kept = 1.0 - weights.sum()
    if not np.any(weights):
        return MergeResult(state, weights)
    if abs(kept) < _SUMS_TO_ONE:
        return MergeResult(weighted_sum(states, weights), weights)
    # the workers' states first, so that those which lie elsewhere are summed as they would be without this one
    merged = weighted_sum([*states, state], np.append(weights, kept))
    if kept < 0.0 and merged[nonnegative].size:
        merged[nonnegative] = weighted_sum([arrived[nonnegative] for arrived in states], weights / weights.sum())
    return MergeResult(merged, weights)


def _normalised(weights: np.ndarray) -> np.ndarray:
    total = weights.sum()
    return weights / total if total > 0 else weights
