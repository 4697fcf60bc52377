"""Weighted sums of states: in one place, or in a tree whose branches lie on different machines, to the same bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parsgd.utils import first_use

# Elements summed at a time: large enough to hide the loop, small enough to stay in the second-level cache.
_BLOCK = 1 << 15
# Vectors added up one after the other; of more, groups of so many.
FAN_IN = 16


def weighted_sum(vectors: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """``sum_i weights[i] vectors[i]``, added in float64 and in the given order, in the dtype of the vectors.

    A single vector of weight 1 comes back bit for bit.  More than :data:`FAN_IN` vectors are added up in a tree: groups
    of so many neighbours first, then the groups' sums, which stay float64.  So machines of a cluster can add up what
    lies near them and give the same bits.
    """
    elsewhere = next((vector for vector in vectors if hasattr(vector, "weighted_sum")), None)
    if elsewhere is not None:
        return elsewhere.weighted_sum(vectors, weights)
    alone = np.flatnonzero(weights)
    if len(alone) == 1 and weights[alone[0]] == 1.0:
        return vectors[alone[0]].copy()
    sums_kernels = first_use.kernels("weighted_sum")
    add_weighted, store = sums_kernels.add_weighted, sums_kernels.store

    if len(vectors) > FAN_IN:
        sums = [partial_sum(vectors[group], weights[group]) for group in groups_of(len(vectors))]
        return weighted_sum(sums, np.ones(len(sums))).astype(vectors[0].dtype)
    out = np.empty_like(vectors[0])
    total = np.zeros(min(_BLOCK, out.size))
    for start in range(0, out.size, _BLOCK):
        n = min(_BLOCK, out.size - start)
        for vector, weight in zip(vectors, weights, strict=True):
            if weight != 0.0:
                add_weighted(total, vector, start, n, float(weight))
        store(total, out, start, n)
    return out


def partial_sum(vectors: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The sum of one group of the tree, float64."""
    total = np.zeros(len(vectors[0]))
    for vector, weight in zip(vectors, weights, strict=True):
        if weight != 0.0:
            total += float(weight) * np.asarray(vector, dtype=np.float64)
    return total


def groups_of(n: int) -> list[slice]:
    """The branches of a tree over ``n`` vectors: groups of :data:`FAN_IN` neighbours.

    >>> groups_of(20)
    [slice(0, 16, None), slice(16, 32, None)]
    """
    return [slice(first, first + FAN_IN) for first in range(0, n, FAN_IN)]
