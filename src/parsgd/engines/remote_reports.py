"""Form in which objects are sent to the workers of a cluster, and operations on reports where the workers are."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import cast

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]  (it has no stubs)
import numpy as np

from parsgd.core import Report, Shard
from parsgd.errors import IncompatiblePartsError
from parsgd.utils.tree_reduce import partial_sum, weighted_sum


def packed(value: object) -> bytes:
    """Pickle an object as one bytes object, classes of the user's program by value.

    Arrays that a cluster sends as separate buffers might arrive unaligned or read-only.

    >>> pickle.loads(packed([1, 2]))
    [1, 2]
    """
    return cast("Callable[..., bytes]", cloudpickle.dumps)(value, protocol=pickle.HIGHEST_PROTOCOL)


def refuse_other_futures(shards: Iterable[Shard], engine: str, package: str) -> None:
    """Raise IncompatiblePartsError if rows are futures of another package than that of the engine."""
    for shard in shards:
        for future in shard.futures():
            other = type(future).__module__.partition(".")[0]
            if other != package:
                raise IncompatiblePartsError(
                    f"engine={engine!r} cannot read rows that are in the memory of a cluster of {other}. Use the engine"
                    " of that cluster, or give paths to open_dataset."
                )


def aligned(vector: np.ndarray) -> np.ndarray:
    """Return the vector, copied if it is not aligned or read-only; kernels are compiled for arrays that are neither."""
    return np.require(vector, requirements=["A", "W"])


def aligned_report(report: Report) -> Report:
    """Return the report with arrays that kernels can read."""
    sparse = report.sparse_state
    if sparse is not None:
        values = tuple(aligned(part) for part in sparse.values)
        features, visits, rest = (aligned(array) for array in (sparse.features, sparse.visits, sparse.rest))
        sparse = sparse._replace(features=features, visits=visits, values=values, rest=rest)
    visits = None if report.visits is None else aligned(report.visits)
    return replace(report, state=aligned(report.state), visits=visits, sparse_state=sparse)


def without_state(report: Report) -> tuple[Report, np.dtype, int]:
    """Return a report without its state, which remains on this worker, and the state's dtype and size.

    A sparse state is small and remains in the report.
    """
    return replace(report, state=np.empty(0)), report.state.dtype, report.state.size


def branch(vectors: Sequence[Report | np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the float64 sum of a group of vectors."""
    return partial_sum([_state(vector) for vector in vectors], weights)


def root(vectors: Sequence[Report | np.ndarray], weights: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the sum of the last few vectors, rounded to ``dtype``."""
    return weighted_sum([_state(vector) for vector in vectors], weights).astype(dtype, copy=False)


def _state(vector: Report | np.ndarray) -> np.ndarray:
    return aligned(vector.state if isinstance(vector, Report) else vector)
