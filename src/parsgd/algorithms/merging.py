"""Merge rules: pure functions from what the workers did to how much each counts.

Every rule returns weights ``(n_workers,)`` that sum to 1 and are 0 for a worker that made no step; with equal workers
all of them return ``1 / n_workers``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.core import Merge, Report

# Elements summed at a time: large enough to hide the loop, small enough to stay in the second-level cache.
_BLOCK = 1 << 15


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


def merge(state: np.ndarray, reports: Sequence[Report], weights: np.ndarray) -> Merge:
    """The reports' states, weighted; the old state if no worker moved."""
    if not np.any(weights):
        return Merge(state, weights)
    return Merge(weighted_sum([report.state for report in reports], weights), weights)


def weighted_sum(vectors: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """``sum_i weights[i] vectors[i]``, added in float64 and in the given order, in the dtype of the vectors.

    A single vector of weight 1 comes back bit for bit.
    """
    alone = np.flatnonzero(weights)
    if len(alone) == 1 and weights[alone[0]] == 1.0:
        return vectors[alone[0]].copy()
    from parsgd.kernels.sums import add_weighted, store

    out = np.empty_like(vectors[0])
    total = np.zeros(min(_BLOCK, out.size))
    for start in range(0, out.size, _BLOCK):
        n = min(_BLOCK, out.size - start)
        for vector, weight in zip(vectors, weights, strict=True):
            if weight != 0.0:
                add_weighted(total, vector, start, n, float(weight))
        store(total, out, start, n)
    return out


def _normalised(weights: np.ndarray) -> np.ndarray:
    total = weights.sum()
    return weights / total if total > 0 else weights
