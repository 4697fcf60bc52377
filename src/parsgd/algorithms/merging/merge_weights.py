"""Merge weights: pure functions from the work that each worker did to its weight.

Every rule returns weights ``(n_workers,)`` on the displacements ``w_i - w`` from the common start state ``w``.  Weights
are 0 for workers without a step, and ``1 / n_workers`` for equal workers.  Weights that sum to 1 average the states
``w_i``, and ``w`` cancels.  :func:`merge` accepts any weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from parsgd.core import MergeResult, Report
from parsgd.utils.tree_reduce import weighted_sum

# Tolerance for rounding in the test that weights sum to 1.
_SUMS_TO_ONE = 1e-12


def uniform(steps: ArrayLike) -> np.ndarray:
    """Return equal weights for all workers that moved (Zinkevich et al. 2010).

    >>> uniform(np.array([10, 10, 0]))
    array([0.5, 0.5, 0. ])
    """
    return _normalized((np.asarray(steps) > 0).astype(float))


def by_steps(steps: ArrayLike) -> np.ndarray:
    """Return weights proportional to the steps made.

    >>> by_steps(np.array([30, 10]))
    array([0.75, 0.25])
    """
    return _normalized(np.asarray(steps, dtype=float))


def wp_sgd(log_contractions: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return WP-SGD's weights, inversely proportional to each worker's remaining distance.

    After T steps a run is still ``rho^T`` of its initial distance away from the limit of SGD (Zinkevich et al. 2010,
    lemma 3, with ``rho = 1 - eta alpha``).  Therefore ``weight_i ~ rho^(T_max - T_i)``: weights fall exponentially with
    the delay ``T_max - T_i`` (our reading of Cheng, Li and Zhang, arXiv 1708.04801).  ``log_contractions`` are
    ``T_i log(rho)``.

    >>> wp_sgd(np.log(0.999) * np.array([1000, 500]), np.array([1000, 500])).round(3)
    array([0.623, 0.377])
    """
    moved = np.asarray(steps) > 0
    if not moved.any():
        return np.zeros(len(moved))
    logs = np.asarray(log_contractions, dtype=float)
    return _normalized(np.where(moved, np.exp(logs[moved].min() - np.where(moved, logs, 0.0)), 0.0))


def by_examples(examples: ArrayLike) -> np.ndarray:
    """Return weights proportional to the examples visited; they differ from :func:`by_steps` for unequal batches.

    >>> by_examples(np.array([30, 10]))
    array([0.75, 0.25])
    """
    return _normalized(np.asarray(examples, dtype=float))


def inverse_loss(losses: np.ndarray, steps: np.ndarray, sharpness: float = 1.0) -> np.ndarray:
    """Return ``a_i ~ exp(-sharpness l_i / l)``, where ``l`` is the mean of the workers' mean losses ``l_i``.

    Relative losses make the sharpness dimensionless: at sharpness 1, twice the mean loss means ``1 / e`` of the average
    weight.  Weights from the workers' own performance follow WASGD (Guo, Xiao, Ye, Zhu, "Weighted Aggregating
    Stochastic Gradient Descent for Parallel Deep Learning", arXiv 2004.03749); this form is our reading of it.

    >>> inverse_loss(np.array([0.5, 1.5]), np.array([10, 10])).round(3)
    array([0.731, 0.269])
    """
    losses, moved = np.asarray(losses, dtype=float), np.asarray(steps) > 0
    mean = losses[moved].mean() if moved.any() else 0.0
    if not mean > 0.0 or not np.isfinite(mean):
        return uniform(steps)
    relative = losses / mean
    return _normalized(np.where(moved, np.exp(-sharpness * (relative - relative[moved].min())), 0.0))


def fednova(steps: np.ndarray, shares: np.ndarray, momentum: float = 0.0) -> np.ndarray:
    """Return FedNova's weights: ``w - tau sum_i p_i d_i / A_i`` with ``d_i = w - w_i``, so ``a_i = p_i tau / A_i``.

    ``p_i`` are the workers' shares of the rows and ``tau = sum_i p_i A_i``.  ``A_i`` is the length of ``tau_i`` unit
    steps: ``tau_i``, or ``(tau_i - rho (1 - rho^tau_i) / (1 - rho)) / (1 - rho)`` with momentum rho.  Workers with more
    steps do not pull the merged model towards their own rows.  The weights of the others grow instead, so the sum
    exceeds 1 for unequal steps.

    Wang, Liu, Liang, Joshi, Poor, "Tackling the Objective Inconsistency Problem in Heterogeneous Federated
    Optimization", NeurIPS 2020; the closed form is ours.

    >>> fednova(np.array([10, 20]), np.array([0.5, 0.5]))
    array([0.75 , 0.375])
    """
    steps, shares = np.asarray(steps, dtype=float), np.asarray(shares, dtype=float)
    moved = (steps > 0) & (shares > 0)
    if not moved.any():
        return np.zeros(len(steps))
    p = _normalized(np.where(moved, shares, 0.0))
    far = steps if momentum == 0.0 else (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)
    return np.where(moved, p * np.dot(p, far) / np.where(moved, far, 1.0), 0.0)


def bias_corrected(whole: np.ndarray, part: np.ndarray, fraction: float) -> np.ndarray:
    """Return SAVGM's ``(w - r w') / (1 - r)``, for the solutions ``w`` on a shard and ``w'`` on a fraction ``r`` of it.

    An average over shards keeps the bias of each shard's solution, of order ``1 / n`` in its rows.  On ``r n`` rows the
    bias is ``1 / r`` times as large, so it cancels in this difference.  The formula is linear: correcting each solution
    and correcting their average are equivalent.

    Zhang, Duchi, Wainwright, "Communication-Efficient Algorithms for Statistical Optimization", JMLR 14, 2013; the
    formula is our reading.

    >>> bias_corrected(np.array([1.1]), np.array([1.4]), 0.25)
    array([1.])
    """
    return (whole - fraction * part) / (1.0 - fraction)


def merge(
    state: np.ndarray, reports: Sequence[Report], weights: np.ndarray, nonnegative: slice = slice(0, 0)
) -> MergeResult:
    """Return ``w + sum_i a_i (w_i - w)`` for the old state ``w``, or ``w`` itself if all weights are 0.

    ``nonnegative`` (``Model.nonnegative``) is the part of the state that must not become negative.  Weights that sum to
    more than 1 could make it so; for this part the result is the weighted mean.

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
    # the workers' states first, so that states on remote machines are summed in the same order as without this one
    merged = weighted_sum([*states, state], np.append(weights, kept))
    if kept < 0.0 and merged[nonnegative].size:
        merged[nonnegative] = weighted_sum([arrived[nonnegative] for arrived in states], weights / weights.sum())
    return MergeResult(merged, weights)


def _normalized(weights: np.ndarray) -> np.ndarray:
    total = weights.sum()
    return weights / total if total > 0 else weights
