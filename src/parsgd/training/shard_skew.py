"""Detection of shards with different distributions, such as the parts of a sorted file.

The test compares a few rows of each shard.  For a target or feature ``x``, ``m_k`` is the mean over ``n_k`` rows of
shard k, and ``m`` the mean over all::

    chi^2 = sum_k n_k (m_k - m)^2 / var(x),      with K - 1 degrees of freedom if the distributions are equal

For classes it is the same over all classes together (the contingency table's).  A warning needs a significant and
large difference.  The significance level is one in a million for all comparisons together.  Shards must explain at
least 5 % of the variance, so that their workers are likely to learn different models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from scipy.special import chdtrc

from parsgd.core import DenseRows, Rows, Shard

_MAX_P_VALUE, _MIN_EXPLAINED = 1e-6, 0.05
# Compared rows: of all shards together, and minimum and maximum per shard; maximum of compared dense features.
_TOTAL_ROWS, _MIN_ROWS, _MAX_ROWS, _MAX_FEATURES = 2048, 16, 256, 512
# Minimum count per shard of a feature's stored values or a class; rarer ones are not compared.
_MIN_COUNT = 5
# Maximum number of distinct targets that count as classes.
_MAX_CLASSES = 64
_REMEDY = (
    "Averages of the workers' models may be poor. Shuffle the rows once where they are stored, or assign them at random"
    " (partition='shuffled'), or average more often (algorithm='local'), or learn the merge weights"
    " (WeightedAverage(rule='learned'))."
)


class ShardSample(NamedTuple):
    """Sampled rows of a shard: targets ``(n_rows, n_targets)``, and values with their feature numbers.

    For dense rows ``values`` is ``(n_rows, n)`` and ``features`` ``(n,)``; for sparse ones both are ``(n_stored,)``.
    """

    y: np.ndarray
    values: np.ndarray
    features: np.ndarray


def skew_warning(shards: Sequence[Shard], seeds: Sequence[int]) -> str | None:
    """Return a warning about different shards, or None.

    ``seeds`` are the seeds of the workers.  The test reads the start of their first epoch, which is then cached for
    them.
    """
    per_shard = int(np.clip(_TOTAL_ROWS // max(len(shards), 1), _MIN_ROWS, _MAX_ROWS))
    parts = [sample_shard(shard, seed, per_shard) for shard, seed in zip(shards, seeds, strict=True)]
    compared = {worker: part for worker, part in enumerate(parts) if part is not None}
    if len(compared) < 2:
        return None
    workers = list(compared)
    finding = difference(list(compared.values()))
    if finding is None:
        return None
    return f"The rows of worker {workers[finding[0]]} are unlike the others': {finding[1]}. {_REMEDY}"


def sample_shard(shard: Shard, seed: int, n_rows: int) -> ShardSample | None:
    """Return up to ``n_rows`` rows of a shard, evenly spaced in its order.

    None for an empty shard, and for the rows of a torch data set.
    """
    try:
        block = next(iter(shard.blocks(seed, 0)), None) if shard.n_rows else None
        if block is None or len(block.order) == 0 or not isinstance(cast("object", block.rows), Rows):
            return None
        order = block.order[np.linspace(0, len(block.order) - 1, min(n_rows, len(block.order))).astype(int)]
        x, y = block.rows.x, block.rows.y[order].reshape(len(order), -1)
    finally:
        shard.close()
    if isinstance(x, DenseRows):
        features = np.arange(0, x.n_features, -(-x.n_features // _MAX_FEATURES))
        return ShardSample(y, x.data.reshape(-1, x.n_features)[np.ix_(order, features)], features)
    lengths = np.diff(x.indptr)[order]
    begins = np.cumsum(lengths) - lengths
    offsets: np.ndarray = x.indptr[order] - begins
    places = np.repeat(offsets, lengths) + np.arange(int(lengths.sum()))
    return ShardSample(y, x.data[places], x.indices[places])


def difference(parts: Sequence[ShardSample]) -> tuple[int, str] | None:
    """Return the number of the most different part and a description of the difference; None without one."""
    sizes = np.array([len(part.y) for part in parts])
    y = np.concatenate([part.y for part in parts])
    own = np.repeat(np.arange(len(parts)), sizes)
    means, squares, names = _features(parts, sizes)
    tests = len(names) + y.shape[1]
    for target in range(y.shape[1]):
        finding = _target_difference(y[:, target], own, sizes, tests)
        if finding is not None:
            return finding
    statistics, shares = _spread(means, squares, sizes)
    if statistics.size == 0 or not _significant(statistics.max(), len(parts) - 1, tests, sizes.sum()):
        return None
    worst = int(statistics.argmax())
    worker = int(shares[:, worst].argmax())
    overall = float(sizes @ means[:, worst]) / sizes.sum()
    named = f"the mean of their feature {names[worst]} is {means[worker, worst]:.3g}"
    return worker, f"{named}, and {overall:.3g} over all"


def _target_difference(y: np.ndarray, own: np.ndarray, sizes: np.ndarray, tests: int) -> tuple[int, str] | None:
    """Compare one column of targets: classes by their counts, numbers by their means."""
    values, numbers, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(values) > min(_MAX_CLASSES, len(y) // 4):
        return _mean_target_difference(y.astype(np.float64), own, sizes, tests)
    common = np.flatnonzero(counts >= _MIN_COUNT * len(sizes))
    if len(common) == 0:
        return None
    one_hot = (numbers.reshape(-1, 1) == common).astype(np.float64)
    means, overall = _means(one_hot, own, len(sizes)), one_hot.mean(axis=0)
    shares = _spread(means, overall, sizes)[1]
    # the variance of a class is p (1 - p); the contingency table divides by p alone
    shares = shares * (1.0 - overall)
    kinds = max(min(len(common), len(values) - 1), 1)
    most = sizes.sum() * min(kinds, len(sizes) - 1)
    if not _significant(shares.sum(), (len(sizes) - 1) * kinds, tests, most):
        return None
    worker, which = np.unravel_index(int(shares.argmax()), shares.shape)
    named = f"target {values[common[which]]:.6g} is that of {means[worker, which]:.0%} of them"
    return int(worker), f"{named}, and of {overall[which]:.0%} of all"


def _mean_target_difference(y: np.ndarray, own: np.ndarray, sizes: np.ndarray, tests: int) -> tuple[int, str] | None:
    means = _means(y[:, None], own, len(sizes))
    statistics, shares = _spread(means, np.array([np.mean(y**2)]), sizes)
    if not _significant(statistics[0], len(sizes) - 1, tests, sizes.sum()):
        return None
    worker = int(shares.argmax())
    return worker, f"their mean target is {means[worker, 0]:.3g}, and {y.mean():.3g} over all"


def _means(columns: np.ndarray, own: np.ndarray, n_parts: int) -> np.ndarray:
    return np.array([columns[own == part].mean(axis=0) for part in range(n_parts)])


def _features(parts: Sequence[ShardSample], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means ``(n_parts, n)``, mean squares over all rows ``(n,)`` and feature numbers ``(n,)``.

    Sparse features that are stored too rarely are omitted.
    """
    if parts[0].values.ndim == 2:
        means = np.array([part.values.mean(axis=0, dtype=np.float64) for part in parts])
        squares = sum((part.values.astype(np.float64) ** 2).sum(axis=0) for part in parts) / sizes.sum()
        return means, squares, parts[0].features
    features = np.concatenate([part.features for part in parts])
    names, numbers, counts = np.unique(features, return_inverse=True, return_counts=True)
    values = np.concatenate([part.values for part in parts]).astype(np.float64)
    own = np.repeat(np.arange(len(parts)), [len(part.values) for part in parts])
    sums = np.bincount(own * len(names) + numbers, values, len(parts) * len(names)).reshape(len(parts), -1)
    squares = np.bincount(numbers, values**2, len(names)) / sizes.sum()
    common = counts >= _MIN_COUNT * len(parts)
    return (sums / sizes[:, None])[:, common], squares[common], names[common]


def _spread(means: np.ndarray, squares: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the chi-square of each column ``(n,)`` and each part's share ``(n_parts, n)``; 0 for constant columns."""
    share = sizes / sizes.sum()
    mean = share @ means
    variance = squares - mean**2
    varies = variance > 1e-9 * np.maximum(squares, 1e-300)
    parts = sizes[:, None] * (means - mean) ** 2 / np.where(varies, variance, np.inf)
    return parts.sum(axis=0), parts


def _significant(statistic: float, degrees: int, tests: int, most: float) -> bool:
    """Return True if the statistic is significant and large; ``most`` is its maximum possible value."""
    return bool(statistic >= _MIN_EXPLAINED * most and chdtrc(degrees, statistic) < _MAX_P_VALUE / max(tests, 1))
