"""Sums over the rows at one state of a linear model: the Hessian of the loss, the scores, and their second moments.

A row is ``z = (x, 1)``, with p = n_features + 1 values, or ``(x, 0)`` without an intercept. For output k and rows i of
weight ``s_ik`` (sample weight times class weight), derivative ``g_ik`` and curvature ``h_ik`` of the loss in the
decision value, the sums are::

    hessian_k = sum_i s_ik h_ik z_i z_i^T       (p, p)
    score_k   = sum_i s_ik g_ik z_i             (p,)
    moment_k  = sum_i (s_ik g_ik)^2 z_i z_i^T   (p, p)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from parsgd.models.linear.linear_model import Linear

# A row's x, encoded target and weight, each for a block of rows.
Block = tuple[Any, np.ndarray, np.ndarray]
# Values of a block in float64: 4 MB.
_BLOCK_VALUES = 1 << 19


@dataclass
class ScoreSums:
    """The sums, with the number of rows, the rows that count in each output, and residuals with their weights.

    ``n_rows`` counts all rows, as the penalty does. ``used (n_outputs,)`` counts the rows with a positive weight and
    curvature. ``rarer (n_outputs,)`` counts those of the rarer class; for a regression it is ``used``. Residuals
    ``y - p (n_rows,)`` are those of a regression whose predictions are decision values.
    """

    hessian: np.ndarray
    score: np.ndarray
    moment: np.ndarray
    n_rows: int
    used: np.ndarray
    rarer: np.ndarray
    residuals: np.ndarray
    weights: np.ndarray


def sum_scores(
    model: Linear, coef: np.ndarray, intercept: np.ndarray, blocks: Iterable[Block], *, classes: bool
) -> ScoreSums:
    """Compute the sums at ``coef (n_outputs, n_features)`` and ``intercept (n_outputs,)`` in float64, in one pass."""
    n_outputs, p = coef.shape[0], coef.shape[1] + 1
    hessian, moment = np.zeros((2, n_outputs, p, p))
    score = np.zeros((n_outputs, p))
    used, sides = np.zeros(n_outputs, dtype=int), np.zeros((2, n_outputs), dtype=int)
    residuals: list[np.ndarray] = []
    kept_weights: list[np.ndarray] = []
    n_rows = 0
    for x, y, weight in blocks:
        z = _with_ones(x, bool(model.fit_intercept))
        decision = np.asarray(x @ coef.T, dtype=np.float64).reshape(len(y), n_outputs) + intercept
        gradient = model.losses(decision, y)[1]
        targets = _targets(y, n_outputs)
        curvature = model.described_loss.curvature(float(model.loss_parameter), targets, decision)
        factor = model.example_factors(y, weight if weight.size else np.ones(len(y))).astype(np.float64)
        for k in range(n_outputs):
            hessian[k] += _weighted_gram(z, factor[:, k] * curvature[:, k])
            moment[k] += _weighted_gram(z, (factor[:, k] * gradient[:, k]) ** 2)
            score[k] += z.T @ (factor[:, k] * gradient[:, k])
        counts = (factor > 0) & (curvature > 0)
        used += counts.sum(axis=0)
        sides += [((factor > 0) & side).sum(axis=0) for side in (targets > 0, targets <= 0)]
        if not classes and model.described_loss.inverse_link is None:
            residuals.append(targets[:, 0] - decision[:, 0])
            kept_weights.append(factor[:, 0])
        n_rows += len(y)
    return ScoreSums(
        hessian,
        score,
        moment,
        n_rows,
        used,
        np.minimum(used, sides.min(axis=0)) if classes else used,
        np.concatenate(residuals) if residuals else np.zeros(0),
        np.concatenate(kept_weights) if residuals else np.zeros(0),
    )


def row_blocks(x: Any, y: np.ndarray, weight: np.ndarray) -> Iterable[Block]:
    """Divide rows into blocks of about 4 MB in float64."""
    size = max(1, _BLOCK_VALUES // max(x.shape[1], 1))
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        yield x[rows], y[rows], weight[rows]


def _targets(y: np.ndarray, n_outputs: int) -> np.ndarray:
    """Return targets ``(n_rows, n_outputs)``: -1 and 1 for several outputs."""
    if n_outputs == 1:
        return y.astype(np.float64)[:, None]
    return np.where(y[:, None] == np.arange(n_outputs), 1.0, -1.0)


def _with_ones(x: Any, fit_intercept: bool) -> Any:
    last = np.full((x.shape[0], 1), float(fit_intercept))
    if sparse.issparse(x):
        return sparse.hstack([x, last], format="csr", dtype=np.float64)
    return np.concatenate([x, last], axis=1, dtype=np.float64)


def _weighted_gram(z: Any, weights: np.ndarray) -> np.ndarray:
    """Return ``z^T diag(weights) z`` for weights >= 0."""
    root = np.sqrt(weights)[:, None]
    if sparse.issparse(z):
        scaled = z.multiply(root).tocsr()
        return (scaled.T @ scaled).toarray()
    scaled = z * root
    return scaled.T @ scaled
