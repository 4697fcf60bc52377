"""Base of the vectors that remain on the workers of a cluster and are added there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike


@dataclass(eq=False)
class ClusterVector:
    """A vector on a worker of a cluster; ``numpy.asarray`` fetches it.  A subclass defines :meth:`sum_there`."""

    dtype: np.dtype
    size: int
    ndim: ClassVar[int] = 1

    @property
    def shape(self) -> tuple[int]:
        return (self.size,)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @cached_property
    def _fetched(self) -> np.ndarray:
        return self.weighted_sum([self], np.ones(1))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int | slice | np.ndarray) -> np.ndarray:
        return np.asarray(self)[place]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._fetched, dtype=dtype, copy=copy)

    def copy(self) -> np.ndarray:
        """Return the vector as a local array."""
        return np.array(self)

    def weighted_sum(self, vectors: Sequence[np.ndarray | ClusterVector], weights: np.ndarray) -> np.ndarray:
        """Return ``sum_i weights[i] vectors[i]``, with the bits of :func:`parsgd.utils.tree_reduce.weighted_sum`.

        The driver receives one vector; local arrays among ``vectors`` are sent to the cluster.
        """
        weights = np.asarray(weights, dtype=float)
        nonzero = np.flatnonzero(weights)
        if len(nonzero) == 1 and weights[nonzero[0]] == 1.0:
            single = vectors[int(nonzero[0])]
            return single.copy() if isinstance(single, np.ndarray) else self.sum_there([single], np.ones(1))
        return self.sum_there(vectors, weights)

    def sum_there(self, vectors: Sequence[np.ndarray | ClusterVector], weights: np.ndarray) -> np.ndarray:
        """Add the vectors on the cluster and return the sum."""
        raise NotImplementedError
