"""Weighted sums of states, locally or in a tree over several machines, with the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from parsgd.utils import first_use

# Elements per block: large enough to hide loop overhead, small enough for the second-level cache.
_BLOCK = 1 << 15
# Maximum number of vectors added sequentially; more are added in groups of this size.
FAN_IN = 16


class RemoteVector(Protocol):
    """State on a cluster, which is added there."""

    def weighted_sum(self, vectors: Sequence[np.ndarray | RemoteVector], weights: np.ndarray) -> np.ndarray:
        """Return the weighted sum of local and remote vectors, with the bits of :func:`weighted_sum`."""


def weighted_sum(vectors: Sequence[np.ndarray | RemoteVector], weights: np.ndarray) -> np.ndarray:
    """Return ``sum_i weights[i] vectors[i]``, added in float64 and in the given order, in the dtype of the vectors.

    A single vector of weight 1 is returned bit for bit.  More than :data:`FAN_IN` vectors are added in a tree: groups
    of neighbors first, then the float64 sums of the groups.  Machines of a cluster can therefore add the vectors they
    hold and produce the same bits.
    """
    remote = next((vector for vector in vectors if not isinstance(vector, np.ndarray)), None)
    if remote is not None:
        return remote.weighted_sum(vectors, weights)
    nonzero = np.flatnonzero(weights)
    if len(nonzero) == 1 and weights[nonzero[0]] == 1.0:
        return vectors[nonzero[0]].copy()
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
    """Return the float64 sum of one group of the tree."""
    total = np.zeros(len(vectors[0]))
    for vector, weight in zip(vectors, weights, strict=True):
        if weight != 0.0:
            total += float(weight) * np.asarray(vector, dtype=np.float64)
    return total


def groups_of(n: int) -> list[slice]:
    """Return the groups of a tree over ``n`` vectors: :data:`FAN_IN` neighbors each.

    >>> groups_of(20)
    [slice(0, 16, None), slice(16, 32, None)]
    """
    return [slice(first, first + FAN_IN) for first in range(0, n, FAN_IN)]
