"""Whether workers' shards are unlike one another: a sorted file, cut into parts, gives each worker another world.

Compares a few rows of each shard.  For a target or a feature with values ``x``, and the means ``m_k`` of ``n_k`` rows
of shard k around the mean ``m`` of all::

    chi^2 = sum_k n_k (m_k - m)^2 / var(x),      of K - 1 degrees of freedom if the shards are alike

and for classes the same over all of them at once (the contingency table's).  An alarm takes two things: the difference
is no chance (one in a million for all comparisons together), and it is large: shards explain at least 5 % of the
variance, so that what their workers learn is likely to differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc

from parsgd.core import DenseRows, Shard

_CHANCE, _EXPLAINED = 1e-6, 0.05
# Rows looked at: of all shards together, and of one.  Dense features beyond so many are looked at one in a few.
_ROWS, _FEWEST, _MOST, _MOST_FEATURES = 2048, 16, 256, 512
# Rarer values than so many a shard are no basis for a mean, rarer classes are taken together.
_ENOUGH = 5
# Targets of no more values than these are classes.
_MOST_CLASSES = 64
_REMEDY = (
    "Averages of what they learn may be poor. Shuffle the rows once where they are stored, or let them be dealt at"
    " random (partition='shuffled'), or average more often (algorithm='local'), or learn the weights of the average"
    " (WeightedAverage(rule='learned'))."
)


class ShardSample(NamedTuple):
    """Some rows of a shard: targets ``(n_rows, n_targets)``, and values with the numbers of their features.

    Of dense rows ``values`` is ``(n_rows, n)`` and ``features`` ``(n,)``; of sparse ones both are ``(n_stored,)``.
    """

    y: np.ndarray
    values: np.ndarray
    features: np.ndarray


def warning_of(shards: Sequence[Shard], seeds: Sequence[int]) -> str | None:
    """What to say of the shards, or None if there is nothing to say.

    ``seeds`` are those the workers will visit their rows by: the order of their first epoch is looked at, and is then
    already there when they ask for it.
    """
    per_shard = int(np.clip(_ROWS // max(len(shards), 1), _FEWEST, _MOST))
    parts = [sample_shard(shard, seed, per_shard) for shard, seed in zip(shards, seeds, strict=True)]
    workers = [worker for worker, part in enumerate(parts) if part is not None]
    if len(workers) < 2:
        return None
    found = difference([parts[worker] for worker in workers])
    if found is None:
        return None
    return f"The rows of worker {workers[found[0]]} are unlike the others': {found[1]}. {_REMEDY}"


def sample_shard(shard: Shard, seed: int, n_rows: int) -> ShardSample | None:
    """Up to ``n_rows`` rows of a shard, evenly spaced in its order; None of an empty one."""
    try:
        block = next(iter(shard.blocks(seed, 0)), None) if shard.n_rows else None
        if block is None or len(block.order) == 0:
            return None
        order = block.order[np.linspace(0, len(block.order) - 1, min(n_rows, len(block.order))).astype(int)]
        x, y = block.rows.x, block.rows.y[order].reshape(len(order), -1)
    finally:
        shard.close()
    if isinstance(x, DenseRows):
        features = np.arange(0, x.n_features, -(-x.n_features // _MOST_FEATURES))
        return ShardSample(y, x.data.reshape(-1, x.n_features)[np.ix_(order, features)], features)
    lengths = np.diff(x.indptr)[order]
    begins = np.cumsum(lengths) - lengths
    places = np.repeat(x.indptr[order] - begins, lengths) + np.arange(lengths.sum())
    return ShardSample(y, x.data[places], x.indices[places])


def difference(parts: Sequence[ShardSample]) -> tuple[int, str] | None:
    """Which of the parts differs most, and a sentence on what in; None if they are alike."""
    sizes = np.array([len(part.y) for part in parts])
    y = np.concatenate([part.y for part in parts])
    own = np.repeat(np.arange(len(parts)), sizes)
    means, squares, names = _features(parts, sizes)
    tests = len(names) + y.shape[1]
    for target in range(y.shape[1]):
        found = _in_targets(y[:, target], own, sizes, tests)
        if found is not None:
            return found
    statistics, shares = _spread(means, squares, sizes)
    if statistics.size == 0 or not _alarming(statistics.max(), len(parts) - 1, tests, sizes.sum()):
        return None
    worst = int(statistics.argmax())
    worker = int(shares[:, worst].argmax())
    everyone = float(sizes @ means[:, worst]) / sizes.sum()
    named = f"the mean of their feature {names[worst]} is {means[worker, worst]:.3g}"
    return worker, f"{named}, and {everyone:.3g} over all"


def _in_targets(y: np.ndarray, own: np.ndarray, sizes: np.ndarray, tests: int) -> tuple[int, str] | None:
    """Compare one column of targets: classes by their counts, numbers by their means."""
    values, numbers, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(values) > min(_MOST_CLASSES, len(y) // 4):
        return _in_numbers(y.astype(np.float64), own, sizes, tests)
    common = np.flatnonzero(counts >= _ENOUGH * len(sizes))
    if len(common) == 0:
        return None
    one_hot = (numbers.reshape(-1, 1) == common).astype(np.float64)
    means, everyone = _means(one_hot, own, len(sizes)), one_hot.mean(axis=0)
    shares = _spread(means, everyone, sizes)[1]
    # a class's own variance is p (1 - p), the table's expected counts go by p alone
    shares = shares * (1.0 - everyone)
    kinds = max(min(len(common), len(values) - 1), 1)
    most = sizes.sum() * min(kinds, len(sizes) - 1)
    if not _alarming(shares.sum(), (len(sizes) - 1) * kinds, tests, most):
        return None
    worker, which = np.unravel_index(int(shares.argmax()), shares.shape)
    named = f"target {values[common[which]]:.6g} is that of {means[worker, which]:.0%} of them"
    return int(worker), f"{named}, and of {everyone[which]:.0%} of all"


def _in_numbers(y: np.ndarray, own: np.ndarray, sizes: np.ndarray, tests: int) -> tuple[int, str] | None:
    means = _means(y[:, None], own, len(sizes))
    statistics, shares = _spread(means, np.array([np.mean(y**2)]), sizes)
    if not _alarming(statistics[0], len(sizes) - 1, tests, sizes.sum()):
        return None
    worker = int(shares.argmax())
    return worker, f"their mean target is {means[worker, 0]:.3g}, and {y.mean():.3g} over all"


def _means(columns: np.ndarray, own: np.ndarray, n_parts: int) -> np.ndarray:
    return np.array([columns[own == part].mean(axis=0) for part in range(n_parts)])


def _features(parts: Sequence[ShardSample], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means ``(n_parts, n)``, mean squares over all rows ``(n,)``, and the features' numbers ``(n,)``; of sparse rows
    only features that are stored often enough."""
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
    common = counts >= _ENOUGH * len(parts)
    return (sums / sizes[:, None])[:, common], squares[common], names[common]


def _spread(means: np.ndarray, squares: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The chi-square of each column ``(n,)``, and what each part has in it ``(n_parts, n)``; 0 of constant columns."""
    share = sizes / sizes.sum()
    mean = share @ means
    variance = squares - mean**2
    varies = variance > 1e-9 * np.maximum(squares, 1e-300)
    parts = sizes[:, None] * (means - mean) ** 2 / np.where(varies, variance, np.inf)
    return parts.sum(axis=0), parts


def _alarming(statistic: float, freedom: int, tests: int, most: float) -> bool:
    """Whether it is neither chance nor small; ``most`` is the greatest value it could have."""
    return bool(statistic >= _EXPLAINED * most and chdtrc(freedom, statistic) < _CHANCE / max(tests, 1))
